//! The history of executions: page by page, and in numbers.
//!
//! Pages are ordered by the execution's id, which begins with the time of its claim, so a page stays where it is while new
//! executions are added before it. What has been forgotten is in no number.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::Serialize;
use serde_json::Value;

use super::{
    Outcome,
    store::{ExecutionView, decoded, executions},
};
use crate::{
    control::{ControlDb, ControlError, STATEMENT_TIMEOUT, within},
    fault::{Classified, Fault},
    id::{ArtifactId, ExecutionId, JobId, ScheduleId},
    job::Kind,
};

/// Most executions on one page.
pub const MAX_PAGE: u32 = 1000;

/// Fewer last digits of an id than this say too little.
const SHORTEST_ID: usize = 4;

/// What could not be told of the past.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    #[error("there is no execution {0:?}")]
    NotFound(String),
    #[error("{text:?} can mean {count} executions or more")]
    Ambiguous { text: String, count: usize },
    #[error(transparent)]
    Control(#[from] ControlError),
}

impl Classified for HistoryError {
    fn fault(&self) -> Fault {
        match self {
            Self::NotFound(_) | Self::Ambiguous { .. } => Fault::Permanent,
            Self::Control(error) => error.fault(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "execution.not_found",
            Self::Ambiguous { .. } => "execution.ambiguous",
            Self::Control(error) => error.code(),
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::NotFound(_) => Some(
                "`kanbu-backup execution list` shows them; old ones are forgotten with their jobs"
                    .into(),
            ),
            Self::Ambiguous { .. } => Some("give more of its last digits".into()),
            Self::Control(error) => error.hint(),
        }
    }
}

/// Which executions are meant. What isn't said doesn't matter.
#[derive(Clone, Debug, Default)]
pub struct HistoryFilter {
    pub kinds: Vec<Kind>,
    /// With the facet, if it has one: `database:kanbu#verify`.
    pub subject: Option<String>,
    /// By its name or id.
    pub schedule: Option<String>,
    /// None named: all, those that still run included.
    pub outcomes: Vec<Outcome>,
    /// Begun at this instant or later.
    pub since: Option<DateTime<Utc>>,
    /// Begun before this instant.
    pub until: Option<DateTime<Utc>>,
}

/// One execution among others.
#[derive(Clone, Debug, Serialize)]
pub struct HistoryEntry {
    pub id: ExecutionId,
    pub job: JobId,
    pub kind: String,
    pub subject: String,
    pub origin: String,
    pub schedule: Option<ScheduleId>,
    /// As it is called now; `None` for one that was deleted.
    pub schedule_name: Option<String>,
    pub attempt: i16,
    pub started_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
    /// `None` while it runs.
    pub outcome: Option<Outcome>,
    pub fault: Option<Fault>,
    pub error_code: Option<String>,
    pub error: Option<String>,
    pub bytes_out: Option<i64>,
    pub artifact: Option<ArtifactId>,
}

/// The newest first.
#[derive(Clone, Debug, Serialize)]
pub struct Page {
    pub executions: Vec<HistoryEntry>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<ExecutionId>,
}

/// What executions are counted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupBy {
    /// All in one.
    #[default]
    Nothing,
    Kind,
    Subject,
    Schedule,
    /// The calendar day on which they began.
    Day,
}

/// Executions that have ended, in numbers.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The kind, subject, schedule or day; empty for all, and for what no schedule asked for.
    pub group: String,
    pub executions: i64,
    pub succeeded: i64,
    pub degraded: i64,
    pub failed: i64,
    pub cancelled: i64,
    /// Of those that were not cancelled, the part that succeeded: 0 to 1. Degraded is not success.
    pub success_rate: Option<f64>,
    pub last_success_at: Option<DateTime<Utc>>,
    pub last_failure_at: Option<DateTime<Utc>>,
    /// Durations of those that succeeded or are degraded, in seconds.
    pub p50_seconds: Option<f64>,
    pub p95_seconds: Option<f64>,
    pub max_seconds: Option<f64>,
    pub bytes_out: i64,
}

/// At most `limit` executions that began before the one named, if one is.
pub async fn page(
    db: &ControlDb,
    filter: &HistoryFilter,
    before: Option<ExecutionId>,
    limit: u32,
) -> Result<Page, ControlError> {
    let limit = limit.clamp(1, MAX_PAGE);
    let (kinds, outcomes) = (words(&filter.kinds), words(&filter.outcomes));
    let query = sqlx::query!(
        r#"select e.id, e.job_id, e.kind, e.subject, j.origin, j.schedule_id, s.name as "schedule_name?", e.attempt,
                  e.started_at, e.ended_at, e.outcome, e.fault, e.error_code, e.error, e.bytes_out, e.artifact_id
             from kanbu_backup.execution e
             join kanbu_backup.job j on j.id = e.job_id
             left join kanbu_backup.schedule s on s.id = j.schedule_id
            where (cardinality($1::text[]) = 0 or e.kind = any ($1))
              and ($2::text is null or e.subject = $2)
              and ($3::text is null or s.name = $3 or j.schedule_id::text = $3)
              and (cardinality($4::text[]) = 0 or e.outcome = any ($4))
              and ($5::timestamptz is null or e.started_at >= $5)
              and ($6::timestamptz is null or e.started_at < $6)
              and ($7::uuid is null or e.id < $7)
            order by e.id desc limit $8"#,
        &kinds,
        filter.subject,
        filter.schedule,
        &outcomes,
        filter.since,
        filter.until,
        before.map(ExecutionId::as_uuid),
        i64::from(limit) + 1,
    );
    let rows = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move { Ok::<_, ControlError>(query.fetch_all(conn).await?) })
    })
    .await?;
    let entries: Vec<_> = rows
        .into_iter()
        .map(|row| HistoryEntry {
            id: row.id.into(),
            job: row.job_id.into(),
            kind: row.kind,
            subject: row.subject,
            origin: row.origin,
            schedule: row.schedule_id.map(ScheduleId::from),
            schedule_name: row.schedule_name,
            attempt: row.attempt,
            started_at: row.started_at,
            ended_at: row.ended_at,
            outcome: decoded(row.outcome.map(Value::String)),
            fault: decoded(row.fault.map(Value::String)),
            error_code: row.error_code,
            error: row.error,
            bytes_out: row.bytes_out,
            artifact: row.artifact_id.map(ArtifactId::from),
        })
        .collect();
    Ok(Page::of(entries, limit))
}

/// The numbers of each group, in the order of their names. Days are those of `zone`.
pub async fn summaries(
    db: &ControlDb,
    filter: &HistoryFilter,
    by: GroupBy,
    zone: Tz,
) -> Result<Vec<Summary>, ControlError> {
    let (kinds, outcomes) = (words(&filter.kinds), words(&filter.outcomes));
    let query = sqlx::query_as!(
        Summary,
        r#"select x.name as "group!", count(*) as "executions!",
                  count(*) filter (where x.outcome = 'succeeded') as "succeeded!",
                  count(*) filter (where x.outcome = 'degraded') as "degraded!",
                  count(*) filter (where x.outcome = 'failed') as "failed!",
                  count(*) filter (where x.outcome = 'cancelled') as "cancelled!",
                  (count(*) filter (where x.outcome = 'succeeded'))::float8
                    / nullif(count(*) filter (where x.outcome <> 'cancelled'), 0) as success_rate,
                  max(x.ended_at) filter (where x.outcome = 'succeeded') as last_success_at,
                  max(x.ended_at) filter (where x.outcome = 'failed') as last_failure_at,
                  percentile_cont(0.5) within group (order by x.seconds)
                    filter (where x.outcome in ('succeeded', 'degraded')) as p50_seconds,
                  percentile_cont(0.95) within group (order by x.seconds)
                    filter (where x.outcome in ('succeeded', 'degraded')) as p95_seconds,
                  max(x.seconds) filter (where x.outcome in ('succeeded', 'degraded')) as max_seconds,
                  coalesce(sum(x.bytes_out), 0)::bigint as "bytes_out!"
             from (select e.outcome, e.ended_at, e.bytes_out,
                          extract(epoch from e.ended_at - e.started_at)::float8 as seconds,
                          case $7::text when 'kind' then e.kind when 'subject' then e.subject
                            when 'schedule' then coalesce(s.name, j.schedule_id::text, '')
                            when 'day' then to_char(e.started_at at time zone $8::text, 'YYYY-MM-DD')
                            else '' end as name
                     from kanbu_backup.execution e
                     join kanbu_backup.job j on j.id = e.job_id
                     left join kanbu_backup.schedule s on s.id = j.schedule_id
                    where e.ended_at is not null
                      and (cardinality($1::text[]) = 0 or e.kind = any ($1))
                      and ($2::text is null or e.subject = $2)
                      and ($3::text is null or s.name = $3 or j.schedule_id::text = $3)
                      and (cardinality($4::text[]) = 0 or e.outcome = any ($4))
                      and ($5::timestamptz is null or e.started_at >= $5)
                      and ($6::timestamptz is null or e.started_at < $6)) x
            group by x.name order by x.name"#,
        &kinds,
        filter.subject,
        filter.schedule,
        &outcomes,
        filter.since,
        filter.until,
        by.word(),
        zone.name(),
    );
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move { Ok::<_, ControlError>(query.fetch_all(conn).await?) })
    })
    .await
}

/// The execution that a text means: its id, or enough of the id's last digits.
pub async fn find(db: &ControlDb, text: &str) -> Result<ExecutionView, HistoryError> {
    let digits = text.replace('-', "").to_ascii_lowercase();
    let plausible = (SHORTEST_ID..=32).contains(&digits.len())
        && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if !plausible {
        return Err(HistoryError::NotFound(text.to_owned()));
    }
    let query = sqlx::query!(
        "select id, job_id from kanbu_backup.execution where replace(id::text, '-', '') like '%' || $1 limit 10",
        digits,
    );
    let found = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move { Ok::<_, ControlError>(query.fetch_all(conn).await?) })
    })
    .await?;
    let (id, job) = match found.as_slice() {
        [] => return Err(HistoryError::NotFound(text.to_owned())),
        [one] => (ExecutionId::from(one.id), JobId::from(one.job_id)),
        [..] => {
            return Err(HistoryError::Ambiguous {
                text: text.to_owned(),
                count: found.len(),
            });
        }
    };
    let all = executions(db, job).await?.into_iter();
    let mut same = all.filter(|execution| execution.id == id);
    same.next()
        .ok_or_else(|| HistoryError::NotFound(text.to_owned()))
}

impl Page {
    /// Of the entries that were asked for, one more than fit on it.
    fn of(mut entries: Vec<HistoryEntry>, limit: u32) -> Self {
        let there_are_more = entries.len() > usize::try_from(limit).unwrap_or(usize::MAX);
        if there_are_more {
            entries.pop();
        }
        let next = entries.last().filter(|_| there_are_more).map(|e| e.id);
        Self {
            executions: entries,
            next,
        }
    }
}

impl GroupBy {
    fn word(self) -> &'static str {
        match self {
            Self::Nothing => "",
            Self::Kind => "kind",
            Self::Subject => "subject",
            Self::Schedule => "schedule",
            Self::Day => "day",
        }
    }
}

fn words<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}
