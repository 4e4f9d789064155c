//! A worker's round, every few seconds: it writes its row, reads there whether it shall go, and reaps.
//!
//! The row is for people. What it asks of the worker is a wish like a signal's: nothing of anybody's work depends on it.

use std::{collections::BTreeMap, sync::Arc};

use tokio_util::sync::CancellationToken;

use super::{
    LeaseTerms, Leftovers, QueueError, Reaped,
    backoff::{ANSWER_WITHIN, pause},
    reap::reap,
    wake::Signals,
};
use crate::{
    control::{ControlDb, within},
    id::WorkerId,
    job::Kind,
};

/// Who works here.
#[derive(Clone, Debug)]
pub(super) struct Presence {
    pub(super) worker: WorkerId,
    pub(super) name: String,
    pub(super) slots: BTreeMap<Kind, usize>,
    pub(super) signals: Arc<Signals>,
    /// Fires when somebody asked this worker to go.
    pub(super) drain: CancellationToken,
}

impl Presence {
    /// Goes its round, again and again, until `over`. Errors are waited out.
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
            self.show(db).await;
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
                () = self.signals.row_announced() => {}
                () = pause(terms.reap_every()) => {}
            }
        }
    }

    async fn show(&self, db: &ControlDb) {
        match self.write(db).await {
            Ok(true) => self.drain.cancel(),
            Ok(false) => {}
            Err(error) => tracing::debug!(%error, "the worker's row could not be written"),
        }
    }

    /// Answers whether somebody asked this worker to go.
    async fn write(&self, db: &ControlDb) -> Result<bool, QueueError> {
        let slots: serde_json::Map<_, _> = self
            .slots
            .iter()
            .map(|(kind, slots)| (kind.to_string(), (*slots).into()))
            .collect();
        let (worker, name) = (self.worker, self.name.clone());
        let listening = self.signals.is_hearing();
        within(db.pool(), ANSWER_WITHIN, |conn| {
            Box::pin(async move {
                let written = sqlx::query_scalar!(
                    r#"with pruned as (
                         delete from kanbu_backup.worker where last_seen_at < now() - interval '7 days'
                       )
                       insert into kanbu_backup.worker (id, host, version, slots, listening)
                       values ($1, $2, $3, $4, $5)
                       on conflict (id) do update set last_seen_at = now(), listening = excluded.listening
                       returning drain_requested_at is not null as "asked_to_go!""#,
                    worker.as_uuid(),
                    name,
                    env!("CARGO_PKG_VERSION"),
                    serde_json::Value::Object(slots),
                    listening,
                );
                Ok(written.fetch_one(conn).await?)
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
