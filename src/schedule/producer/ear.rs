//! Hearing that a person has changed a schedule, and waiting until there may be something to look at.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{ControlDb, ControlError};
use crate::queue::backoff::{Patience, pause};

const CHANGES: &str = "kanbu_backup_schedule";

/// The timer while notifications come through, and while they don't.
const IDLE: Duration = Duration::from_secs(5);
const IDLE_DEAF: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub(super) struct Ear {
    db: ControlDb,
    changed: Arc<Notify>,
    hearing: Arc<AtomicBool>,
}

impl Ear {
    pub(super) fn new(db: ControlDb) -> Self {
        Self {
            db,
            changed: Arc::new(Notify::new()),
            hearing: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Listens until `over`, reconnecting as often as it takes.
    pub(super) async fn listen(&self, over: CancellationToken) {
        let mut patience = Patience::new();
        loop {
            let heard = tokio::select! {
                () = over.cancelled() => return,
                heard = self.listen_once(&mut patience) => heard,
            };
            self.hearing.store(false, Ordering::Relaxed);
            if let Err(error) = heard {
                tracing::warn!(%error, "not listening for changes of schedules; looking every second instead");
                if matches!(error, ControlError::NoDirectAddress { .. }) {
                    return;
                }
            }
            tokio::select! {
                () = over.cancelled() => return,
                () = patience.pause() => {}
            }
        }
    }

    async fn listen_once(&self, patience: &mut Patience) -> Result<(), ControlError> {
        let mut listener = self.db.listener().await?;
        listener.eager_reconnect(false);
        listener.listen(CHANGES).await?;
        *patience = Patience::new();
        self.hearing.store(true, Ordering::Relaxed);
        // What was announced while nobody listened is found by looking.
        self.changed.notify_one();
        while listener.try_recv().await?.is_some() {
            self.changed.notify_one();
        }
        Ok(())
    }

    /// Waits for a change, now or since the last wait; for the next tick; or for the timer.
    pub(super) async fn wait(&self, due_in: Option<Duration>) {
        let idle = if self.hearing.load(Ordering::Relaxed) {
            IDLE
        } else {
            IDLE_DEAF
        };
        let timer = pause(due_in.map_or(idle, |due| due.min(idle)));
        tokio::select! {
            () = self.changed.notified() => {}
            () = timer => {}
        }
    }
}
