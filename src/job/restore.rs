//! The payload of a Restore job.

use std::{num::NonZeroU8, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{Scope, Subject};
use crate::id::{ArtifactId, ExecutionId};

/// Bring one backup back, beside what is there or in its place. What it takes the place of is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restore {
    pub artifact: ArtifactId,
    pub into: RestoreInto,
    /// Read this storage's copy; otherwise the first good one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<String>,
    /// Leave owners and grants out, for a target that lacks the roles.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_owner: bool,
    /// Leave a database there that turns out to differ from the one that was backed up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep: bool,
    /// Only these tables, with what belongs to them: `table` or `schema.table`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<String>,
    /// Only these schemas.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schemas: Vec<String>,
    /// By so many sessions at once, from a copy of the dump on the worker's disk; otherwise streamed by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jobs: Option<NonZeroU8>,
    /// `environment/database`, typed by whoever wants a live database to give way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
    /// Why the live database isn't backed up before it is replaced; without a reason it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_safety_backup: Option<String>,
    /// How long the database that gave way is kept; otherwise as long as is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_old_days: Option<Days>,
}

impl Restore {
    /// With nothing out of the ordinary.
    pub fn of(artifact: ArtifactId, into: RestoreInto) -> Self {
        Self {
            artifact,
            into,
            storage: None,
            no_owner: false,
            keep: false,
            tables: Vec::new(),
            schemas: Vec::new(),
            jobs: None,
            confirm: None,
            no_safety_backup: None,
            keep_old_days: None,
        }
    }
}

/// Where a backup is restored to. A database backup goes into a database, a source archive into a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RestoreInto {
    /// A new database of this name on the protected cluster.
    Database { name: String },
    /// An absent or empty directory; an absolute path on the worker's machine.
    Directory { path: PathBuf },
    /// A new database that takes the name of the live one.
    Live { name: String },
    /// Nothing is loaded: the database that this restore replaced gets its name back.
    Rollback { name: String, restore: ExecutionId },
}

/// A number of days, from 1 to 365.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Days(u16);

/// No such time is kept.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not a number of days from 1 to 365")]
pub struct NotDays(u16);

impl TryFrom<u16> for Days {
    type Error = NotDays;

    fn try_from(number: u16) -> Result<Self, NotDays> {
        match number {
            1..=365 => Ok(Self(number)),
            _ => Err(NotDays(number)),
        }
    }
}

impl From<Days> for u16 {
    fn from(days: Days) -> Self {
        days.0
    }
}

impl Restore {
    /// What the restore fills or replaces, which nobody else may touch meanwhile.
    pub(super) fn subject(&self) -> Subject {
        let (scope, name) = match &self.into {
            RestoreInto::Database { name }
            | RestoreInto::Live { name }
            | RestoreInto::Rollback { name, .. } => (Scope::Database, name.clone()),
            RestoreInto::Directory { path } => (Scope::Directory, path.display().to_string()),
        };
        // A name that can't be a subject is refused by the use case, with its reason; here it only needs a stable key.
        Subject::new(scope, name)
            .unwrap_or_else(|_| Subject::unnamed(scope, self.artifact.to_string()))
    }
}
