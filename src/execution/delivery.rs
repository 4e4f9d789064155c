//! The log of messages: what became of every attempt to deliver one. Written by the use case Notify alone.

use std::{fmt, str::FromStr, time::Duration};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    control::{ControlDb, ControlError, STATEMENT_TIMEOUT, within},
    id::{EventId, ExecutionId, JobId},
};

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    Delivered,
    /// There was nothing to send: a switch is off, or it came too late to be of use.
    Skipped,
    /// It will be tried again.
    Failed,
    GaveUp,
}

impl DeliveryStatus {
    pub const ALL: [Self; 4] = [Self::Delivered, Self::Skipped, Self::Failed, Self::GaveUp];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
            Self::GaveUp => "gave_up",
        }
    }
}

impl fmt::Display for DeliveryStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for DeliveryStatus {
    type Err = UnknownStatus;

    fn from_str(word: &str) -> Result<Self, UnknownStatus> {
        let found = Self::ALL.into_iter().find(|status| status.as_str() == word);
        found.ok_or_else(|| UnknownStatus(word.to_owned()))
    }
}

/// The text names no status.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a status of a delivery (delivered, skipped, failed, gave_up)")]
pub struct UnknownStatus(String);

/// An attempt that has just ended.
#[derive(Clone, Debug)]
pub struct NewDelivery {
    pub event: EventId,
    pub channel: String,
    pub job: JobId,
    pub execution: ExecutionId,
    pub attempt: i32,
    pub status: DeliveryStatus,
    pub http_status: Option<u16>,
    pub took: Duration,
    /// Code and text.
    pub error: Option<(String, String)>,
}

/// How far a message has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoFar {
    pub attempts: i32,
    /// The receiver has it; whoever sent it died before it could say so.
    pub is_over: bool,
}

/// A line of the log.
#[derive(Clone, Debug, Serialize)]
pub struct DeliveryView {
    pub id: Uuid,
    pub event_id: EventId,
    /// `None`: forgotten by now.
    pub event: Option<String>,
    pub subject: Option<String>,
    pub channel: String,
    pub attempt: i32,
    pub at: DateTime<Utc>,
    pub status: String,
    pub http_status: Option<i16>,
    pub duration_ms: i64,
    pub error_code: Option<String>,
    pub error: Option<String>,
}

/// Which lines of the log.
#[derive(Clone, Debug, Default)]
pub struct DeliveryFilter {
    pub channel: Option<String>,
    /// Only what failed or was given up.
    pub failed: bool,
    pub limit: i64,
}

/// What an id that people write means: an event, or one of its messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meant {
    pub event: EventId,
    pub channel: Option<String>,
}

pub async fn log(db: &ControlDb, new: &NewDelivery) -> Result<(), ControlError> {
    let (code, text) = new.error.clone().unzip();
    let query = sqlx::query!(
        "insert into kanbu_backup.delivery (id, event_id, channel, job_id, execution_id, attempt, status, http_status,
                                            duration_ms, error_code, error)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        Uuid::now_v7(),
        new.event.as_uuid(),
        new.channel,
        new.job.as_uuid(),
        new.execution.as_uuid(),
        new.attempt,
        new.status.as_str(),
        new.http_status.and_then(|status| i16::try_from(status).ok()),
        i64::try_from(new.took.as_millis()).unwrap_or(i64::MAX),
        code,
        text.map(|text| text.replace('\0', "")),
    );
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move { Ok::<_, ControlError>(query.execute(conn).await?) })
    })
    .await?;
    Ok(())
}

/// What the log says of a job's message.
pub async fn so_far(db: &ControlDb, job: JobId) -> Result<SoFar, ControlError> {
    let query = sqlx::query!(
        r#"select count(*) as "attempts!", coalesce(bool_or(status in ('delivered', 'skipped')), false) as "is_over!"
             from kanbu_backup.delivery where job_id = $1"#,
        job.as_uuid(),
    );
    let row = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move { Ok::<_, ControlError>(query.fetch_one(conn).await?) })
    })
    .await?;
    Ok(SoFar {
        attempts: i32::try_from(row.attempts).unwrap_or(i32::MAX),
        is_over: row.is_over,
    })
}

/// The log, the newest first.
pub async fn list(
    db: &ControlDb,
    filter: &DeliveryFilter,
) -> Result<Vec<DeliveryView>, ControlError> {
    let query = sqlx::query_as!(
        DeliveryView,
        r#"select d.id, d.event_id, v.event as "event?", v.subject as "subject?", d.channel, d.attempt, d.at, d.status,
                  d.http_status, d.duration_ms, d.error_code, d.error
             from kanbu_backup.delivery d left join kanbu_backup.event v on v.id = d.event_id
            where ($1::text is null or d.channel = $1) and (not $2 or d.status in ('failed', 'gave_up'))
            order by d.at desc, d.id desc limit $3"#,
        filter.channel.as_deref(),
        filter.failed,
        filter.limit,
    );
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move { Ok::<_, ControlError>(query.fetch_all(conn).await?) })
    })
    .await
}

/// The events and messages with this id, or whose short form it is; at most two.
pub async fn meant(db: &ControlDb, text: &str) -> Result<Vec<Meant>, ControlError> {
    let digits = text.to_lowercase().replace('-', "");
    let query = sqlx::query!(
        r#"select v.id as "event!", null as "channel: String" from kanbu_backup.event v
            where right(replace(v.id::text, '-', ''), length($1)) = $1 and length($1) >= 6
           union all
           select d.event_id, d.channel from kanbu_backup.delivery d
            where right(replace(d.id::text, '-', ''), length($1)) = $1 and length($1) >= 6
            limit 2"#,
        digits,
    );
    let rows = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move { Ok::<_, ControlError>(query.fetch_all(conn).await?) })
    })
    .await?;
    let meant = rows.into_iter().map(|row| Meant {
        event: row.event.into(),
        channel: row.channel,
    });
    Ok(meant.collect())
}

/// Sends a message once more, to every channel that wants the event or to one.
pub async fn replay(
    db: &ControlDb,
    event: EventId,
    channel: Option<&str>,
) -> Result<JobId, ControlError> {
    let query = sqlx::query_scalar!(
        r#"select kanbu_backup.replay($1, $2) as "job!""#,
        event.as_uuid(),
        channel,
    );
    let job = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move { Ok::<_, ControlError>(query.fetch_one(conn).await?) })
    })
    .await?;
    Ok(job.into())
}
