//! What a place that is broken in a certain way must say: never that it is empty.

use bytes::Bytes;

use super::{PART_BYTES, clean, data, environment, folder, manifest};
use crate::storage::{Storage, StorageError};

/// For a place that may be read and not written.
pub async fn a_place_that_refuses_writes_says_denied(storage: &Storage) {
    let folder = folder(&environment());
    let put = storage
        .put_new(&manifest(&folder), Bytes::from_static(b"x"))
        .await;
    assert!(matches!(put, Err(StorageError::Denied { .. })), "{put:?}");
    let upload = storage.upload(&data(&folder)).await;
    assert!(
        matches!(upload, Err(StorageError::Denied { .. })),
        "{upload:?}"
    );
}

/// For a place with room for less than a part.
pub async fn a_full_place_says_full_and_keeps_nothing(storage: &Storage) {
    let environment = environment();
    let folder = folder(&environment);
    let part = Bytes::from(vec![7; PART_BYTES]);
    let mut upload = storage.upload(&data(&folder)).await.unwrap();
    let sent = upload.put_part(part.clone()).await;
    assert!(matches!(sent, Err(StorageError::Full { .. })), "{sent:?}");
    upload.abort().await.unwrap();
    let put = storage.put_new(&manifest(&folder), part).await;
    assert!(matches!(put, Err(StorageError::Full { .. })), "{put:?}");
    for found in storage.folders(&environment).await.unwrap() {
        assert_eq!((found.objects, found.staging), (Vec::new(), Vec::new()));
    }
    clean(storage, &environment).await;
}

/// For a place that is not there any more: nothing may look like an empty storage.
pub async fn a_vanished_place_is_unreachable(storage: &Storage) {
    for error in every_error(storage).await {
        assert!(
            matches!(error, Some(StorageError::Unreachable { .. })),
            "{error:?}"
        );
    }
}

/// The same for a mounted place whose mount is away.
pub async fn an_unmounted_place_says_so(storage: &Storage) {
    for error in every_error(storage).await {
        assert!(
            matches!(error, Some(StorageError::NotMounted { .. })),
            "{error:?}"
        );
    }
}

/// The same for a bucket that isn't there, or not any more.
pub async fn a_missing_bucket_says_so(storage: &Storage) {
    for error in every_error(storage).await {
        assert!(
            matches!(error, Some(StorageError::MissingPlace { .. })),
            "{error:?}"
        );
    }
}

/// The same for a place that doesn't let us in.
pub async fn a_closed_place_says_denied(storage: &Storage) {
    for error in every_error(storage).await {
        assert!(
            matches!(error, Some(StorageError::Denied { .. })),
            "{error:?}"
        );
    }
}

/// What each request is answered with.
async fn every_error(storage: &Storage) -> [Option<StorageError>; 10] {
    let environment = environment();
    let folder = folder(&environment);
    let key = manifest(&folder);
    [
        storage.folders(&environment).await.err(),
        storage.head(&key).await.err(),
        storage.exists(&key).await.err(),
        storage.read(&key).await.err(),
        storage.read_range(&key, 0..1).await.err(),
        storage.delete(&key).await.err(),
        storage.delete_folder(&folder).await.err(),
        storage.put_new(&key, Bytes::new()).await.err(),
        storage.upload(&key).await.err(),
        storage.probe().await.err(),
    ]
}
