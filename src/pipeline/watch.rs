//! What a run and its caller share while it goes on: the order to stop, the progress, the last question before the commit.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::future::BoxFuture;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{Feed, Message, stage::Halt};
use crate::fault::Failure;

/// Asked once, when all data is through and before any upload is completed: may this run still publish?
pub type Gate = Box<dyn FnOnce() -> BoxFuture<'static, Result<(), Failure>> + Send>;

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tick {
    /// Decompressed bytes: read from the source, or given to the reader.
    pub content_bytes: u64,
    /// Bytes as they lie on a storage: handed to the storages, or read from one.
    pub stored_bytes: u64,
}

/// Called from the run's threads, several times a second: cheap, and never blocking.
pub type OnTick = Arc<dyn Fn(Tick) + Send + Sync>;

/// The caller's hand on a run.
pub struct Watch {
    pub cancel: CancellationToken,
    pub tick: OnTick,
    /// Reading never asks it.
    pub gate: Gate,
}

impl Watch {
    /// With a gate that is always open.
    pub fn new(cancel: CancellationToken, tick: OnTick) -> Self {
        Self {
            cancel,
            tick,
            gate: Box::new(|| Box::pin(async { Ok(()) })),
        }
    }

    #[must_use]
    pub fn with_gate(mut self, gate: Gate) -> Self {
        self.gate = gate;
        self
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("cancel", &self.cancel)
            .finish_non_exhaustive()
    }
}

/// Adds up the two counts of a run from all its threads.
#[derive(Clone)]
pub(super) struct Meter {
    counts: Arc<(AtomicU64, AtomicU64)>,
    tick: OnTick,
}

impl Meter {
    pub(super) fn new(tick: OnTick) -> Self {
        Self {
            counts: Arc::default(),
            tick,
        }
    }

    pub(super) fn content(&self, bytes: u64) {
        self.counts.0.fetch_add(bytes, Ordering::Relaxed);
        self.tell();
    }

    pub(super) fn stored(&self, bytes: u64) {
        self.counts.1.fetch_add(bytes, Ordering::Relaxed);
        self.tell();
    }

    /// Begins anew: envelope v1 is read twice.
    pub(super) fn rewind(&self) {
        self.counts.0.store(0, Ordering::Relaxed);
        self.counts.1.store(0, Ordering::Relaxed);
    }

    fn tell(&self) {
        (self.tick)(Tick {
            content_bytes: self.counts.0.load(Ordering::Relaxed),
            stored_bytes: self.counts.1.load(Ordering::Relaxed),
        });
    }
}

/// How a stage's thread waits for something asynchronous without missing the order to stop.
#[derive(Clone, Debug)]
pub(super) struct Waiter {
    pub(super) runtime: Handle,
    pub(super) stop: CancellationToken,
}

impl Waiter {
    pub(super) fn wait<T>(&self, what: impl Future<Output = T>) -> Result<T, Halt> {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => Err(Halt::Stopped),
                result = what => Ok(result),
            }
        })
    }

    pub(super) fn next(&self, feed: &mut Feed) -> Result<Message, Halt> {
        self.wait(feed.next())
    }
}
