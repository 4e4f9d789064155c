//! Google Cloud Storage, against a fake of the requests that are made of it. No emulator that can be had takes them.

use kanbu_backup::storage::conformance;

use crate::{
    gcs_fake::GcsFake,
    things::{PACE, data, folder, open, upload},
};

#[tokio::test]
async fn a_google_cloud_bucket_keeps_every_promise_of_a_storage() {
    let fake = GcsFake::start().await;
    let storage = open(&fake.url("backups"), [], PACE);
    conformance::keeps_every_promise(&storage).await;
    assert_eq!(fake.objects(), 0);
    assert_eq!(fake.unfinished(), 1, "the one that was dropped on purpose");
}

#[tokio::test]
async fn a_google_cloud_bucket_that_is_not_there_is_missing() {
    let fake = GcsFake::start().await;
    conformance::a_missing_bucket_says_so(&open(&fake.url("elsewhere"), [], PACE)).await;
}

#[tokio::test]
async fn an_upload_that_was_given_up_is_cancelled() {
    let fake = GcsFake::start().await;
    let storage = open(&fake.url("backups"), [], PACE);
    let key = data(&folder());
    upload(&storage, &key, 1).await.unwrap();
    assert_eq!(fake.unfinished(), 0);
    let begun = storage.upload(&data(&folder())).await.unwrap();
    assert_eq!(fake.unfinished(), 1);
    begun.abort().await.unwrap();
    assert_eq!(fake.unfinished(), 0);
}
