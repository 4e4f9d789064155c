//! What can go wrong with the control database.

use std::{borrow::Cow, time::Duration};

use crate::fault::{Classified, Fault};

/// Why our own database can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    #[error("the address of the {database} cannot be understood")]
    Address {
        database: &'static str,
        source: sqlx::Error,
    },
    #[error("could not connect to the {database} at {place}")]
    Unreachable {
        database: &'static str,
        place: String,
        source: sqlx::Error,
    },
    #[error("a query to the control database failed")]
    Query { source: sqlx::Error },
    #[error("the control database did not answer within {} ms", limit.as_millis())]
    Slow { limit: Duration },
    #[error(
        "the control database has schema version {found}, and this kanbu-backup knows versions up to {known}"
    )]
    NewerSchema { found: i64, known: i64 },
    #[error(
        "migration {version} of the control database is not the one that this kanbu-backup contains"
    )]
    OtherMigration { version: i64 },
    #[error("migration {version} of the control database failed")]
    Migration { version: i64, source: sqlx::Error },
    #[error(
        "{needed_for} needs a direct address of the control database, and only a pooler's is known"
    )]
    NoDirectAddress { needed_for: &'static str },
    #[error(
        "the control database may not be the database that is backed up, but both are `{name}` on one server"
    )]
    SameDatabase { name: String },
}

impl From<sqlx::Error> for ControlError {
    fn from(source: sqlx::Error) -> Self {
        Self::Query { source }
    }
}

impl Classified for ControlError {
    fn fault(&self) -> Fault {
        match self {
            Self::Unreachable { source, .. }
            | Self::Query { source }
            | Self::Migration { source, .. } => fault_of(source),
            Self::Slow { .. } => Fault::Transient,
            Self::Address { .. }
            | Self::NewerSchema { .. }
            | Self::OtherMigration { .. }
            | Self::NoDirectAddress { .. }
            | Self::SameDatabase { .. } => Fault::Permanent,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Address { .. } => "control.address",
            Self::Unreachable { .. } => "control.unreachable",
            Self::Query { .. } => "control.query",
            Self::Slow { .. } => "control.slow",
            Self::NewerSchema { .. } => "control.newer_schema",
            Self::OtherMigration { .. } => "control.other_migration",
            Self::Migration { .. } => "control.migration",
            Self::NoDirectAddress { .. } => "control.no_direct_address",
            Self::SameDatabase { .. } => "control.same_database",
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::Address { .. } => "write it as postgres://user:password@host:port/database".into(),
            Self::Unreachable { .. } => {
                "check that the server runs, and the address, user, password and database".into()
            }
            Self::NewerSchema { .. } => {
                "install the version of kanbu-backup that migrated this database, or a later one".into()
            }
            Self::OtherMigration { .. } => {
                "use a released kanbu-backup; released migrations are never changed".into()
            }
            Self::NoDirectAddress { .. } => {
                "name an address that leads around the pooler in KANBU_BACKUP_LISTEN_URL".into()
            }
            Self::SameDatabase { .. } => "a restore would replace the running queue: create a database `kanbu_backup` and name it in \
                 KANBU_BACKUP_DATABASE_URL"
                .into(),
            Self::Query { source } if lost_its_statement(source) => {
                "a pooler is in between that could not be told from a server: name a direct address in \
                 KANBU_BACKUP_LISTEN_URL as well"
                    .into()
            }
            Self::Query { .. } | Self::Slow { .. } | Self::Migration { .. } => return None,
        })
    }
}

/// A statement was prepared on one connection of a pooler and looked for, or prepared again, on another one.
fn lost_its_statement(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else {
        return false;
    };
    matches!(error.code().as_deref(), Some("26000" | "42P05"))
}

/// Whether what the database said may go away by itself.
pub fn fault_of(error: &sqlx::Error) -> Fault {
    let code = match error {
        sqlx::Error::Database(error) => error.code().unwrap_or_default(),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => return Fault::Transient,
        _ => return Fault::Permanent,
    };
    // Connection, resources, interrupted by an operator or a limit, lost a race with another transaction.
    let passing = ["08", "53", "57", "58", "40", "25P03", "55P03", "XX000"];
    if passing.iter().any(|class| code.starts_with(class)) {
        Fault::Transient
    } else {
        Fault::Permanent
    }
}
