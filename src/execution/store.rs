//! Reading what happened. Executions are opened and closed by `queue` alone.

use chrono::{DateTime, Utc};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use uuid::Uuid;

use super::{Outcome, Progress, Warning};
use crate::{
    control::{ControlDb, ControlError, STATEMENT_TIMEOUT, within},
    fault::Fault,
    id::{ArtifactId, ExecutionId, JobId, WorkerId},
};

/// One attempt at a job.
#[derive(Clone, Debug, Serialize)]
pub struct ExecutionView {
    pub id: ExecutionId,
    pub job: JobId,
    pub worker: WorkerId,
    pub attempt: i16,
    /// Whether it counted as an attempt; only what a shutdown gave back doesn't.
    pub charged: bool,
    pub started_at: DateTime<Utc>,
    pub lease_until: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
    /// `None` while it is open.
    pub outcome: Option<Outcome>,
    pub fault: Option<Fault>,
    pub error_code: Option<String>,
    pub error: Option<String>,
    /// What the operator can do about it.
    pub hint: Option<String>,
    pub progress: Option<Progress>,
    pub log: Vec<String>,
    pub result: Option<Value>,
    pub warnings: Vec<Warning>,
    pub bytes_in: Option<i64>,
    pub bytes_out: Option<i64>,
    pub artifact: Option<ArtifactId>,
}

/// The history of a job, the newest first.
pub async fn executions(db: &ControlDb, job: JobId) -> Result<Vec<ExecutionView>, ControlError> {
    let query = sqlx::query!(
        "select id, job_id, worker_id, attempt, charged, started_at, lease_until, ended_at, outcome, fault, error_code,
                error, hint, progress, log, result, warnings, bytes_in, bytes_out, artifact_id
           from kanbu_backup.execution where job_id = $1 order by fence desc",
        job.as_uuid(),
    );
    let rows = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move { Ok::<_, ControlError>(query.fetch_all(conn).await?) })
    })
    .await?;
    let views = rows.into_iter().map(|row| ExecutionView {
        id: row.id.into(),
        job: row.job_id.into(),
        worker: row.worker_id.into(),
        attempt: row.attempt,
        charged: row.charged,
        started_at: row.started_at,
        lease_until: row.lease_until,
        ended_at: row.ended_at,
        outcome: decoded(row.outcome.map(Value::String)),
        fault: decoded(row.fault.map(Value::String)),
        error_code: row.error_code,
        error: row.error,
        hint: row.hint,
        progress: decoded(row.progress),
        log: row.log,
        result: row.result,
        warnings: decoded(row.warnings).unwrap_or_default(),
        bytes_in: row.bytes_in,
        bytes_out: row.bytes_out,
        artifact: row.artifact_id.map(ArtifactId::from),
    });
    Ok(views.collect())
}

/// The executions of a job that have ended, the newest first: where a backup's next execution looks for a manifest that
/// was written and never published.
pub async fn earlier_executions(
    db: &ControlDb,
    job: JobId,
) -> Result<Vec<ExecutionId>, ControlError> {
    let query = sqlx::query_scalar!(
        "select id from kanbu_backup.execution where job_id = $1 and ended_at is not null order by fence desc",
        job.as_uuid(),
    );
    let ids = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move { Ok::<_, ControlError>(query.fetch_all(conn).await?) })
    })
    .await?;
    Ok(ids.into_iter().map(ExecutionId::from).collect())
}

/// The executions that somebody may still be working on.
pub async fn open(db: &ControlDb) -> Result<Vec<ExecutionId>, ControlError> {
    let query = sqlx::query_scalar!("select id from kanbu_backup.execution where ended_at is null");
    let ids = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move { Ok::<_, ControlError>(query.fetch_all(conn).await?) })
    })
    .await?;
    Ok(ids.into_iter().map(ExecutionId::from).collect())
}

/// The executions of the last day whose workers died: what they left outside of the database may still run.
pub async fn lost(db: &ControlDb) -> Result<Vec<ExecutionId>, ControlError> {
    let query = sqlx::query_scalar!(
        "select id from kanbu_backup.execution where fault = 'lease_lost' and ended_at > now() - interval '1 day'"
    );
    let ids = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move { Ok::<_, ControlError>(query.fetch_all(conn).await?) })
    })
    .await?;
    Ok(ids.into_iter().map(ExecutionId::from).collect())
}

/// The executions that were restoring and came to nothing: what they were filling is of no use to anybody.
pub async fn failed_restores(db: &ControlDb) -> Result<Vec<ExecutionId>, ControlError> {
    let query = sqlx::query_scalar!(
        "select id from kanbu_backup.execution
          where kind in ('restore', 'verify') and outcome in ('failed', 'cancelled')"
    );
    let ids = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move { Ok::<_, ControlError>(query.fetch_all(conn).await?) })
    })
    .await?;
    Ok(ids.into_iter().map(ExecutionId::from).collect())
}

/// Which of these executions nobody holds any more: closed, or unknown. What runs in their name is to be ended.
pub async fn ended(
    db: &ControlDb,
    executions: &[ExecutionId],
) -> Result<Vec<ExecutionId>, ControlError> {
    let ids: Vec<Uuid> = executions.iter().map(|id| id.as_uuid()).collect();
    let query = sqlx::query_scalar!(
        r#"select given.id as "id!" from unnest($1::uuid[]) as given (id)
            where not exists (select from kanbu_backup.execution e where e.id = given.id and e.ended_at is null)"#,
        &ids,
    );
    let ended = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move { Ok::<_, ControlError>(query.fetch_all(conn).await?) })
    })
    .await?;
    Ok(ended.into_iter().map(ExecutionId::from).collect())
}

/// Which of these executions were ours and have ended, or lost their leases. Of others nothing is known: they may be another service's.
pub async fn over(
    db: &ControlDb,
    executions: &[ExecutionId],
) -> Result<Vec<ExecutionId>, ControlError> {
    let ids: Vec<Uuid> = executions.iter().map(|id| id.as_uuid()).collect();
    let query = sqlx::query_scalar!(
        "select id from kanbu_backup.execution where id = any ($1) and (ended_at is not null or lease_until < now())",
        &ids,
    );
    let over = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move { Ok::<_, ControlError>(query.fetch_all(conn).await?) })
    })
    .await?;
    Ok(over.into_iter().map(ExecutionId::from).collect())
}

/// A stored value for people to see. What a newer release wrote and this one can't read is left out.
pub(crate) fn decoded<T: DeserializeOwned>(stored: Option<Value>) -> Option<T> {
    stored.and_then(|value| serde_json::from_value(value).ok())
}
