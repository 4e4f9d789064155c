//! Reading the queue: jobs as people see them, what waits and why, and whether the invariants hold.

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::{JobState, Origin, QueueError, backoff::ANSWER_WITHIN};
use crate::{
    control::{ControlDb, STATEMENT_TIMEOUT, within},
    execution::{Progress, store::decoded},
    id::{ExecutionId, JobId, WorkerId},
    job::{Kind, Subject},
};

/// Digits of an id that are too few to mean one job.
const SHORTEST_ID: usize = 4;

/// A job, and its execution if one is open.
#[derive(Clone, Debug, Serialize)]
pub struct JobView {
    pub id: JobId,
    pub kind: Kind,
    pub subject: String,
    pub state: JobState,
    pub origin: Origin,
    pub priority: i16,
    pub run_at: DateTime<Utc>,
    pub attempts: i16,
    pub max_attempts: i16,
    pub requested_by: Option<String>,
    pub parent: Option<JobId>,
    pub cancel_requested_at: Option<DateTime<Utc>>,
    pub error_code: Option<String>,
    pub error: Option<String>,
    /// What the operator can do about it.
    pub hint: Option<String>,
    pub created_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
    pub running: Option<CurrentExecution>,
}

/// The open execution of a running job.
#[derive(Clone, Debug, Serialize)]
pub struct CurrentExecution {
    pub id: ExecutionId,
    pub worker: WorkerId,
    pub started_at: DateTime<Utc>,
    pub lease_until: DateTime<Utc>,
    /// `None` until the first report.
    pub progress: Option<Progress>,
}

/// Which jobs a list holds.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    pub kind: Option<Kind>,
    pub subject: Option<Subject>,
    /// None given: all.
    pub states: Vec<JobState>,
    /// Older than this job.
    pub before: Option<JobId>,
    /// Most of them, the newest first; 100 unless said.
    pub limit: Option<u32>,
}

struct JobRow {
    id: Uuid,
    kind: String,
    subject: String,
    state: String,
    origin: String,
    priority: i16,
    run_at: DateTime<Utc>,
    attempts: i16,
    max_attempts: i16,
    requested_by: Option<String>,
    parent_job_id: Option<Uuid>,
    cancel_requested_at: Option<DateTime<Utc>>,
    error_code: Option<String>,
    error: Option<String>,
    hint: Option<String>,
    created_at: DateTime<Utc>,
    finished_at: Option<DateTime<Utc>>,
    execution_id: Option<Uuid>,
    worker_id: Option<Uuid>,
    started_at: Option<DateTime<Utc>>,
    lease_until: Option<DateTime<Utc>>,
    progress: Option<serde_json::Value>,
}

impl JobRow {
    fn view(self) -> Result<JobView, QueueError> {
        let running = match (
            self.execution_id,
            self.worker_id,
            self.started_at,
            self.lease_until,
        ) {
            (Some(id), Some(worker), Some(started_at), Some(lease_until)) => {
                Some(CurrentExecution {
                    id: id.into(),
                    worker: worker.into(),
                    started_at,
                    lease_until,
                    progress: decoded(self.progress),
                })
            }
            _ => None,
        };
        Ok(JobView {
            id: self.id.into(),
            kind: kind(&self.kind)?,
            subject: self.subject,
            state: self.state.parse()?,
            origin: self.origin.parse()?,
            priority: self.priority,
            run_at: self.run_at,
            attempts: self.attempts,
            max_attempts: self.max_attempts,
            requested_by: self.requested_by,
            parent: self.parent_job_id.map(JobId::from),
            cancel_requested_at: self.cancel_requested_at,
            error_code: self.error_code,
            error: self.error,
            hint: self.hint,
            created_at: self.created_at,
            finished_at: self.finished_at,
            running,
        })
    }
}

/// One job.
pub async fn job(db: &ControlDb, id: JobId) -> Result<Option<JobView>, QueueError> {
    let query = sqlx::query_as!(
        JobRow,
        r#"select j.id, j.kind, j.subject, j.state, j.origin, j.priority, j.run_at, j.attempts, j.max_attempts,
                  j.requested_by, j.parent_job_id, j.cancel_requested_at, j.error_code, j.error, j.hint,
                  j.created_at, j.finished_at, e.id as "execution_id?", e.worker_id as "worker_id?", e.started_at as "started_at?",
                  e.lease_until as "lease_until?", e.progress
             from kanbu_backup.job j
             left join kanbu_backup.execution e on e.job_id = j.id and e.ended_at is null
            where j.id = $1"#,
        id.as_uuid(),
    );
    let row = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move { Ok::<_, QueueError>(query.fetch_optional(conn).await?) })
    })
    .await?;
    row.map(JobRow::view).transpose()
}

/// Jobs, the newest first.
pub async fn jobs(db: &ControlDb, filter: &JobFilter) -> Result<Vec<JobView>, QueueError> {
    let states: Vec<String> = filter.states.iter().map(JobState::to_string).collect();
    let query = sqlx::query_as!(
        JobRow,
        r#"select j.id, j.kind, j.subject, j.state, j.origin, j.priority, j.run_at, j.attempts, j.max_attempts,
                  j.requested_by, j.parent_job_id, j.cancel_requested_at, j.error_code, j.error, j.hint,
                  j.created_at, j.finished_at, e.id as "execution_id?", e.worker_id as "worker_id?", e.started_at as "started_at?",
                  e.lease_until as "lease_until?", e.progress
             from kanbu_backup.job j
             left join kanbu_backup.execution e on e.job_id = j.id and e.ended_at is null
            where ($1::text is null or j.kind = $1) and ($2::text is null or j.subject = $2)
              and (cardinality($3::text[]) = 0 or j.state = any ($3)) and ($4::uuid is null or j.id < $4)
            order by j.id desc limit $5"#,
        filter.kind.map(Kind::as_str),
        filter.subject.as_ref().map(Subject::to_string),
        &states,
        filter.before.map(JobId::as_uuid),
        i64::from(filter.limit.unwrap_or(100)),
    );
    let rows = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move { Ok::<_, QueueError>(query.fetch_all(conn).await?) })
    })
    .await?;
    rows.into_iter().map(JobRow::view).collect()
}

/// The job that a text means: its id, or enough of the id's last digits.
pub async fn resolve(db: &ControlDb, text: &str) -> Result<JobId, QueueError> {
    if let Ok(id) = text.parse::<JobId>() {
        let known = job(db, id).await?;
        return known
            .map(|job| job.id)
            .ok_or_else(|| QueueError::NotFound(text.to_owned()));
    }
    let digits = text.to_ascii_lowercase();
    let plausible = (SHORTEST_ID..32).contains(&digits.len())
        && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if !plausible {
        return Err(QueueError::NotFound(text.to_owned()));
    }
    let query = sqlx::query_scalar!(
        "select id from kanbu_backup.job where replace(id::text, '-', '') like '%' || $1 limit 10",
        digits,
    );
    let ids = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move { Ok::<_, QueueError>(query.fetch_all(conn).await?) })
    })
    .await?;
    match ids[..] {
        [] => Err(QueueError::NotFound(text.to_owned())),
        [id] => Ok(id.into()),
        [..] => Err(QueueError::Ambiguous {
            text: text.to_owned(),
            count: ids.len(),
        }),
    }
}

/// A job that is due and still queued.
#[derive(Clone, Debug, Serialize)]
pub struct WaitingJob {
    pub id: JobId,
    pub kind: Kind,
    pub subject: String,
    pub run_at: DateTime<Utc>,
    /// `None`: ready, and no worker has a free slot.
    pub blocked: Option<Blocked>,
}

/// What keeps a due job from being claimed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Blocked {
    /// This execution works on its subject.
    Subject(ExecutionId),
    Pause {
        reason: Option<String>,
        until: Option<DateTime<Utc>>,
    },
    /// As many of its kind run as may.
    Cap,
}

/// Jobs that are due and still queued, the first in line first.
pub async fn waiting(db: &ControlDb) -> Result<Vec<WaitingJob>, QueueError> {
    let query = sqlx::query!(
        r#"select job_id as "job_id!", kind as "kind!", subject as "subject!", run_at as "run_at!", blocked_by,
                  blocking_execution_id, pause_reason, paused_until
             from kanbu_backup.waiting order by priority desc, run_at, job_id limit 1000"#
    );
    let rows = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move { Ok::<_, QueueError>(query.fetch_all(conn).await?) })
    })
    .await?;
    rows.into_iter()
        .map(|row| {
            let blocked = match (row.blocked_by.as_deref(), row.blocking_execution_id) {
                (Some("subject"), Some(execution)) => Some(Blocked::Subject(execution.into())),
                (Some("pause"), _) => Some(Blocked::Pause {
                    reason: row.pause_reason,
                    until: row.paused_until,
                }),
                (Some("cap"), _) => Some(Blocked::Cap),
                _ => None,
            };
            Ok(WaitingJob {
                id: row.job_id.into(),
                kind: kind(&row.kind)?,
                subject: row.subject,
                run_at: row.run_at,
                blocked,
            })
        })
        .collect()
}

/// A job that nobody tries any more, and why.
#[derive(Clone, Debug, Serialize)]
pub struct DeadJob {
    pub id: JobId,
    pub kind: Kind,
    pub subject: String,
    pub attempts: i16,
    pub error_code: Option<String>,
    pub error: Option<String>,
    /// What the operator can do about it.
    pub hint: Option<String>,
    pub created_at: DateTime<Utc>,
    pub died_at: DateTime<Utc>,
}

/// The dead letters, of one kind or of all, the newest death first.
pub async fn dead(
    db: &ControlDb,
    of: Option<Kind>,
    limit: u32,
) -> Result<Vec<DeadJob>, QueueError> {
    let rows = within(db.pool(), ANSWER_WITHIN, |conn| {
        Box::pin(async move {
            let dead = sqlx::query!(
                r#"select job_id as "job_id!", kind as "kind!", subject as "subject!", attempts as "attempts!",
                          error_code, error, hint, created_at as "created_at!", finished_at as "finished_at!"
                     from kanbu_backup.dead_letter where $1::text is null or kind = $1
                    order by finished_at desc limit $2"#,
                of.map(Kind::as_str),
                i64::from(limit),
            );
            Ok::<_, QueueError>(dead.fetch_all(conn).await?)
        })
    })
    .await?;
    let dead = rows.into_iter().map(|row| {
        Ok(DeadJob {
            id: row.job_id.into(),
            kind: kind(&row.kind)?,
            subject: row.subject,
            attempts: row.attempts,
            error_code: row.error_code,
            error: row.error,
            hint: row.hint,
            created_at: row.created_at,
            died_at: row.finished_at,
        })
    });
    dead.collect()
}

/// A broken invariant. There are none, or there is a bug.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    pub rule: String,
    pub job: Option<JobId>,
    pub execution: Option<ExecutionId>,
}

/// Asks whether every running job has exactly one open execution, and what follows from it.
pub async fn invariants(db: &ControlDb) -> Result<Vec<Violation>, QueueError> {
    let query = sqlx::query!(
        r#"select rule as "rule!", job_id, execution_id from kanbu_backup.invariant_violation"#
    );
    let rows = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move { Ok::<_, QueueError>(query.fetch_all(conn).await?) })
    })
    .await?;
    let violations = rows.into_iter().map(|row| Violation {
        rule: row.rule,
        job: row.job_id.map(JobId::from),
        execution: row.execution_id.map(ExecutionId::from),
    });
    Ok(violations.collect())
}

pub(super) fn kind(word: &str) -> Result<Kind, QueueError> {
    word.parse().map_err(|_| QueueError::Undecodable {
        column: "kind",
        value: word.to_owned(),
    })
}
