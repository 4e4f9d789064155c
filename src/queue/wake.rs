//! Knowing when to claim: one LISTEN connection per process, and a timer for whenever it hears nothing.
//!
//! A wake-up must not get lost. Signals are latched (a permit, not an edge), LISTEN comes before the first claim that
//! relies on it, every reconnect signals everybody, and whoever waits looks again by the timer anyway.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::postgres::{PgListener, PgNotification};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    QueueError,
    backoff::{ANSWER_WITHIN, Patience, pause},
    keeper::Keeper,
};
use crate::{
    control::{ControlDb, ControlError, within},
    fault::Classified,
    id::WorkerId,
    job::Kind,
};

const JOBS: &str = "kanbu_backup_job";
const CANCELS: &str = "kanbu_backup_cancel";
/// Workers that are asked to go: each looks into its own row.
const DRAINS: &str = "kanbu_backup_drain";
/// Jobs that have ended, for those who follow one.
pub(super) const ENDS: &str = "kanbu_backup_end";

/// The timer while notifications come through, and while they don't.
const IDLE: Duration = Duration::from_secs(5);
const IDLE_DEAF: Duration = Duration::from_secs(1);

/// The listener tests itself so often; a test not heard by the next look means deafness.
const SELF_TEST_EVERY: Duration = Duration::from_secs(30);
const HEARD_WITHIN: Duration = Duration::from_secs(2);

/// Who is to be woken.
#[derive(Debug)]
pub(super) struct Signals {
    lanes: BTreeMap<Kind, Notify>,
    row: Notify,
    hearing: AtomicBool,
}

impl Signals {
    pub(super) fn new(kinds: impl IntoIterator<Item = Kind>) -> Self {
        Self {
            lanes: kinds.into_iter().map(|k| (k, Notify::new())).collect(),
            row: Notify::new(),
            hearing: AtomicBool::new(false),
        }
    }

    /// Waits until a job of this kind may be ready: a signal, now or since the last wait; the time; or the timer.
    pub(super) async fn wait(&self, kind: Kind, due_in: Option<Duration>) {
        let idle = if self.is_hearing() { IDLE } else { IDLE_DEAF };
        let timer = pause(due_in.map_or(idle, |due| due.min(idle)));
        match self.lanes.get(&kind) {
            Some(signal) => tokio::select! {
                () = signal.notified() => {}
                () = timer => {}
            },
            None => timer.await,
        }
    }

    /// Waits until somebody may have written into the worker's row.
    pub(super) async fn row_announced(&self) {
        self.row.notified().await;
    }

    /// Whether notifications come through.
    pub(super) fn is_hearing(&self) -> bool {
        self.hearing.load(Ordering::Relaxed)
    }

    fn signal(&self, kind: Kind) {
        if let Some(signal) = self.lanes.get(&kind) {
            signal.notify_one();
        }
    }

    fn signal_all(&self) {
        self.lanes.values().for_each(Notify::notify_one);
    }
}

/// Turns notifications into signals.
#[derive(Debug)]
pub(super) struct Ear {
    pub(super) db: ControlDb,
    pub(super) worker: WorkerId,
    pub(super) signals: Arc<Signals>,
    pub(super) keeper: Arc<Keeper>,
}

impl Ear {
    /// Listens until `over`, reconnecting as often as it takes.
    pub(super) async fn listen(&self, over: CancellationToken) {
        let mut patience = Patience::new();
        loop {
            let heard = tokio::select! {
                () = over.cancelled() => return,
                heard = self.listen_once(&mut patience) => heard,
            };
            self.signals.hearing.store(false, Ordering::Relaxed);
            if let Err(error) = heard {
                let hint = error.hint();
                tracing::warn!(%error, hint = hint.as_deref(), "not listening to the control database; looking every second instead");
                if matches!(
                    error,
                    QueueError::Control(ControlError::NoDirectAddress { .. })
                ) {
                    return;
                }
            }
            tokio::select! {
                () = over.cancelled() => return,
                () = patience.pause() => {}
            }
        }
    }

    /// Listens on one connection until it breaks or proves deaf.
    async fn listen_once(&self, patience: &mut Patience) -> Result<(), QueueError> {
        let mut listener = self.db.listener().await?;
        listener.eager_reconnect(false);
        listener.listen_all([JOBS, CANCELS, DRAINS]).await?;
        // What was announced while nobody listened is found by looking.
        self.signals.signal_all();
        self.keeper.nudge();
        loop {
            self.self_test().await?;
            if !self.hear(&mut listener, HEARD_WITHIN, true).await? {
                tracing::warn!("LISTEN hears nothing; behind a pooler it needs a direct address");
                return Ok(());
            }
            *patience = Patience::new();
            if !self.signals.hearing.swap(true, Ordering::Relaxed) {
                self.signals.row.notify_one();
            }
            self.hear(&mut listener, SELF_TEST_EVERY, false).await?;
        }
    }

    async fn self_test(&self) -> Result<(), QueueError> {
        let payload = self.worker.to_string();
        within(self.db.pool(), ANSWER_WITHIN, |conn| {
            Box::pin(async move {
                sqlx::query!("select pg_notify($1, $2)", JOBS, payload)
                    .fetch_one(conn)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    /// Passes on what is heard for so long, or until the self-test is; answers whether it was.
    async fn hear(
        &self,
        listener: &mut PgListener,
        time: Duration,
        until_test: bool,
    ) -> Result<bool, QueueError> {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(notification) = tokio::time::timeout(left, listener.try_recv()).await else {
                return Ok(false);
            };
            let Some(notification) = notification? else {
                return Err(QueueError::Unanswered(time));
            };
            if self.pass_on(&notification) && until_test {
                return Ok(true);
            }
        }
    }

    /// Answers whether it was the self-test.
    fn pass_on(&self, notification: &PgNotification) -> bool {
        let payload = notification.payload();
        match notification.channel() {
            CANCELS => self.keeper.nudge(),
            DRAINS if payload == self.worker.to_string() => self.signals.row.notify_one(),
            JOBS if payload == self.worker.to_string() => return true,
            JOBS if payload == "*" => self.signals.signal_all(),
            JOBS => {
                if let Ok(kind) = payload.parse() {
                    self.signals.signal(kind);
                }
            }
            _ => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_signal_before_the_wait_is_not_lost() {
        let signals = Signals::new([Kind::Backup]);
        signals.signal(Kind::Backup);
        let before = tokio::time::Instant::now();
        signals.wait(Kind::Backup, None).await;
        assert_eq!(before.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deaf_worker_looks_every_second() {
        let signals = Signals::new([Kind::Backup]);
        let before = tokio::time::Instant::now();
        signals.wait(Kind::Backup, None).await;
        assert_eq!(before.elapsed(), IDLE_DEAF);
        signals.hearing.store(true, Ordering::Relaxed);
        let before = tokio::time::Instant::now();
        signals.wait(Kind::Backup, None).await;
        assert_eq!(before.elapsed(), IDLE);
    }
}
