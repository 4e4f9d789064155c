//! The timed, fenced right to write one execution, as the use case that works under it sees it.
//!
//! A `Lease` is granted and kept alive by `queue` (through its [`LeaseSeat`]); whoever holds it asks before every outside
//! step whether it still runs. The execution it stands for is closed once, by `queue`, when the holder has returned.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{Phase, Progress};
use crate::{
    fault::{Classified, Failure, Fault},
    id::{ExecutionId, JobId},
};

/// Most log lines kept with one execution; that there were more is said, they are not kept.
const MAX_LOG_LINES: usize = 500;

/// Longest kept log line, in bytes.
const MAX_LOG_LINE_BYTES: usize = 1000;

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

/// Why a holder is told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stop {
    /// Somebody cancelled the job.
    Requested,
    /// The worker goes away; the job starts again elsewhere and isn't charged for it.
    Shutdown,
    /// The kind's longest time is over.
    Deadline,
    /// The lease is lost, or so nearly that it must be treated so. Overrides every other reason.
    Lost,
}

/// A question from the holder to the keeper: renew in the database now, and say whether it took.
#[derive(Debug)]
pub struct Recheck {
    pub execution: ExecutionId,
    pub reply: oneshot::Sender<Result<(), LeaseLost>>,
}

/// What the holder and the keeper of a lease share.
#[derive(Debug, Default)]
struct Shared {
    progress: Mutex<Progress>,
    log: Mutex<Vec<String>>,
    stop: Mutex<Option<Stop>>,
    cancelled: CancellationToken,
}

/// The holder's end.
#[derive(Debug)]
pub struct Lease {
    execution: ExecutionId,
    job: JobId,
    attempt: i16,
    since: Instant,
    shared: Arc<Shared>,
    rechecks: Option<mpsc::Sender<Recheck>>,
    /// The last phase that is reported; `None`: all are.
    until: Option<Phase>,
}

/// The keeper's end: what `queue` renews from, and by which it stops the holder.
#[derive(Debug)]
pub struct LeaseSeat {
    shared: Arc<Shared>,
}

impl Lease {
    /// A lease and its keeper's end. The keeper answers `rechecks`; once it no longer listens, the lease is lost.
    pub fn grant(
        execution: ExecutionId,
        job: JobId,
        attempt: i16,
        rechecks: mpsc::Sender<Recheck>,
    ) -> (Self, LeaseSeat) {
        let lease = Self {
            execution,
            job,
            attempt,
            since: Instant::now(),
            shared: Arc::default(),
            rechecks: Some(rechecks),
            until: None,
        };
        let seat = LeaseSeat {
            shared: Arc::clone(&lease.shared),
        };
        (lease, seat)
    }

    /// Work without a queue: an offline verb's, where nobody else can be doing the same.
    pub fn unattended() -> Self {
        Self {
            execution: ExecutionId::new(),
            job: JobId::new(),
            attempt: 1,
            since: Instant::now(),
            shared: Arc::default(),
            rechecks: None,
            until: None,
        }
    }

    /// The same right, for a part of the work that counts as a job of its own: what earlier executions of the whole left
    /// behind isn't taken for its own. Phases after `until` are left to the whole, which has its own to come.
    #[must_use]
    pub fn lent(&self, until: Phase) -> Self {
        Self {
            execution: self.execution,
            job: JobId::new(),
            attempt: 1,
            since: self.since,
            shared: Arc::clone(&self.shared),
            rechecks: self.rechecks.clone(),
            until: Some(until),
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

    /// Renews the lease in the database before an outside step. While the database is away this waits, so that no step
    /// is begun on a memory of the lease; it ends with the answer, or when the work is told to stop.
    pub async fn check(&self) -> Result<(), Failure> {
        self.stopped()?;
        let Some(rechecks) = &self.rechecks else {
            return Ok(());
        };
        let lost = LeaseLost(self.execution);
        let (reply, answer) = oneshot::channel();
        let recheck = Recheck {
            execution: self.execution,
            reply,
        };
        let renewed = async {
            rechecks.send(recheck).await.map_err(|_| lost)?;
            answer.await.map_err(|_| lost)?
        };
        tokio::select! {
            renewed = renewed => renewed?,
            () = self.shared.cancelled.cancelled() => {}
        }
        self.stopped()
    }

    /// Why the work must stop, if it must.
    pub fn stopped(&self) -> Result<(), Failure> {
        match self.shared.stop() {
            None => Ok(()),
            Some(Stop::Lost) => Err(LeaseLost(self.execution).into()),
            Some(Stop::Requested | Stop::Shutdown | Stop::Deadline) => Err(Failure::cancelled()),
        }
    }

    /// Says how far the work is. Cheap; the row follows with the next renewal. A late word of an earlier phase is dropped.
    pub fn report(&self, progress: Progress) {
        if self.until.is_some_and(|until| progress.phase > until) {
            return;
        }
        let mut current = locked(&self.shared.progress);
        if progress.phase >= current.phase {
            *current = progress;
        }
    }

    /// Keeps a line with the execution, for `job show`, behind the seconds since its start. Never a secret.
    pub fn log(&self, line: impl AsRef<str>) {
        let mut log = locked(&self.shared.log);
        let text = match log.len() {
            ..MAX_LOG_LINES => one_line(line.as_ref()),
            MAX_LOG_LINES => "further lines are not kept".to_owned(),
            _ => return,
        };
        let at = self.since.elapsed();
        log.push(format!(
            "+{}.{:03} {text}",
            at.as_secs(),
            at.subsec_millis()
        ));
    }
}

impl LeaseSeat {
    /// Tells the holder to stop. The first reason stays, but losing the lease outdoes them all.
    pub fn stop(&self, why: Stop) {
        let mut stop = locked(&self.shared.stop);
        if stop.is_none() || why == Stop::Lost {
            *stop = Some(why);
        }
        drop(stop);
        self.shared.cancelled.cancel();
    }

    /// Why the holder was told to stop, if it was.
    pub fn stopped(&self) -> Option<Stop> {
        self.shared.stop()
    }

    pub fn progress(&self) -> Progress {
        locked(&self.shared.progress).clone()
    }

    /// The log lines after the first `seen`.
    pub fn log_after(&self, seen: usize) -> Vec<String> {
        locked(&self.shared.log)
            .get(seen..)
            .unwrap_or_default()
            .to_vec()
    }
}

impl Shared {
    fn stop(&self) -> Option<Stop> {
        *locked(&self.stop)
    }
}

/// These locks guard plain values that every write leaves whole, so a holder's panic doesn't spoil them.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn one_line(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_LOG_LINE_BYTES);
    text[..end].replace(['\n', '\r', '\0'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted() -> (Lease, LeaseSeat, mpsc::Receiver<Recheck>) {
        let (ask, rechecks) = mpsc::channel(4);
        let (lease, seat) = Lease::grant(ExecutionId::new(), JobId::new(), 1, ask);
        (lease, seat, rechecks)
    }

    #[tokio::test]
    async fn a_lost_lease_stops_the_holder_with_its_own_fault() {
        let (lease, seat, _rechecks) = granted();
        seat.stop(Stop::Requested);
        seat.stop(Stop::Lost);
        seat.stop(Stop::Shutdown);
        assert!(lease.cancelled().is_cancelled());
        assert_eq!(lease.check().await.unwrap_err().fault, Fault::LeaseLost);
    }

    #[tokio::test]
    async fn a_lease_whose_keeper_is_gone_is_lost() {
        let (lease, _seat, rechecks) = granted();
        drop(rechecks);
        assert_eq!(lease.check().await.unwrap_err().fault, Fault::LeaseLost);
    }

    #[tokio::test]
    async fn a_check_that_waits_for_the_database_ends_when_the_work_is_cancelled() {
        let (lease, seat, mut rechecks) = granted();
        let (checked, _unanswered) = tokio::join!(lease.check(), async {
            let unanswered = rechecks.recv().await;
            seat.stop(Stop::Requested);
            unanswered
        });
        assert_eq!(checked.unwrap_err().fault, Fault::Cancelled);
    }

    #[test]
    fn the_log_is_bounded_and_says_so() {
        let (lease, seat, _rechecks) = granted();
        lease.log(format!("a\nb{}", "é".repeat(MAX_LOG_LINE_BYTES)));
        for line in 0..2 * MAX_LOG_LINES {
            lease.log(line.to_string());
        }
        let kept = seat.log_after(0);
        assert_eq!(kept.len(), MAX_LOG_LINES + 1);
        assert!(kept[0].contains("a bé") && kept[0].len() < MAX_LOG_LINE_BYTES + 20);
        assert!(kept.last().unwrap().ends_with("further lines are not kept"));
        assert_eq!(seat.log_after(MAX_LOG_LINES).len(), 1);
        assert!(seat.log_after(MAX_LOG_LINES + 9).is_empty());
    }
}
