//! Events: what is worth telling, recorded in the transaction in which it becomes true, together with the Notify job that
//! brings it to the channels. The ends of executions are recorded by `queue`'s SQL itself.

use std::{fmt, str::FromStr, time::Duration};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    control::{Connection, ControlDb, ControlError, STATEMENT_TIMEOUT, within},
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

/// An event as it was recorded.
#[derive(Clone, Debug, Serialize)]
pub struct EventView {
    pub id: EventId,
    pub at: DateTime<Utc>,
    pub name: String,
    pub severity: Severity,
    pub subject: Subject,
    pub execution: Option<ExecutionId>,
    pub schedule: Option<ScheduleId>,
    pub data: Value,
    /// Whether what it tells of is still going on.
    pub is_going_on: bool,
}

/// The event, unless it was forgotten, or is in words that this release doesn't know.
pub async fn get(db: &ControlDb, id: EventId) -> Result<Option<EventView>, ControlError> {
    let query = sqlx::query!(
        r#"select v.id, v.at, v.event, v.severity, v.subject, v.execution_id, v.schedule_id, v.data,
                  exists (select from kanbu_backup.execution e
                           where e.id = v.execution_id and e.ended_at is null) as "is_going_on!"
             from kanbu_backup.event v where v.id = $1"#,
        id.as_uuid(),
    );
    let row = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move { Ok::<_, ControlError>(query.fetch_optional(conn).await?) })
    })
    .await?;
    Ok(row.and_then(|row| {
        Some(EventView {
            id: row.id.into(),
            at: row.at,
            name: row.event,
            severity: row.severity.parse().ok()?,
            subject: row.subject.parse().ok()?,
            execution: row.execution_id.map(ExecutionId::from),
            schedule: row.schedule_id.map(ScheduleId::from),
            data: row.data,
            is_going_on: row.is_going_on,
        })
    }))
}

/// Records that an execution has begun. Of the ends the queue takes care.
pub async fn record_start(db: &ControlDb, execution: ExecutionId) -> Result<(), ControlError> {
    let query = sqlx::query!(
        "select kanbu_backup.record_start($1) as event",
        execution.as_uuid(),
    );
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move { Ok::<_, ControlError>(query.fetch_one(conn).await?) })
    })
    .await?;
    Ok(())
}

/// Enters the channels of a worker, each with its kind: from now on events make jobs.
pub async fn register_channels(
    db: &ControlDb,
    channels: &[(String, &'static str)],
) -> Result<(), ControlError> {
    let names: Vec<String> = channels.iter().map(|(name, _)| name.clone()).collect();
    let kinds: Vec<String> = channels
        .iter()
        .map(|(_, kind)| (*kind).to_owned())
        .collect();
    let query = sqlx::query!(
        "insert into kanbu_backup.channel (name, kind)
         select n.name, n.kind from unnest($1::text[], $2::text[]) as n (name, kind)
         on conflict (name) do update set kind = excluded.kind, last_seen_at = now()",
        &names,
        &kinds,
    );
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move { Ok::<_, ControlError>(query.execute(conn).await?) })
    })
    .await?;
    Ok(())
}

/// Forgets a few events, and deliveries, of longer ago than `keep`, and answers how many.
pub async fn thin(db: &ControlDb, keep: Duration) -> Result<i32, ControlError> {
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            let thin = sqlx::query_scalar!(
                r#"select kanbu_backup.thin_events($1::float8 * interval '1 second') as "thinned!""#,
                keep.as_secs_f64(),
            );
            Ok::<_, ControlError>(thin.fetch_one(conn).await?)
        })
    })
    .await
}
