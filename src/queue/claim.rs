//! Winning jobs: executions are opened under ids named in advance, so that a claim whose reply is lost can be looked up.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{QueueError, backoff::ANSWER_WITHIN};
use crate::{
    control::{ControlDb, within},
    id::{ExecutionId, JobId, WorkerId},
    job::{Kind, PAYLOAD_VERSION},
};

/// An execution that was opened for us.
#[derive(Clone, Debug)]
pub struct Claimed {
    pub execution: ExecutionId,
    pub job: JobId,
    pub kind: Kind,
    pub attempt: i16,
    pub subject: String,
    /// Not decoded yet: what nobody can read must still be closed.
    pub payload: Value,
    /// From before the claim was sent: the lease counts from here.
    pub asked_at: Instant,
}

/// The answer to a claim.
#[derive(Clone, Debug)]
pub enum Claim {
    Jobs(Vec<Claimed>),
    /// Nothing is ready; the next job of the kind comes due in so long, if one is queued.
    Nothing {
        due_in: Option<Duration>,
    },
}

/// Claims at most one ready job per id, in one round trip.
pub async fn claim(
    db: &ControlDb,
    worker: WorkerId,
    kind: Kind,
    lease: Duration,
    ids: &[ExecutionId],
) -> Result<Claim, QueueError> {
    let asked_at = Instant::now();
    let ids: Vec<_> = ids.iter().map(|id| id.as_uuid()).collect();
    let rows = within(db.pool(), ANSWER_WITHIN, |conn| {
        Box::pin(async move {
            let claim = sqlx::query!(
                "select execution_id, job_id, attempt, subject, payload, due_in
                   from kanbu_backup.claim($1, $2, $3, $4::float8 * interval '1 second', $5)",
                worker.as_uuid(),
                kind.as_str(),
                PAYLOAD_VERSION,
                lease.as_secs_f64(),
                &ids,
            );
            Ok::<_, QueueError>(claim.fetch_all(conn).await?)
        })
    })
    .await?;

    let mut due_in = None;
    let mut jobs = Vec::with_capacity(rows.len());
    for row in rows {
        match (
            row.execution_id,
            row.job_id,
            row.attempt,
            row.subject,
            row.payload,
        ) {
            (Some(execution), Some(job), Some(attempt), Some(subject), Some(payload)) => {
                jobs.push(Claimed {
                    execution: execution.into(),
                    job: job.into(),
                    kind,
                    attempt,
                    subject,
                    payload,
                    asked_at,
                });
            }
            _ => {
                due_in = row
                    .due_in
                    .and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok());
            }
        }
    }
    Ok(if jobs.is_empty() {
        Claim::Nothing { due_in }
    } else {
        Claim::Jobs(jobs)
    })
}

/// What a claim under these ids has opened, although its answer never came. Extends the leases.
pub async fn recover(
    db: &ControlDb,
    kind: Kind,
    lease: Duration,
    ids: &[ExecutionId],
) -> Result<Vec<Claimed>, QueueError> {
    let asked_at = Instant::now();
    let ids: Vec<_> = ids.iter().map(|id| id.as_uuid()).collect();
    let rows = within(db.pool(), ANSWER_WITHIN, |conn| {
        Box::pin(async move {
            let recover = sqlx::query!(
                r#"select execution_id as "execution_id!", job_id as "job_id!", attempt as "attempt!",
                          subject as "subject!", payload as "payload!"
                     from kanbu_backup.recover($1, $2::float8 * interval '1 second')"#,
                &ids,
                lease.as_secs_f64(),
            );
            Ok::<_, QueueError>(recover.fetch_all(conn).await?)
        })
    })
    .await?;
    let claimed = rows.into_iter().map(|row| Claimed {
        execution: row.execution_id.into(),
        job: row.job_id.into(),
        kind,
        attempt: row.attempt,
        subject: row.subject,
        payload: row.payload,
        asked_at,
    });
    Ok(claimed.collect())
}
