//! Closing what dead workers left open, and the worker's own row, which is for people only.

use std::{collections::BTreeMap, sync::Arc};

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::{
    LeaseTerms, QueueError,
    backoff::{ANSWER_WITHIN, pause},
};
use crate::{
    control::{ControlDb, within},
    id::{ExecutionId, JobId, WorkerId},
    job::Kind,
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

/// Who works here.
#[derive(Clone, Debug)]
pub(super) struct Presence {
    pub(super) worker: WorkerId,
    pub(super) host: String,
    pub(super) slots: BTreeMap<Kind, usize>,
}

impl Presence {
    /// Shows itself and reaps, again and again, until `over`. Errors are waited out.
    pub(super) async fn keep(
        &self,
        db: &ControlDb,
        terms: LeaseTerms,
        leftovers: Option<Leftovers>,
        over: CancellationToken,
    ) {
        let sweep = async || {
            if let Some(leftovers) = &leftovers {
                leftovers().await;
            }
        };
        sweep().await;
        while !over.is_cancelled() {
            if let Err(error) = self.show(db).await {
                tracing::debug!(%error, "the worker's row could not be written");
            }
            match reap(db).await {
                Ok(reaped) if reaped.is_empty() => {}
                Ok(reaped) => {
                    for Reaped { execution, job } in reaped {
                        tracing::warn!(execution.id = %execution, job.id = %job, "closed: its lease had run out");
                    }
                    sweep().await;
                }
                Err(error) => tracing::warn!(%error, "looking for lost leases failed"),
            }
            tokio::select! {
                () = over.cancelled() => {}
                () = pause(terms.reap_every()) => {}
            }
        }
    }

    async fn show(&self, db: &ControlDb) -> Result<(), QueueError> {
        let kinds: Vec<String> = self.slots.keys().map(Kind::to_string).collect();
        let slots = i32::try_from(self.slots.values().sum::<usize>()).unwrap_or(i32::MAX);
        let (worker, host) = (self.worker, self.host.clone());
        within(db.pool(), ANSWER_WITHIN, |conn| {
            Box::pin(async move {
                sqlx::query!(
                    "with pruned as (
                       delete from kanbu_backup.worker where last_seen_at < now() - interval '7 days'
                     )
                     insert into kanbu_backup.worker (id, host, version, kinds, slots)
                     values ($1, $2, $3, $4, $5)
                     on conflict (id) do update set last_seen_at = now()",
                    worker.as_uuid(),
                    host,
                    env!("CARGO_PKG_VERSION"),
                    &kinds,
                    slots,
                )
                .execute(conn)
                .await?;
                Ok(())
            })
        })
        .await
    }

    /// Says that the worker claims no more, or (`gone`) that it has gone in good order.
    pub(super) async fn leave(&self, db: &ControlDb, gone: bool) {
        let worker = self.worker;
        let said: Result<_, QueueError> = within(db.pool(), ANSWER_WITHIN, |conn| {
            Box::pin(async move {
                sqlx::query!(
                    "update kanbu_backup.worker
                        set last_seen_at = now(), stopping_at = coalesce(stopping_at, now()),
                            stopped_at = case when $2 then now() end
                      where id = $1",
                    worker.as_uuid(),
                    gone,
                )
                .execute(conn)
                .await?;
                Ok(())
            })
        })
        .await;
        if let Err(error) = said {
            tracing::debug!(%error, "the worker's row could not be written");
        }
    }
}
