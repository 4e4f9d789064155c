//! Putting a job into the queue, in the caller's own transaction. The rules (accepted kinds, payloads, keys, what counts as
//! the same request) are those of the SQL function that every language calls; here its parameters get their types.

use chrono::{DateTime, Utc};

use super::{Origin, QueueError, backoff::ANSWER_WITHIN};
use crate::{
    control::{Connection, ControlDb, within},
    id::JobId,
    job::{Job, PAYLOAD_VERSION},
};

/// Which open job makes another one unnecessary. There is one per kind and subject; when it has ended, the way is free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dedupe {
    /// None: however many are open, this one is meant besides.
    Never,
    /// One that was enqueued under this key.
    Key(String),
    /// The same request. One backup of a subject is as good as another; of every other kind only the same payload is.
    Request,
}

/// A job that is about to be enqueued.
#[derive(Clone, Debug)]
pub struct NewJob {
    pub job: Job,
    pub origin: Origin,
    pub dedupe: Dedupe,
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
            dedupe: Dedupe::Never,
            request_key: None,
            requested_by: None,
            run_at: None,
            parent: None,
            max_attempts: None,
            priority: 0,
        }
    }

    /// Not another one while the same is open.
    #[must_use]
    pub fn unless_open(self) -> Self {
        Self {
            dedupe: Dedupe::Request,
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
    let dedupe_key = match &new.dedupe {
        Dedupe::Key(key) => Some(key.as_str()),
        Dedupe::Never | Dedupe::Request => None,
    };
    let row = sqlx::query!(
        r#"select job_id as "job_id!", is_new as "is_new!"
             from kanbu_backup.enqueue($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"#,
        JobId::new().as_uuid(),
        new.job.kind().as_str(),
        new.job.subject().to_string(),
        new.job.payload(),
        PAYLOAD_VERSION,
        new.origin.as_str(),
        new.priority,
        new.run_at,
        new.max_attempts,
        dedupe_key,
        new.request_key.as_deref(),
        new.requested_by.as_deref(),
        new.parent.map(JobId::as_uuid),
        new.dedupe == Dedupe::Request,
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
