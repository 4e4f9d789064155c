//! Google Drive as an object store: keys are folders and files below one root folder.
//!
//! Ours, because a backup needs an upload in parts that appears whole or not at all, and no ready-made store has it. An
//! object is never replaced by accident: of two writers of one name the younger loses and takes its own file away. Drive
//! has no conditional write, so that this is two looks and not a lock; where two files of one name stay nevertheless, they
//! are met as an error.
//!
//! From the top: `upload` and `download` (an object's way), `line` and `session` (the resumable protocol), `tree` (paths
//! and ids), `files` (the API's verbs), `client` (requests), `token` and `credentials`.

mod client;
mod config;
mod credentials;
mod download;
mod error;
mod files;
mod ids;
mod line;
mod pauses;
mod session;
mod token;
mod tree;
mod upload;

use std::{collections::VecDeque, fmt, sync::Arc};

use async_trait::async_trait;
use futures::{
    TryStreamExt, future,
    stream::{self, BoxStream, StreamExt},
};
use object_store::{
    Attributes, CopyOptions, Extensions, GetOptions, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result, path::Path,
};

use self::{
    client::Client, download::Download, error::STORE, files::Files, tree::Tree, upload::DriveUpload,
};
pub use self::{
    config::{Deletion, DriveConfig, Patience},
    credentials::Credentials,
    error::DriveError,
};

/// Folders that are listed, and files that are deleted, at the same time.
const SIDE_BY_SIDE: usize = 8;

/// A folder of Google Drive. Clones share it.
#[derive(Clone, Debug)]
pub struct GoogleDrive {
    tree: Arc<Tree>,
}

impl GoogleDrive {
    /// Asks nothing of Google yet.
    pub fn new(config: DriveConfig) -> Result<Self, DriveError> {
        let files = Files::new(Client::new(&config)?, config.deletion);
        Ok(Self {
            tree: Arc::new(Tree::new(files, config.folder)),
        })
    }

    /// Fails when the root folder isn't there or may not be seen.
    pub async fn present(&self) -> Result<()> {
        let present = self.tree.present().await;
        present.map_err(|error| error.into_store(&Path::default()))
    }

    async fn delete_at(&self, path: &Path) -> Result<(), DriveError> {
        let files = self.tree.find_all(path).await?;
        for file in &files {
            self.tree.files.remove(&file.id).await?;
        }
        self.tree.forget_object(path);
        self.tree.remove_if_empty(path).await?;
        if files.is_empty() {
            Err(not_there())
        } else {
            Ok(())
        }
    }

    async fn get(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let error = |error: DriveError| error.into_store(path);
        if options.version.is_some() {
            return Err(not_implemented("get_opts of a version"));
        }
        let file = self.tree.find(path).await.map_err(error)?;
        let file = file.ok_or_else(not_there).map_err(error)?;
        let meta = file.meta(path.clone()).map_err(error)?;
        options.check_preconditions(&meta)?;
        let range = match &options.range {
            Some(range) => {
                range
                    .as_range(meta.size)
                    .map_err(|bad| object_store::Error::Generic {
                        store: STORE,
                        source: Box::new(bad),
                    })?
            }
            None => 0..meta.size,
        };
        let wanted = if options.head { 0..0 } else { range.clone() };
        let download = Download::begin(Arc::clone(&self.tree), file.id, wanted);
        let download = download.await.map_err(error)?;
        Ok(GetResult {
            payload: GetResultPayload::Stream(download.into_stream(path.clone())),
            meta,
            range,
            attributes: Attributes::default(),
            extensions: options.extensions,
        })
    }

    async fn put(
        &self,
        path: &Path,
        payload: PutPayload,
        mode: PutMode,
    ) -> Result<PutResult, DriveError> {
        let there = self.tree.find(path).await?;
        if there.is_some() && mode == PutMode::Create {
            return Err(DriveError::Exists);
        }
        let file = upload::write(&self.tree, path, there, &payload).await?;
        Ok(file.into())
    }
}

impl fmt::Display for GoogleDrive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GoogleDrive({})", self.tree.root())
    }
}

#[async_trait]
impl ObjectStore for GoogleDrive {
    async fn put_opts(&self, at: &Path, payload: PutPayload, how: PutOptions) -> Result<PutResult> {
        if matches!(how.mode, PutMode::Update(_)) {
            return Err(not_implemented("put_opts with a condition"));
        }
        let put = self.put(at, payload, how.mode).await;
        put.map_err(|error| error.into_store(at))
    }

    /// Unlike other stores this one never replaces an object at completion: the upload that comes second fails.
    async fn put_multipart_opts(
        &self,
        at: &Path,
        _how: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let upload = DriveUpload::begin(Arc::clone(&self.tree), at).await;
        Ok(Box::new(upload.map_err(|error| error.into_store(at))?))
    }

    async fn get_opts(&self, at: &Path, how: GetOptions) -> Result<GetResult> {
        self.get(at, how).await
    }

    fn delete_stream(
        &self,
        at: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let drive = self.clone();
        at.map(move |path| {
            let drive = drive.clone();
            async move {
                let path = path?;
                match drive.delete_at(&path).await {
                    Ok(()) => Ok(path),
                    Err(error) => Err(error.into_store(&path)),
                }
            }
        })
        .buffered(SIDE_BY_SIDE)
        .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let tree = Arc::clone(&self.tree);
        let pending = VecDeque::from([prefix.cloned().unwrap_or_default()]);
        stream::try_unfold(pending, move |pending| walked(Arc::clone(&tree), pending))
            .map_ok(|objects| stream::iter(objects.into_iter().map(Ok)))
            .try_flatten()
            .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        listed(&self.tree, prefix.unwrap_or(&Path::default())).await
    }

    async fn copy_opts(&self, _from: &Path, _to: &Path, _how: CopyOptions) -> Result<()> {
        Err(not_implemented("copy_opts"))
    }
}

/// Lists some of the folders that are still to be listed, and adds those that lie in them.
async fn walked(
    tree: Arc<Tree>,
    mut pending: VecDeque<Path>,
) -> Result<Option<(Vec<ObjectMeta>, VecDeque<Path>)>> {
    if pending.is_empty() {
        return Ok(None);
    }
    let some = pending.len().min(SIDE_BY_SIDE);
    let batch: Vec<Path> = pending.drain(..some).collect();
    let mut objects = Vec::new();
    for folder in future::try_join_all(batch.iter().map(|at| listed(&tree, at))).await? {
        pending.extend(folder.common_prefixes);
        objects.extend(folder.objects);
    }
    Ok(Some((objects, pending)))
}

async fn listed(tree: &Tree, at: &Path) -> Result<ListResult> {
    let error = |error: DriveError| error.into_store(at);
    let entries = tree.entries(at).await.map_err(error)?;
    let objects = entries
        .objects
        .into_iter()
        .map(|(at, file)| file.meta(at).map_err(error))
        .collect::<Result<_>>()?;
    Ok(ListResult {
        common_prefixes: entries.folders,
        objects,
        extensions: Extensions::default(),
    })
}

fn not_there() -> DriveError {
    DriveError::refused(404, "notFound".to_owned(), None)
}

fn not_implemented(operation: &str) -> object_store::Error {
    object_store::Error::NotImplemented {
        operation: operation.to_owned(),
        implementer: STORE.to_owned(),
    }
}
