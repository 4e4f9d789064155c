//! The promises of a storage, one function each: every kind of store is held to them by the same words.
//!
//! Each function asserts, so each is a test's body. It works in an environment of its own and leaves it empty, so that all
//! may run on one storage, side by side.

#![expect(
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    clippy::panic,
    reason = "the bodies of tests: panicking is how they report"
)]

mod broken;

use bytes::Bytes;
use chrono::DateTime;
use futures::TryStreamExt;

pub use self::broken::*;
use super::{Environment, Folder, ObjectKey, Storage, StorageError};
use crate::id::ExecutionId;

/// A part as large as a store may demand.
const PART_BYTES: usize = 5 * 1024 * 1024;

/// Every promise that needs no special place.
pub async fn keeps_every_promise(storage: &Storage) {
    create_only_put_refuses_the_second(storage).await;
    an_upload_refuses_to_replace_an_object(storage).await;
    a_replacement_is_whole_at_every_moment(storage).await;
    an_object_appears_at_completion_and_not_before(storage).await;
    an_aborted_upload_leaves_nothing(storage).await;
    a_dropped_upload_is_never_listed_as_an_object(storage).await;
    an_upload_with_an_unsent_part_is_never_completed(storage).await;
    three_parts_read_back_as_they_were_sent(storage).await;
    an_empty_object_is_an_object(storage).await;
    ranges_give_what_there_is(storage).await;
    a_small_read_refuses_a_large_object(storage).await;
    what_is_missing_is_not_found(storage).await;
    deleting_the_missing_is_fine(storage).await;
    a_deleted_folder_takes_all_that_was_in_it(storage).await;
    hostile_names_stay_what_they_are(storage).await;
    a_probe_leaves_nothing(storage).await;
    a_trial_succeeds_and_leaves_nothing(storage).await;
}

fn environment() -> Environment {
    format!("c-{}", ExecutionId::new()).parse().unwrap()
}

fn folder(environment: &Environment) -> Folder {
    let stamp = DateTime::from_timestamp(1_768_732_200, 0).unwrap();
    Folder::of_database(environment.clone(), stamp, ExecutionId::new())
}

fn data(folder: &Folder) -> ObjectKey {
    ObjectKey::Data {
        folder: folder.clone(),
        name: "dump.kbk",
    }
}

fn manifest(folder: &Folder) -> ObjectKey {
    ObjectKey::Manifest {
        folder: folder.clone(),
    }
}

async fn content(storage: &Storage, key: &ObjectKey) -> Vec<u8> {
    let (info, stream) = storage.read(key).await.unwrap();
    let chunks: Vec<Bytes> = stream.try_collect().await.unwrap();
    let content = chunks.concat();
    assert_eq!(info.bytes, content.len() as u64, "size told, size read");
    content
}

async fn clean(storage: &Storage, environment: &Environment) {
    for found in storage.folders(environment).await.unwrap() {
        storage.delete_folder(&found.folder).await.unwrap();
    }
    assert_eq!(storage.folders(environment).await.unwrap(), []);
}

pub async fn create_only_put_refuses_the_second(storage: &Storage) {
    let environment = environment();
    let key = manifest(&folder(&environment));
    storage
        .put_new(&key, Bytes::from_static(b"first"))
        .await
        .unwrap();
    let second = storage.put_new(&key, Bytes::from_static(b"second")).await;
    assert!(
        matches!(second, Err(StorageError::AlreadyExists { .. })),
        "{second:?}"
    );
    assert_eq!(content(storage, &key).await, b"first");
    clean(storage, &environment).await;
}

pub async fn an_upload_refuses_to_replace_an_object(storage: &Storage) {
    let environment = environment();
    let key = data(&folder(&environment));
    let mut late = storage.upload(&key).await.unwrap();
    late.put_part(Bytes::from_static(b"late")).await.unwrap();
    let mut first = storage.upload(&key).await.unwrap();
    first.put_part(Bytes::from_static(b"first")).await.unwrap();
    first.complete().await.unwrap();
    let begun = storage.upload(&key).await;
    assert!(
        matches!(begun, Err(StorageError::AlreadyExists { .. })),
        "{begun:?}"
    );
    let completed = late.complete().await;
    assert!(
        matches!(completed, Err(StorageError::AlreadyExists { .. })),
        "{completed:?}"
    );
    assert_eq!(content(storage, &key).await, b"first");
    clean(storage, &environment).await;
}

/// Who mends a copy asks for it; a store that can't do it in one step goes on refusing.
pub async fn a_replacement_is_whole_at_every_moment(storage: &Storage) {
    let environment = environment();
    let folder = folder(&environment);
    let (data, manifest) = (data(&folder), manifest(&folder));
    let old = Bytes::from_static(b"old");
    for key in [&data, &manifest] {
        storage.put_new(key, old.clone()).await.unwrap();
    }
    let replacing = storage.replacing();
    let new = Bytes::from_static(b"something new");
    replacing.put_new(&manifest, new.clone()).await.unwrap();
    assert_eq!(content(storage, &manifest).await, new);

    if storage.capabilities().replaces_whole {
        let mut upload = replacing.upload(&data).await.unwrap();
        upload.put_part(new.clone()).await.unwrap();
        assert_eq!(content(storage, &data).await, old);
        assert_eq!(upload.complete().await.unwrap(), new.len() as u64);
        assert_eq!(content(storage, &data).await, new);
        let mut given_up = replacing.upload(&data).await.unwrap();
        given_up.put_part(old).await.unwrap();
        given_up.abort().await.unwrap();
        assert_eq!(content(storage, &data).await, new);
    } else {
        let refused = replacing.upload(&data).await;
        assert!(
            matches!(refused, Err(StorageError::AlreadyExists { .. })),
            "{refused:?}"
        );
    }
    storage.clear_unfinished(&folder).await.unwrap();
    clean(storage, &environment).await;
}

pub async fn an_object_appears_at_completion_and_not_before(storage: &Storage) {
    let environment = environment();
    let folder = folder(&environment);
    let key = data(&folder);
    let mut upload = storage.upload(&key).await.unwrap();
    let half = Bytes::from(vec![7; PART_BYTES]);
    upload.put_part(half).await.unwrap();
    assert!(!storage.exists(&key).await.unwrap());
    assert!(
        storage.read(&key).await.is_err(),
        "a half-written object was read"
    );
    upload.put_part(Bytes::from_static(b"whole")).await.unwrap();
    let whole = PART_BYTES as u64 + 5;
    assert_eq!(upload.complete().await.unwrap(), whole);
    let found = storage.folders(&environment).await.unwrap();
    assert_eq!(found[0].objects, [("dump.kbk".to_owned(), whole)]);
    assert_eq!(found[0].staging, []);
    clean(storage, &environment).await;
}

pub async fn an_aborted_upload_leaves_nothing(storage: &Storage) {
    let environment = environment();
    let mut upload = storage.upload(&data(&folder(&environment))).await.unwrap();
    upload.put_part(Bytes::from_static(b"half")).await.unwrap();
    upload.abort().await.unwrap();
    assert_eq!(storage.folders(&environment).await.unwrap(), []);
}

pub async fn a_dropped_upload_is_never_listed_as_an_object(storage: &Storage) {
    let environment = environment();
    let key = data(&folder(&environment));
    let mut upload = storage.upload(&key).await.unwrap();
    upload.put_part(Bytes::from_static(b"half")).await.unwrap();
    drop(upload);
    for found in storage.folders(&environment).await.unwrap() {
        assert_eq!(found.objects, []);
        assert!(!found.has_manifest);
    }
    assert!(!storage.exists(&key).await.unwrap());
    clean(storage, &environment).await;
}

pub async fn an_upload_with_an_unsent_part_is_never_completed(storage: &Storage) {
    let environment = environment();
    let key = data(&folder(&environment));
    let mut upload = storage.upload(&key).await.unwrap();
    drop(upload.put_part(Bytes::from_static(b"never polled")));
    upload.put_part(Bytes::from_static(b"sent")).await.unwrap();
    let completed = upload.complete().await;
    assert!(
        matches!(completed, Err(StorageError::Incomplete { .. })),
        "{completed:?}"
    );
    assert_eq!(storage.folders(&environment).await.unwrap(), []);
}

pub async fn three_parts_read_back_as_they_were_sent(storage: &Storage) {
    let environment = environment();
    let key = data(&folder(&environment));
    let sent: Vec<u8> = (0..2 * PART_BYTES + 12_345)
        .map(|i| u8::try_from(i * 31 % 251).unwrap_or(0))
        .collect();
    let mut upload = storage.upload(&key).await.unwrap();
    let parts = sent.chunks(PART_BYTES).map(Bytes::copy_from_slice);
    let sending: Vec<_> = parts.map(|part| upload.put_part(part)).collect();
    assert_eq!(sending.len(), 3);
    futures::future::try_join_all(sending).await.unwrap();
    assert_eq!(upload.complete().await.unwrap(), sent.len() as u64);
    assert!(content(storage, &key).await == sent, "the bytes differ");
    clean(storage, &environment).await;
}

pub async fn an_empty_object_is_an_object(storage: &Storage) {
    let environment = environment();
    let folder = folder(&environment);
    let upload = storage.upload(&data(&folder)).await.unwrap();
    assert_eq!(upload.complete().await.unwrap(), 0);
    storage
        .put_new(&manifest(&folder), Bytes::new())
        .await
        .unwrap();
    assert_eq!(content(storage, &data(&folder)).await, b"");
    assert_eq!(
        storage.read_range(&data(&folder), 0..4096).await.unwrap(),
        ""
    );
    assert!(storage.folders(&environment).await.unwrap()[0].has_manifest);
    clean(storage, &environment).await;
}

pub async fn ranges_give_what_there_is(storage: &Storage) {
    let environment = environment();
    let key = data(&folder(&environment));
    storage
        .put_new(&key, Bytes::from_static(b"0123456789"))
        .await
        .unwrap();
    for (range, expected) in [
        (0..4, "0123"),
        (8..10, "89"),
        (8..99, "89"),
        (10..20, ""),
        (50..60, ""),
    ] {
        let bytes = storage.read_range(&key, range.clone()).await.unwrap();
        assert_eq!(bytes, expected, "{range:?}");
    }
    clean(storage, &environment).await;
}

pub async fn a_small_read_refuses_a_large_object(storage: &Storage) {
    let environment = environment();
    let key = manifest(&folder(&environment));
    storage
        .put_new(&key, Bytes::from_static(b"0123456789"))
        .await
        .unwrap();
    assert_eq!(storage.read_small(&key, 10).await.unwrap(), "0123456789");
    let refused = storage.read_small(&key, 9).await;
    assert!(
        matches!(refused, Err(StorageError::TooLarge { bytes: 10, .. })),
        "{refused:?}"
    );
    clean(storage, &environment).await;
}

pub async fn what_is_missing_is_not_found(storage: &Storage) {
    let environment = environment();
    let key = data(&folder(&environment));
    let Err(error) = storage.read(&key).await else {
        panic!("an object that was never written was read")
    };
    assert!(matches!(error, StorageError::NotFound { .. }), "{error:?}");
    let error = storage.head(&key).await.unwrap_err();
    assert!(matches!(error, StorageError::NotFound { .. }), "{error:?}");
    let error = storage.read_range(&key, 0..1).await.unwrap_err();
    assert!(matches!(error, StorageError::NotFound { .. }), "{error:?}");
    assert_eq!(storage.folders(&environment).await.unwrap(), []);
}

pub async fn deleting_the_missing_is_fine(storage: &Storage) {
    let folder = folder(&environment());
    storage.delete(&data(&folder)).await.unwrap();
    assert_eq!(storage.delete_folder(&folder).await.unwrap(), 0);
}

pub async fn a_deleted_folder_takes_all_that_was_in_it(storage: &Storage) {
    let environment = environment();
    let (folder, other) = (folder(&environment), folder(&environment));
    let sidecar = ObjectKey::Sidecar {
        folder: folder.clone(),
        name: "dump.kbk",
    };
    for key in [data(&folder), sidecar, manifest(&folder), manifest(&other)] {
        storage
            .put_new(&key, Bytes::from_static(b"x"))
            .await
            .unwrap();
    }
    assert_eq!(storage.delete_folder(&folder).await.unwrap(), 3);
    let left = storage.folders(&environment).await.unwrap();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left[0].folder, other);
    clean(storage, &environment).await;
}

/// Names come from configuration; whatever is allowed in one must reach the storage unchanged and stay apart from others.
pub async fn hostile_names_stay_what_they_are(storage: &Storage) {
    let run = ExecutionId::new().short();
    let names = [
        format!("-{run}..x"),
        format!("_{run}"),
        format!("A.{run}-"),
        format!("a.{run}-.x"),
    ];
    for name in &names {
        let environment: Environment = name.parse().unwrap();
        let key = manifest(&folder(&environment));
        storage
            .put_new(&key, Bytes::copy_from_slice(name.as_bytes()))
            .await
            .unwrap();
    }
    for name in &names {
        let environment: Environment = name.parse().unwrap();
        let found = storage.folders(&environment).await.unwrap();
        assert_eq!(found.len(), 1, "{name}: {found:?}");
        let key = manifest(&found[0].folder);
        assert_eq!(content(storage, &key).await, name.as_bytes());
        clean(storage, &environment).await;
    }
}

pub async fn a_trial_succeeds_and_leaves_nothing(storage: &Storage) {
    let trial = storage.trial().await;
    assert!(trial.failed.is_none(), "{trial:?}");
    assert_eq!(trial.steps.len(), 7, "{trial:?}");
    let probes: Environment = "kanbu-backup-probe".parse().unwrap();
    assert_eq!(storage.folders(&probes).await.unwrap(), []);
}

pub async fn a_probe_leaves_nothing(storage: &Storage) {
    let report = storage.probe().await.unwrap();
    assert!(report.write > std::time::Duration::ZERO);
    let probes: Environment = "kanbu-backup-probe".parse().unwrap();
    assert_eq!(storage.folders(&probes).await.unwrap(), []);
}
