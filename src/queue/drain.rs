//! Workers as people see them, and sending them home: a drain is a wish in the worker's row, which it reads.
//!
//! No decision about who is alive is made from these rows; leases alone decide that.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::{QueueError, WorkerState, backoff::ANSWER_WITHIN};
use crate::{
    control::{ControlDb, within},
    id::{ExecutionId, JobId, WorkerId},
    job::Kind,
};

/// One start of a worker, as its row tells.
#[derive(Clone, Debug, Serialize)]
pub struct WorkerView {
    pub id: WorkerId,
    pub name: String,
    pub version: String,
    pub state: WorkerState,
    /// Jobs of each kind at once.
    pub slots: BTreeMap<Kind, u32>,
    /// Whether it hears notifications; otherwise it looks every second.
    pub listening: bool,
    pub started_at: DateTime<Utc>,
    pub last_seen_at: DateTime<Utc>,
    pub drain_requested_by: Option<String>,
    /// What it works on.
    pub running: Vec<Held>,
}

/// An execution that a worker holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Held {
    pub execution: ExecutionId,
    pub job: JobId,
    pub kind: Kind,
    pub subject: String,
    pub started_at: DateTime<Utc>,
}

struct WorkerRow {
    id: Uuid,
    host: String,
    version: String,
    state: String,
    slots: serde_json::Value,
    listening: bool,
    started_at: DateTime<Utc>,
    last_seen_at: DateTime<Utc>,
    drain_requested_by: Option<String>,
    execution_id: Option<Uuid>,
    job_id: Option<Uuid>,
    kind: Option<String>,
    subject: Option<String>,
    began_at: Option<DateTime<Utc>>,
}

impl WorkerRow {
    fn held(&self) -> Result<Option<Held>, QueueError> {
        let (Some(execution), Some(job), Some(kind), Some(subject), Some(started_at)) = (
            self.execution_id,
            self.job_id,
            self.kind.as_deref(),
            self.subject.clone(),
            self.began_at,
        ) else {
            return Ok(None);
        };
        Ok(Some(Held {
            execution: execution.into(),
            job: job.into(),
            kind: super::read::kind(kind)?,
            subject,
            started_at,
        }))
    }

    fn view(self) -> Result<WorkerView, QueueError> {
        Ok(WorkerView {
            id: self.id.into(),
            name: self.host,
            version: self.version,
            state: self.state.parse()?,
            // A kind that only a newer release knows is no slot that this one could show.
            slots: crate::execution::store::decoded(Some(self.slots)).unwrap_or_default(),
            listening: self.listening,
            started_at: self.started_at,
            last_seen_at: self.last_seen_at,
            drain_requested_by: self.drain_requested_by,
            running: Vec::new(),
        })
    }
}

/// Every worker that the last week has seen, in the order of their starts.
pub async fn workers(db: &ControlDb) -> Result<Vec<WorkerView>, QueueError> {
    let rows = within(db.pool(), ANSWER_WITHIN, |conn| {
        Box::pin(async move {
            let workers = sqlx::query_as!(
                WorkerRow,
                r#"select w.id as "id!", w.host as "host!", w.version as "version!", w.state as "state!",
                          w.slots as "slots!", w.listening as "listening!", w.started_at as "started_at!",
                          w.last_seen_at as "last_seen_at!", w.drain_requested_by, r.execution_id as "execution_id?",
                          r.job_id as "job_id?", r.kind as "kind?", r.subject as "subject?",
                          r.started_at as "began_at?"
                     from kanbu_backup.worker_state w left join kanbu_backup.running r on r.worker_id = w.id
                    order by w.started_at, w.id, r.started_at"#
            );
            Ok::<_, QueueError>(workers.fetch_all(conn).await?)
        })
    })
    .await?;
    let mut workers: Vec<WorkerView> = Vec::new();
    for row in rows {
        let held = row.held()?;
        if workers.last().is_none_or(|last| last.id != row.id.into()) {
            workers.push(row.view()?);
        }
        if let Some(worker) = workers.last_mut() {
            worker.running.extend(held);
        }
    }
    Ok(workers)
}

/// Asks a worker to claim no more, to finish what it has begun and to go; answers whether it was there to be asked.
pub async fn drain(db: &ControlDb, worker: WorkerId, by: &str) -> Result<bool, QueueError> {
    let by = by.to_owned();
    let asked = within(db.pool(), ANSWER_WITHIN, |conn| {
        Box::pin(async move {
            let drain =
                sqlx::query_scalar!("select kanbu_backup.drain($1, $2)", worker.as_uuid(), by);
            Ok::<_, QueueError>(drain.fetch_optional(conn).await?)
        })
    })
    .await?;
    Ok(asked.is_some())
}
