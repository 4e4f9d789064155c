//! The resumable protocol and everything that goes wrong in it: an upload ends as the bytes that were sent, or as nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::FutureExt;
use kanbu_backup::storage::gdrive::{DriveError, GoogleDrive};
use object_store::{Error, MultipartUpload, ObjectStoreExt, PutPayload};

use super::{
    FOREVER, OBJECT, at, content, create,
    fake::{FakeDrive, GRAIN, Trouble, Verb},
    read, reason,
};

const PART: usize = 1 << 20;

async fn until(mut happened: impl FnMut() -> bool) {
    let waiting = async {
        while !happened() {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_mins(1), waiting).await;
    waited.expect("what was waited for didn't happen");
}

async fn begin(drive: &GoogleDrive) -> Box<dyn MultipartUpload> {
    drive.put_multipart(&at(OBJECT)).await.unwrap()
}

async fn upload(drive: &GoogleDrive, sent: &[u8], part: usize) -> object_store::Result<()> {
    let mut upload = drive.put_multipart(&at(OBJECT)).await?;
    for part in sent.chunks(part) {
        if let Err(error) = upload.put_part(part.to_vec().into()).await {
            upload.abort().await?;
            return Err(error);
        }
    }
    upload.complete().await.map(drop)
}

/// Uploads four parts and a bit through a trouble that must not matter.
async fn survives(verb: Verb, after: u64, times: u64, trouble: Trouble) -> FakeDrive {
    let fake = FakeDrive::start().await;
    fake.troubles(verb, after, times, trouble);
    let sent = content(4 * PART + 1234);
    upload(&fake.store(), &sent, PART).await.unwrap();
    assert!(
        fake.content(OBJECT) == sent,
        "{trouble:?}: the bytes differ"
    );
    fake.assert_clean(1);
    fake
}

/// Uploads the same through a trouble that can't be overcome. Nothing is left.
async fn fails(verb: Verb, after: u64, trouble: Trouble) -> Error {
    let fake = FakeDrive::start().await;
    fake.troubles(verb, after, FOREVER, trouble);
    let sent = content(4 * PART + 1234);
    let error = upload(&fake.store(), &sent, PART).await.unwrap_err();
    fake.assert_clean(0);
    assert_eq!(fake.state().shelf.at("prod/database/one/dump.kbk"), [""; 0]);
    error
}

#[tokio::test]
async fn parts_of_any_size_become_pieces_of_googles_grain() {
    for (bytes, part) in [
        (0, 1),
        (1, 1),
        (GRAIN, GRAIN),
        (2 * GRAIN, GRAIN / 2),
        (3 * GRAIN + 7, GRAIN - 1),
        (5 * GRAIN - 1, 2 * GRAIN + 3),
    ] {
        let [bytes, part] = [bytes, part].map(|n| usize::try_from(n).unwrap());
        let fake = FakeDrive::start().await;
        upload(&fake.store(), &content(bytes), part).await.unwrap();
        assert!(
            fake.content(OBJECT) == content(bytes),
            "{bytes} in parts of {part}"
        );
        fake.assert_clean(1);
    }
}

#[tokio::test]
async fn parts_arrive_in_order_whichever_is_waited_for_first() {
    let fake = FakeDrive::start().await;
    let drive = fake.store();
    let sent = content(4 * PART);
    let mut upload = begin(&drive).await;
    let mut sending: Vec<_> = sent
        .chunks(PART)
        .map(|part| upload.put_part(part.to_vec().into()))
        .collect();
    let first = sending.remove(0);
    sending.reverse();
    futures::future::try_join_all(sending).await.unwrap();
    first.await.unwrap();
    upload.complete().await.unwrap();
    assert!(fake.content(OBJECT) == sent);
    fake.assert_clean(1);
}

#[tokio::test]
async fn a_part_of_several_slices_is_sent_as_one() {
    let fake = FakeDrive::start().await;
    let drive = fake.store();
    let sent = content(PART);
    let slices = sent.chunks(100_000).map(Bytes::copy_from_slice);
    let mut upload = begin(&drive).await;
    upload
        .put_part(slices.collect::<PutPayload>())
        .await
        .unwrap();
    upload.complete().await.unwrap();
    assert!(fake.content(OBJECT) == sent);
    assert_eq!(fake.count(Verb::Piece), 1);
}

#[tokio::test]
async fn a_503_that_passes_from_the_third_piece_on_is_overcome() {
    let fake = survives(Verb::Piece, 2, 2, Trouble::Status(503, "backendError")).await;
    assert_eq!(fake.count(Verb::Piece), 6);
    assert_eq!(fake.count(Verb::Ask), 2);
}

#[tokio::test]
async fn a_503_that_stays_ends_the_upload_and_leaves_nothing() {
    let error = fails(Verb::Piece, 2, Trouble::Status(503, "backendError")).await;
    assert_eq!(reason(&error), (503, "backendError"));
}

#[tokio::test]
async fn a_429_with_retry_after_is_obeyed() {
    let fake = survives(Verb::Piece, 1, 1, Trouble::RetryAfter(1)).await;
    let pieces = fake.seen(Verb::Piece);
    assert!(pieces[2].at - pieces[1].at >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_rate_limit_that_looks_like_a_refusal_is_overcome() {
    survives(
        Verb::Piece,
        1,
        2,
        Trouble::Status(403, "userRateLimitExceeded"),
    )
    .await;
    survives(Verb::Open, 0, 2, Trouble::Status(403, "rateLimitExceeded")).await;
}

#[tokio::test]
async fn a_connection_cut_inside_a_piece_costs_only_what_google_didnt_keep() {
    let fake = survives(Verb::Piece, 1, 1, Trouble::CutInside).await;
    let bytes: Vec<u64> = fake
        .seen(Verb::Piece)
        .iter()
        .map(|seen| seen.bytes)
        .collect();
    let part = PART as u64;
    assert_eq!(bytes, [part, part, part / 2, part, part]);
    survives(Verb::Finish, 0, 1, Trouble::CutInside).await;
}

#[tokio::test]
async fn a_piece_that_is_kept_in_part_is_completed() {
    let fake = survives(Verb::Piece, 0, 2, Trouble::Keep(1)).await;
    let bytes: Vec<u64> = fake
        .seen(Verb::Piece)
        .iter()
        .map(|seen| seen.bytes)
        .collect();
    assert_eq!(bytes[..3], [4 * GRAIN, 3 * GRAIN, 2 * GRAIN]);
    assert_eq!(fake.count(Verb::Ask), 0);
}

#[tokio::test]
async fn a_session_that_keeps_nothing_ends_the_upload() {
    let error = fails(Verb::Piece, 1, Trouble::Keep(0)).await;
    assert!(
        matches!(DriveError::of(&error), Some(DriveError::Stuck)),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_and_nothing_is_sent_twice() {
    let fake = survives(Verb::Piece, 1, 1, Trouble::AnswerLost).await;
    assert_eq!(fake.count(Verb::Piece), 4);
    let fake = survives(Verb::Finish, 0, 1, Trouble::AnswerLost).await;
    assert_eq!(fake.count(Verb::Finish), 2);
}

#[tokio::test]
async fn a_small_object_whose_answer_was_lost_is_written_once() {
    let fake = FakeDrive::start().await;
    fake.trouble(Verb::Finish, Trouble::AnswerLost);
    create(&fake.store(), OBJECT, b"small").await.unwrap();
    assert_eq!(fake.content(OBJECT), b"small");
    fake.assert_clean(1);
}

#[tokio::test]
async fn other_bytes_than_were_sent_are_noticed_and_removed() {
    for verb in [Verb::Piece, Verb::Finish] {
        let fake = FakeDrive::start().await;
        fake.trouble(verb, Trouble::Garble);
        let error = upload(&fake.store(), &content(PART + 5), PART)
            .await
            .unwrap_err();
        let altered = matches!(DriveError::of(&error), Some(DriveError::Altered { .. }));
        assert!(altered, "{error:?}");
        fake.assert_clean(0);
    }
    let fake = FakeDrive::start().await;
    fake.trouble(Verb::Finish, Trouble::Garble);
    create(&fake.store(), OBJECT, b"small").await.unwrap_err();
    fake.assert_clean(0);
}

#[tokio::test]
async fn a_session_that_google_forgot_ends_the_upload() {
    let error = fails(Verb::Piece, 2, Trouble::Status(404, "notFound")).await;
    assert!(
        matches!(DriveError::of(&error), Some(DriveError::SessionOver)),
        "{error:?}"
    );
    let error = fails(Verb::Piece, 2, Trouble::Status(410, "gone")).await;
    assert!(
        matches!(DriveError::of(&error), Some(DriveError::SessionOver)),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_completion_that_fails_leaves_no_session() {
    let fake = FakeDrive::start().await;
    fake.troubles(
        Verb::Finish,
        0,
        FOREVER,
        Trouble::Status(403, "storageQuotaExceeded"),
    );
    let error = upload(&fake.store(), &content(PART), PART)
        .await
        .unwrap_err();
    assert_eq!(reason(&error), (403, "storageQuotaExceeded"));
    fake.assert_clean(0);
}

#[tokio::test]
async fn nothing_can_be_added_to_an_upload_that_failed_or_ended() {
    let fake = FakeDrive::start().await;
    let drive = fake.store();
    fake.trouble(Verb::Piece, Trouble::Status(400, "badRequest"));
    let mut upload = begin(&drive).await;
    upload.put_part(vec![0; PART].into()).await.unwrap_err();
    let ended = |error: Error| matches!(DriveError::of(&error), Some(DriveError::Ended));
    assert!(ended(
        upload.put_part(vec![0; PART].into()).await.unwrap_err()
    ));
    assert!(ended(upload.complete().await.unwrap_err()));
    fake.assert_clean(0);
    upload.abort().await.unwrap();
    let mut upload = begin(&drive).await;
    upload.abort().await.unwrap();
    assert!(ended(
        upload.put_part(vec![0; PART].into()).await.unwrap_err()
    ));
    assert!(ended(upload.complete().await.unwrap_err()));
    fake.assert_clean(0);
}

#[tokio::test]
async fn an_answer_that_never_comes_is_given_up_and_asked_for() {
    let fake = FakeDrive::start().await;
    fake.troubles(Verb::Piece, 1, 1, Trouble::Hang);
    let mut config = fake.config(FakeDrive::credentials());
    config.patience.answer_within = Duration::from_secs(5);
    config.patience.least_rate = u64::MAX;
    let sent = content(3 * PART);
    upload(&GoogleDrive::new(config).unwrap(), &sent, PART)
        .await
        .unwrap();
    assert!(fake.content(OBJECT) == sent);
    fake.assert_clean(1);
}

#[tokio::test]
async fn a_server_that_only_hangs_is_a_time_out() {
    let fake = FakeDrive::start().await;
    fake.troubles(Verb::Piece, 0, FOREVER, Trouble::Hang);
    let mut config = fake.config(FakeDrive::credentials());
    config.patience.answer_within = Duration::from_secs(5);
    config.patience.least_rate = u64::MAX;
    config.patience.retries = 1;
    let drive = GoogleDrive::new(config).unwrap();
    let error = upload(&drive, &content(PART), PART).await.unwrap_err();
    let timed_out = matches!(
        DriveError::of(&error),
        Some(DriveError::Unanswered {
            kind: std::io::ErrorKind::TimedOut,
            ..
        })
    );
    assert!(timed_out, "{error:?}");
    fake.assert_clean(0);
}

#[tokio::test]
async fn a_part_that_hangs_doesnt_keep_its_upload_from_being_aborted() {
    let fake = FakeDrive::start().await;
    fake.troubles(Verb::Piece, 0, FOREVER, Trouble::Hang);
    let drive = fake.store();
    let mut upload = begin(&drive).await;
    let part = tokio::spawn(upload.put_part(vec![0; PART].into()));
    until(|| fake.count(Verb::Piece) > 0).await;
    upload.abort().await.unwrap();
    fake.assert_clean(0);
    part.abort();
}

#[tokio::test]
async fn a_part_that_was_given_up_in_the_middle_is_sent_by_the_next() {
    let fake = FakeDrive::start().await;
    fake.trouble(Verb::Piece, Trouble::Hang);
    let drive = fake.store();
    let sent = content(2 * PART);
    let mut upload = begin(&drive).await;
    let mut first = upload.put_part(sent[..PART].to_vec().into());
    until(|| (&mut first).now_or_never().is_none() && fake.count(Verb::Piece) > 0).await;
    drop(first);
    upload.put_part(sent[PART..].to_vec().into()).await.unwrap();
    upload.complete().await.unwrap();
    assert!(fake.content(OBJECT) == sent);
    assert_eq!(
        fake.count(Verb::Ask),
        1,
        "what was in doubt was not asked for"
    );
    fake.assert_clean(1);
}

/// Counts the parts that somebody still holds.
struct Counted(Vec<u8>, Arc<AtomicUsize>);

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn no_part_stays_in_memory_once_it_is_sent() {
    let fake = FakeDrive::start().await;
    let drive = fake.store();
    let held = Arc::new(AtomicUsize::new(0));
    let mut upload = begin(&drive).await;
    // A little more than whole grains, so that something of each part waits for the next.
    for _ in 0..6 {
        held.fetch_add(1, Ordering::Relaxed);
        let part = Counted(vec![7; PART + 1000], Arc::clone(&held));
        upload
            .put_part(Bytes::from_owner(part).into())
            .await
            .unwrap();
        // The connection lets go of what it has written a moment later.
        until(|| held.load(Ordering::Relaxed) == 0).await;
    }
    upload.complete().await.unwrap();
    let largest = fake.seen(Verb::Piece).iter().map(|seen| seen.bytes).max();
    assert!(largest.unwrap() < PART as u64 + 1000 + GRAIN);
    assert_eq!(read(&drive, OBJECT).await.unwrap().len(), 6 * (PART + 1000));
    fake.assert_clean(1);
}
