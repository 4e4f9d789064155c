//! A hidden directory beside a destination, which takes its place as a whole or is removed.

use std::{
    fs::{self, DirBuilder, File, Metadata, Permissions},
    io::{self, ErrorKind},
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use uuid::Uuid;

use super::{ArchiveError, handle};

/// What a destination that didn't exist looks like afterwards.
const NEW_MODE: u32 = 0o755;

pub(super) struct Staging {
    path: PathBuf,
    destination: PathBuf,
    /// The empty directory that is there already.
    existing: Option<Metadata>,
    published: bool,
}

impl Staging {
    /// Refuses a destination that holds something, or into which nothing could be moved at the end.
    pub(super) fn beside(destination: &Path) -> Result<Self, ArchiveError> {
        let failed = |error| not_written(destination, error);
        let (destination, existing) = match destination.canonicalize() {
            Ok(path) => {
                let existing = empty_directory(&path)?;
                (path, Some(existing))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => (absent(destination)?, None),
            Err(error) => return Err(failed(error)),
        };
        let parent = destination
            .parent()
            .ok_or_else(|| ArchiveError::DestinationNotEmpty(destination.clone()))?;
        fs::create_dir_all(parent).map_err(failed)?;
        let device = fs::metadata(parent).map_err(failed)?.dev();
        if existing
            .as_ref()
            .is_some_and(|existing| existing.dev() != device)
        {
            return Err(ArchiveError::DestinationIsMount(destination));
        }
        let path = parent.join(format!(".kanbu-backup-unpacking-{}", Uuid::now_v7()));
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(failed)?;
        Ok(Self {
            path,
            destination,
            existing,
            published: false,
        })
    }

    pub(super) fn root(&self) -> Result<OwnedFd, ArchiveError> {
        handle::open_root(&self.path).map_err(|errno| not_written(&self.path, errno.into()))
    }

    /// Makes everything durable and gives it the final name, in this order.
    pub(super) fn publish(mut self) -> Result<(), ArchiveError> {
        let failed = |error| not_written(&self.destination, error);
        let mode = self.existing.as_ref().map_or(NEW_MODE, Metadata::mode);
        if let Some(existing) = &self.existing {
            // Whoever may not give files away owns the new directory as well as the old one.
            let _ =
                std::os::unix::fs::chown(&self.path, Some(existing.uid()), Some(existing.gid()));
        }
        fs::set_permissions(&self.path, Permissions::from_mode(mode & 0o7777)).map_err(failed)?;
        flush(&self.path).map_err(failed)?;
        fs::rename(&self.path, &self.destination).map_err(|error| self.not_moved(error))?;
        self.published = true;
        let parent = self.destination.parent().unwrap_or(&self.destination);
        File::open(parent)
            .and_then(|parent| parent.sync_all())
            .map_err(|error| not_written(&self.destination, error))
    }

    fn not_moved(&self, error: io::Error) -> ArchiveError {
        match error.kind() {
            ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
                ArchiveError::DestinationNotEmpty(self.destination.clone())
            }
            ErrorKind::ResourceBusy | ErrorKind::CrossesDevices => {
                ArchiveError::DestinationIsMount(self.destination.clone())
            }
            _ => not_written(&self.destination, error),
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.published {
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "what was unpacked in vain could not be removed");
        }
    }
}

fn not_written(path: &Path, error: io::Error) -> ArchiveError {
    ArchiveError::NotWritten {
        path: path.to_owned(),
        error,
    }
}

fn empty_directory(path: &Path) -> Result<Metadata, ArchiveError> {
    let taken = || ArchiveError::DestinationNotEmpty(path.to_owned());
    let metadata = fs::metadata(path).map_err(|error| not_written(path, error))?;
    if !metadata.is_dir() {
        return Err(taken());
    }
    match fs::read_dir(path)
        .map_err(|error| not_written(path, error))?
        .next()
    {
        None => Ok(metadata),
        Some(_) => Err(taken()),
    }
}

/// Refuses a destination that holds something, before anything is begun.
pub fn require_vacant(destination: &Path) -> Result<(), ArchiveError> {
    if destination.symlink_metadata().is_ok() {
        empty_directory(destination)?;
    }
    Ok(())
}

fn absent(destination: &Path) -> Result<PathBuf, ArchiveError> {
    if destination.is_symlink() {
        // A link to nowhere: what it shall point to is not for us to guess.
        return Err(ArchiveError::DestinationNotEmpty(destination.to_owned()));
    }
    std::path::absolute(destination).map_err(|error| not_written(destination, error))
}

/// One call for the file system instead of one per file.
fn flush(path: &Path) -> io::Result<()> {
    let directory = File::open(path)?;
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(&directory)?;
    #[cfg(not(target_os = "linux"))]
    rustix::fs::sync();
    directory.sync_all()
}
