//! Reading: what a storage knows of an object, and its bytes, always of one version.

use std::ops::Range;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{
    TryStreamExt,
    stream::{BoxStream, StreamExt},
};
use object_store::{GetOptions, GetResultPayload, ObjectMeta, ObjectStoreExt};
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

use super::{ObjectKey, Storage, StorageError, store::path, terms::paced};

/// What a reader gets at most at once.
const READ_BYTES: usize = 256 * 1024;

/// What a storage knows of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    pub bytes: u64,
    /// Changes with the content; two reads that saw the same version read the same object.
    pub version: Option<String>,
    pub modified: DateTime<Utc>,
}

impl Storage {
    pub async fn head(&self, key: &ObjectKey) -> Result<ObjectInfo, StorageError> {
        match self.store().head(&path(key)).await {
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
            .store()
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
        Ok((info, paced(self, stream)))
    }

    /// The bytes of `range` that exist: a range beyond the end gives what there is up to it.
    pub async fn read_range(
        &self,
        key: &ObjectKey,
        range: Range<u64>,
    ) -> Result<Bytes, StorageError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        self.limiter().pass(range.end - range.start).await;
        let error = match self.store().get_range(&path(key), range.clone()).await {
            Ok(bytes) => return Ok(bytes),
            Err(error) => self.look_up_error(key, &error).await,
        };
        // Stores refuse a range that begins at the end or behind it, each in words of its own.
        match error {
            StorageError::Other { .. } if range.start >= self.head(key).await?.bytes => {
                Ok(Bytes::new())
            }
            error => Err(error),
        }
    }

    /// The whole of an object that can't be larger than `limit` bytes.
    pub async fn read_small(&self, key: &ObjectKey, limit: u64) -> Result<Bytes, StorageError> {
        let (info, content) = self.read(key).await?;
        if info.bytes > limit {
            return Err(StorageError::TooLarge {
                storage: self.name().clone(),
                key: key.to_string(),
                bytes: info.bytes,
                limit,
            });
        }
        let chunks: Vec<Bytes> = content.try_collect().await?;
        Ok(chunks.concat().into())
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
