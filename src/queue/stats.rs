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
            // State by state, so that each count is read from the partial index of that state.
            let stats = sqlx::query!(
                r#"with counted as (
                     select kind, count(*) filter (where run_at <= now()) as ready,
                            count(*) filter (where run_at > now() and error_code is null) as scheduled,
                            count(*) filter (where run_at > now() and error_code is not null) as retrying,
                            extract(epoch from now() - min(run_at) filter (where run_at <= now()))::float8 as oldest
                       from kanbu_backup.job where state = 'queued' group by kind
                   ), ended as (
                     select kind, count(*) filter (where state = 'succeeded') as succeeded,
                            count(*) filter (where state = 'cancelled') as cancelled
                       from kanbu_backup.job where state in ('succeeded', 'cancelled') group by kind
                   )
                   select k.kind, coalesce(c.ready, 0) as "ready!", coalesce(c.scheduled, 0) as "scheduled!",
                          coalesce(c.retrying, 0) as "retrying!", c.oldest,
                          (select count(*) from kanbu_backup.job j
                            where j.state = 'running' and j.kind = k.kind) as "running!",
                          coalesce(n.succeeded, 0) as "succeeded!", coalesce(n.cancelled, 0) as "cancelled!",
                          (select count(*) from kanbu_backup.job j
                            where j.state = 'dead' and j.kind = k.kind) as "dead!",
                          (select count(*) from kanbu_backup.execution e
                            where e.ended_at is null and e.kind = k.kind) as "open!",
                          (select q.max_running from kanbu_backup.queue_control q
                            where q.kind = k.kind and q.subject = '*') as max_running,
                          (select coalesce(sum((w.slots ->> k.kind)::bigint), 0)::bigint
                             from kanbu_backup.worker_state w where w.state = 'working') as "slots!"
                     from kanbu_backup.kind_rule k
                     left join counted c on c.kind = k.kind
                     left join ended n on n.kind = k.kind"#
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
                     from kanbu_backup.queue_control
                    where paused_at is not null and (paused_until is null or paused_until > now())
                    order by paused_at, kind, subject"#
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
                r#"select id, job_id, worker_id, extract(epoch from now() - lease_until)::float8 as "seconds!"
                     from kanbu_backup.execution
                    where ended_at is null and lease_until < now() - interval '10 seconds' order by lease_until"#
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

/// Due jobs of a kind that no worker takes.
#[derive(Clone, Debug, Serialize)]
pub struct Unserved {
    pub kind: Kind,
    pub jobs: i64,
    pub oldest_seconds: f64,
}

/// Kinds with jobs that have been due for a minute while no worker claims such jobs.
pub async fn unserved(db: &ControlDb) -> Result<Vec<Unserved>, QueueError> {
    let rows = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            let unserved = sqlx::query!(
                r#"select j.kind, count(*) as "jobs!", extract(epoch from now() - min(j.run_at))::float8 as "oldest!"
                     from kanbu_backup.job j
                    where j.state = 'queued' and j.run_at < now() - interval '1 minute'
                      and not exists (select from kanbu_backup.worker_state w
                            where w.state = 'working' and jsonb_exists(w.slots, j.kind))
                    group by j.kind order by j.kind"#
            );
            Ok::<_, QueueError>(unserved.fetch_all(conn).await?)
        })
    })
    .await?;
    let unserved = rows.into_iter().map(|row| {
        Ok(Unserved {
            kind: read::kind(&row.kind)?,
            jobs: row.jobs,
            oldest_seconds: row.oldest,
        })
    });
    unserved.collect()
}
