//! Closing what dead workers left open. Every worker does it for all, in its round (`presence`).

use std::sync::Arc;

use futures::future::BoxFuture;

use super::{QueueError, backoff::ANSWER_WITHIN};
use crate::{
    control::{ControlDb, within},
    id::{ExecutionId, JobId},
};

/// Ends what dead workers left running outside of the database (containers, backends). Called when a crew starts and after
/// every reap; it asks [`crate::execution::store::ended`] which of what it finds has no owner any more.
pub type Leftovers = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// An execution that was closed because its lease had run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reaped {
    pub execution: ExecutionId,
    pub job: JobId,
}

/// Closes executions past their lease, at most a hundred. Anybody may call it at any time.
pub async fn reap(db: &ControlDb) -> Result<Vec<Reaped>, QueueError> {
    let rows = within(db.pool(), ANSWER_WITHIN, |conn| {
        Box::pin(async move {
            let reap = sqlx::query!(
                r#"select execution_id as "execution_id!", job_id as "job_id!" from kanbu_backup.reap()"#
            );
            Ok::<_, QueueError>(reap.fetch_all(conn).await?)
        })
    })
    .await?;
    let reaped = rows.into_iter().map(|row| Reaped {
        execution: row.execution_id.into(),
        job: row.job_id.into(),
    });
    Ok(reaped.collect())
}
