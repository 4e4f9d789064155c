//! A Drive with an empty file in a directory beside each object, for a storage that believes to be that directory.

use std::{fmt, fs, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt};
use kanbu_backup::storage::{Place, Role, Storage, StorageConfig, Terms, gdrive::GoogleDrive};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart, path::Path,
};
use tempfile::TempDir;

/// A storage that keeps everything on a Drive. The directory lives as long as the test wants it.
pub(crate) fn storage(drive: GoogleDrive) -> (TempDir, Storage) {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().to_owned();
    let local = Storage::open(&StorageConfig {
        name: "drive".parse().unwrap(),
        role: Role::Primary,
        place: Place::Local {
            directory: directory.clone(),
        },
        terms: Terms::default(),
    });
    let storage = local
        .unwrap()
        .wrapped(|_| Arc::new(Beside { drive, directory }));
    (place, storage)
}

#[derive(Clone, Debug)]
struct Beside {
    drive: GoogleDrive,
    directory: PathBuf,
}

impl fmt::Display for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.drive)
    }
}

impl Beside {
    fn mark(&self, at: &Path) {
        fs::write(self.directory.join(at.as_ref()), "").unwrap();
    }
}

#[async_trait]
impl ObjectStore for Beside {
    async fn put_opts(&self, at: &Path, payload: PutPayload, how: PutOptions) -> Result<PutResult> {
        let put = self.drive.put_opts(at, payload, how).await?;
        self.mark(at);
        Ok(put)
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        how: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.drive.put_multipart_opts(at, how).await?;
        let (beside, at) = (self.clone(), at.clone());
        Ok(Box::new(UploadBeside { upload, beside, at }))
    }

    async fn get_opts(&self, at: &Path, how: GetOptions) -> Result<GetResult> {
        self.drive.get_opts(at, how).await
    }

    fn delete_stream(
        &self,
        at: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let beside = self.clone();
        let deleted = self.drive.delete_stream(at);
        deleted
            .inspect(move |path| {
                if let Ok(path) = path {
                    let _ = fs::remove_file(beside.directory.join(path.as_ref()));
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.drive.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.drive.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, how: CopyOptions) -> Result<()> {
        self.drive.copy_opts(from, to, how).await
    }
}

#[derive(Debug)]
struct UploadBeside {
    upload: Box<dyn MultipartUpload>,
    beside: Beside,
    at: Path,
}

#[async_trait]
impl MultipartUpload for UploadBeside {
    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        self.upload.put_part(part)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let completed = self.upload.complete().await?;
        self.beside.mark(&self.at);
        Ok(completed)
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}
