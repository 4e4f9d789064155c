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
    #[error("no server is configured to restore into")]
    NoTarget,
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
            Self::ArchiveIntoDatabase | Self::DumpIntoDirectory => "usage.wrong_destination",
            Self::BadDatabaseName(_) => "usage.database_name",
            Self::RelativePath(_) => "usage.relative_path",
            Self::NoKey(_) => "key.none_fits",
            Self::NoTarget => "config.no_database",
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
            Self::NoTarget => Some("set DATABASE_URL".into()),
            Self::UnknownContent(_) => Some("use `kanbu-backup inspect` on the file".into()),
            Self::BadDatabaseName(_) | Self::NotABackup(_) => None,
        }
    }
}
