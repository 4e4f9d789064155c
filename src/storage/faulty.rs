//! A storage with one fault on purpose, over a real one: for tests of what must hold when a storage fails.

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use futures::{FutureExt, StreamExt, future, stream::BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
    path::Path,
};
use rustix::io::Errno;

use super::Storage;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The nth part of all uploads, counted from 0, and every one after it fails.
    PartsFail { from: u64, with: Errno },
    /// The nth part of all uploads, counted from 0, and every one after it is never answered.
    PartsHang { from: u64 },
    /// The last flush of an upload fails, and its bytes lie where they were staged.
    CompletionFails { with: Errno },
    /// An upload is completed, and the answer is lost.
    CompletionUnanswered,
    /// Small objects, and so manifests, can't be written.
    PutsFail { with: Errno },
    /// Nothing can be listed.
    ListingFails { with: Errno },
    /// No object can be deleted.
    DeletesFail { with: Errno },
    /// No object can be read.
    ReadsFail { with: Errno },
    /// Reading an object is never answered.
    ReadsHang,
    /// What is read isn't what lies there: the last bit is the other one.
    ReadsLie,
}

impl Storage {
    /// The same place, with a fault.
    #[must_use]
    pub fn faulty(&self, trouble: Trouble) -> Self {
        self.wrapped(|inner| {
            Arc::new(Faulty {
                inner,
                trouble,
                parts: Arc::default(),
            })
        })
    }
}

#[derive(Debug)]
struct Faulty {
    inner: Arc<dyn ObjectStore>,
    trouble: Trouble,
    parts: Arc<AtomicU64>,
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {:?}", self.inner, self.trouble)
    }
}

fn failure(errno: Errno) -> object_store::Error {
    object_store::Error::Generic {
        store: "Faulty",
        source: Box::new(io::Error::from(errno)),
    }
}

async fn lie(truth: GetResult) -> Result<GetResult> {
    let (meta, range) = (truth.meta.clone(), truth.range.clone());
    let (attributes, extensions) = (truth.attributes.clone(), truth.extensions.clone());
    let mut bytes = truth.bytes().await?.to_vec();
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    let stream = future::ready(Ok(bytes.into())).into_stream();
    Ok(GetResult {
        payload: GetResultPayload::Stream(Box::pin(stream)),
        meta,
        range,
        attributes,
        extensions,
    })
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, at: &Path, payload: PutPayload, how: PutOptions) -> Result<PutResult> {
        match self.trouble {
            Trouble::PutsFail { with } => Err(failure(with)),
            _ => self.inner.put_opts(at, payload, how).await,
        }
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        how: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(FaultyUpload {
            inner: Some(self.inner.put_multipart_opts(at, how).await?),
            trouble: self.trouble,
            parts: Arc::clone(&self.parts),
        }))
    }

    async fn get_opts(&self, at: &Path, how: GetOptions) -> Result<GetResult> {
        let is_look = how.head;
        match self.trouble {
            Trouble::ReadsFail { with } if !is_look => Err(failure(with)),
            Trouble::ReadsHang if !is_look => future::pending().await,
            Trouble::ReadsLie if !is_look => lie(self.inner.get_opts(at, how).await?).await,
            _ => self.inner.get_opts(at, how).await,
        }
    }

    fn delete_stream(
        &self,
        at: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        match self.trouble {
            Trouble::DeletesFail { with } => {
                Box::pin(at.map(move |at| at.and_then(|_| Err(failure(with)))))
            }
            _ => self.inner.delete_stream(at),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.trouble {
            Trouble::ListingFails { with } => {
                Box::pin(future::ready(Err(failure(with))).into_stream())
            }
            _ => self.inner.list(prefix),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, how: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, how).await
    }
}

/// `inner` is gone once the upload has ended.
#[derive(Debug)]
struct FaultyUpload {
    inner: Option<Box<dyn MultipartUpload>>,
    trouble: Trouble,
    parts: Arc<AtomicU64>,
}

impl FaultyUpload {
    fn ended() -> object_store::Error {
        failure(Errno::BADF)
    }
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        let number = self.parts.fetch_add(1, Ordering::Relaxed);
        match (self.trouble, &mut self.inner) {
            (Trouble::PartsFail { from, with }, _) if number >= from => {
                Box::pin(future::ready(Err(failure(with))))
            }
            (Trouble::PartsHang { from }, _) if number >= from => Box::pin(future::pending()),
            (_, Some(inner)) => inner.put_part(part),
            (_, None) => Box::pin(future::ready(Err(Self::ended()))),
        }
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let mut inner = self.inner.take().ok_or_else(Self::ended)?;
        match self.trouble {
            Trouble::CompletionFails { with } => {
                // Dropping it would clean up, which a failed flush doesn't.
                std::mem::forget(inner);
                Err(failure(with))
            }
            Trouble::CompletionUnanswered => {
                inner.complete().await?;
                Err(failure(Errno::TIMEDOUT))
            }
            _ => inner.complete().await,
        }
    }

    async fn abort(&mut self) -> Result<()> {
        let mut inner = self.inner.take().ok_or_else(Self::ended)?;
        inner.abort().await
    }
}
