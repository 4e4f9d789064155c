//! A process's workers: one lane per kind, and the tasks that serve them all.
//!
//! The order of going home: no more claims; the time that running jobs may take; being stopped; the last endings delivered;
//! only then the keeper, because leases are renewed until nothing is held any more.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use apalis_core::error::WorkerError;
use futures::future::BoxFuture;
use tokio::{sync::mpsc, task::JoinSet, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    History, LeaseTerms, Leftovers, Limits, QueueError, apalis,
    backoff::pause,
    closer::Closer,
    history,
    keeper::Keeper,
    lane::{Lane, Shift},
    presence::Presence,
    wake::{Ear, Signals},
};
use crate::{
    control::ControlDb,
    execution::{Effects, Lease, Recheck, Stop},
    fault::Failure,
    id::WorkerId,
    job::{Job, Kind},
};

/// What does a job. It sees the job and its lease, and nothing of the queue.
pub type Handler =
    Arc<dyn Fn(Job, Arc<Lease>) -> BoxFuture<'static, Result<Effects, Failure>> + Send + Sync>;

/// Workers that are about to begin.
#[derive(Clone)]
pub struct Crew {
    pub db: ControlDb,
    pub handler: Handler,
    /// Which kinds are worked on, and how many of each at once.
    pub slots: BTreeMap<Kind, usize>,
    pub terms: LeaseTerms,
    pub limits: Limits,
    /// After a stop, running jobs may go on for so long.
    pub grace: Duration,
    /// The same after somebody asked for a drain.
    pub drain_limit: Duration,
    pub history: History,
    /// The host, for people.
    pub name: String,
    pub leftovers: Option<Leftovers>,
}

/// The orders to go home.
#[derive(Clone, Debug)]
struct Orders {
    stop: CancellationToken,
    /// By somebody who reads the list of workers.
    drain: CancellationToken,
    hurry: CancellationToken,
}

impl Orders {
    /// Until there is one.
    async fn given(&self) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = self.drain.cancelled() => {}
        }
    }

    /// Until the time of running jobs is over. A stop during a drain counts from when it comes.
    async fn time_is_up(&self, crew: &Crew) {
        if self.drain.is_cancelled() && !self.stop.is_cancelled() {
            tokio::select! {
                () = self.hurry.cancelled() => return,
                () = pause(crew.drain_limit) => return,
                () = self.stop.cancelled() => {}
            }
        }
        tokio::select! {
            () = self.hurry.cancelled() => {}
            () = pause(crew.grace) => {}
        }
    }
}

impl fmt::Debug for Crew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crew")
            .field("name", &self.name)
            .field("slots", &self.slots)
            .field("terms", &self.terms)
            .finish_non_exhaustive()
    }
}

impl Crew {
    /// A crew with the usual times: a lease of a minute, 25 seconds of grace, and a drain that waits for every job.
    pub fn new(
        db: ControlDb,
        handler: Handler,
        slots: BTreeMap<Kind, usize>,
        name: impl Into<String>,
    ) -> Self {
        Self {
            db,
            handler,
            slots,
            terms: LeaseTerms::default(),
            limits: Limits::default(),
            grace: Duration::from_secs(25),
            drain_limit: Duration::MAX,
            history: History::default(),
            name: name.into(),
            leftovers: None,
        }
    }

    /// Works until `stop` fires or somebody asks for a drain, and everything begun has ended or, after its time, was given
    /// back uncharged. `hurry` skips that time. Outages of the database are waited out, also at the start.
    ///
    /// Dropping this future is a crash: what was running is aborted, and its leases run out.
    pub async fn run(
        self,
        stop: CancellationToken,
        hurry: CancellationToken,
    ) -> Result<(), QueueError> {
        let signals = Arc::new(Signals::new(self.slots.keys().copied()));
        let presence = Presence {
            worker: WorkerId::new(),
            name: self.name.clone(),
            slots: self.slots.clone(),
            signals: Arc::clone(&signals),
            drain: CancellationToken::new(),
        };
        let stopping = stop.child_token();
        let orders = Orders {
            stop,
            drain: presence.drain.clone(),
            hurry,
        };
        let last_call = CancellationToken::new();
        let over = CancellationToken::new();
        let (keeper, rechecks) = Keeper::new(self.terms);
        let (closer, endings) = Closer::new(self.db.clone(), Arc::clone(&keeper));
        let shift = Arc::new(Shift {
            db: self.db.clone(),
            worker: presence.worker,
            terms: self.terms,
            limits: self.limits.clone(),
            handler: Arc::clone(&self.handler),
            keeper: Arc::clone(&keeper),
            signals,
            endings,
            claims: TaskTracker::new(),
            stopping: stopping.clone(),
        });

        let mut services = self.serve(&shift, &presence, rechecks, &over);
        let mut closing = JoinSet::new();
        closing.spawn(closer.run(last_call.clone()));
        let mut lanes = self.open_lanes(&shift, &stopping);
        tracing::info!(worker.id = %presence.worker, slots = ?self.slots, "working");

        let mut broken = wait_for_orders(&orders, &mut lanes).await;
        stopping.cancel();
        tracing::info!(worker.id = %presence.worker, "claiming no more");
        presence.leave(&self.db, false).await;
        broken = broken.or(self.wind_down(&keeper, &mut lanes, &orders).await);

        shift.claims.close();
        shift.claims.wait().await;
        last_call.cancel();
        // Past a whole lease, the fence would refuse whatever is left.
        if timeout(self.terms.lease(), closing.join_all())
            .await
            .is_err()
        {
            tracing::error!("some endings could not be delivered; their leases run out");
        }
        over.cancel();
        while services.join_next().await.is_some() {}
        presence.leave(&self.db, true).await;
        broken.map_or(Ok(()), Err)
    }

    /// Starts what serves all lanes: the keeper of leases, the ear for wake-ups, the round, the thinning of history.
    fn serve(
        &self,
        shift: &Arc<Shift>,
        presence: &Presence,
        rechecks: mpsc::Receiver<Recheck>,
        over: &CancellationToken,
    ) -> JoinSet<()> {
        let mut services = JoinSet::new();
        let (keeper, db, until) = (Arc::clone(&shift.keeper), self.db.clone(), over.clone());
        services.spawn(async move { keeper.run(&db, rechecks, until).await });
        let ear = Ear {
            db: self.db.clone(),
            worker: presence.worker,
            signals: Arc::clone(&shift.signals),
            keeper: Arc::clone(&shift.keeper),
        };
        let until = over.clone();
        services.spawn(async move { ear.listen(until).await });
        let (presence, db, until) = (presence.clone(), self.db.clone(), over.clone());
        let (terms, leftovers) = (self.terms, self.leftovers.clone());
        services.spawn(async move { presence.keep(&db, terms, leftovers, until).await });
        let (history, db, until) = (self.history, self.db.clone(), over.clone());
        services.spawn(async move { history::keep(&db, history, until).await });
        services
    }

    fn open_lanes(&self, shift: &Arc<Shift>, stop: &CancellationToken) -> Lanes {
        let mut lanes = JoinSet::new();
        for (&kind, &slots) in self.slots.iter().filter(|(_, slots)| **slots > 0) {
            let lane = Lane::new(Arc::clone(shift), kind, slots);
            let stop = stop.clone();
            lanes.spawn(async move { (kind, apalis::work(lane, stop).await) });
        }
        lanes
    }

    /// Waits for what is running: at first for as long as it may take, then for it to stop.
    async fn wind_down(
        &self,
        keeper: &Keeper,
        lanes: &mut Lanes,
        orders: &Orders,
    ) -> Option<QueueError> {
        tokio::select! {
            broken = all_ended(lanes) => return broken,
            () = orders.time_is_up(self) => {}
        }
        tracing::warn!("the grace is over; what still runs is stopped and given back");
        keeper.stop_all(Stop::Shutdown);
        all_ended(lanes).await
    }
}

type Lanes = JoinSet<(Kind, Result<(), WorkerError>)>;

/// A lane ends by being told to. One that ends by itself has met a bug: the process goes home in good order.
async fn wait_for_orders(orders: &Orders, lanes: &mut Lanes) -> Option<QueueError> {
    tokio::select! {
        // RACE: told to stop, an idle lane may have ended by the time that this is looked at.
        biased;
        () = orders.given() => None,
        ended = lanes.join_next(), if !lanes.is_empty() => ended.and_then(|ended| {
            broken(ended).or(Some(QueueError::LaneEnded("some")))
        }),
    }
}

async fn all_ended(lanes: &mut Lanes) -> Option<QueueError> {
    let mut first = None;
    while let Some(ended) = lanes.join_next().await {
        first = first.or(broken(ended));
    }
    first
}

fn broken(
    ended: Result<(Kind, Result<(), WorkerError>), tokio::task::JoinError>,
) -> Option<QueueError> {
    match ended {
        Ok((_, Ok(()))) => None,
        Ok((kind, Err(error))) => {
            tracing::error!(job.kind = %kind, %error, "a lane broke off");
            Some(QueueError::LaneEnded(kind.as_str()))
        }
        Err(error) => {
            tracing::error!(%error, "a lane broke off");
            Some(QueueError::LaneEnded("some"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders() -> Orders {
        Orders {
            stop: CancellationToken::new(),
            drain: CancellationToken::new(),
            hurry: CancellationToken::new(),
        }
    }

    #[tokio::test]
    async fn a_lane_that_ended_because_it_was_told_to_has_not_broken_off() {
        for _ in 0..50 {
            let orders = orders();
            let mut lanes = JoinSet::new();
            lanes.spawn(async { (Kind::Backup, Ok(())) });
            tokio::task::yield_now().await;
            orders.stop.cancel();
            let broken = wait_for_orders(&orders, &mut lanes).await;
            assert!(broken.is_none(), "{broken:?}");
        }
    }

    #[tokio::test]
    async fn a_lane_that_ends_by_itself_is_an_error() {
        let mut lanes = JoinSet::new();
        lanes.spawn(async { (Kind::Backup, Ok(())) });
        let broken = wait_for_orders(&orders(), &mut lanes).await;
        assert!(
            matches!(broken, Some(QueueError::LaneEnded(_))),
            "{broken:?}"
        );
    }
}
