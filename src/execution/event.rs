//! Events: what is worth telling, recorded in the transaction in which it becomes true, together with the Notify job that
//! brings it to the channels. The ends of executions are recorded by `queue`'s SQL itself.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    control::{Connection, ControlError},
    id::{EventId, ExecutionId, ScheduleId},
    job::Subject,
};

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Info,
    /// Something is less than it should be.
    Warning,
    /// Something is not there that should be.
    Error,
}

impl Severity {
    pub const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Error];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text names no severity.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a severity (info, warning, error)")]
pub struct UnknownSeverity(String);

impl FromStr for Severity {
    type Err = UnknownSeverity;

    fn from_str(text: &str) -> Result<Self, UnknownSeverity> {
        Self::ALL
            .into_iter()
            .find(|severity| severity.as_str() == text)
            .ok_or_else(|| UnknownSeverity(text.to_owned()))
    }
}

/// An event that is about to be recorded.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// `noun.what_happened`.
    pub name: &'static str,
    pub severity: Severity,
    pub subject: Subject,
    /// What there is to tell, one JSON object.
    pub data: Value,
    pub execution: Option<ExecutionId>,
    pub schedule: Option<ScheduleId>,
}

/// Records it in the caller's transaction; workers hear of it at the commit.
pub async fn record(conn: &mut Connection<'_>, event: &NewEvent) -> Result<EventId, ControlError> {
    let id = sqlx::query_scalar!(
        r#"select kanbu_backup.record_event($1, $2, $3, $4, $5, $6) as "id!""#,
        event.name,
        event.severity.as_str(),
        event.subject.to_string(),
        event.data,
        event.execution.map(ExecutionId::as_uuid),
        event.schedule.map(ScheduleId::as_uuid),
    )
    .fetch_one(conn)
    .await?;
    Ok(id.into())
}
