//! An S3 bucket that fails in the ways that buckets fail: what is said, what is repeated, and that no upload stays behind.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use kanbu_backup::{
    fault::{Classified, Fault as Class},
    storage::{Pace, conformance},
};

use crate::{
    s3_server::{ANYTHING, Asks, Fate, Fault, S3Server},
    things::{PACE, PART_BYTES, data, environment, folder, manifest, part, upload},
};

/// For requests that are never answered.
const SHORT: Pace = Pace {
    base: Duration::from_secs(1),
    slowest: u32::MAX,
    retries: 1,
    ..PACE
};

#[tokio::test]
async fn a_part_that_is_refused_for_a_while_arrives_at_last() {
    let server = S3Server::start().await;
    for (status, code) in [(503, "SlowDown"), (500, "InternalError"), (429, "TooMany")] {
        server.fails(Fault {
            asks: &[Asks::Part],
            from: 1,
            times: 2,
            fate: Fate::Refused { status, code },
        });
        let stored = upload(&server.storage(PACE), &data(&folder()), 2).await;
        assert_eq!(stored.unwrap(), 2 * PART_BYTES as u64, "{status}");
    }
}

#[tokio::test]
async fn a_bucket_that_is_busy_from_the_third_part_on_fails_and_keeps_nothing() {
    let server = S3Server::start().await;
    server.fails(Fault {
        asks: &[Asks::Part],
        from: 2,
        times: u64::MAX,
        fate: Fate::Refused {
            status: 503,
            code: "SlowDown",
        },
    });
    let storage = server.storage(PACE);
    let error = upload(&storage, &data(&folder()), 4).await.unwrap_err();
    assert_eq!(error.fault(), Class::Transient, "{error:?}");
    assert_eq!(server.count(Asks::Part), 2 + 1 + PACE.retries);
    server.is_well_again();
    assert_eq!(storage.folders(&environment()).await.unwrap(), []);
    assert_eq!(server.unfinished(), [""; 0]);
}

#[tokio::test]
async fn a_part_that_is_never_answered_times_out() {
    let server = S3Server::start().await;
    server.fails(Fault::always(&[Asks::Part], Fate::Hangs));
    let storage = server.storage(SHORT);
    let error = upload(&storage, &data(&folder()), 1).await.unwrap_err();
    assert_eq!(error.code(), "storage.unreachable", "{error:?}");
    assert_eq!(server.count(Asks::Part), 2);
    assert_eq!(server.unfinished(), [""; 0]);
}

#[tokio::test]
async fn a_hung_part_can_be_given_up_at_once_and_its_upload_aborted() {
    let server = S3Server::start().await;
    server.fails(Fault::always(&[Asks::Part], Fate::Hangs));
    let storage = server.storage(PACE);
    let mut upload = storage.upload(&data(&folder())).await.unwrap();
    let hung = upload.put_part(part());
    assert!(hung.now_or_never().is_none());
    upload.abort().await.unwrap();
    assert_eq!(server.unfinished(), [""; 0]);
}

#[tokio::test]
async fn a_slow_bucket_is_slow_and_no_more() {
    let server = S3Server::start().await;
    server.fails(Fault::always(
        ANYTHING,
        Fate::Waits(Duration::from_millis(50)),
    ));
    conformance::three_parts_read_back_as_they_were_sent(&server.storage(PACE)).await;
}

#[tokio::test]
async fn a_cut_connection_is_made_anew() {
    let server = S3Server::start().await;
    server.fails(Fault {
        asks: &[Asks::Part],
        from: 0,
        times: 1,
        fate: Fate::Cut,
    });
    let stored = upload(&server.storage(PACE), &data(&folder()), 1).await;
    assert_eq!(stored.unwrap(), PART_BYTES as u64);
}

#[tokio::test]
async fn a_completion_whose_answer_was_lost_has_succeeded() {
    let server = S3Server::start().await;
    server.fails(Fault::always(&[Asks::Complete], Fate::Unanswered));
    let storage = server.storage(PACE);
    let key = data(&folder());
    assert_eq!(upload(&storage, &key, 1).await.unwrap(), PART_BYTES as u64);
    assert!(storage.exists(&key).await.unwrap());
}

#[tokio::test]
async fn a_completion_that_fails_leaves_neither_object_nor_upload() {
    let server = S3Server::start().await;
    server.fails(Fault::always(
        &[Asks::Complete],
        Fate::Refused {
            status: 500,
            code: "Odd",
        },
    ));
    let storage = server.storage(PACE);
    let key = data(&folder());
    let error = upload(&storage, &key, 1).await.unwrap_err();
    assert_eq!(error.fault(), Class::Transient, "{error:?}");
    assert!(!storage.exists(&key).await.unwrap());
    assert_eq!(server.unfinished(), [""; 0]);
}

#[tokio::test]
async fn a_manifest_whose_answer_was_lost_is_written_and_is_not_anothers() {
    let server = S3Server::start().await;
    let storage = server.storage(PACE);
    let key = manifest(&folder());
    server.fails(Fault {
        asks: &[Asks::Put],
        from: 0,
        times: 1,
        fate: Fate::Unanswered,
    });
    storage
        .put_new(&key, Bytes::from_static(b"{}"))
        .await
        .unwrap();
    server.is_well_again();
    let other = storage.put_new(&key, Bytes::from_static(b"[]")).await;
    assert_eq!(other.unwrap_err().code(), "storage.already_exists");
}

#[tokio::test]
async fn a_bucket_that_lies_about_what_it_stored_is_caught_by_its_size() {
    let server = S3Server::start().await;
    server.fails(Fault::always(&[Asks::Complete], Fate::Halved));
    let stored = upload(&server.storage(PACE), &data(&folder()), 2).await;
    // The size that is there, not the one that was sent: the run compares the two.
    assert_eq!(stored.unwrap(), PART_BYTES as u64);
}

#[tokio::test]
async fn credentials_that_are_revoked_on_the_way_are_denied_and_not_repeated() {
    let server = S3Server::start().await;
    let storage = server.storage(PACE);
    let mut upload = storage.upload(&data(&folder())).await.unwrap();
    upload.put_part(part()).await.unwrap();
    server.fails(Fault::always(
        ANYTHING,
        Fate::Refused {
            status: 403,
            code: "InvalidAccessKeyId",
        },
    ));
    let error = upload.put_part(part()).await.unwrap_err();
    assert_eq!(
        (error.code(), error.fault()),
        ("storage.denied", Class::Permanent)
    );
    assert_eq!(server.count(Asks::Part), 2);
    let error = upload.abort().await.unwrap_err();
    assert_eq!(error.code(), "storage.denied");
    conformance::a_closed_place_says_denied(&storage).await;
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_missing_and_not_empty() {
    let server = S3Server::start().await;
    let storage = server.storage(PACE);
    let mut upload = storage.upload(&data(&folder())).await.unwrap();
    server.fails(Fault::always(
        ANYTHING,
        Fate::Refused {
            status: 404,
            code: "NoSuchBucket",
        },
    ));
    let error = upload.put_part(part()).await.unwrap_err();
    assert_eq!(
        (error.code(), error.fault()),
        ("storage.missing_place", Class::Permanent)
    );
    conformance::a_missing_bucket_says_so(&storage).await;
}

#[tokio::test]
async fn a_bucket_without_room_is_full_and_keeps_nothing() {
    let server = S3Server::start().await;
    for (status, code) in [(507, "InsufficientStorage"), (403, "QuotaExceeded")] {
        server.fails(Fault::always(
            &[Asks::Part, Asks::Put],
            Fate::Refused { status, code },
        ));
        conformance::a_full_place_says_full_and_keeps_nothing(&server.storage(PACE)).await;
        assert_eq!(server.unfinished(), [""; 0]);
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable() {
    let storage = {
        let server = S3Server::start().await;
        server.storage(SHORT)
    };
    conformance::a_vanished_place_is_unreachable(&storage).await;
}

#[tokio::test]
async fn a_listing_that_breaks_off_is_an_error_and_no_shorter_list() {
    let server = S3Server::start().await;
    let storage = server.storage(SHORT);
    let key = manifest(&folder());
    storage
        .put_new(&key, Bytes::from_static(b"{}"))
        .await
        .unwrap();
    server.fails(Fault::always(&[Asks::List], Fate::CutAnswer));
    let error = storage.folders(&environment()).await.unwrap_err();
    assert_eq!(error.fault(), Class::Transient, "{error:?}");
}
