//! What the tests of all stores are made of: keys, parts, storages that lose their patience soon.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use kanbu_backup::{
    id::ExecutionId,
    storage::{
        CredentialWord, Credentials, Environment, Folder, ObjectKey, Pace, Place, Role, Storage,
        StorageConfig, StorageError, Terms,
    },
};

/// S3's smallest part.
pub(crate) const PART_BYTES: usize = 5 << 20;

/// Patient enough for a busy machine, and short with what never comes.
pub(crate) const PACE: Pace = Pace {
    connect: Duration::from_secs(10),
    base: Duration::from_secs(30),
    slowest: 64 * 1024,
    retries: 2,
    retry_for: Duration::from_secs(20),
};

pub(crate) fn open(
    url: &str,
    credentials: impl IntoIterator<Item = (CredentialWord, String)>,
    pace: Pace,
) -> Storage {
    let credentials = credentials
        .into_iter()
        .fold(Credentials::default(), |all, (word, text)| {
            all.with(word, text)
        });
    let entered = Place::parse(url).unwrap().with_credentials(credentials);
    let config = StorageConfig {
        name: "remote".parse().unwrap(),
        role: Role::Replica,
        place: entered.unwrap(),
        terms: Terms::default(),
    };
    Storage::open_at(&config, pace).unwrap()
}

pub(crate) fn environment() -> Environment {
    "prod".parse().unwrap()
}

pub(crate) fn began() -> DateTime<Utc> {
    DateTime::from_timestamp(1_768_732_200, 0).unwrap()
}

/// Of an execution whose id was made when it began.
pub(crate) fn folder() -> Folder {
    let seconds = began().timestamp().unsigned_abs();
    let then = uuid::Timestamp::from_unix(uuid::NoContext, seconds, 0);
    let execution = ExecutionId::from(uuid::Uuid::new_v7(then));
    Folder::of_database(environment(), began(), execution)
}

pub(crate) fn data(folder: &Folder) -> ObjectKey {
    ObjectKey::Data {
        folder: folder.clone(),
        name: "dump.kbk",
    }
}

pub(crate) fn manifest(folder: &Folder) -> ObjectKey {
    ObjectKey::Manifest {
        folder: folder.clone(),
    }
}

pub(crate) fn part() -> Bytes {
    Bytes::from(vec![7; PART_BYTES])
}

/// Uploads so many parts, one after another, and completes; what fails is aborted as a run does it.
pub(crate) async fn upload(
    storage: &Storage,
    key: &ObjectKey,
    parts: usize,
) -> Result<u64, StorageError> {
    let mut upload = storage.upload(key).await?;
    for _ in 0..parts {
        if let Err(error) = upload.put_part(part()).await {
            upload.abort().await.unwrap();
            return Err(error);
        }
    }
    upload.complete().await
}
