//! Extending leases: one statement for everything a process holds, with progress and log lines riding along.

use std::time::Duration;

use serde::Serialize;

use super::{QueueError, wire::stored};
use crate::{
    control::{ControlDb, within},
    execution::Progress,
    id::ExecutionId,
};

/// What is written of a living execution.
#[derive(Clone, Debug, Serialize)]
pub struct Renewal {
    pub id: ExecutionId,
    /// `None`: as before.
    pub progress: Option<Progress>,
    /// How many log lines the row is known to hold, and what follows them. Sent twice, lines are kept once.
    pub log_from: usize,
    pub log: Vec<String>,
}

/// An execution whose lease was extended. One that isn't in the answer is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewed {
    pub execution: ExecutionId,
    pub cancel_requested: bool,
}

/// Renews on the pool that is kept free for it.
pub async fn renew(
    db: &ControlDb,
    renewals: &[Renewal],
    lease: Duration,
    limit: Duration,
) -> Result<Vec<Renewed>, QueueError> {
    let renewals = stored(renewals);
    let rows = within(db.renewals(), limit, |conn| {
        Box::pin(async move {
            let renew = sqlx::query!(
                r#"select execution_id as "execution_id!", cancel_requested as "cancel_requested!"
                     from kanbu_backup.renew($1, $2::float8 * interval '1 second')"#,
                renewals,
                lease.as_secs_f64(),
            );
            Ok::<_, QueueError>(renew.fetch_all(conn).await?)
        })
    })
    .await?;
    let renewed = rows.into_iter().map(|row| Renewed {
        execution: row.execution_id.into(),
        cancel_requested: row.cancel_requested,
    });
    Ok(renewed.collect())
}
