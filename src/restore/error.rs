//! What can be wrong with a request for a restore, apart from the faults of the mechanisms.

use std::{borrow::Cow, path::PathBuf};

use crate::{
    fault::{Classified, Fault},
    id::ArtifactId,
};

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    #[error("there is no backup {0}")]
    NotFound(ArtifactId),
    #[error("backup {artifact} has no good copy on {}", .storage.as_deref().unwrap_or("any configured storage"))]
    NoCopy {
        artifact: ArtifactId,
        storage: Option<String>,
    },
    #[error("storage {0} is not configured here")]
    NotConfigured(String),
    #[error("a source archive can't be restored into a database")]
    ArchiveIntoDatabase,
    #[error("a database dump can't be restored into a directory")]
    DumpIntoDirectory,
    #[error("{0:?} can't be the name of a database: 1 to 63 bytes without control characters")]
    BadDatabaseName(String),
    #[error("{} is not an absolute path", .0.display())]
    RelativePath(PathBuf),
    #[error("no key at hand opens {0}")]
    NoKey(String),
    #[error("no server to restore into is configured: a restore needs DATABASE_URL")]
    NoTarget,
    #[error("a plain dump names its owners in its text, so it can't be restored without them")]
    PlainOwners,
    #[error("{} holds neither a backup nor a manifest", .0.display())]
    NotABackup(PathBuf),
    #[error("what {} contains can't be told", .0.display())]
    UnknownContent(PathBuf),
}

impl Classified for RestoreError {
    fn fault(&self) -> Fault {
        Fault::Permanent
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NotFound(_) | Self::NotABackup(_) => "backup.not_found",
            Self::NoCopy { .. } => "storage.no_copy",
            Self::NotConfigured(_) => "storage.not_configured",
            Self::ArchiveIntoDatabase | Self::DumpIntoDirectory => "usage.wrong_destination",
            Self::BadDatabaseName(_) => "usage.database_name",
            Self::RelativePath(_) => "usage.relative_path",
            Self::NoKey(_) => "key.none_fits",
            Self::NoTarget => "config.no_database",
            Self::PlainOwners => "restore.plain_owners",
            Self::UnknownContent(_) => "integrity.unknown_content",
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::NotFound(_) => Some("`kanbu-backup list` shows what there is".into()),
            Self::NoCopy { .. } => Some("`kanbu-backup show ID` says how each copy stands".into()),
            Self::ArchiveIntoDatabase => Some("name an empty directory with --into".into()),
            Self::DumpIntoDirectory => {
                Some("name a new database with --into, or use `get --decrypt`".into())
            }
            Self::RelativePath(_) => {
                Some("the worker may run elsewhere: give the whole path".into())
            }
            Self::NoKey(_) => Some(
                "set BACKUP_ENCRYPTION_KEY to the key that it was made with; `show` names it"
                    .into(),
            ),
            Self::NoTarget => Some(
                "a dump can be taken through Docker, but it is loaded over a connection: set DATABASE_URL"
                    .into(),
            ),
            Self::PlainOwners => {
                Some("create the roles that the dump names, and restore with owners".into())
            }
            Self::NotConfigured(_) => Some("name a storage of `doctor`'s list, or none".into()),
            Self::UnknownContent(_) => Some("use `kanbu-backup inspect` on the file".into()),
            Self::BadDatabaseName(_) | Self::NotABackup(_) => None,
        }
    }
}
