//! Where a restore goes.

use std::{fmt, path::PathBuf};

use serde::Serialize;

use super::RestoreError;
use crate::{
    catalog::Content,
    job::RestoreInto,
    pg::{cluster::Cluster, tools::Toolset},
};

/// The server on which new databases are made.
#[derive(Clone, Debug)]
pub struct DatabaseTarget {
    pub cluster: Cluster,
    pub toolsets: Vec<Toolset>,
}

/// Something that doesn't exist yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    Database {
        name: String,
        no_owner: bool,
    },
    Directory {
        path: PathBuf,
    },
    /// A new database as well, which takes the name of this one in the end.
    Live {
        name: String,
        no_owner: bool,
    },
}

/// PostgreSQL cuts longer names silently; two restores could then meet in one database.
const MAX_DATABASE_NAME_BYTES: usize = 63;

impl Destination {
    /// The destination a job asks for; a rollback has none.
    pub fn of(into: &RestoreInto, no_owner: bool) -> Result<Self, RestoreError> {
        match into {
            RestoreInto::Database { name } => Ok(Self::Database {
                name: name.clone(),
                no_owner,
            }),
            RestoreInto::Directory { path } => Ok(Self::Directory { path: path.clone() }),
            RestoreInto::Live { name } => Ok(Self::Live {
                name: name.clone(),
                no_owner,
            }),
            RestoreInto::Rollback { .. } => Err(RestoreError::NothingRestored),
        }
    }

    /// Whether this can take `content`, before anything is read.
    pub(super) fn require_fit(&self, content: Content) -> Result<(), RestoreError> {
        match (self, content) {
            (
                Self::Database { no_owner: true, .. } | Self::Live { no_owner: true, .. },
                Content::Sql,
            ) => Err(RestoreError::PlainOwners),
            (
                Self::Database { name, .. } | Self::Live { name, .. },
                Content::PgDumpCustom | Content::Sql,
            ) => usable(name),
            (Self::Directory { path }, Content::Tar) if path.is_absolute() => Ok(()),
            (Self::Directory { path }, Content::Tar) => {
                Err(RestoreError::RelativePath(path.clone()))
            }
            (Self::Database { .. } | Self::Live { .. }, Content::Tar) => {
                Err(RestoreError::ArchiveIntoDatabase)
            }
            (Self::Directory { .. }, _) => Err(RestoreError::DumpIntoDirectory),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database { name, .. } => write!(f, "database {name}"),
            Self::Live { name, .. } => write!(f, "the live database {name}"),
            Self::Directory { path } => write!(f, "directory {}", path.display()),
        }
    }
}

fn usable(name: &str) -> Result<(), RestoreError> {
    let good =
        (1..=MAX_DATABASE_NAME_BYTES).contains(&name.len()) && !name.chars().any(char::is_control);
    if good {
        Ok(())
    } else {
        Err(RestoreError::BadDatabaseName(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Classified;

    fn database(name: &str, no_owner: bool) -> Destination {
        Destination::Database {
            name: name.to_owned(),
            no_owner,
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_for_its_own_reason() {
        let directory = |path: &str| Destination::Directory { path: path.into() };
        let long = "x".repeat(MAX_DATABASE_NAME_BYTES + 1);
        for (destination, content, code) in [
            (
                database("a", false),
                Content::Tar,
                "usage.wrong_destination",
            ),
            (directory("/a"), Content::Sql, "usage.wrong_destination"),
            (directory("a"), Content::Tar, "usage.relative_path"),
            (database("", false), Content::Sql, "usage.database_name"),
            (database("a\nb", false), Content::Sql, "usage.database_name"),
            (database(&long, false), Content::Sql, "usage.database_name"),
            (database("a", true), Content::Sql, "restore.plain_owners"),
        ] {
            let refused = destination.require_fit(content).unwrap_err();
            assert_eq!(refused.code(), code, "{destination} for {content}");
        }
        assert!(
            database("a", true)
                .require_fit(Content::PgDumpCustom)
                .is_ok()
        );
        assert!(database("a", false).require_fit(Content::Sql).is_ok());
        assert!(directory("/a").require_fit(Content::Tar).is_ok());
    }
}
