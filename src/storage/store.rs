//! A configured place and the requests that can be made of it.
//!
//! Every request tells a missing object from a missing place: only the first may be taken for an answer.

use std::{fmt, io, ops::Range, sync::Arc};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{
    TryStreamExt,
    stream::{BoxStream, StreamExt},
};
use object_store::{
    GetOptions, GetResultPayload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode,
    local::LocalFileSystem, path::Path,
};
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

use super::{
    ObjectKey, Place, Role, StorageConfig, StorageError, StorageName, Upload, local::LocalDirectory,
};

/// What a reader gets at most at once.
const READ_BYTES: usize = 256 * 1024;

/// An open storage. Clones share it.
#[derive(Clone, Debug)]
pub struct Storage(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: StorageName,
    role: Role,
    store: Arc<dyn ObjectStore>,
    directory: LocalDirectory,
}

/// What a storage knows of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    pub bytes: u64,
    /// Changes with the content; two reads that saw the same version read the same object.
    pub version: Option<String>,
    pub modified: DateTime<Utc>,
}

impl Storage {
    /// Opens a storage and makes its directory if it isn't there. Blocks for a moment.
    pub fn open(config: &StorageConfig) -> Result<Self, StorageError> {
        Self::over(config, LocalDirectory::open)
    }

    /// Opens a storage that must be there: for reading backups, where a mistyped path is no empty storage.
    pub fn open_existing(config: &StorageConfig) -> Result<Self, StorageError> {
        Self::over(config, LocalDirectory::open_existing)
    }

    fn over(
        config: &StorageConfig,
        open: impl FnOnce(&std::path::Path) -> io::Result<LocalDirectory>,
    ) -> Result<Self, StorageError> {
        let Place::Local { directory: path } = &config.place;
        let directory = open(path)
            .map_err(|error| StorageError::from_io(&config.name, &path.display(), error))?;
        let store = LocalFileSystem::new_with_prefix(directory.root())
            .map_err(|error| StorageError::from_store(&config.name, &path.display(), &error))?
            .with_fsync(true);
        Ok(Self(Arc::new(Inner {
            name: config.name.clone(),
            role: config.role,
            store: Arc::new(store),
            directory,
        })))
    }

    /// The same place behind a store that misbehaves on purpose.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn wrapped(&self, wrap: impl FnOnce(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>) -> Self {
        Self(Arc::new(Inner {
            name: self.0.name.clone(),
            role: self.0.role,
            store: wrap(Arc::clone(&self.0.store)),
            directory: self.0.directory.clone(),
        }))
    }

    pub fn name(&self) -> &StorageName {
        &self.0.name
    }

    pub fn role(&self) -> Role {
        self.0.role
    }

    /// Where it is, for people.
    pub fn description(&self) -> String {
        format!("directory {}", self.0.directory.root().display())
    }

    /// Writes a small object that must not exist yet. It appears whole, and is durable when this returns.
    pub async fn put_new(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), StorageError> {
        self.prepare(key).await?;
        let (path, create) = (path(key), PutMode::Create.into());
        let put = self.0.store.put_opts(&path, bytes.clone().into(), create);
        if let Err(error) = put.await {
            let error = self.error(key, &error);
            if !error.may_be_missing_links() {
                return Err(error);
            }
            let name = key.to_string();
            let put = self
                .blocking(move |d| d.put_exclusively(&name, &bytes))
                .await;
            put.map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => self.already_exists(key),
                _ => StorageError::from_io(self.name(), key, error),
            })?;
        }
        self.make_private(key).await
    }

    /// Begins an object of any size that must not exist yet.
    pub async fn upload(&self, key: &ObjectKey) -> Result<Upload, StorageError> {
        self.prepare(key).await?;
        if self.exists(key).await? {
            return Err(self.already_exists(key));
        }
        let inner = self.0.store.put_multipart(&path(key)).await;
        let inner = inner.map_err(|error| self.error(key, &error))?;
        Ok(Upload::new(self.clone(), key.clone(), inner))
    }

    pub async fn head(&self, key: &ObjectKey) -> Result<ObjectInfo, StorageError> {
        match self.0.store.head(&path(key)).await {
            Ok(meta) => Ok(meta.into()),
            Err(error) => Err(self.look_up_error(key, &error).await),
        }
    }

    pub async fn exists(&self, key: &ObjectKey) -> Result<bool, StorageError> {
        match self.head(key).await {
            Ok(_) => Ok(true),
            Err(StorageError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The whole object as a stream, of one version even if it is replaced meanwhile.
    pub async fn read(
        &self,
        key: &ObjectKey,
    ) -> Result<(ObjectInfo, BoxStream<'static, Result<Bytes, StorageError>>), StorageError> {
        let got = match self
            .0
            .store
            .get_opts(&path(key), GetOptions::default())
            .await
        {
            Ok(got) => got,
            Err(error) => return Err(self.look_up_error(key, &error).await),
        };
        let info = ObjectInfo::from(got.meta);
        let (storage, key) = (self.clone(), key.clone());
        let stream = match got.payload {
            // The store's own stream of a file goes in steps of 8 KiB, and never ends on one that was cut meanwhile.
            GetResultPayload::File(file, _) => {
                let file = tokio::fs::File::from_std(file).take(info.bytes);
                ReaderStream::with_capacity(file, READ_BYTES)
                    .map_err(move |error| StorageError::from_io(storage.name(), &key, error))
                    .boxed()
            }
            GetResultPayload::Stream(stream) => stream
                .map_err(move |error| storage.error(&key, &error))
                .boxed(),
        };
        Ok((info, stream))
    }

    /// The bytes of `range` that exist: a range beyond the end gives what there is up to it.
    pub async fn read_range(
        &self,
        key: &ObjectKey,
        range: Range<u64>,
    ) -> Result<Bytes, StorageError> {
        let end = range.end.min(self.head(key).await?.bytes);
        if range.start >= end {
            return Ok(Bytes::new());
        }
        match self.0.store.get_range(&path(key), range.start..end).await {
            Ok(bytes) => Ok(bytes),
            Err(error) => Err(self.look_up_error(key, &error).await),
        }
    }

    /// The whole of an object that can't be larger than `limit` bytes.
    pub async fn read_small(&self, key: &ObjectKey, limit: u64) -> Result<Bytes, StorageError> {
        let bytes = self.head(key).await?.bytes;
        if bytes > limit {
            return Err(StorageError::TooLarge {
                storage: self.name().clone(),
                key: key.to_string(),
                bytes,
                limit,
            });
        }
        self.read_range(key, 0..bytes).await
    }

    /// Deletes an object, durably. One that isn't there is fine.
    pub async fn delete(&self, key: &ObjectKey) -> Result<(), StorageError> {
        self.delete_at(&path(key)).await
    }

    pub(super) async fn delete_at(&self, path: &Path) -> Result<(), StorageError> {
        match self.0.store.delete(path).await {
            Ok(()) => {
                let key = path.to_string();
                let synced = self.blocking(move |d| d.sync_folder_of(&key)).await;
                synced.map_err(|error| StorageError::from_io(self.name(), path, error))
            }
            Err(error) => match self.look_up_error(path, &error).await {
                StorageError::NotFound { .. } => Ok(()),
                error => Err(error),
            },
        }
    }

    pub(super) fn store(&self) -> &dyn ObjectStore {
        self.0.store.as_ref()
    }

    pub(super) fn error(
        &self,
        key: &dyn fmt::Display,
        error: &object_store::Error,
    ) -> StorageError {
        StorageError::from_store(self.name(), key, error)
    }

    pub(super) fn already_exists(&self, key: &ObjectKey) -> StorageError {
        StorageError::AlreadyExists {
            storage: self.name().clone(),
            key: key.to_string(),
        }
    }

    pub(super) async fn discard(&self, key: &ObjectKey) -> Result<(), StorageError> {
        let name = key.to_string();
        let discarded = self.blocking(move |d| d.discard(&name)).await;
        discarded.map_err(|error| StorageError::from_io(self.name(), key, error))
    }

    pub(super) async fn remove_empty_folder_of(&self, key: &ObjectKey) -> Result<(), StorageError> {
        let name = key.to_string();
        let removed = self
            .blocking(move |d| d.remove_empty_folder_of(&name))
            .await;
        removed.map_err(|error| StorageError::from_io(self.name(), key, error))
    }

    pub(super) async fn make_private(&self, key: &ObjectKey) -> Result<(), StorageError> {
        let name = key.to_string();
        let done = self.blocking(move |d| d.make_private(&name)).await;
        done.map_err(|error| StorageError::from_io(self.name(), key, error))
    }

    async fn prepare(&self, key: &ObjectKey) -> Result<(), StorageError> {
        let name = key.to_string();
        let prepared = self.blocking(move |d| d.prepare(&name)).await;
        prepared.map_err(|error| StorageError::from_io(self.name(), key, error))
    }

    pub(super) async fn present(
        &self,
        key: &(dyn fmt::Display + Sync),
    ) -> Result<(), StorageError> {
        let present = self.blocking(LocalDirectory::present).await;
        present.map_err(|error| StorageError::from_io(self.name(), key, error))
    }

    /// An object is only missing if the place where it would be is there.
    async fn look_up_error(
        &self,
        key: &(dyn fmt::Display + Sync),
        error: &object_store::Error,
    ) -> StorageError {
        let key = key.to_string();
        match self.error(&key, error) {
            error @ StorageError::NotFound { .. } => {
                self.present(&key).await.err().unwrap_or(error)
            }
            error => error,
        }
    }

    pub(super) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&LocalDirectory) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let directory = self.0.directory.clone();
        tokio::task::spawn_blocking(move || work(&directory))
            .await
            .unwrap_or_else(|panic| Err(io::Error::other(panic)))
    }
}

impl From<ObjectMeta> for ObjectInfo {
    fn from(meta: ObjectMeta) -> Self {
        Self {
            bytes: meta.size,
            version: meta.e_tag.or(meta.version),
            modified: meta.last_modified,
        }
    }
}

fn path(key: &ObjectKey) -> Path {
    Path::from(key.to_string())
}
