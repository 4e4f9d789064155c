//! WHAT may be asked: the five kinds of job, their payloads, their subjects. Data and serde, nothing else.
//!
//! A job is a request. Its payload says what is wanted and never how it is configured: storages, keys and client tools are
//! the worker's affair at the time of the execution.

mod backup;
mod notify;
mod prune;
mod restore;
mod subject;
mod verify;
mod wire;

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

pub use self::{
    backup::Backup,
    notify::Notify,
    prune::Prune,
    restore::{Days, NotDays, Restore, RestoreInto},
    subject::{BadSubject, Facet, Scope, Subject},
    verify::{NotAPercent, Percent, Verify, VerifyLevel},
    wire::{PAYLOAD_VERSION, Undecodable},
};

/// The kinds of job. One word each in SQL, CLI, API and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Backup,
    Restore,
    Prune,
    Verify,
    Notify,
}

impl Kind {
    pub const ALL: [Self; 5] = [
        Self::Backup,
        Self::Restore,
        Self::Prune,
        Self::Verify,
        Self::Notify,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Restore => "restore",
            Self::Prune => "prune",
            Self::Verify => "verify",
            Self::Notify => "notify",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text names no kind of job.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a kind of job (backup, restore, prune, verify, notify)")]
pub struct UnknownKind(String);

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

/// A typed request. One variant per kind; its payload is decoded before a handler sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    Backup(Backup),
    Restore(Restore),
    Prune(Prune),
    Verify(Verify),
    Notify(Notify),
}

impl Job {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Backup(_) => Kind::Backup,
            Self::Restore(_) => Kind::Restore,
            Self::Prune(_) => Kind::Prune,
            Self::Verify(_) => Kind::Verify,
            Self::Notify(_) => Kind::Notify,
        }
    }

    /// What is protected or touched, and therefore the key of exclusion: no two exclusive jobs of one subject run at once.
    pub fn subject(&self) -> Subject {
        match self {
            Self::Backup(backup) => backup.subject.clone(),
            Self::Restore(restore) => restore.subject(),
            Self::Prune(prune) => prune.subject.with_facet(Facet::Prune),
            Self::Verify(verify) => verify.subject.with_facet(Facet::Verify),
            Self::Notify(notify) => notify.subject.clone(),
        }
    }

    /// How long an execution may take, if the request says so.
    pub fn timeout(&self) -> Option<Duration> {
        let seconds = match self {
            Self::Backup(backup) => backup.timeout,
            Self::Verify(verify) => verify.timeout,
            Self::Restore(_) | Self::Prune(_) | Self::Notify(_) => None,
        };
        seconds.map(|seconds| Duration::from_secs(seconds.into()))
    }

    /// Whether an open execution keeps others of the same subject waiting. Only messages don't.
    pub fn exclusive(&self) -> bool {
        self.kind() != Kind::Notify
    }
}
