//! What can go wrong with a directory, with an archive, and with a place to unpack.

use std::{borrow::Cow, io, path::PathBuf};

use crate::fault::{Classified, Fault};

/// Paths of archives are relative to the archive; others are as the operator wrote them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    #[error("there is no directory {0:?} to archive")]
    RootMissing(PathBuf),
    #[error("{0:?} is no directory")]
    RootNotADirectory(PathBuf),
    #[error("could not open the directory {path:?}")]
    RootUnreadable {
        path: PathBuf,
        #[source]
        error: io::Error,
    },
    #[error("{0:?} has no last part that could name its archive")]
    RootUnnamed(PathBuf),
    #[error("the directory {0:?} was moved while it was being archived")]
    Moved(PathBuf),
    #[error("could not write the archive")]
    NotPacked(#[source] io::Error),

    #[error("{0:?} is neither absent nor an empty directory")]
    DestinationNotEmpty(PathBuf),
    #[error("{0:?} is a file system of its own, into which nothing can be moved at once")]
    DestinationIsMount(PathBuf),
    #[error("could not write {path:?}")]
    NotWritten {
        path: PathBuf,
        #[source]
        error: io::Error,
    },

    #[error("the archive ends before its end mark")]
    Truncated,
    #[error("the archive is damaged")]
    Damaged(#[source] io::Error),
    #[error("the archive names {0:?}, which leads out of it")]
    Outside(PathBuf),
    #[error("the archive holds the device or pipe {0:?}")]
    Device(PathBuf),
    #[error("the archive holds {path:?} of the unknown type {kind:#04x}")]
    UnknownEntry { path: PathBuf, kind: u8 },
    #[error("the archive writes {0:?} through a link or a file")]
    ThroughLink(PathBuf),
    #[error("the archive links {path:?} to {target:?}, which is no file of it")]
    LinkOutside { path: PathBuf, target: PathBuf },
    #[error("the archive holds {0:?} twice")]
    NameTwice(PathBuf),
}

impl Classified for ArchiveError {
    fn fault(&self) -> Fault {
        match self {
            Self::Moved(_) | Self::NotPacked(_) => Fault::Transient,
            Self::RootMissing(_)
            | Self::RootNotADirectory(_)
            | Self::RootUnreadable { .. }
            | Self::RootUnnamed(_)
            | Self::DestinationNotEmpty(_)
            | Self::DestinationIsMount(_)
            | Self::NotWritten { .. }
            | Self::Truncated
            | Self::Damaged(_)
            | Self::Outside(_)
            | Self::Device(_)
            | Self::UnknownEntry { .. }
            | Self::ThroughLink(_)
            | Self::LinkOutside { .. }
            | Self::NameTwice(_) => Fault::Permanent,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::RootMissing(_) => "source.missing",
            Self::RootNotADirectory(_) => "source.not_a_directory",
            Self::RootUnreadable { .. } => "source.unreadable",
            Self::RootUnnamed(_) => "source.unnamed",
            Self::Moved(_) => "source.moved",
            Self::NotPacked(_) => "archive.not_packed",
            Self::DestinationNotEmpty(_) => "source.destination_not_empty",
            Self::DestinationIsMount(_) => "source.destination_is_mount",
            Self::NotWritten { .. } => "source.destination_unwritable",
            Self::Truncated => "archive.truncated",
            Self::Damaged(_) => "archive.damaged",
            Self::Outside(_) => "archive.outside",
            Self::Device(_) => "archive.device",
            Self::UnknownEntry { .. } => "archive.unknown_entry",
            Self::ThroughLink(_) => "archive.through_link",
            Self::LinkOutside { .. } => "archive.link_outside",
            Self::NameTwice(_) => "archive.name_twice",
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::RootMissing(_) | Self::RootNotADirectory(_) | Self::RootUnnamed(_) => {
                "set KANBU_SOURCE_PATH or KANBU_BACKUP_SOURCE_PATHS to the directory as this process sees it, and mount it into the container"
            }
            Self::RootUnreadable { .. } => {
                "give the user of this process the right to read and search the directory"
            }
            Self::Moved(_) => "repeat the backup when nothing renames directories",
            Self::NotPacked(_) => return None,
            Self::DestinationNotEmpty(_) => {
                "name a directory that doesn't exist yet, or empty this one"
            }
            Self::DestinationIsMount(_) => "name a directory below the mount point",
            Self::NotWritten { .. } => {
                "check the free space and the rights of the directory above, then repeat"
            }
            Self::Truncated | Self::Damaged(_) => {
                "verify the backup, and restore another copy or an older one"
            }
            Self::Outside(_)
            | Self::Device(_)
            | Self::UnknownEntry { .. }
            | Self::ThroughLink(_)
            | Self::LinkOutside { .. }
            | Self::NameTwice(_) => {
                "no archive of ours holds such an entry: find out who wrote this one"
            }
        };
        Some(hint.into())
    }
}
