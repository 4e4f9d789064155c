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
    #[error("the backup is wanted on storage {0:?}, which this worker doesn't have")]
    UnknownStorage(String),
    #[error("the backup is wanted on {count} of the storages, and the policy asks for {least}")]
    TooFewStorages { count: usize, least: usize },
    #[error("{0} is not something that is backed up")]
    NotASource(Subject),
    #[error("{0} is not configured on this worker")]
    UnknownSubject(Subject),
    #[error("the dump of {0} is empty")]
    Empty(Subject),
    #[error("deriving the key was interrupted")]
    Derivation,
    #[error("no earlier execution left a whole copy there")]
    NothingThere,
    #[error("an earlier execution left another backup there")]
    AnotherBackup,
    #[error("no key at hand opens what an earlier execution left there")]
    Locked,
}

impl Classified for BackupError {
    fn fault(&self) -> Fault {
        match self {
            Self::Derivation => Fault::Transient,
            Self::NoStorage
            | Self::UnknownStorage(_)
            | Self::TooFewStorages { .. }
            | Self::NotASource(_)
            | Self::UnknownSubject(_)
            | Self::Empty(_)
            | Self::NothingThere
            | Self::AnotherBackup
            | Self::Locked => Fault::Permanent,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NoStorage => "config.no_storage",
            Self::UnknownStorage(_) => "storage.not_configured",
            Self::TooFewStorages { .. } => "storage.too_few",
            Self::NotASource(_) => "subject.not_a_source",
            Self::UnknownSubject(_) => "subject.not_configured",
            Self::Empty(_) => "backup.empty",
            Self::Derivation => "key.derivation",
            Self::NothingThere | Self::AnotherBackup => "backup.not_adopted",
            Self::Locked => "key.none_fits",
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::NoStorage => Some("set BACKUP_LOCAL_PATH to a directory for the backups".into()),
            Self::UnknownSubject(_) => {
                Some("set DATABASE_URL or KANBU_SOURCE_PATH for the worker".into())
            }
            Self::UnknownStorage(_) | Self::TooFewStorages { .. } => {
                Some("name others in the schedule, or set up the storage for this worker".into())
            }
            Self::NotASource(_)
            | Self::Empty(_)
            | Self::Derivation
            | Self::NothingThere
            | Self::AnotherBackup
            | Self::Locked => None,
        }
    }
}
