//! From a place to the store that serves it, and to what that kind of store needs beside `object_store`.

use std::{io, path::Path as FilePath, sync::Arc};

use object_store::{ObjectStore, local::LocalFileSystem, path::Path, prefix::PrefixStore};

use super::{
    Place, StorageConfig, StorageError, local::LocalDirectory, remote, uploads::S3Uploads,
    wire::Pace,
};

/// What `object_store` leaves to us, for each kind of store.
#[derive(Clone, Debug)]
pub(super) enum Backend {
    Directory(LocalDirectory),
    /// With a list of its unfinished uploads, where it has one.
    Bucket(Option<S3Uploads>),
}

/// A place that was opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) backend: Backend,
    pub(super) store: Arc<dyn ObjectStore>,
    /// For people.
    pub(super) description: String,
}

impl Backend {
    pub(super) fn open(config: &StorageConfig, pace: Pace) -> Result<Opened, StorageError> {
        match &config.place {
            Place::Local { directory } => local(config, directory, LocalDirectory::open),
            Place::Mounted { directory } => mounted(config, directory),
            Place::S3(bucket) => over_http(config, remote::s3(bucket, pace)),
            Place::Gcs(bucket) => over_http(config, remote::gcs(bucket, pace)),
            Place::Azure(bucket) => over_http(config, remote::azure(bucket, pace)),
            Place::GoogleDrive(bucket) => over_http(config, remote::google_drive(bucket, pace)),
        }
    }

    /// Makes nothing. Whether a bucket is there is only known to whoever asks it.
    pub(super) fn open_existing(config: &StorageConfig) -> Result<Opened, StorageError> {
        match &config.place {
            Place::Local { directory } => local(config, directory, LocalDirectory::open_existing),
            Place::Mounted { directory } => {
                let present = LocalDirectory::mounted(directory).present();
                present.map_err(|error| {
                    StorageError::from_io(&config.name, &directory.display(), error)
                })?;
                mounted(config, directory)
            }
            Place::S3(_) | Place::Gcs(_) | Place::Azure(_) | Place::GoogleDrive(_) => {
                Self::open(config, Pace::default())
            }
        }
    }

    pub(super) fn init(config: &StorageConfig, anyway: bool) -> Result<(), StorageError> {
        let Place::Mounted { directory } = &config.place else {
            return Ok(());
        };
        let marked = LocalDirectory::mounted(directory).mark(anyway);
        marked.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => unusable(config, error),
            _ => StorageError::from_io(&config.name, &directory.display(), error),
        })
    }
}

fn local(
    config: &StorageConfig,
    path: &FilePath,
    open: impl FnOnce(&FilePath) -> io::Result<LocalDirectory>,
) -> Result<Opened, StorageError> {
    let directory =
        open(path).map_err(|error| StorageError::from_io(&config.name, &path.display(), error))?;
    let store = LocalFileSystem::new_with_prefix(directory.root())
        .map_err(|error| StorageError::from_store(&config.name, &path.display(), &error))?
        .with_fsync(true);
    Ok(Opened {
        description: format!("directory {}", directory.root().display()),
        store: Arc::new(store),
        backend: Backend::Directory(directory),
    })
}

/// The directory may be away now and come back, so that the store begins at the root and not in it.
fn mounted(config: &StorageConfig, path: &FilePath) -> Result<Opened, StorageError> {
    let prefix = Path::from_absolute_path(path).map_err(|error| unusable(config, error))?;
    let store = LocalFileSystem::new().with_fsync(true);
    Ok(Opened {
        description: format!("mounted directory {}", path.display()),
        store: Arc::new(PrefixStore::new(store, prefix)),
        backend: Backend::Directory(LocalDirectory::mounted(path)),
    })
}

fn over_http(
    config: &StorageConfig,
    opened: object_store::Result<remote::Opened>,
) -> Result<Opened, StorageError> {
    let opened = opened.map_err(|error| unusable(config, error))?;
    Ok(Opened {
        description: config.place.to_string(),
        store: opened.store,
        backend: Backend::Bucket(opened.uploads),
    })
}

fn unusable(
    config: &StorageConfig,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> StorageError {
    StorageError::Unusable {
        storage: config.name.clone(),
        source: io::Error::other(error),
    }
}
