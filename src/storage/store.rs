//! A configured place and the requests that can be made of it.
//!
//! Every request tells a missing object from a missing place: only the first may be taken for an answer.

use std::{fmt, io, sync::Arc};

use bytes::Bytes;
use futures::stream::StreamExt;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, path::Path};

use super::{
    Capabilities, ObjectKey, Role, StorageConfig, StorageError, StorageName, Upload,
    backend::{Backend, Opened},
    key::PROBES,
    local::LocalDirectory,
    terms::{Limiter, Terms},
    wire::Pace,
};

/// An open storage. Clones share it.
#[derive(Clone, Debug)]
pub struct Storage(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    name: StorageName,
    role: Role,
    description: String,
    capabilities: Capabilities,
    store: Arc<dyn ObjectStore>,
    backend: Backend,
    limiter: Arc<Limiter>,
    /// What is written may take the place of an object of the same name.
    replaces: bool,
}

impl Storage {
    /// Opens a storage and makes its directory if it isn't there. Blocks for a moment, and asks no server anything: one
    /// that is away shows at the first request.
    pub fn open(config: &StorageConfig) -> Result<Self, StorageError> {
        Self::open_at(config, Pace::default())
    }

    /// The same with another patience.
    pub fn open_at(config: &StorageConfig, pace: Pace) -> Result<Self, StorageError> {
        Ok(Self::over(config, Backend::open(config, pace)?))
    }

    /// Opens a storage that must be there: for reading backups, where a mistyped path is no empty storage.
    pub fn open_existing(config: &StorageConfig) -> Result<Self, StorageError> {
        Ok(Self::over(config, Backend::open_existing(config)?))
    }

    /// Makes a mounted directory a storage, once, while it is mounted: writes the marker without which it is taken for
    /// unmounted. `anyway` also believes a directory that looks unmounted. Other places need no such word.
    pub fn init(config: &StorageConfig, anyway: bool) -> Result<Self, StorageError> {
        Backend::init(config, anyway)?;
        Self::open(config)
    }

    fn over(config: &StorageConfig, opened: Opened) -> Self {
        Self(Arc::new(Inner {
            name: config.name.clone(),
            role: config.role,
            description: opened.description,
            capabilities: Capabilities::of(&config.place),
            store: opened.store,
            backend: opened.backend,
            limiter: Arc::new(Limiter::new(config.terms)),
            replaces: false,
        }))
    }

    /// The same place behind a store that misbehaves on purpose.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn wrapped(&self, wrap: impl FnOnce(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>) -> Self {
        Self(Arc::new(Inner {
            store: wrap(Arc::clone(&self.0.store)),
            ..Inner::clone(&self.0)
        }))
    }

    /// The same place for whoever mends a copy: an object that is written takes the place of the one that lies there, in
    /// one step, so that a reader meets the old one or the new one, whole. Where the store can't do that
    /// ([`Capabilities::replaces_whole`]), an upload goes on refusing, and the old object has to be deleted first.
    #[must_use]
    pub fn replacing(&self) -> Self {
        Self(Arc::new(Inner {
            replaces: true,
            ..Inner::clone(&self.0)
        }))
    }

    /// Whether an upload takes the place of what is there.
    pub(super) fn uploads_replace(&self) -> bool {
        self.0.replaces && self.0.capabilities.replaces_whole
    }

    pub fn name(&self) -> &StorageName {
        &self.0.name
    }

    pub fn role(&self) -> Role {
        self.0.role
    }

    /// Where it is, for people.
    pub fn description(&self) -> &str {
        &self.0.description
    }

    /// What its kind of store can and can't do.
    pub fn capabilities(&self) -> &Capabilities {
        &self.0.capabilities
    }

    /// What may be asked of it.
    pub fn terms(&self) -> &Terms {
        &self.0.limiter.terms
    }

    pub(super) fn limiter(&self) -> &Limiter {
        &self.0.limiter
    }

    /// Writes a small object that must not exist yet, unless this [replaces](Self::replacing). It appears whole, and is
    /// durable when this returns.
    pub async fn put_new(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), StorageError> {
        self.prepare(key).await?;
        if self.0.replaces {
            let put = self.0.store.put(&path(key), bytes.into()).await;
            put.map_err(|error| self.error(key, &error))?;
            return self.make_private(key).await;
        }
        let (path, create) = (path(key), PutMode::Create.into());
        let put = self.0.store.put_opts(&path, bytes.clone().into(), create);
        if let Err(error) = put.await {
            if matches!(error, object_store::Error::NotImplemented { .. }) {
                return self.put_after_a_look(key, bytes).await;
            }
            let error = self.error(key, &error);
            match self.0.backend {
                Backend::Directory(_) => self.put_without_links(key, bytes, error).await?,
                Backend::Bucket(_) => self.expect_own(key, &bytes, error).await?,
            }
        }
        self.make_private(key).await
    }

    /// Where the store can't decide it. Nobody but the owner of the execution id in the path writes this object, so that
    /// only his own repetition is to be noticed.
    async fn put_after_a_look(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), StorageError> {
        if self.exists(key).await? {
            return Err(self.already_exists(key));
        }
        let put = self.0.store.put(&path(key), bytes.into()).await;
        put.map(drop).map_err(|error| self.error(key, &error))
    }

    /// Where hard links don't exist, a new file is opened exclusively instead.
    async fn put_without_links(
        &self,
        key: &ObjectKey,
        bytes: Bytes,
        error: StorageError,
    ) -> Result<(), StorageError> {
        if !error.may_be_missing_links() {
            return Err(error);
        }
        let name = key.to_string();
        let put = self
            .on_disk(move |d| d.put_exclusively(&name, &bytes))
            .await;
        put.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => self.already_exists(key),
            _ => StorageError::from_io(self.name(), key, error),
        })
    }

    /// A request whose answer was lost is repeated, and then meets what it wrote itself: not another's object.
    async fn expect_own(
        &self,
        key: &ObjectKey,
        bytes: &Bytes,
        error: StorageError,
    ) -> Result<(), StorageError> {
        let may_be_there = matches!(
            error,
            StorageError::AlreadyExists { .. } | StorageError::Unreachable { .. }
        );
        if may_be_there
            && let Ok(found) = self.read_small(key, bytes.len() as u64).await
            && found == *bytes
        {
            return Ok(());
        }
        Err(error)
    }

    /// Begins an object of any size that must not exist yet, unless this [replaces](Self::replacing).
    pub async fn upload(&self, key: &ObjectKey) -> Result<Upload, StorageError> {
        self.prepare(key).await?;
        if !self.uploads_replace() && self.exists(key).await? {
            return Err(self.already_exists(key));
        }
        let inner = self.0.store.put_multipart(&path(key)).await;
        let inner = inner.map_err(|error| self.error(key, &error))?;
        Ok(Upload::new(self.clone(), key.clone(), inner))
    }

    /// Deletes an object, durably. One that isn't there is fine.
    pub async fn delete(&self, key: &ObjectKey) -> Result<(), StorageError> {
        self.delete_at(&path(key)).await
    }

    async fn delete_at(&self, path: &Path) -> Result<(), StorageError> {
        let deleted = self.0.store.delete(path).await;
        self.deleted(path, deleted).await
    }

    /// The same for many, in no order, with as few requests as the store needs for it.
    pub(super) async fn delete_all(&self, paths: Vec<Path>) -> Result<u64, StorageError> {
        let mut count = 0;
        let asked = futures::stream::iter(paths.clone()).map(Ok).boxed();
        let mut answers = self.0.store.delete_stream(asked);
        for path in &paths {
            let Some(answer) = answers.next().await else {
                break;
            };
            self.deleted(path, answer.map(|_| ())).await?;
            count += 1;
        }
        Ok(count)
    }

    async fn deleted(
        &self,
        path: &Path,
        deleted: object_store::Result<()>,
    ) -> Result<(), StorageError> {
        match deleted {
            Ok(()) => {
                let key = path.to_string();
                let synced = self.on_disk(move |d| d.sync_folder_of(&key)).await;
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

    pub(super) fn backend(&self) -> &Backend {
        &self.0.backend
    }

    /// Removes what an upload to a directory left that failed at its very end.
    pub(super) async fn discard_upload(&self, key: &ObjectKey) -> Result<(), StorageError> {
        let (name, keeps_object) = (key.to_string(), self.uploads_replace());
        self.at(key, move |d| {
            if keeps_object {
                d.discard_staging(&name)
            } else {
                d.discard(&name)
            }
        })
        .await
    }

    pub(super) async fn remove_empty_folder_of(&self, key: &ObjectKey) -> Result<(), StorageError> {
        let name = key.to_string();
        self.at(key, move |d| d.remove_empty_folder_of(&name)).await
    }

    pub(super) async fn make_private(&self, key: &ObjectKey) -> Result<(), StorageError> {
        let name = key.to_string();
        self.at(key, move |d| d.make_private(&name)).await
    }

    async fn prepare(&self, key: &ObjectKey) -> Result<(), StorageError> {
        let name = key.to_string();
        self.at(key, move |d| d.prepare(&name)).await
    }

    /// Whether the place is there at all: a missing bucket must not look like an empty one.
    pub(super) async fn present(
        &self,
        key: &(dyn fmt::Display + Sync),
    ) -> Result<(), StorageError> {
        match self.0.backend {
            Backend::Directory(_) => self.at(key, LocalDirectory::present).await,
            Backend::Bucket(_) => {
                // The shortest list there is: this prefix is empty but for the moments of a probe.
                let prefix = Path::from(PROBES);
                let first = self.0.store.list(Some(&prefix)).next().await;
                match first.transpose() {
                    Ok(_) => Ok(()),
                    Err(error) => Err(self.error(&key, &error)),
                }
            }
        }
    }

    /// An object is only missing if the place where it would be is there.
    pub(super) async fn look_up_error(
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

    /// What only a directory needs, if this is one.
    async fn at<T: Default + Send + 'static>(
        &self,
        key: &(dyn fmt::Display + Sync),
        work: impl FnOnce(&LocalDirectory) -> io::Result<T> + Send + 'static,
    ) -> Result<T, StorageError> {
        let done = self.on_disk(work).await;
        done.map_err(|error| StorageError::from_io(self.name(), &key, error))
    }

    pub(super) async fn on_disk<T: Default + Send + 'static>(
        &self,
        work: impl FnOnce(&LocalDirectory) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let Backend::Directory(directory) = &self.0.backend else {
            return Ok(T::default());
        };
        let directory = directory.clone();
        tokio::task::spawn_blocking(move || work(&directory))
            .await
            .unwrap_or_else(|panic| Err(io::Error::other(panic)))
    }
}

pub(super) fn path(key: &ObjectKey) -> Path {
    Path::from(key.to_string())
}
