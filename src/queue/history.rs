//! Retention of history: what has ended well is forgotten after a while, in small bites. What stays whatever its age is
//! decided in SQL (`kanbu_backup.thin_history`); here is how long, and when somebody looks.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{QueueError, backoff::pause};
use crate::{
    control::{ControlDb, STATEMENT_TIMEOUT, within},
    execution::event,
    job::Kind,
};

/// Every worker looks at its start and then so often.
const LOOK_EVERY: Duration = Duration::from_hours(1);

/// After a bite that failed.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// Messages are many, and nobody looks for one after so long.
const KEEP_MESSAGES: Duration = Duration::from_hours(30 * 24);

/// A message is tried for a day.
const EVENTS_AT_LEAST: Duration = Duration::from_hours(48);

/// How long jobs that succeeded or were cancelled are kept, with their executions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    keep: Duration,
}

impl History {
    /// Finished jobs are kept for so long; less than a day is taken as a day.
    pub fn new(keep: Duration) -> Self {
        Self {
            keep: keep.max(Duration::from_hours(24)),
        }
    }

    /// How long a job of this kind is kept after its end.
    pub fn of(self, kind: Kind) -> Duration {
        match kind {
            Kind::Backup | Kind::Restore | Kind::Prune | Kind::Verify => self.keep,
            Kind::Notify => self.keep.min(KEEP_MESSAGES),
        }
    }
}

impl Default for History {
    fn default() -> Self {
        Self::new(Duration::from_hours(180 * 24))
    }
}

/// Forgets a few jobs of a kind that ended longer ago than `keep`, and answers how many; none while another worker does
/// the same.
pub async fn thin(db: &ControlDb, kind: Kind, keep: Duration) -> Result<u32, QueueError> {
    let thinned = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            let thin = sqlx::query_scalar!(
                r#"select kanbu_backup.thin_history($1, $2::float8 * interval '1 second') as "thinned!""#,
                kind.as_str(),
                keep.as_secs_f64(),
            );
            Ok::<_, QueueError>(thin.fetch_one(conn).await?)
        })
    })
    .await?;
    Ok(u32::try_from(thinned).unwrap_or_default())
}

/// Thins again and again until `over`.
pub(super) async fn keep(db: &ControlDb, history: History, over: CancellationToken) {
    loop {
        let thinned = tokio::select! {
            () = over.cancelled() => return,
            thinned = thin_kinds(db, history) => match thinned {
                Ok(()) => thin_events(db, history).await,
                Err(error) => Err(error),
            },
        };
        let wait = match thinned {
            Ok(()) => LOOK_EVERY,
            Err(error) => {
                tracing::debug!(%error, "history was not thinned");
                LOOK_AGAIN_AFTER
            }
        };
        tokio::select! {
            () = over.cancelled() => return,
            () = pause(wait) => {}
        }
    }
}

/// Events and what became of their messages go with the history.
async fn thin_events(db: &ControlDb, history: History) -> Result<(), QueueError> {
    let keep = history.keep.max(EVENTS_AT_LEAST);
    while event::thin(db, keep).await? > 0 {}
    Ok(())
}

async fn thin_kinds(db: &ControlDb, history: History) -> Result<(), QueueError> {
    for kind in Kind::ALL {
        let jobs = thin_all(db, kind, history.of(kind)).await?;
        if jobs > 0 {
            tracing::info!(job.kind = %kind, jobs, "forgot jobs that ended long ago");
        }
    }
    Ok(())
}

/// Bite by bite, until one finds nothing.
async fn thin_all(db: &ControlDb, kind: Kind, keep: Duration) -> Result<u32, QueueError> {
    let mut all = 0;
    loop {
        match thin(db, kind, keep).await? {
            0 => return Ok(all),
            thinned => all += thinned,
        }
    }
}
