//! One lane per kind: its slots, its claims, and the work on what it has won.
//!
//! Never more is claimed than there are free slots. What was claimed and isn't started, for whatever reason, is given back
//! without charging an attempt: an [`Assignment`] does that when it is dropped.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::{
    sync::CancellationToken,
    task::{AbortOnDropHandle, TaskTracker},
};
use tracing::Instrument;

use super::{
    Handler, LeaseTerms, Limits,
    backoff::{Patience, gather},
    claim::{Claim, Claimed, claim, recover},
    finish::{Close, Ending},
    keeper::Keeper,
    perform::{supervise, verdict},
    wake::Signals,
};
use crate::{
    control::ControlDb,
    execution::{Lease, Stop},
    fault::{Failure, Fault, chain},
    id::{ExecutionId, WorkerId},
    job::{Job, Kind},
};

/// What all lanes of one run of a crew share.
pub(super) struct Shift {
    pub(super) db: ControlDb,
    pub(super) worker: WorkerId,
    pub(super) terms: LeaseTerms,
    pub(super) limits: Limits,
    pub(super) handler: Handler,
    pub(super) keeper: Arc<Keeper>,
    pub(super) signals: Arc<Signals>,
    pub(super) endings: mpsc::UnboundedSender<Ending>,
    /// Claims under way: they outlive the lane's interest in them, so that none is forgotten half made.
    pub(super) claims: TaskTracker,
    /// No more claims.
    pub(super) stopping: CancellationToken,
}

impl fmt::Debug for Shift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shift")
            .field("worker", &self.worker)
            .finish_non_exhaustive()
    }
}

/// The lane of one kind.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    shift: Arc<Shift>,
    kind: Kind,
    slots: Arc<Semaphore>,
    batch: usize,
}

/// A claimed execution with the slot it takes.
pub(super) struct Assignment {
    shift: Arc<Shift>,
    claimed: Claimed,
    /// What the request says, or else what is usual for its kind.
    deadline: Duration,
    /// Taken at the start.
    lease: Option<Lease>,
    slot: Option<OwnedSemaphorePermit>,
}

impl fmt::Debug for Assignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assignment")
            .field("claimed", &self.claimed)
            .finish_non_exhaustive()
    }
}

/// What came of trying to claim.
enum Catch {
    Won(Vec<Assignment>),
    Nothing { due_in: Option<Duration> },
    Trouble,
}

impl Lane {
    pub(super) fn new(shift: Arc<Shift>, kind: Kind, slots: usize) -> Self {
        Self {
            shift,
            kind,
            slots: Arc::new(Semaphore::new(slots)),
            batch: super::terms::batch(kind, slots),
        }
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Waits for work and for a slot to do it in. Dropping this loses nothing.
    pub(super) async fn next(&self) -> Vec<Assignment> {
        let mut patience = Patience::new();
        loop {
            let slots = self.free_slots().await;
            if self.shift.stopping.is_cancelled() {
                return std::future::pending().await;
            }
            match self.try_claim(slots).await {
                Catch::Won(assignments) => return assignments,
                Catch::Nothing { due_in } => {
                    patience = Patience::new();
                    self.shift.signals.wait(self.kind, due_in).await;
                }
                Catch::Trouble => patience.pause().await,
            }
        }
    }

    /// At least one slot, at most as many as go into one claim. A slot that gets free always leads to another claim.
    async fn free_slots(&self) -> Vec<OwnedSemaphorePermit> {
        let Ok(first) = Arc::clone(&self.slots).acquire_owned().await else {
            return std::future::pending().await;
        };
        let mut slots = vec![first];
        gather(&mut slots, self.batch, || {
            Arc::clone(&self.slots).try_acquire_owned().ok()
        })
        .await;
        slots
    }

    /// RACE: the lane may be dropped while the claim is being committed. The claim is a task of its own that ends by
    /// handing over; with nobody there to take them, the assignments are dropped, which gives them back.
    async fn try_claim(&self, slots: Vec<OwnedSemaphorePermit>) -> Catch {
        let (hand_over, take) = oneshot::channel();
        let (shift, kind) = (Arc::clone(&self.shift), self.kind);
        self.shift.claims.spawn(async move {
            let ids: Vec<ExecutionId> = slots.iter().map(|_| ExecutionId::new()).collect();
            let catch = match shift.claim_surely(kind, &ids).await {
                Some(Claim::Jobs(jobs)) => Catch::Won(
                    jobs.into_iter()
                        .zip(slots)
                        .map(|(claimed, slot)| Assignment::new(&shift, claimed, slot))
                        .collect(),
                ),
                Some(Claim::Nothing { due_in }) => Catch::Nothing { due_in },
                None => Catch::Trouble,
            };
            drop(hand_over.send(catch));
        });
        take.await.unwrap_or(Catch::Trouble)
    }
}

impl Shift {
    /// Claims; when the answer is lost, looks up what was opened. `None`: nothing was, and the database is in trouble.
    async fn claim_surely(&self, kind: Kind, ids: &[ExecutionId]) -> Option<Claim> {
        let lease = self.terms.lease();
        let asked_at = Instant::now();
        let error = match claim(&self.db, self.worker, kind, lease, ids).await {
            Ok(claim) => return Some(claim),
            Err(error) => error,
        };
        tracing::warn!(%error, job.kind = %kind, "claiming failed");
        if !error.leaves_commit_unknown() {
            return None;
        }
        let mut patience = Patience::new();
        while asked_at.elapsed() < lease {
            patience.pause().await;
            match recover(&self.db, kind, lease, ids).await {
                Ok(jobs) if jobs.is_empty() => return None,
                Ok(jobs) => return Some(Claim::Jobs(jobs)),
                Err(error) => tracing::debug!(%error, "looking up a claim failed"),
            }
        }
        None
    }

    /// Sends an ending on its way to the database.
    fn conclude(&self, claimed: &Claimed, close: Close) {
        let ending = self.keeper.conclude(claimed, close);
        // Only a crew that was torn down has no closer; then the lease runs out.
        drop(self.endings.send(ending));
    }
}

impl Assignment {
    fn new(shift: &Arc<Shift>, claimed: Claimed, slot: OwnedSemaphorePermit) -> Self {
        let limits = &shift.limits;
        let job = Job::from_payload(claimed.kind, claimed.payload.clone());
        let asked = job.as_ref().ok().and_then(Job::timeout);
        let deadline = asked.unwrap_or_else(|| limits.deadline(claimed.kind));
        let lease = shift.keeper.admit(&claimed, deadline + limits.overtime);
        Self {
            shift: Arc::clone(shift),
            claimed,
            deadline,
            lease: Some(lease),
            slot: Some(slot),
        }
    }

    pub(super) fn execution(&self) -> ExecutionId {
        self.claimed.execution
    }

    /// Does the work; its slot is free as soon as the handler has ended, while the ending is still on its way.
    pub(super) async fn carry_out(mut self) {
        let (Some(lease), Some(slot)) = (self.lease.take(), self.slot.take()) else {
            return;
        };
        let claimed = &self.claimed;
        let span = tracing::info_span!(
            "execution",
            execution.id = %claimed.execution,
            job.id = %claimed.job,
            job.kind = %claimed.kind,
            job.subject = %claimed.subject,
            attempt = claimed.attempt,
        );
        let close = self.work(lease).instrument(span).await;
        match close {
            Some(close) => self.shift.conclude(&self.claimed, close),
            None => self.shift.keeper.forget(self.claimed.execution),
        }
        drop(slot);
    }

    async fn work(&self, lease: Lease) -> Option<Close> {
        let claimed = &self.claimed;
        let shift = &self.shift;
        // Frozen since the claim: somebody else may be at it already.
        if shift.keeper.stopped(claimed.execution) == Some(Stop::Lost) {
            return None;
        }
        let job = match Job::from_payload(claimed.kind, claimed.payload.clone()) {
            Ok(job) => job,
            Err(error) => {
                return Some(Close::Failed(Failure::new(
                    Fault::Permanent,
                    "payload.undecodable",
                    chain(&error),
                )));
            }
        };
        let lease = Arc::new(lease);
        let cancelled = lease.cancelled().clone();
        let handler = Arc::clone(&shift.handler);
        let work = async move { handler(job, lease).await }.in_current_span();
        let end = supervise(
            AbortOnDropHandle::new(tokio::spawn(work)),
            &cancelled,
            self.deadline,
            || shift.keeper.stop(claimed.execution, Stop::Deadline),
            || {
                shift
                    .keeper
                    .time_to_stop(claimed.execution, shift.limits.clean_up)
            },
        )
        .await;
        let close = verdict(end, shift.keeper.stopped(claimed.execution));
        tracing::debug!(?close, "the work is over");
        close
    }
}

impl Drop for Assignment {
    fn drop(&mut self) {
        if self.lease.take().is_some() {
            self.shift.conclude(&self.claimed, Close::Released);
        }
    }
}
