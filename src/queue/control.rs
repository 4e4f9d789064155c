//! What people do to jobs and to the queue: cancel, retry, run now, pause, resume, cap. Each is one SQL function, the same that a
//! `psql` session may call.

use chrono::{DateTime, Utc};

use super::{Enqueued, JobState, NewJob, QueueError, backoff::ANSWER_WITHIN, enqueue::enqueue};
use crate::{
    control::{ControlDb, within},
    id::JobId,
    job::{Kind, Subject},
};

/// What enqueueing would come to, by every check there is. Nothing is enqueued.
pub async fn rehearse(db: &ControlDb, new: &NewJob) -> Result<Enqueued, QueueError> {
    let new = new.clone();
    within(db.pool(), ANSWER_WITHIN, |conn| {
        Box::pin(async move {
            let mut rehearsal = conn.begin().await?;
            let enqueued = enqueue(&mut rehearsal, &new).await?;
            rehearsal.rollback().await?;
            Ok(enqueued)
        })
    })
    .await
}

/// What a cancel came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// It was still queued, and is out.
    AtOnce,
    /// Its worker will stop it.
    Requested,
    /// It had ended before.
    TooLate(JobState),
}

/// Cancels a job, queued or running.
pub async fn cancel(db: &ControlDb, job: JobId, by: &str) -> Result<Cancelled, QueueError> {
    let by = by.to_owned();
    let answer = within(db.pool(), ANSWER_WITHIN, |conn| {
        Box::pin(async move {
            let cancel =
                sqlx::query_scalar!("select kanbu_backup.cancel($1, $2)", job.as_uuid(), by);
            Ok::<_, QueueError>(cancel.fetch_one(conn).await?)
        })
    })
    .await?;
    match answer.as_deref() {
        None => Err(QueueError::NotFound(job.to_string())),
        Some("done") => Ok(Cancelled::AtOnce),
        Some("requested") => Ok(Cancelled::Requested),
        Some(state) => Ok(Cancelled::TooLate(state.parse()?)),
    }
}

/// What a retry came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retried {
    Queued,
    /// A newer job of the same sort is open: that one will do it.
    AlreadyOpen(JobId),
}

/// Gives a dead job `budget` more attempts, under its old id.
pub async fn retry(db: &ControlDb, job: JobId, budget: i16) -> Result<Retried, QueueError> {
    let row = within(db.pool(), ANSWER_WITHIN, |conn| {
        Box::pin(async move {
            let retry = sqlx::query!(
                "select answer, job_id from kanbu_backup.retry($1, $2)",
                job.as_uuid(),
                budget,
            );
            Ok::<_, QueueError>(retry.fetch_one(conn).await?)
        })
    })
    .await?;
    match (row.answer.as_deref(), row.job_id) {
        (Some("retried"), _) => Ok(Retried::Queued),
        (Some("open"), Some(other)) => Ok(Retried::AlreadyOpen(other.into())),
        (Some(state), _) => Err(QueueError::NotDead {
            job,
            state: state.to_owned(),
        }),
        (None, _) => Err(QueueError::NotFound(job.to_string())),
    }
}

/// Makes a job due that waits for its time.
pub async fn run_now(db: &ControlDb, job: JobId) -> Result<(), QueueError> {
    let answer = within(db.pool(), ANSWER_WITHIN, |conn| {
        Box::pin(async move {
            let run_now = sqlx::query_scalar!("select kanbu_backup.run_now($1)", job.as_uuid());
            Ok::<_, QueueError>(run_now.fetch_one(conn).await?)
        })
    })
    .await?;
    match answer {
        None => Err(QueueError::NotFound(job.to_string())),
        Some(answer) if answer == "due" => Ok(()),
        Some(state) => Err(QueueError::NotQueued { job, state }),
    }
}

/// Keeps jobs from being claimed: of a kind, of a subject, of both, or (`None`, `None`) all. What runs goes on.
pub async fn pause(
    db: &ControlDb,
    kind: Option<Kind>,
    subject: Option<&Subject>,
    until: Option<DateTime<Utc>>,
    reason: Option<&str>,
    by: &str,
) -> Result<(), QueueError> {
    let (kind, subject) = (any(kind), any(subject));
    let (reason, by) = (reason.map(str::to_owned), by.to_owned());
    within(db.pool(), ANSWER_WITHIN, |conn| {
        Box::pin(async move {
            sqlx::query!(
                "select kanbu_backup.pause($1, $2, $3, $4, $5)",
                kind,
                subject,
                until,
                reason,
                by,
            )
            .fetch_one(conn)
            .await?;
            Ok(())
        })
    })
    .await
}

/// Ends a pause; answers whether there was one under exactly this kind and subject.
pub async fn resume(
    db: &ControlDb,
    kind: Option<Kind>,
    subject: Option<&Subject>,
) -> Result<bool, QueueError> {
    let (kind, subject) = (any(kind), any(subject));
    within(db.pool(), ANSWER_WITHIN, |conn| {
        Box::pin(async move {
            let resumed = sqlx::query_scalar!(
                r#"select kanbu_backup.resume($1, $2) as "resumed!""#,
                kind,
                subject,
            );
            Ok(resumed.fetch_one(conn).await?)
        })
    })
    .await
}

/// At most so many executions of a kind at once, over all workers. `None` lifts the cap.
pub async fn limit_running(db: &ControlDb, kind: Kind, max: Option<i32>) -> Result<(), QueueError> {
    within(db.pool(), ANSWER_WITHIN, |conn| {
        Box::pin(async move {
            sqlx::query!(
                "select kanbu_backup.limit_running($1, $2)",
                kind.as_str(),
                max
            )
            .fetch_one(conn)
            .await?;
            Ok(())
        })
    })
    .await
}

fn any(what: Option<impl ToString>) -> String {
    what.map_or_else(|| "*".to_owned(), |what| what.to_string())
}
