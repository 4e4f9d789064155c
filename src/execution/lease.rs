//! The timed, fenced right to write one execution, as the use case that works under it sees it.
//!
//! A `Lease` is granted and kept alive by `queue` (through its [`LeaseSeat`]); whoever holds it asks before every outside
//! step whether it still runs. It is not `Clone`: `queue::finish` consumes it, so nothing can be published twice.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::Progress;
use crate::{
    fault::{Classified, Failure, Fault},
    id::{ExecutionId, JobId},
};

/// Most log lines kept with one execution; further ones are counted, not kept.
const MAX_LOG_LINES: usize = 500;

/// Somebody else may hold this execution's job by now. Nothing of it may be written any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the lease on execution {0} is lost")]
pub struct LeaseLost(pub ExecutionId);

impl Classified for LeaseLost {
    fn fault(&self) -> Fault {
        Fault::LeaseLost
    }

    fn code(&self) -> &'static str {
        "lease.lost"
    }
}

/// A question from the holder to the keeper: renew in the database now, and say whether it took.
pub type Recheck = oneshot::Sender<Result<(), LeaseLost>>;

/// What the holder and the keeper of a lease share.
#[derive(Debug, Default)]
struct Shared {
    progress: Mutex<Progress>,
    log: Mutex<Vec<String>>,
    cancelled: CancellationToken,
    lost: CancellationToken,
}

/// The holder's end.
#[derive(Debug)]
pub struct Lease {
    execution: ExecutionId,
    job: JobId,
    attempt: i16,
    shared: Arc<Shared>,
    rechecks: Option<mpsc::Sender<Recheck>>,
}

/// The keeper's end: what `queue` renews from, and by which it stops the holder.
#[derive(Debug)]
pub struct LeaseSeat {
    pub execution: ExecutionId,
    shared: Arc<Shared>,
    pub rechecks: mpsc::Receiver<Recheck>,
}

impl Lease {
    /// A lease and its keeper's end.
    pub fn grant(execution: ExecutionId, job: JobId, attempt: i16) -> (Self, LeaseSeat) {
        let shared = Arc::new(Shared::default());
        let (ask, rechecks) = mpsc::channel(4);
        let lease = Self {
            execution,
            job,
            attempt,
            shared: Arc::clone(&shared),
            rechecks: Some(ask),
        };
        (
            lease,
            LeaseSeat {
                execution,
                shared,
                rechecks,
            },
        )
    }

    /// Work without a queue: an offline verb's, where nobody else can be doing the same.
    pub fn unattended() -> Self {
        Self {
            execution: ExecutionId::new(),
            job: JobId::new(),
            attempt: 1,
            shared: Arc::default(),
            rechecks: None,
        }
    }

    pub fn execution(&self) -> ExecutionId {
        self.execution
    }

    pub fn job(&self) -> JobId {
        self.job
    }

    /// 1 for the first attempt.
    pub fn attempt(&self) -> i16 {
        self.attempt
    }

    /// Fires when the work is to stop: by request, by shutdown, or because the lease is lost.
    pub fn cancelled(&self) -> &CancellationToken {
        &self.shared.cancelled
    }

    /// Renews the lease in the database before an outside step; waits while the database is away and the lease may run.
    pub async fn check(&self) -> Result<(), Failure> {
        self.stopped()?;
        let Some(rechecks) = &self.rechecks else {
            return Ok(());
        };
        let (reply, answer) = oneshot::channel();
        let lost = LeaseLost(self.execution);
        rechecks.send(reply).await.map_err(|_| lost)?;
        answer.await.map_err(|_| lost)??;
        self.stopped()
    }

    /// Why the work must stop, if it must.
    pub fn stopped(&self) -> Result<(), Failure> {
        if self.shared.lost.is_cancelled() {
            return Err(LeaseLost(self.execution).into());
        }
        if self.shared.cancelled.is_cancelled() {
            Err(Failure::cancelled())
        } else {
            Ok(())
        }
    }

    /// Says how far the work is. Cheap; the row follows with the next renewal.
    pub fn report(&self, progress: Progress) {
        *self
            .shared
            .progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = progress;
    }

    /// Keeps a line with the execution, for `job show`. Never a secret.
    pub fn log(&self, line: impl Into<String>) {
        let mut log = self
            .shared
            .log
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if log.len() < MAX_LOG_LINES {
            log.push(line.into());
        }
    }
}

impl LeaseSeat {
    /// The holder shall stop; its lease still runs, so that it can clean up.
    pub fn cancel(&self) {
        self.shared.cancelled.cancel();
    }

    /// The holder must stop and may write nothing more.
    pub fn lose(&self) {
        self.shared.lost.cancel();
        self.shared.cancelled.cancel();
    }

    pub fn progress(&self) -> Progress {
        self.shared
            .progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Takes the log lines that have come since the last call.
    pub fn drain_log(&self) -> Vec<String> {
        std::mem::take(
            &mut *self
                .shared
                .log
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lost_lease_stops_the_holder_with_its_own_fault() {
        let (lease, seat) = Lease::grant(ExecutionId::new(), JobId::new(), 1);
        seat.lose();
        assert!(lease.cancelled().is_cancelled());
        assert_eq!(lease.check().await.unwrap_err().fault, Fault::LeaseLost);
    }

    #[tokio::test]
    async fn a_lease_whose_keeper_is_gone_is_lost() {
        let (lease, seat) = Lease::grant(ExecutionId::new(), JobId::new(), 1);
        drop(seat);
        assert_eq!(lease.check().await.unwrap_err().fault, Fault::LeaseLost);
    }
}
