//! What can go wrong with the catalog.

use std::borrow::Cow;

use super::ManifestError;
use crate::{
    control::ControlError,
    fault::{Classified, Fault},
    id::{ArtifactId, JobId, ScheduleId},
    job::Subject,
    storage::{StorageError, StorageName},
};

/// A request to the catalog failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("the catalog's row of backup {artifact} has {value:?} as {column}")]
    Undecodable {
        artifact: ArtifactId,
        column: &'static str,
        value: String,
    },
    #[error("{0} bytes are more than the catalog can hold")]
    SizeOutOfRange(u64),
    #[error("there is no backup {0}")]
    NotFound(String),
    #[error("{text:?} is short for {} backups: {}", matches.len(), list(matches))]
    Ambiguous {
        text: String,
        matches: Vec<ArtifactId>,
    },
    #[error("backup {0} is pinned")]
    Pinned(ArtifactId),
    #[error("backup {0} is the newest proven one")]
    NewestProven(ArtifactId),
    #[error("backup {artifact} is used by job {job}")]
    InUse { artifact: ArtifactId, job: JobId },
    #[error("schedule {schedule} has {value:?} as {column}")]
    BadSchedule {
        schedule: ScheduleId,
        column: &'static str,
        value: String,
    },
    #[error("backup {artifact} is the last stored one of {subject}")]
    LastOfSubject {
        artifact: ArtifactId,
        subject: Subject,
    },
    #[error(
        "backup {artifact} is the last good one before the alarm of backup {alarm}: tables had shrunk"
    )]
    Held {
        artifact: ArtifactId,
        alarm: ArtifactId,
    },
    #[error("the deletion of a copy on storage {decided} was about to be performed on {given}")]
    WrongStorage {
        decided: StorageName,
        given: StorageName,
    },
    #[error(
        "storage {storage} holds the last good copy of {count} backups: {}",
        list(artifacts)
    )]
    LastCopies {
        storage: StorageName,
        count: u64,
        /// The newest of them.
        artifacts: Vec<ArtifactId>,
    },
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

impl From<sqlx::Error> for CatalogError {
    fn from(error: sqlx::Error) -> Self {
        Self::Control(error.into())
    }
}

fn list(ids: &[ArtifactId]) -> String {
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    ids.join(", ")
}

impl Classified for CatalogError {
    fn fault(&self) -> Fault {
        match self {
            Self::Control(error) => error.fault(),
            Self::Storage(error) => error.fault(),
            Self::Manifest(error) => error.fault(),
            Self::InUse { .. } => Fault::Transient,
            Self::Undecodable { .. }
            | Self::BadSchedule { .. }
            | Self::NewestProven(_)
            | Self::SizeOutOfRange(_)
            | Self::NotFound(_)
            | Self::Ambiguous { .. }
            | Self::Pinned(_)
            | Self::LastOfSubject { .. }
            | Self::LastCopies { .. }
            | Self::Held { .. }
            | Self::WrongStorage { .. } => Fault::Permanent,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Control(error) => error.code(),
            Self::Undecodable { .. } => "catalog.undecodable",
            Self::SizeOutOfRange(_) => "catalog.size_out_of_range",
            Self::NotFound(_) => "catalog.not_found",
            Self::Ambiguous { .. } => "catalog.ambiguous",
            Self::Pinned(_) => "catalog.pinned",
            Self::NewestProven(_) => "catalog.newest_proven",
            Self::InUse { .. } => "catalog.in_use",
            Self::BadSchedule { .. } => "catalog.bad_schedule",
            Self::LastOfSubject { .. } => "catalog.last_of_subject",
            Self::Held { .. } => "catalog.held",
            Self::LastCopies { .. } => "catalog.last_copies",
            Self::WrongStorage { .. } => "catalog.wrong_storage",
            Self::Storage(error) => error.code(),
            Self::Manifest(error) => error.code(),
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::Control(error) => return error.hint(),
            Self::Storage(error) => return error.hint(),
            Self::Manifest(error) => return error.hint(),
            Self::Undecodable { .. } => "the row was written by a newer version, or by hand",
            Self::NotFound(_) => "look it up with `kanbu-backup list`",
            Self::Ambiguous { .. } => "give more of the id's last digits",
            Self::Pinned(_) => "a pinned backup goes only with --force-last and a --reason",
            Self::LastOfSubject { .. } => {
                "make another backup first, or repeat it with --force-last and a --reason"
            }
            Self::NewestProven(_) => {
                "let a newer one be proven first with `kanbu-backup test-restore`, or repeat it with --force-last and a --reason"
            }
            Self::InUse { .. } => "wait until the job has ended, or cancel it",
            Self::BadSchedule { .. } => "edit the schedule",
            Self::Held { alarm, .. } => {
                return Some(
                    format!(
                        "look at it, then `kanbu-backup catalog acknowledge {alarm}`; or repeat with --force-last and a --reason"
                    )
                    .into(),
                );
            }
            Self::LastCopies { storage, .. } => {
                return Some(
                    format!(
                        "give them a copy elsewhere with `kanbu-backup storage sync OTHER`, or delete them; then let {storage} go"
                    )
                    .into(),
                );
            }
            Self::SizeOutOfRange(_) | Self::WrongStorage { .. } => return None,
        };
        Some(Cow::Borrowed(hint))
    }
}
