//! Keeping leases: one task per process renews everything it holds, answers rechecks, passes cancels on, and stops a
//! holder before its lease can have run out. It depends on nothing but its own small pool, and outlives the drain.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    LeaseTerms, QueueError, Renewal,
    claim::Claimed,
    finish::{Close, Ending},
    renew::renew,
};
use crate::{
    control::ControlDb,
    execution::{Lease, LeaseLost, LeaseSeat, Progress, Recheck, Stop},
    id::ExecutionId,
};

/// With nothing to fence, look again after this.
const FAR: Duration = Duration::from_hours(1);

type Reply = oneshot::Sender<Result<(), LeaseLost>>;

/// The keeper of one process's leases.
#[derive(Debug)]
pub(super) struct Keeper {
    terms: LeaseTerms,
    seats: Mutex<HashMap<ExecutionId, Kept>>,
    nudge: Notify,
    rechecks: mpsc::Sender<Recheck>,
}

/// One lease, as its keeper sees it.
#[derive(Debug)]
struct Kept {
    seat: LeaseSeat,
    /// Before the last request was sent that the database granted.
    safe_since: Instant,
    /// Past this it is not renewed: its handler ignores its deadline.
    renew_until: Instant,
    /// The work is over, its ending on the way; a missing answer is no loss any more.
    ended: bool,
    log_stored: usize,
    progress_stored: Progress,
    replies: Vec<Reply>,
}

impl Kept {
    fn is_lost(&self) -> bool {
        self.seat.stopped() == Some(Stop::Lost)
    }

    fn is_renewed(&self, now: Instant) -> bool {
        self.ended || (!self.is_lost() && now < self.renew_until)
    }
}

impl Keeper {
    /// The keeper, and the questions it will have to answer in [`Keeper::run`].
    pub(super) fn new(terms: LeaseTerms) -> (Arc<Self>, mpsc::Receiver<Recheck>) {
        let (ask, rechecks) = mpsc::channel(64);
        let keeper = Self {
            terms,
            seats: Mutex::default(),
            nudge: Notify::new(),
            rechecks: ask,
        };
        (Arc::new(keeper), rechecks)
    }

    /// Takes a claimed execution into care. It isn't renewed for longer than `at_most`. A process that was frozen between its
    /// claim and now may have lost it already.
    pub(super) fn admit(&self, claimed: &Claimed, at_most: Duration) -> Lease {
        let (lease, seat) = Lease::grant(
            claimed.execution,
            claimed.job,
            claimed.attempt,
            self.rechecks.clone(),
        );
        let kept = Kept {
            seat,
            safe_since: claimed.asked_at,
            renew_until: Instant::now() + at_most,
            ended: false,
            log_stored: 0,
            progress_stored: Progress::default(),
            replies: Vec::new(),
        };
        self.seats().insert(claimed.execution, kept);
        self.fence();
        lease
    }

    /// Tells one holder to stop.
    pub(super) fn stop(&self, execution: ExecutionId, why: Stop) {
        if let Some(kept) = self.seats().get(&execution) {
            kept.seat.stop(why);
        }
    }

    /// Tells every holder to stop.
    pub(super) fn stop_all(&self, why: Stop) {
        for kept in self.seats().values() {
            kept.seat.stop(why);
        }
    }

    /// Why a holder was told to stop, if it was.
    pub(super) fn stopped(&self, execution: ExecutionId) -> Option<Stop> {
        self.seats().get(&execution).and_then(|k| k.seat.stopped())
    }

    /// How long a holder that is told to stop now may take: it must be over before its lease can be. Where the lease has
    /// run out already, as it has for a process that was frozen, there is nothing to hurry for.
    pub(super) fn time_to_stop(&self, execution: ExecutionId, at_most: Duration) -> Duration {
        let lease = self.terms.lease();
        let safe_since = self.seats().get(&execution).map(|kept| kept.safe_since);
        let left = safe_since.map_or(Duration::ZERO, |since| {
            lease.saturating_sub(since.elapsed())
        });
        if left.is_zero() {
            at_most
        } else {
            at_most.min(left.saturating_sub(lease / 16))
        }
    }

    /// Makes the ending of an execution whose work is over. It is renewed until it is [forgotten](Self::forget).
    pub(super) fn conclude(&self, claimed: &Claimed, close: Close) -> Ending {
        let mut ending = Ending::new(claimed.execution, claimed.job, close);
        if let Some(kept) = self.seats().get_mut(&claimed.execution) {
            kept.ended = true;
            let progress = kept.seat.progress();
            ending.progress = (progress != kept.progress_stored).then_some(progress);
            ending.log_from = kept.log_stored;
            ending.log = kept.seat.log_after(kept.log_stored);
        }
        ending
    }

    /// Stops keeping: the execution is closed, or is left to run out.
    pub(super) fn forget(&self, execution: ExecutionId) {
        self.seats().remove(&execution);
    }

    /// Renews at once: somebody may have asked for a cancel.
    pub(super) fn nudge(&self) {
        self.nudge.notify_one();
    }

    /// Keeps until `over`.
    pub(super) async fn run(
        &self,
        db: &ControlDb,
        mut rechecks: mpsc::Receiver<Recheck>,
        over: CancellationToken,
    ) {
        let mut wait = self.terms.renew_every();
        loop {
            tokio::select! {
                () = over.cancelled() => return,
                recheck = rechecks.recv() => {
                    if let Some(recheck) = recheck { self.note(recheck); }
                    while let Ok(recheck) = rechecks.try_recv() { self.note(recheck); }
                }
                () = self.nudge.notified() => {}
                () = super::backoff::pause(wait) => {}
            }
            let renewed = self.fencing(self.renew(db)).await;
            wait = match renewed {
                Ok(()) => self.terms.renew_every(),
                Err(error) => {
                    tracing::warn!(%error, "the leases could not be renewed");
                    self.terms.renew_again_after()
                }
            };
            wait = wait.min(self.until_next_fence());
            self.fence();
        }
    }

    /// Waits for a renewal without letting a lease slip by meanwhile.
    async fn fencing<T>(&self, renewal: impl Future<Output = T>) -> T {
        tokio::pin!(renewal);
        loop {
            tokio::select! {
                renewed = &mut renewal => return renewed,
                () = super::backoff::pause(self.until_next_fence()) => self.fence(),
            }
        }
    }

    fn note(&self, Recheck { execution, reply }: Recheck) {
        let mut seats = self.seats();
        match seats.get_mut(&execution) {
            Some(kept) if !kept.is_lost() => kept.replies.push(reply),
            // Whoever asks and has gone since needs no answer.
            _ => {
                let _ = reply.send(Err(LeaseLost(execution)));
            }
        }
    }

    async fn renew(&self, db: &ControlDb) -> Result<(), QueueError> {
        let asked_at = Instant::now();
        let mut replies = Vec::new();
        let renewals: Vec<Renewal> = self
            .seats()
            .iter_mut()
            .filter(|(_, kept)| kept.is_renewed(asked_at))
            .map(|(execution, kept)| {
                replies.extend(kept.replies.drain(..).map(|reply| (*execution, reply)));
                let progress = kept.seat.progress();
                Renewal {
                    id: *execution,
                    progress: (progress != kept.progress_stored).then_some(progress),
                    log_from: kept.log_stored,
                    log: kept.seat.log_after(kept.log_stored),
                }
            })
            .collect();
        if renewals.is_empty() {
            return Ok(());
        }
        let answer = renew(db, &renewals, self.terms.lease(), self.terms.renew_within()).await;
        let renewed = match answer {
            Ok(renewed) => renewed,
            Err(error) => {
                self.ask_again(replies);
                return Err(error);
            }
        };
        let cancels: HashMap<_, _> = renewed
            .iter()
            .map(|r| (r.execution, r.cancel_requested))
            .collect();
        for renewal in renewals {
            let cancel = cancels.get(&renewal.id).copied();
            self.settle(renewal, cancel, asked_at);
        }
        for (execution, reply) in replies {
            let held = cancels.contains_key(&execution);
            let _ = reply.send(held.then_some(()).ok_or(LeaseLost(execution)));
        }
        Ok(())
    }

    /// What a renewal's answer means for one lease; `None`: it wasn't in the answer.
    fn settle(&self, renewal: Renewal, cancel: Option<bool>, asked_at: Instant) {
        let mut seats = self.seats();
        let Some(kept) = seats.get_mut(&renewal.id) else {
            return;
        };
        match cancel {
            Some(cancel) => {
                kept.safe_since = asked_at;
                kept.log_stored = renewal.log_from + renewal.log.len();
                if let Some(progress) = renewal.progress {
                    kept.progress_stored = progress;
                }
                if cancel {
                    kept.seat.stop(Stop::Requested);
                }
            }
            // RACE: its ending may have been committed while this renewal was on its way.
            None if kept.ended => {}
            None => {
                tracing::warn!(execution.id = %renewal.id, "the lease is lost");
                kept.seat.stop(Stop::Lost);
            }
        }
    }

    /// The database didn't answer: who asked goes on waiting, unless the lease has been given up meanwhile.
    fn ask_again(&self, replies: Vec<(ExecutionId, Reply)>) {
        for (execution, reply) in replies {
            self.note(Recheck { execution, reply });
        }
    }

    /// Stops every holder whose lease hasn't been renewed for too long, as long as it surely still runs.
    fn fence(&self) {
        let now = Instant::now();
        for (execution, kept) in self.seats().iter_mut() {
            let overdue =
                now.saturating_duration_since(kept.safe_since) >= self.terms.fence_after();
            if overdue && !kept.ended && !kept.is_lost() {
                tracing::error!(execution.id = %execution, "stopped: the lease could not be renewed in time");
                kept.seat.stop(Stop::Lost);
                for reply in kept.replies.drain(..) {
                    let _ = reply.send(Err(LeaseLost(*execution)));
                }
            }
        }
    }

    fn until_next_fence(&self) -> Duration {
        let now = Instant::now();
        self.seats()
            .values()
            .filter(|kept| !kept.ended && !kept.is_lost())
            .map(|kept| (kept.safe_since + self.terms.fence_after()).saturating_duration_since(now))
            .min()
            .unwrap_or(FAR)
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<ExecutionId, Kept>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{fault::Fault, id::JobId, job::Kind};

    fn claimed(ago: Duration) -> Claimed {
        Claimed {
            execution: ExecutionId::new(),
            job: JobId::new(),
            kind: Kind::Backup,
            attempt: 1,
            subject: "database:db".to_owned(),
            payload: Value::Null,
            asked_at: Instant::now().checked_sub(ago).unwrap(),
        }
    }

    #[test]
    fn a_lease_that_ran_out_before_its_work_began_is_lost_at_once() {
        let terms = LeaseTerms::new(Duration::from_secs(10));
        let (keeper, _rechecks) = Keeper::new(terms);
        let slept = claimed(terms.fence_after());
        let lease = keeper.admit(&slept, Duration::from_mins(1));
        assert_eq!(lease.stopped().unwrap_err().fault, Fault::LeaseLost);
        assert_eq!(keeper.stopped(slept.execution), Some(Stop::Lost));
        let fresh = claimed(Duration::ZERO);
        keeper
            .admit(&fresh, Duration::from_mins(1))
            .stopped()
            .unwrap();
        assert_eq!(keeper.stopped(fresh.execution), None);
    }
}
