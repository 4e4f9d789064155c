//! What a person can get wrong at the command line.

use std::{borrow::Cow, path::PathBuf};

use kanbu_backup::fault::{Classified, Fault};

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerbError {
    #[error("several {what}s are configured: {names}")]
    SeveralSubjects { what: &'static str, names: String },
    #[error("no {0} is configured")]
    NoSubject(&'static str),
    #[error("no {what} {name:?} is configured")]
    UnknownSubject { what: &'static str, name: String },
    #[error("{} exists already", .0.display())]
    FileExists(PathBuf),
    #[error("could not {0} {path}", path = .1.display())]
    File(&'static str, PathBuf, #[source] std::io::Error),
    #[error("{text:?} is not a time: write 2026-11-22, an RFC 3339 time, or {example}")]
    BadTime { text: String, example: &'static str },
    #[error("there is no schedule {0:?} that makes backups")]
    UnknownSchedule(String),
    #[error("{0:?} is over already")]
    PastTime(String),
    #[error("{0} are not paused by a pause of just these")]
    NotPaused(String),
    #[error("schedule {0} is not paused")]
    SchedulePlays(String),
    #[error("no worker has {0:?} as its name, id or the end of its id")]
    UnknownWorker(String),
    #[error("{text:?} is short for {count} workers")]
    SeveralWorkers { text: String, count: usize },
    #[error("this deletes {0} for good. Nothing was changed")]
    NotConfirmed(String),
    #[error("this {0}. Nothing was changed")]
    StorageNotConfirmed(String),
    #[error("this {what}. Nothing was changed")]
    NobodyConfirmed { what: String, again: String },
    #[error("{0}")]
    Unusable(String),
}

impl Classified for VerbError {
    fn fault(&self) -> Fault {
        Fault::Permanent
    }

    fn code(&self) -> &'static str {
        match self {
            Self::SeveralSubjects { .. } => "usage.several_subjects",
            Self::NoSubject(_) | Self::UnknownSubject { .. } => "usage.no_subject",
            Self::FileExists(_) => "refused.exists",
            Self::File(..) => "file.failed",
            Self::BadTime { .. } | Self::PastTime(_) => "usage.time",
            Self::UnknownSchedule(_) => "schedule.not_found",
            Self::NotPaused(_) | Self::SchedulePlays(_) => "pause.not_found",
            Self::UnknownWorker(_) => "worker.not_found",
            Self::SeveralWorkers { .. } => "worker.ambiguous",
            Self::NotConfirmed(_) | Self::StorageNotConfirmed(_) | Self::NobodyConfirmed { .. } => {
                "usage.not_confirmed"
            }
            Self::Unusable(_) => "usage.invalid",
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::SeveralSubjects { .. } => Some("name one with --subject".into()),
            Self::NoSubject("database") => Some("set DATABASE_URL".into()),
            Self::NoSubject(_) => Some("set KANBU_SOURCE_PATH".into()),
            Self::FileExists(_) => {
                Some("choose another name with --output; nothing is overwritten".into())
            }
            Self::NotConfirmed(_) => {
                Some("repeat it with --yes, or look first with --dry-run".into())
            }
            Self::StorageNotConfirmed(_) => Some(
                "repeat it with --confirm and the storage's name, or look first with --dry-run"
                    .into(),
            ),
            Self::NobodyConfirmed { again, .. } => Some(again.clone().into()),
            Self::NotPaused(_) => Some(
                "`kanbu-backup queue stats` lists the pauses; name the same kind and subject"
                    .into(),
            ),
            Self::UnknownSchedule(_) => {
                Some("`kanbu-backup retention preview` names those that have backups".into())
            }
            Self::UnknownWorker(_) => Some("`kanbu-backup queue workers` lists them".into()),
            Self::SeveralWorkers { .. } => Some("give more of the id's last digits".into()),
            Self::UnknownSubject {
                what: "storage", ..
            } => Some(
                "name one of BACKUP_STORAGE, KANBU_BACKUP_REPLICAS or [[storages]]; `kanbu-backup doctor` tries them all"
                    .into(),
            ),
            Self::UnknownSubject { .. }
            | Self::File(..)
            | Self::BadTime { .. }
            | Self::PastTime(_)
            | Self::SchedulePlays(_)
            | Self::Unusable(_) => None,
        }
    }
}

/// The operating system gave no threads.
#[derive(Debug, thiserror::Error)]
#[error("could not start the runtime")]
pub struct NoRuntime(#[source] pub std::io::Error);

impl Classified for NoRuntime {
    fn fault(&self) -> Fault {
        Fault::Transient
    }

    fn code(&self) -> &'static str {
        "process.no_runtime"
    }
}
