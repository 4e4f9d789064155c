//! What people do to jobs and to the queue: cancel, retry, pause, resume, cap. Each is one SQL function, the same that a
//! `psql` session may call.

use chrono::{DateTime, Utc};

use super::{
    JobState, QueueError,
    backoff::{ANSWER_WITHIN, ask},
};
use crate::{
    control::ControlDb,
    id::JobId,
    job::{Kind, Subject},
};

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
    let answer = ask(db.pool(), ANSWER_WITHIN, async |conn| {
        Ok(
            sqlx::query_scalar!("select kanbu_backup.cancel($1, $2)", job.as_uuid(), by)
                .fetch_one(conn)
                .await?,
        )
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
    let row = ask(db.pool(), ANSWER_WITHIN, async |conn| {
        Ok(sqlx::query!(
            "select answer, job_id from kanbu_backup.retry($1, $2)",
            job.as_uuid(),
            budget,
        )
        .fetch_one(conn)
        .await?)
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

/// Keeps jobs from being claimed: of a kind, of a subject, of both, or (`None`, `None`) all. What runs goes on.
pub async fn pause(
    db: &ControlDb,
    kind: Option<Kind>,
    subject: Option<&Subject>,
    until: Option<DateTime<Utc>>,
    reason: Option<&str>,
    by: &str,
) -> Result<(), QueueError> {
    ask(db.pool(), ANSWER_WITHIN, async |conn| {
        sqlx::query!(
            "select kanbu_backup.pause($1, $2, $3, $4, $5)",
            any(kind),
            any(subject),
            until,
            reason,
            by,
        )
        .fetch_one(conn)
        .await?;
        Ok(())
    })
    .await
}

/// Ends a pause; answers whether there was one under exactly this kind and subject.
pub async fn resume(
    db: &ControlDb,
    kind: Option<Kind>,
    subject: Option<&Subject>,
) -> Result<bool, QueueError> {
    ask(db.pool(), ANSWER_WITHIN, async |conn| {
        let resumed = sqlx::query_scalar!(
            r#"select kanbu_backup.resume($1, $2) as "resumed!""#,
            any(kind),
            any(subject),
        );
        Ok(resumed.fetch_one(conn).await?)
    })
    .await
}

/// At most so many executions of a kind at once, over all workers. `None` lifts the cap.
pub async fn limit_running(db: &ControlDb, kind: Kind, max: Option<i32>) -> Result<(), QueueError> {
    ask(db.pool(), ANSWER_WITHIN, async |conn| {
        sqlx::query!(
            "select kanbu_backup.limit_running($1, $2)",
            kind.as_str(),
            max
        )
        .fetch_one(conn)
        .await?;
        Ok(())
    })
    .await
}

fn any(what: Option<impl ToString>) -> String {
    what.map_or_else(|| "*".to_owned(), |what| what.to_string())
}
