//! Retention of history: what has ended well is forgotten after a while, in small bites. What stays whatever its age is
//! decided in SQL (`kanbu_backup.thin_history`); here is how long, and when somebody looks.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{
    QueueError,
    backoff::{ANSWER_WITHIN, pause},
};
use crate::{
    control::{ControlDb, within},
    job::Kind,
};

/// Every worker looks at its start and then so often.
const LOOK_EVERY: Duration = Duration::from_hours(1);

/// Messages are many, and nobody looks for one after so long.
const KEEP_MESSAGES: Duration = Duration::from_hours(30 * 24);

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
    let thinned = within(db.pool(), ANSWER_WITHIN, |conn| {
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

/// Thins again and again until `over`. What fails is tried at the next look.
pub(super) async fn keep(db: &ControlDb, history: History, over: CancellationToken) {
    loop {
        for kind in Kind::ALL {
            let thinned = tokio::select! {
                () = over.cancelled() => return,
                thinned = thin_all(db, kind, history.of(kind)) => thinned,
            };
            match thinned {
                Ok(0) => {}
                Ok(jobs) => {
                    tracing::info!(job.kind = %kind, jobs, "forgot jobs that ended long ago");
                }
                Err(error) => tracing::debug!(%error, job.kind = %kind, "history was not thinned"),
            }
        }
        tokio::select! {
            () = over.cancelled() => return,
            () = pause(LOOK_EVERY) => {}
        }
    }
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
