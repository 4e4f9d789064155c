//! The queue in numbers, and what in it needs somebody: for lists, `doctor` and whoever else asks.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{QueueError, read};
use crate::{
    control::{ControlDb, STATEMENT_TIMEOUT, within},
    id::{ExecutionId, JobId, WorkerId},
    job::Kind,
};

/// How one kind of job stands.
#[derive(Clone, Debug, Serialize)]
pub struct KindStats {
    pub kind: Kind,
    /// Queued and due.
    pub ready: i64,
    /// Queued for later.
    pub scheduled: i64,
    /// Queued for later, after an execution failed.
    pub retrying: i64,
    pub running: i64,
    pub succeeded: i64,
    pub dead: i64,
    pub cancelled: i64,
    /// How long the job that has been due for longest has waited.
    pub oldest_ready_seconds: Option<f64>,
    /// Executions that somebody works on.
    pub open: i64,
    /// Most of them at once, over all workers.
    pub max_running: Option<i32>,
    /// How many could run at once on the workers that claim.
    pub slots: i64,
}

/// Every kind, in numbers.
pub async fn stats(db: &ControlDb) -> Result<Vec<KindStats>, QueueError> {
    let rows = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            let stats = sqlx::query!(
                r#"select kind as "kind!", ready as "ready!", scheduled as "scheduled!", retrying as "retrying!",
                          extract(epoch from oldest_ready)::float8 as oldest, running as "running!",
                          succeeded as "succeeded!", dead as "dead!", cancelled as "cancelled!", open as "open!",
                          max_running, slots as "slots!"
                     from kanbu_backup.kind_overview"#
            );
            Ok::<_, QueueError>(stats.fetch_all(conn).await?)
        })
    })
    .await?;
    let kinds = rows.into_iter().map(|row| {
        Ok(KindStats {
            kind: read::kind(&row.kind)?,
            ready: row.ready,
            scheduled: row.scheduled,
            retrying: row.retrying,
            running: row.running,
            succeeded: row.succeeded,
            dead: row.dead,
            cancelled: row.cancelled,
            oldest_ready_seconds: row.oldest,
            open: row.open,
            max_running: row.max_running,
            slots: row.slots,
        })
    });
    let mut kinds = kinds.collect::<Result<Vec<_>, QueueError>>()?;
    kinds.sort_by_key(|stats| stats.kind);
    Ok(kinds)
}

/// A pause in force.
#[derive(Clone, Debug, Serialize)]
pub struct Pause {
    /// `None`: every kind.
    pub kind: Option<Kind>,
    /// `None`: every subject.
    pub subject: Option<String>,
    pub since: DateTime<Utc>,
    /// `None`: until somebody ends it.
    pub until: Option<DateTime<Utc>>,
    pub by: Option<String>,
    pub reason: Option<String>,
}

/// The pauses in force, the oldest first.
pub async fn pauses(db: &ControlDb) -> Result<Vec<Pause>, QueueError> {
    let rows = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            let pauses = sqlx::query!(
                r#"select nullif(kind, '*') as kind, nullif(subject, '*') as subject, paused_at as "since!",
                          paused_until, paused_by, reason
                     from kanbu_backup.pause_in_force order by paused_at, kind, subject"#
            );
            Ok::<_, QueueError>(pauses.fetch_all(conn).await?)
        })
    })
    .await?;
    let pauses = rows.into_iter().map(|row| {
        Ok(Pause {
            kind: row.kind.as_deref().map(read::kind).transpose()?,
            subject: row.subject,
            since: row.since,
            until: row.paused_until,
            by: row.paused_by,
            reason: row.reason,
        })
    });
    pauses.collect()
}

/// An open execution whose lease ran out so long ago that somebody should have closed it.
#[derive(Clone, Debug, Serialize)]
pub struct Overdue {
    pub execution: ExecutionId,
    pub job: JobId,
    pub worker: WorkerId,
    /// Since the end of the lease.
    pub seconds: f64,
}

/// Executions that every reaper has missed: their leases ran out twice the longest time between two rounds ago.
pub async fn overdue(db: &ControlDb) -> Result<Vec<Overdue>, QueueError> {
    let rows = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            let overdue = sqlx::query!(
                r#"select execution_id as "id!", job_id as "job_id!", worker_id as "worker_id!",
                          extract(epoch from -lease_left)::float8 as "seconds!"
                     from kanbu_backup.running where lease_left < interval '-10 seconds' order by lease_until"#
            );
            Ok::<_, QueueError>(overdue.fetch_all(conn).await?)
        })
    })
    .await?;
    let overdue = rows.into_iter().map(|row| Overdue {
        execution: row.id.into(),
        job: row.job_id.into(),
        worker: row.worker_id.into(),
        seconds: row.seconds,
    });
    Ok(overdue.collect())
}
