//! The payload of a Restore job.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Scope, Subject};
use crate::id::ArtifactId;

/// Bring one backup back, beside what is there: nothing that exists is overwritten.
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
}

/// Where a backup is restored to. A database backup goes into a database, a source archive into a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RestoreInto {
    /// A new database of this name on the protected cluster.
    Database { name: String },
    /// An absent or empty directory; an absolute path on the worker's machine.
    Directory { path: PathBuf },
}

impl Restore {
    /// What the restore fills, which nobody else may touch meanwhile.
    pub(super) fn subject(&self) -> Subject {
        let (scope, name) = match &self.into {
            RestoreInto::Database { name } => (Scope::Database, name.clone()),
            RestoreInto::Directory { path } => (Scope::Directory, path.display().to_string()),
        };
        // A name that can't be a subject is refused by the use case, with its reason; here it only needs a stable key.
        Subject::new(scope, name)
            .unwrap_or_else(|_| Subject::unnamed(scope, self.artifact.to_string()))
    }
}
