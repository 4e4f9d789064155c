//! What can go wrong with a storage, told from the operating system's own error or from a server's refusal.
//!
//! `object_store` wraps either in private types that repeat their source in their own text. Here the innermost cause is
//! dug out, so that a full disk has one variant whichever call met it, and a chain of causes says each thing once.

use std::{
    borrow::Cow,
    error::Error,
    fmt,
    io::{self, ErrorKind},
};

use object_store::client::{HttpError, HttpErrorKind};

use super::{
    StorageName,
    gdrive::DriveError,
    local::NotMounted,
    wire::{Meaning, Refusal, in_short},
};
use crate::fault::{Classified, Fault};

/// A request to a storage failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    #[error("could not reach storage {storage}")]
    Unreachable {
        storage: StorageName,
        source: io::Error,
    },
    /// The marker of a mounted directory is away: whatever is there now, it isn't the storage.
    #[error("storage {storage} is not mounted: there is no marker in {directory}")]
    NotMounted {
        storage: StorageName,
        directory: String,
    },
    /// The server is there, and the bucket isn't.
    #[error("storage {storage} is not at the server it should be at")]
    MissingPlace {
        storage: StorageName,
        source: io::Error,
    },
    #[error("storage {storage} holds no {key}")]
    NotFound { storage: StorageName, key: String },
    #[error("storage {storage} already holds {key}")]
    AlreadyExists { storage: StorageName, key: String },
    #[error("storage {storage} is full")]
    Full {
        storage: StorageName,
        source: io::Error,
    },
    #[error("storage {storage} refused access to {key}")]
    Denied {
        storage: StorageName,
        key: String,
        source: io::Error,
    },
    #[error("storage {storage} has something that is no directory on the way to {key}")]
    NotADirectory {
        storage: StorageName,
        key: String,
        source: io::Error,
    },
    #[error("{key} on storage {storage} has {bytes} bytes, more than the {limit} that may be")]
    TooLarge {
        storage: StorageName,
        key: String,
        bytes: u64,
        limit: u64,
    },
    /// Fewer or more bytes arrived than were sent.
    #[error("storage {storage} took {stored} of the {sent} bytes of {key}")]
    Incomplete {
        storage: StorageName,
        key: String,
        sent: u64,
        stored: u64,
    },
    /// The object is larger than the store's number of parts carries.
    #[error("storage {storage} takes no more than {most} parts, and {key} needs more")]
    TooManyParts {
        storage: StorageName,
        key: String,
        most: u32,
    },
    /// What the configuration says of the place can't be used.
    #[error("storage {storage} can't be opened")]
    Unusable {
        storage: StorageName,
        source: io::Error,
    },
    #[error("a request for {key} failed on storage {storage}")]
    Other {
        storage: StorageName,
        key: String,
        source: io::Error,
    },
}

impl Classified for StorageError {
    fn fault(&self) -> Fault {
        match self {
            Self::Unreachable { .. }
            | Self::NotMounted { .. }
            | Self::Full { .. }
            | Self::Incomplete { .. }
            | Self::Other { .. } => Fault::Transient,
            Self::NotFound { .. }
            | Self::AlreadyExists { .. }
            | Self::Denied { .. }
            | Self::NotADirectory { .. }
            | Self::MissingPlace { .. }
            | Self::TooManyParts { .. }
            | Self::Unusable { .. }
            | Self::TooLarge { .. } => Fault::Permanent,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "storage.unreachable",
            Self::NotMounted { .. } => "storage.not_mounted",
            Self::MissingPlace { .. } => "storage.missing_place",
            Self::NotFound { .. } => "storage.not_found",
            Self::AlreadyExists { .. } => "storage.already_exists",
            Self::Full { .. } => "storage.full",
            Self::Denied { .. } => "storage.denied",
            Self::NotADirectory { .. } => "storage.not_a_directory",
            Self::TooLarge { .. } => "storage.too_large",
            Self::Incomplete { .. } => "storage.incomplete",
            Self::TooManyParts { .. } => "storage.too_many_parts",
            Self::Unusable { .. } => "storage.unusable",
            Self::Other { .. } => "storage.failed",
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::Unreachable { .. } => {
                "check that the storage is there: its directory mounted on this machine, or its server within reach"
            }
            Self::NotMounted { .. } => {
                "mount it; if it is mounted and new, say so with `kanbu-backup storage init`"
            }
            Self::MissingPlace { .. } => {
                "create the bucket or container, or correct its name, endpoint and region in the storage's URL"
            }
            Self::TooManyParts { .. } => {
                "give the backup a larger part size, which takes more memory, or another kind of storage"
            }
            Self::Unusable { .. } => "correct the storage's URL or its credentials",
            Self::Full { .. } => "free some space, raise the quota, or let an older backup go",
            Self::Denied { .. } => {
                "give the user that runs kanbu-backup, or the credentials that it uses, the right to read, write, list and delete there"
            }
            Self::NotADirectory { .. } => {
                "name a directory of its own as the storage, and move away the file that stands in the way"
            }
            Self::TooLarge { .. } => "this is no file that kanbu-backup wrote; look at it by hand",
            Self::NotFound { .. }
            | Self::AlreadyExists { .. }
            | Self::Incomplete { .. }
            | Self::Other { .. } => return None,
        };
        Some(Cow::Borrowed(hint))
    }
}

impl StorageError {
    pub(super) fn from_store(
        storage: &StorageName,
        key: &dyn fmt::Display,
        error: &object_store::Error,
    ) -> Self {
        if let Some(refusal) = cause::<Refusal>(error) {
            let source = io::Error::other(refusal.to_string());
            return Self::refused(storage, key, refusal.meaning, source);
        }
        if let Some(absent @ DriveError::NoRoot { .. }) = DriveError::of(error) {
            let source = io::Error::other(absent.to_string());
            return Self::refused(storage, key, Meaning::NoPlace, source);
        }
        let (storage, key) = (storage.clone(), key.to_string());
        match error {
            object_store::Error::NotFound { .. } => Self::NotFound { storage, key },
            object_store::Error::AlreadyExists { .. }
            | object_store::Error::Precondition { .. } => Self::AlreadyExists { storage, key },
            object_store::Error::PermissionDenied { .. }
            | object_store::Error::Unauthenticated { .. } => Self::Denied {
                storage,
                key,
                source: innermost(error),
            },
            other if cause::<HttpError>(other).is_some_and(is_silence) => Self::Unreachable {
                storage,
                source: innermost(other),
            },
            other => Self::from_io(&storage, &key, innermost(other)),
        }
    }

    fn refused(
        storage: &StorageName,
        key: &dyn fmt::Display,
        meaning: Meaning,
        source: io::Error,
    ) -> Self {
        let (storage, key) = (storage.clone(), key.to_string());
        match meaning {
            Meaning::Full => Self::Full { storage, source },
            Meaning::Denied => Self::Denied {
                storage,
                key,
                source,
            },
            Meaning::NoPlace => Self::MissingPlace { storage, source },
        }
    }

    /// An error outside a look-up, where a missing file means a missing directory.
    pub(super) fn from_io(
        storage: &StorageName,
        key: &dyn fmt::Display,
        source: io::Error,
    ) -> Self {
        let (storage, key) = (storage.clone(), key.to_string());
        let inner = source
            .get_ref()
            .and_then(<dyn Error + Send + Sync>::downcast_ref);
        if let Some(NotMounted(directory)) = inner {
            let directory = directory.display().to_string();
            return Self::NotMounted { storage, directory };
        }
        match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full { storage, source },
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Self::Denied {
                storage,
                key,
                source,
            },
            ErrorKind::NotADirectory => Self::NotADirectory {
                storage,
                key,
                source,
            },
            ErrorKind::NotFound
            | ErrorKind::StaleNetworkFileHandle
            | ErrorKind::NotConnected
            | ErrorKind::TimedOut
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted => Self::Unreachable { storage, source },
            _ => Self::Other {
                storage,
                key,
                source,
            },
        }
    }

    /// The file system can't make hard links (FAT, some network mounts), or really denies the write: trying another way
    /// tells which.
    pub(super) fn may_be_missing_links(&self) -> bool {
        match self {
            Self::Denied { .. } => true,
            Self::Other { source, .. } => source.kind() == ErrorKind::Unsupported,
            _ => false,
        }
    }
}

/// The operating system's error at the bottom of a chain, or the whole text in short if there is none.
fn innermost(error: &(dyn Error + 'static)) -> io::Error {
    match cause::<io::Error>(error) {
        Some(io) => io.raw_os_error().map_or_else(
            || io::Error::new(io.kind(), io.to_string()),
            io::Error::from_raw_os_error,
        ),
        None => io::Error::other(in_short(&error.to_string())),
    }
}

/// The first error of a type in a chain of causes.
fn cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(link) = next {
        if let Some(found) = link.downcast_ref() {
            return Some(found);
        }
        next = link.source();
    }
    None
}

/// Whether there was no answer, rather than one that says no.
fn is_silence(error: &HttpError) -> bool {
    matches!(
        error.kind(),
        HttpErrorKind::Connect
            | HttpErrorKind::Request
            | HttpErrorKind::Timeout
            | HttpErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    fn met(errno: Errno) -> StorageError {
        let store = object_store::Error::Generic {
            store: "LocalFileSystem",
            source: Box::new(io::Error::from(errno)),
        };
        StorageError::from_store(&"local".parse().unwrap(), &"prod/x", &store)
    }

    #[test]
    fn the_operating_systems_errors_get_the_storages_words() {
        for (errno, code) in [
            (Errno::NOSPC, "storage.full"),
            (Errno::DQUOT, "storage.full"),
            (Errno::ACCESS, "storage.denied"),
            (Errno::PERM, "storage.denied"),
            (Errno::ROFS, "storage.denied"),
            (Errno::NOENT, "storage.unreachable"),
            (Errno::STALE, "storage.unreachable"),
            (Errno::NOTDIR, "storage.not_a_directory"),
            (Errno::IO, "storage.failed"),
        ] {
            assert_eq!(met(errno).code(), code, "{errno:?}");
        }
    }

    #[test]
    fn a_chain_of_causes_says_each_thing_once() {
        let text = crate::fault::chain(&met(Errno::NOSPC));
        assert_eq!(
            text,
            "storage local is full: No space left on device (os error 28)"
        );
    }
}
