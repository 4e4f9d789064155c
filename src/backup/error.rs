//! What can be wrong with a request for a backup, apart from the faults of the mechanisms.

use std::borrow::Cow;

use crate::{
    fault::{Classified, Fault},
    job::Subject,
};

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    #[error("no storage is configured")]
    NoStorage,
    #[error("{0} is not something that is backed up")]
    NotASource(Subject),
    #[error("{0} is not configured on this worker")]
    UnknownSubject(Subject),
    #[error("the dump of {0} is empty")]
    Empty(Subject),
}

impl Classified for BackupError {
    fn fault(&self) -> Fault {
        match self {
            Self::NoStorage | Self::NotASource(_) | Self::UnknownSubject(_) | Self::Empty(_) => {
                Fault::Permanent
            }
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NoStorage => "config.no_storage",
            Self::NotASource(_) => "subject.not_a_source",
            Self::UnknownSubject(_) => "subject.not_configured",
            Self::Empty(_) => "backup.empty",
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::NoStorage => Some("set BACKUP_LOCAL_PATH to a directory for the backups".into()),
            Self::UnknownSubject(_) => {
                Some("set DATABASE_URL or KANBU_SOURCE_PATH for the worker".into())
            }
            Self::NotASource(_) | Self::Empty(_) => None,
        }
    }
}
