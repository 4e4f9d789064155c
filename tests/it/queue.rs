//! The queue on a real server. Tests wait for rows and signals; where only time matters, leases are moved back in SQL.
//! Every world is asked for broken invariants when it ends.

#[path = "queue_claims.rs"]
mod claims;
#[path = "queue_classes.rs"]
mod classes;
#[path = "queue_clients.rs"]
mod clients;
#[path = "queue_crew.rs"]
mod crew;
#[path = "queue_drain.rs"]
mod drain;
#[path = "queue_endings.rs"]
mod endings;
#[path = "queue_enqueue.rs"]
mod enqueue;
#[path = "queue_executions.rs"]
mod executions;
#[path = "queue_history.rs"]
mod history;
#[path = "queue_model.rs"]
mod model;
#[path = "queue_outage.rs"]
mod outage;
#[path = "queue_payload.rs"]
mod payload;
#[path = "queue_pooler.rs"]
mod pooler;
#[path = "queue_random.rs"]
mod random;
#[path = "queue_roles.rs"]
mod roles;
#[path = "queue_rules.rs"]
mod rules;
#[path = "queue_wake.rs"]
mod wake;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use futures::FutureExt;
use kanbu_backup::{
    clock::{Clock, SystemClock},
    control::ControlDb,
    execution::{Effects, Lease},
    fault::{Failure, Fault},
    id::{ExecutionId, JobId, WorkerId},
    job::{Backup, Job, Kind},
    queue::{
        self, Claim, Claimed, Crew, Enqueued, ExecutionView, Handler, JobState, JobView,
        LeaseTerms, Limits, NewJob, Origin, QueueError,
    },
    testing::{self, TestDatabase},
};
use sqlx::AssertSqlSafe;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

const MINUTE: Duration = Duration::from_mins(1);

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// A control database of its own.
struct World {
    /// Dropped with the world; a test with a server of its own has none.
    database: Option<TestDatabase>,
    db: ControlDb,
}

impl World {
    async fn new() -> Self {
        let (database, db) = testing::control_db().await;
        Self {
            database: Some(database),
            db,
        }
    }

    /// Of a world on the shared server.
    fn url(&self) -> &str {
        &self
            .database
            .as_ref()
            .expect("a database of the shared server")
            .url
    }

    async fn try_enqueue(&self, new: &NewJob) -> Result<Enqueued, QueueError> {
        let mut tx = self.db.pool().begin().await?;
        let enqueued = queue::enqueue(&mut tx, new).await?;
        tx.commit().await?;
        Ok(enqueued)
    }

    async fn enqueue(&self, new: &NewJob) -> JobId {
        match self.try_enqueue(new).await.unwrap() {
            Enqueued::New(job) => job,
            Enqueued::AlreadyOpen(job) => panic!("job {job} is open already"),
        }
    }

    async fn backup(&self, subject: &str) -> JobId {
        self.enqueue(&backup(subject)).await
    }

    /// A job of a kind that `enqueue` refuses, or that it would refuse for its payload.
    async fn plant(&self, kind: &str, subject: &str, payload: &str) -> JobId {
        let id = JobId::new();
        self.sql(&format!(
            "insert into kanbu_backup.job (id, kind, subject, exclusive, payload, payload_version, max_attempts,
                                           backoff_base, backoff_cap, origin)
             values ('{id}', '{kind}', '{subject}', '{kind}' <> 'notify', '{payload}', 1, 4, '1 second', '1 minute', 'api')"
        ))
        .await;
        id
    }

    async fn claim_many(&self, kind: Kind, lease: Duration, most: usize) -> Vec<Claimed> {
        let ids: Vec<_> = (0..most).map(|_| ExecutionId::new()).collect();
        match queue::claim(&self.db, WorkerId::new(), kind, lease, &ids)
            .await
            .unwrap()
        {
            Claim::Jobs(jobs) => jobs,
            Claim::Nothing { .. } => Vec::new(),
        }
    }

    /// The next backup, if one can be claimed.
    async fn try_claim(&self) -> Option<Claimed> {
        self.claim_many(Kind::Backup, MINUTE, 1).await.pop()
    }

    async fn claim(&self) -> Claimed {
        self.try_claim().await.expect("a backup to claim")
    }

    async fn job(&self, job: JobId) -> JobView {
        queue::job(&self.db, job).await.unwrap().expect("the job")
    }

    async fn state(&self, job: JobId) -> (JobState, i16) {
        let view = self.job(job).await;
        (view.state, view.attempts)
    }

    /// The executions of a job, the oldest first.
    async fn executions(&self, job: JobId) -> Vec<ExecutionView> {
        let mut executions = queue::executions(&self.db, job).await.unwrap();
        executions.reverse();
        executions
    }

    async fn sql(&self, statement: &str) {
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
            .execute(self.db.bare_pool())
            .await
            .unwrap();
    }

    async fn number(&self, query: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(query.to_owned()))
            .fetch_one(self.db.bare_pool())
            .await
            .unwrap()
    }

    /// As if the worker had been silent for longer than its lease.
    async fn expire(&self, execution: ExecutionId) {
        self.sql(&format!(
            "update kanbu_backup.execution set lease_until = now() - interval '1 second' where id = '{execution}'"
        ))
        .await;
    }

    /// As if the backoff were over.
    async fn make_due(&self, job: JobId) {
        self.sql(&format!(
            "update kanbu_backup.job set run_at = now() where id = '{job}'"
        ))
        .await;
    }

    async fn until_state(&self, job: JobId, state: JobState) -> JobView {
        eventually(&format!("job {job} to be {state}"), async || {
            let view = self.job(job).await;
            (view.state == state).then_some(view)
        })
        .await
    }

    async fn until_ended(&self, job: JobId, executions: usize) -> Vec<ExecutionView> {
        eventually(&format!("{executions} ended executions"), async || {
            let all = self.executions(job).await;
            (all.len() >= executions && all.iter().all(|e| e.ended_at.is_some())).then_some(all)
        })
        .await
    }

    /// What every test ends with.
    async fn holds(&self) {
        assert_eq!(queue::invariants(&self.db).await.unwrap(), []);
    }
}

fn backup(subject: &str) -> NewJob {
    let job = Job::Backup(Backup::of(subject.parse().unwrap()));
    NewJob::new(job, Origin::Operator)
}

/// Asks again and again until there is an answer.
async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let answer = timeout(PATIENCE, async {
        let mut ticks = interval(Duration::from_millis(10));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Some(answer) = ask().await {
                return answer;
            }
        }
    });
    answer
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

type Result<T, E = Failure> = std::result::Result<T, E>;

/// A handler at work, waiting for the test to say how it ends. Told to stop, it stops, unless it is stubborn.
struct Act {
    job: Job,
    lease: Arc<Lease>,
    end: oneshot::Sender<Result<Effects>>,
}

impl Act {
    fn ends(self, result: Result<Effects>) {
        self.end.send(result).expect("the handler to be waiting");
    }

    fn succeeds(self) {
        self.ends(Ok(Effects::default()));
    }

    fn fails(self, fault: Fault) {
        self.ends(Err(Failure::new(fault, "test.failed", "it failed")));
    }
}

/// A crew at work, and the handlers it has begun.
struct Hands {
    stop: CancellationToken,
    hurry: CancellationToken,
    task: JoinHandle<std::result::Result<(), QueueError>>,
    acts: mpsc::UnboundedReceiver<Act>,
}

impl Hands {
    /// A crew with a lease of so many seconds.
    fn hire(db: &ControlDb, slots: usize, lease: u64) -> Self {
        Self::with(db, |crew| {
            crew.terms = LeaseTerms::new(Duration::from_secs(lease));
            crew.slots = BTreeMap::from([(Kind::Backup, slots)]);
        })
    }

    fn with(db: &ControlDb, change: impl FnOnce(&mut Crew)) -> Self {
        Self::of(db, false, change)
    }

    /// A crew whose handlers don't listen when told to stop, and that doesn't wait long for them.
    fn stubborn(db: &ControlDb, change: impl FnOnce(&mut Crew)) -> Self {
        Self::of(db, true, |crew| {
            crew.limits.clean_up = Duration::from_millis(200);
            change(crew);
        })
    }

    fn of(db: &ControlDb, stubborn: bool, change: impl FnOnce(&mut Crew)) -> Self {
        let (begun, acts) = mpsc::unbounded_channel();
        let handler: Handler = Arc::new(move |job, lease: Arc<Lease>| {
            let begun = begun.clone();
            async move {
                let (end, told) = oneshot::channel();
                let cancelled = lease.cancelled().clone();
                let watched = Arc::clone(&lease);
                begun.send(Act { job, lease, end }).ok();
                tokio::select! {
                    told = told => told.unwrap_or_else(|_| panic!("the act was dropped")),
                    () = cancelled.cancelled(), if !stubborn => {
                        Err(watched.stopped().expect_err("a reason to stop"))
                    }
                }
            }
            .boxed()
        });
        let mut crew = Crew::new(
            db.clone(),
            handler,
            BTreeMap::from([(Kind::Backup, 1)]),
            "test",
        );
        change(&mut crew);
        let (stop, hurry) = (CancellationToken::new(), CancellationToken::new());
        let task = tokio::spawn(crew.run(stop.clone(), hurry.clone()));
        Self {
            stop,
            hurry,
            task,
            acts,
        }
    }

    async fn next(&mut self) -> Act {
        timeout(PATIENCE, self.acts.recv())
            .await
            .expect("a job to begin")
            .expect("a crew at work")
    }

    /// Lets whatever runs end, and goes home.
    async fn go_home(self) {
        self.stop.cancel();
        self.gone().await;
    }

    async fn gone(self) {
        timeout(PATIENCE, self.task)
            .await
            .expect("the crew to go home")
            .expect("a crew without panic")
            .expect("a crew without error");
    }

    /// As `kill -9` does.
    async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

fn now() -> DateTime<Utc> {
    SystemClock.now()
}
