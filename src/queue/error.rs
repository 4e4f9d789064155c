//! What can go wrong with the queue.

use std::{borrow::Cow, fmt, time::Duration};

use sqlx::postgres::PgDatabaseError;

use crate::{
    catalog::CatalogError,
    control::ControlError,
    fault::{Classified, Fault},
    id::JobId,
};

/// A request to the queue failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    #[error("the control database could not do what the queue asked")]
    Database(#[source] sqlx::Error),
    #[error("the control database did not answer within {0:?}")]
    Unanswered(Duration),
    #[error(transparent)]
    Control(ControlError),
    #[error(transparent)]
    Catalog(CatalogError),
    #[error("{0}")]
    KindRefused(String),
    #[error("{0}")]
    RequestKeyReused(String),
    #[error("{0}")]
    Invalid(Refusal),
    #[error("the login at the control database lacks a right: {0}")]
    NotAllowed(String),
    #[error("there is no job {0}")]
    NotFound(String),
    #[error("{text:?} is short for {count} jobs")]
    Ambiguous { text: String, count: usize },
    #[error("a row of the queue has {value:?} as {column}")]
    Undecodable { column: &'static str, value: String },
    #[error("job {job} is {state} and can't be retried")]
    NotDead { job: JobId, state: String },
    #[error("job {job} is {state} and waits for no time")]
    NotQueued { job: JobId, state: String },
    #[error("the control database has no queue yet")]
    NotPrepared,
    #[error("the lane for {0} jobs broke off")]
    LaneEnded(&'static str),
}

/// What the schema said of bad input, and what it advises.
#[derive(Debug)]
pub struct Refusal {
    pub message: String,
    pub hint: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// What PostgreSQL calls it when a schema that no migration has touched is asked.
const UNDEFINED_TABLE: &str = "42P01";
const UNDEFINED_FUNCTION: &str = "42883";
const UNDEFINED_SCHEMA: &str = "3F000";

impl From<sqlx::Error> for QueueError {
    /// The functions of the schema speak in SQLSTATEs; here they become words.
    fn from(error: sqlx::Error) -> Self {
        let Some(refusal) = error
            .as_database_error()
            .and_then(|error| error.try_downcast_ref::<PgDatabaseError>())
        else {
            return Self::Database(error);
        };
        let message = refusal.message().to_owned();
        match refusal.code() {
            // The code alone may mean a plan that a migration has made obsolete.
            "0A000" if refusal.table() == Some("kind_rule") => Self::KindRefused(message),
            "KB002" => Self::RequestKeyReused(message),
            // The other two: a NUL character, which the database can't hold.
            "22023" | "22021" | "22P05" => Self::Invalid(Refusal {
                message,
                hint: refusal.hint().map(str::to_owned),
            }),
            "42501" => Self::NotAllowed(message),
            UNDEFINED_TABLE | UNDEFINED_FUNCTION | UNDEFINED_SCHEMA => Self::NotPrepared,
            _ => Self::Database(error),
        }
    }
}

impl From<ControlError> for QueueError {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Query { source } => Self::from(source),
            ControlError::Slow { limit } => Self::Unanswered(limit),
            other => Self::Control(other),
        }
    }
}

impl From<CatalogError> for QueueError {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::Control(error) => Self::from(error),
            other => Self::Catalog(other),
        }
    }
}

impl QueueError {
    /// Whether asking again can help.
    pub fn is_transient(&self) -> bool {
        self.fault() == Fault::Transient
    }

    /// Whether what was asked may have been committed all the same: the question went out, no answer came back. A pooler
    /// says of a server that it lost sight of that the connection failed (class 08), and that is no answer either.
    pub(super) fn leaves_commit_unknown(&self) -> bool {
        match self {
            Self::Unanswered(_) => true,
            Self::Database(sqlx::Error::Database(refusal)) => {
                refusal.code().is_some_and(|code| code.starts_with("08"))
            }
            Self::Database(error) => {
                !matches!(error, sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed)
            }
            _ => false,
        }
    }
}

/// A refusal by rule repeats itself; a lost connection, a restart, a full disk or a deadlock doesn't.
fn database_fault(error: &sqlx::Error) -> Fault {
    let Some(refusal) = error.as_database_error() else {
        return match error {
            sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::Decode(_)
            | sqlx::Error::Encode(_)
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::RowNotFound
            | sqlx::Error::TypeNotFound { .. } => Fault::Permanent,
            _ => Fault::Transient,
        };
    };
    // Data exception, integrity constraint violation, syntax error or access rule violation.
    let by_rule = refusal.code().is_some_and(|code| {
        ["22", "23", "42"]
            .iter()
            .any(|class| code.starts_with(class))
    });
    if by_rule {
        Fault::Permanent
    } else {
        Fault::Transient
    }
}

impl Classified for QueueError {
    fn fault(&self) -> Fault {
        match self {
            Self::Database(error) => database_fault(error),
            Self::Unanswered(_) | Self::LaneEnded(_) => Fault::Transient,
            Self::Control(error) => error.fault(),
            Self::Catalog(error) => error.fault(),
            Self::KindRefused(_)
            | Self::RequestKeyReused(_)
            | Self::Invalid(_)
            | Self::NotAllowed(_)
            | Self::NotFound(_)
            | Self::Ambiguous { .. }
            | Self::Undecodable { .. }
            | Self::NotDead { .. }
            | Self::NotQueued { .. }
            | Self::NotPrepared => Fault::Permanent,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Database(_) => "queue.database",
            Self::Unanswered(_) => "queue.unanswered",
            Self::Control(error) => error.code(),
            Self::Catalog(error) => error.code(),
            Self::KindRefused(_) => "queue.kind_refused",
            Self::RequestKeyReused(_) => "queue.request_key_reused",
            Self::Invalid(_) => "queue.invalid",
            Self::NotAllowed(_) => "queue.not_allowed",
            Self::NotFound(_) => "queue.not_found",
            Self::Ambiguous { .. } => "queue.ambiguous",
            Self::Undecodable { .. } => "queue.undecodable",
            Self::NotDead { .. } => "queue.not_dead",
            Self::NotQueued { .. } => "queue.not_queued",
            Self::NotPrepared => "queue.not_prepared",
            Self::LaneEnded(_) => "queue.lane_ended",
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::Control(error) => return error.hint(),
            Self::Catalog(error) => return error.hint(),
            Self::Invalid(refusal) => return refusal.hint.clone().map(Cow::Owned),
            Self::NotAllowed(_) => {
                "grant it the role for what it does, kanbu_backup_worker or kanbu_backup_api (docs/enqueue.md)"
            }
            Self::Database(_) | Self::Unanswered(_) => {
                "see that the control database runs and can be reached"
            }
            Self::KindRefused(_) => "no worker of this release can do such a job",
            Self::RequestKeyReused(_) => "use a new key for a new request",
            Self::NotFound(_) => "look it up with `kanbu-backup job list`",
            Self::Ambiguous { .. } => "give more of the id's last digits",
            Self::Undecodable { .. } => "the row was written by a newer version, or by hand",
            Self::NotDead { .. } => "only dead jobs are retried by hand; enqueue a new one instead",
            Self::NotQueued { .. } => "only a queued job can be made due",
            Self::NotPrepared => {
                "run `kanbu-backup migrate db`, or start a worker, which does the same"
            }
            Self::LaneEnded(_) => return None,
        };
        Some(Cow::Borrowed(hint))
    }
}
