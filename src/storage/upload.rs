//! One object on its way to one storage: it appears whole, at `complete`, or not at all.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use futures::future::{self, BoxFuture};
use object_store::MultipartUpload;
use tokio::time::Instant;

use super::{ObjectKey, Storage, StorageError, backend::Backend, terms::HeldBack};

/// An upload that has begun. Dropping it without [`complete`](Self::complete) gives it up too, but only
/// [`abort`](Self::abort) waits until nothing is left and says so.
#[derive(Debug)]
#[must_use = "an upload that is neither completed nor aborted may leave bytes behind"]
pub struct Upload {
    storage: Storage,
    key: ObjectKey,
    inner: Box<dyn MultipartUpload>,
    sent: u64,
    parts: u32,
    /// Bytes of the parts that the storage has confirmed.
    confirmed: Arc<AtomicU64>,
    held_back: Arc<HeldBack>,
}

impl Upload {
    pub(super) fn new(storage: Storage, key: ObjectKey, inner: Box<dyn MultipartUpload>) -> Self {
        Self {
            storage,
            key,
            inner,
            sent: 0,
            parts: 0,
            confirmed: Arc::default(),
            held_back: Arc::default(),
        }
    }

    /// Sends the next part. The order of the parts is that of the calls; their futures may run side by side, and all of
    /// them must have succeeded before [`complete`](Self::complete).
    pub fn put_part(&mut self, part: Bytes) -> BoxFuture<'static, Result<(), StorageError>> {
        let bytes = part.len() as u64;
        self.sent += bytes;
        self.parts += 1;
        if let Some(most) = self.storage.capabilities().parts.most
            && self.parts > most
        {
            return Box::pin(future::ready(Err(self.too_many(most))));
        }
        let sending = self.inner.put_part(part.into());
        let (storage, key) = (self.storage.clone(), self.key.clone());
        let confirmed = Arc::clone(&self.confirmed);
        let held_back = Arc::clone(&self.held_back);
        Box::pin(async move {
            held_back.pass(storage.limiter(), bytes).await;
            sending.await.map_err(|error| storage.error(&key, &error))?;
            confirmed.fetch_add(bytes, Ordering::Relaxed);
            Ok(())
        })
    }

    /// How many of its parts may be on their way at a time.
    pub fn parts_at_once(&self) -> usize {
        self.storage.terms().parts.get()
    }

    /// Since when the storage owes an answer to one of the `parts` parts on their way, as far as its own bandwidth limit
    /// decides it: what that holds back isn't hung.
    pub fn owes_since(&self, parts: usize) -> Option<Instant> {
        self.held_back.owes_since(parts)
    }

    /// Makes the object appear, durably. Returns its size as the storage tells it. After an error nothing of it is left,
    /// as far as the storage still listens.
    pub async fn complete(mut self) -> Result<u64, StorageError> {
        let stored = self.confirmed.load(Ordering::Relaxed);
        if stored != self.sent {
            let error = self.incomplete(stored);
            self.abort().await?;
            return Err(error);
        }
        // The store replaces on completion, so this is the last moment to notice an object of the same name. Nobody but
        // the owner of the execution id in the path can be quicker than the next line.
        if !self.storage.uploads_replace() && self.storage.exists(&self.key).await? {
            let error = self.storage.already_exists(&self.key);
            self.abort().await?;
            return Err(error);
        }
        if let Err(error) = self.inner.complete().await {
            let error = self.storage.error(&self.key, &error);
            return match self.storage.backend() {
                Backend::Directory(_) => {
                    // A failed flush leaves the staging file, or even the object, of which nobody knows whether it is
                    // durable.
                    self.storage.discard_upload(&self.key).await?;
                    Err(error)
                }
                Backend::Bucket(_) => self.settle(error).await,
            };
        }
        self.storage.make_private(&self.key).await?;
        Ok(self.storage.head(&self.key).await?.bytes)
    }

    /// The request failed, or its answer was lost: what the store holds now tells which.
    async fn settle(mut self, error: StorageError) -> Result<u64, StorageError> {
        match self.storage.head(&self.key).await {
            // Where something lay before, its size proves nothing.
            Ok(found) if found.bytes == self.sent && !self.storage.uploads_replace() => {
                return Ok(found.bytes);
            }
            Ok(_) | Err(StorageError::NotFound { .. }) => {}
            // It doesn't answer this either: an abort would wait for as long again, and the sweep comes anyway.
            Err(_) => return Err(error),
        }
        if let Err(left) = self.inner.abort().await {
            tracing::debug!(storage.name = %self.storage.name(), error = %left, "an upload is left to the sweep");
        }
        Err(error)
    }

    /// Gives the upload up. Nothing is left afterwards.
    pub async fn abort(mut self) -> Result<(), StorageError> {
        let aborted = self.inner.abort().await;
        aborted.map_err(|error| self.storage.error(&self.key, &error))?;
        self.storage.remove_empty_folder_of(&self.key).await
    }

    fn too_many(&self, most: u32) -> StorageError {
        StorageError::TooManyParts {
            storage: self.storage.name().clone(),
            key: self.key.to_string(),
            most,
        }
    }

    fn incomplete(&self, stored: u64) -> StorageError {
        StorageError::Incomplete {
            storage: self.storage.name().clone(),
            key: self.key.to_string(),
            sent: self.sent,
            stored,
        }
    }
}
