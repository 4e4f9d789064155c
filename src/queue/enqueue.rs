//! Putting a job into the queue, in the caller's own transaction. The rules (accepted kinds, sizes, keys) are those of the
//! SQL function that every language calls; here its parameters get their types.

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use super::{Origin, QueueError, backoff::ANSWER_WITHIN};
use crate::{
    control::{Connection, ControlDb, within},
    id::JobId,
    job::{Job, PAYLOAD_VERSION},
};

/// The dedupe key of backup requests: one open backup of a subject, however many people ask for it.
const REQUEST: &str = "request";

/// A job that is about to be enqueued.
#[derive(Clone, Debug)]
pub struct NewJob {
    pub job: Job,
    pub origin: Origin,
    /// One open job per kind, subject and key; the key is free again when that job has ended.
    pub dedupe_key: Option<String>,
    /// The same request twice is one job, as long as its row is kept; another request under this key is refused.
    pub request_key: Option<String>,
    pub requested_by: Option<String>,
    /// Not before; `None`: now.
    pub run_at: Option<DateTime<Utc>>,
    pub parent: Option<JobId>,
    /// `None`: what is usual for the kind.
    pub max_attempts: Option<i16>,
    /// Higher goes first.
    pub priority: i16,
}

impl NewJob {
    /// As soon as possible, with what is usual for the kind.
    pub fn new(job: Job, origin: Origin) -> Self {
        Self {
            job,
            origin,
            dedupe_key: None,
            request_key: None,
            requested_by: None,
            run_at: None,
            parent: None,
            max_attempts: None,
            priority: 0,
        }
    }

    /// Not another one while the same is open. One backup of a subject is as good as another; of every other kind only
    /// the same request is the same.
    #[must_use]
    pub fn unless_open(self) -> Self {
        let key = match &self.job {
            Job::Backup(_) => REQUEST.to_owned(),
            Job::Restore(_) | Job::Prune(_) | Job::Verify(_) | Job::Notify(_) => {
                let payload = self.job.payload().to_string();
                format!(
                    "{REQUEST}:{}",
                    hex::encode(Sha256::digest(payload.as_bytes()))
                )
            }
        };
        Self {
            dedupe_key: Some(key),
            ..self
        }
    }
}

/// What became of the wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enqueued {
    New(JobId),
    /// This job already is what was asked for.
    AlreadyOpen(JobId),
}

impl Enqueued {
    pub fn job(self) -> JobId {
        match self {
            Self::New(job) | Self::AlreadyOpen(job) => job,
        }
    }
}

/// Enqueues in a transaction of its own.
pub async fn submit(db: &ControlDb, new: &NewJob) -> Result<Enqueued, QueueError> {
    let new = new.clone();
    within(db.pool(), ANSWER_WITHIN, |conn| {
        Box::pin(async move { enqueue(conn, &new).await })
    })
    .await
}

/// Enqueues within the caller's transaction; workers hear of it at its commit.
pub async fn enqueue(conn: &mut Connection<'_>, new: &NewJob) -> Result<Enqueued, QueueError> {
    let row = sqlx::query!(
        r#"select job_id as "job_id!", is_new as "is_new!"
             from kanbu_backup.enqueue($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"#,
        JobId::new().as_uuid(),
        new.job.kind().as_str(),
        new.job.subject().to_string(),
        new.job.payload(),
        PAYLOAD_VERSION,
        new.origin.as_str(),
        new.priority,
        new.run_at,
        new.max_attempts,
        new.dedupe_key.as_deref(),
        new.request_key.as_deref(),
        new.requested_by.as_deref(),
        new.parent.map(JobId::as_uuid),
    )
    .fetch_one(conn)
    .await?;
    let job = JobId::from(row.job_id);
    Ok(if row.is_new {
        Enqueued::New(job)
    } else {
        Enqueued::AlreadyOpen(job)
    })
}
