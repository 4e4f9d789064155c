//! S3 with signatures that are checked: the promises, and what is particular to buckets.

use bytes::Bytes;
use kanbu_backup::{
    fault::{Classified, Fault},
    storage::conformance,
};

use crate::{
    s3_server::{Asks, S3Server, storage_at},
    things::{PACE, PART_BYTES, data, folder, manifest, part, upload},
};

#[tokio::test]
async fn an_s3_bucket_keeps_every_promise_of_a_storage() {
    let server = S3Server::start().await;
    conformance::keeps_every_promise(&server.storage(PACE)).await;
}

#[tokio::test]
async fn an_s3_bucket_that_can_do_less_keeps_every_promise_too() {
    let server = S3Server::start().await;
    let url = server.url("&bulk_delete=false&checksums=false&conditional_put=false");
    let storage = storage_at(&url, "not-a-secret", PACE);
    let can = storage.capabilities();
    assert!(!can.end_to_end_checksum && !can.create_only_put);
    conformance::keeps_every_promise(&storage).await;
}

#[tokio::test]
async fn a_wrong_secret_is_denied() {
    let server = S3Server::start().await;
    let storage = storage_at(&server.url(""), "wrong", PACE);
    conformance::a_closed_place_says_denied(&storage).await;
    let error = storage.probe().await.unwrap_err();
    assert_eq!(error.fault(), Fault::Permanent);
    assert!(!format!("{error:?}").contains("wrong"), "{error:?}");
}

#[tokio::test]
async fn many_objects_of_a_folder_go_in_two_requests() {
    let server = S3Server::start().await;
    let storage = server.storage(PACE);
    let folder = folder();
    for key in [data(&folder), manifest(&folder)] {
        storage
            .put_new(&key, Bytes::from_static(b"x"))
            .await
            .unwrap();
    }
    assert_eq!(storage.delete_folder(&folder).await.unwrap(), 2);
    // The manifest alone, and then all the rest.
    assert_eq!(server.count(Asks::Delete), 2);
}

#[tokio::test]
async fn a_stream_that_is_cut_goes_on_where_it_was() {
    use crate::s3_server::{Fate, Fault};
    use futures::TryStreamExt;

    let server = S3Server::start().await;
    let storage = server.storage(PACE);
    let key = data(&folder());
    upload(&storage, &key, 2).await.unwrap();
    server.fails(Fault {
        asks: &[Asks::Get],
        from: 0,
        times: 1,
        fate: Fate::CutAnswer,
    });
    let (info, content) = storage.read(&key).await.unwrap();
    let content: Vec<Bytes> = content.try_collect().await.unwrap();
    assert_eq!(info.bytes, 2 * PART_BYTES as u64);
    assert!(content.concat() == [part(), part()].concat());
    assert_eq!(server.count(Asks::Get), 2);
}
