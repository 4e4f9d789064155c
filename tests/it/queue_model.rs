//! The queue's SQL against a model of it that fits on three pages: random scripts, each deed on whichever connection comes,
//! enqueues also in transactions that stay open meanwhile. After every deed the rows are what the model says, to the
//! last attempt. What several connections do at the very same time is `queue_random`'s.

use std::collections::{BTreeMap, BTreeSet};

use kanbu_backup::{
    control::Connection,
    queue::{Answer, Cancelled, Close, Ending, Renewal, Retried},
};
use proptest::{prelude::*, test_runner::FileFailurePersistence};
use sqlx::Row;

use super::*;

const SUBJECTS: u8 = 3;
const KEYS: u8 = 2;
const HANDS: u8 = 2;

/// Which job or execution a deed is about: the one at this place, counted round.
type Pick = u8;

#[derive(Clone, Debug)]
enum Deed {
    Enqueue(Order),
    /// In a transaction that this hand keeps open.
    Begin {
        hand: u8,
        order: Order,
    },
    Commit {
        hand: u8,
    },
    Rollback {
        hand: u8,
    },
    Claim {
        most: usize,
    },
    Renew {
        runs: Vec<Pick>,
    },
    Finish {
        runs: Vec<Pick>,
        how: How,
    },
    /// An execution's lease runs out.
    Expire(Pick),
    Reap,
    Cancel(Pick),
    Retry {
        job: Pick,
        budget: i16,
    },
    /// A backoff is over.
    MakeDue(Pick),
    Pause {
        subject: Option<u8>,
        is_over: bool,
    },
    Resume {
        subject: Option<u8>,
    },
    Cap(Option<i32>),
}

#[derive(Clone, Debug)]
struct Order {
    subject: u8,
    unless_open: bool,
    request: Option<u8>,
    priority: i16,
}

#[derive(Clone, Copy, Debug)]
enum How {
    Succeeds,
    Fails,
    FailsForGood,
    IsCancelled,
    IsReleased,
}

impl How {
    fn close(self) -> Close {
        let failure = |fault| Failure::new(fault, "x.y", "x");
        match self {
            Self::Succeeds => Close::Done(Box::default()),
            Self::Fails => Close::Failed(failure(Fault::Transient)),
            Self::FailsForGood => Close::Failed(failure(Fault::Permanent)),
            Self::IsCancelled => Close::Cancelled(failure(Fault::Cancelled)),
            Self::IsReleased => Close::Released,
        }
    }
}

fn order() -> impl Strategy<Value = Order> {
    let request = prop::option::weighted(0.2, 0..KEYS);
    (0..SUBJECTS, any::<bool>(), request, 0..3_i16).prop_map(
        |(subject, unless_open, request, priority)| Order {
            subject,
            unless_open,
            request,
            priority,
        },
    )
}

/// In a transaction that stays open nobody may be kept waiting: no key.
fn plain_order() -> impl Strategy<Value = Order> {
    order().prop_map(|order| Order {
        unless_open: false,
        request: None,
        ..order
    })
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![
        4 => Just(How::Succeeds),
        3 => Just(How::Fails),
        1 => Just(How::FailsForGood),
        1 => Just(How::IsCancelled),
        2 => Just(How::IsReleased),
    ]
}

fn deed() -> impl Strategy<Value = Deed> {
    let runs = || prop::collection::vec(any::<Pick>(), 1..4);
    let subject = || prop::option::weighted(0.8, 0..SUBJECTS);
    prop_oneof![
        8 => order().prop_map(Deed::Enqueue),
        2 => (0..HANDS, plain_order()).prop_map(|(hand, order)| Deed::Begin { hand, order }),
        2 => (0..HANDS).prop_map(|hand| Deed::Commit { hand }),
        1 => (0..HANDS).prop_map(|hand| Deed::Rollback { hand }),
        8 => (1..4_usize).prop_map(|most| Deed::Claim { most }),
        3 => runs().prop_map(|runs| Deed::Renew { runs }),
        7 => (runs(), how()).prop_map(|(runs, how)| Deed::Finish { runs, how }),
        3 => any::<Pick>().prop_map(Deed::Expire),
        3 => Just(Deed::Reap),
        2 => any::<Pick>().prop_map(Deed::Cancel),
        2 => (any::<Pick>(), 1..3_i16).prop_map(|(job, budget)| Deed::Retry { job, budget }),
        3 => any::<Pick>().prop_map(Deed::MakeDue),
        1 => (subject(), any::<bool>()).prop_map(|(subject, is_over)| Deed::Pause { subject, is_over }),
        2 => subject().prop_map(|subject| Deed::Resume { subject }),
        1 => prop::option::of(1..3_i32).prop_map(Deed::Cap),
    ]
}

fn subject(n: u8) -> String {
    format!("database:kanbu{n}")
}

fn new_job(order: &Order) -> NewJob {
    let new = backup(&subject(order.subject));
    let new = if order.unless_open {
        new.unless_open()
    } else {
        new
    };
    NewJob {
        request_key: order.request.map(|n| format!("request {n}")),
        priority: order.priority,
        max_attempts: Some(2),
        ..new
    }
}

/// A job as the model knows it.
#[derive(Clone, Debug)]
struct ModelJob {
    id: JobId,
    order: Order,
    state: JobState,
    /// When it came due, in deeds; `None`: its backoff isn't over.
    due: Option<u32>,
    attempts: i16,
    max_attempts: i16,
    cancel_asked: bool,
    lost_before: bool,
}

impl ModelJob {
    fn new(id: JobId, order: Order, due: u32) -> Self {
        Self {
            id,
            order,
            state: JobState::Queued,
            due: Some(due),
            attempts: 0,
            max_attempts: 2,
            cancel_asked: false,
            lost_before: false,
        }
    }

    fn is_open(&self) -> bool {
        matches!(self.state, JobState::Queued | JobState::Running)
    }
}

/// An execution as the model knows it.
#[derive(Clone, Copy, Debug)]
struct Run {
    id: ExecutionId,
    job: JobId,
    life: Life,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Held,
    Expired,
    Ended,
    Reaped,
}

/// All that the queue is, without its database.
#[derive(Default)]
struct Model {
    jobs: BTreeMap<JobId, ModelJob>,
    runs: Vec<Run>,
    requests: BTreeMap<u8, (u8, JobId)>,
    /// Whether the pause is in force, by subject; `None` is every subject.
    pauses: BTreeMap<Option<u8>, bool>,
    cap: Option<i32>,
    /// The number of the deed.
    now: u32,
}

/// What an enqueue has to answer.
#[derive(Debug, PartialEq, Eq)]
enum Entry {
    New,
    Open(JobId),
    Conflict,
}

impl Model {
    fn entry(&self, order: &Order) -> Entry {
        if let Some((subject, job)) = order.request.and_then(|key| self.requests.get(&key)) {
            return if *subject == order.subject {
                Entry::Open(*job)
            } else {
                Entry::Conflict
            };
        }
        let twin = order
            .unless_open
            .then(|| self.open_twin(order.subject))
            .flatten();
        twin.map_or(Entry::New, Entry::Open)
    }

    /// The open job that holds the dedupe key of its subject.
    fn open_twin(&self, subject: u8) -> Option<JobId> {
        let mut twins = self
            .jobs
            .values()
            .filter(|job| job.is_open() && job.order.unless_open && job.order.subject == subject);
        twins.next().map(|job| job.id)
    }

    fn add(&mut self, id: JobId, order: &Order, due: u32) {
        if let Some(key) = order.request {
            self.requests.insert(key, (order.subject, id));
        }
        self.jobs.insert(id, ModelJob::new(id, order.clone(), due));
    }

    fn open_runs(&self) -> impl Iterator<Item = &Run> {
        self.runs
            .iter()
            .filter(|run| matches!(run.life, Life::Held | Life::Expired))
    }

    fn is_paused(&self, subject: u8) -> bool {
        [None, Some(subject)]
            .iter()
            .any(|key| self.pauses.get(key) == Some(&true))
    }

    /// Which jobs a claim of so many wins: the first in line; of two for one subject the first of them.
    fn winners(&self, most: usize) -> BTreeSet<JobId> {
        let open = self.open_runs().count();
        let room = self.cap.map_or(most, |cap| {
            most.min(usize::try_from(cap).unwrap().saturating_sub(open))
        });
        let busy: BTreeSet<u8> = self
            .open_runs()
            .map(|run| self.jobs[&run.job].order.subject)
            .collect();
        let mut line: Vec<&ModelJob> = self
            .jobs
            .values()
            .filter(|job| job.state == JobState::Queued && job.due.is_some())
            .filter(|job| !self.is_paused(job.order.subject) && !busy.contains(&job.order.subject))
            .collect();
        line.sort_by_key(|job| (-job.order.priority, job.due, job.id));
        let mut taken = BTreeSet::new();
        let first_of_subject = line
            .into_iter()
            .take(room)
            .filter(|job| taken.insert(job.order.subject));
        first_of_subject.map(|job| job.id).collect()
    }

    fn open(&mut self, claimed: &Claimed) {
        let job = self.jobs.get_mut(&claimed.job).unwrap();
        job.state = JobState::Running;
        job.attempts += 1;
        assert_eq!(claimed.attempt, job.attempts);
        self.runs.push(Run {
            id: claimed.execution,
            job: claimed.job,
            life: Life::Held,
        });
    }

    /// What a finish of this execution is answered; it takes place if it is the owner's.
    fn finish(&mut self, run: usize, how: How) -> Answer {
        match self.runs[run].life {
            Life::Held => {
                self.runs[run].life = Life::Ended;
                self.settle(self.runs[run].job, Some(how));
                Answer::Closed
            }
            Life::Ended => Answer::Already,
            Life::Expired | Life::Reaped => Answer::Lost,
        }
    }

    fn reap(&mut self) -> BTreeSet<ExecutionId> {
        let mut reaped = BTreeSet::new();
        for run in 0..self.runs.len() {
            if self.runs[run].life == Life::Expired {
                self.runs[run].life = Life::Reaped;
                self.settle(self.runs[run].job, None);
                reaped.insert(self.runs[run].id);
            }
        }
        reaped
    }

    /// The state table of a running job; `None` is a lost lease.
    fn settle(&mut self, job: JobId, how: Option<How>) {
        let now = self.now;
        let job = self.jobs.get_mut(&job).unwrap();
        if matches!(how, Some(How::IsReleased)) {
            job.attempts -= 1;
        }
        let first_loss = how.is_none() && !job.lost_before;
        job.lost_before |= how.is_none();
        let is_last = job.attempts >= job.max_attempts;
        (job.state, job.due) = match how {
            Some(How::Succeeds) => (JobState::Succeeded, job.due),
            _ if job.cancel_asked => (JobState::Cancelled, job.due),
            Some(How::IsReleased) => (JobState::Queued, Some(now)),
            Some(How::IsCancelled) => (JobState::Cancelled, job.due),
            Some(How::FailsForGood) => (JobState::Dead, job.due),
            Some(How::Fails) | None if is_last => (JobState::Dead, job.due),
            None if first_loss => (JobState::Queued, Some(now)),
            Some(How::Fails) | None => (JobState::Queued, None),
        };
    }

    fn pick_job(&self, pick: Pick) -> Option<JobId> {
        let count = self.jobs.len();
        (count > 0).then(|| *self.jobs.keys().nth(usize::from(pick) % count).unwrap())
    }

    /// The places of these executions, each once.
    fn pick_runs(&self, picks: &[Pick]) -> BTreeSet<usize> {
        let count = self.runs.len();
        let places = picks.iter().filter(|_| count > 0);
        places.map(|pick| usize::from(*pick) % count).collect()
    }
}

/// A transaction that stays open, with what becomes visible at its commit.
struct Hand {
    transaction: Connection<'static>,
    /// A transaction's clock stands still: all its jobs are due from its start.
    began: u32,
    jobs: Vec<(JobId, Order)>,
}

/// The model and the real thing, side by side.
struct Pair {
    world: World,
    model: Model,
    hands: BTreeMap<u8, Hand>,
}

impl Pair {
    async fn new() -> Self {
        let world = World::new().await;
        // No backoff is over before the script says so, however slow the machine.
        world
            .sql("update kanbu_backup.kind_rule set backoff_base = '1 day', backoff_cap = '1 day'")
            .await;
        Self {
            world,
            model: Model::default(),
            hands: BTreeMap::new(),
        }
    }

    async fn play(&mut self, script: &[Deed]) {
        for (number, deed) in script.iter().enumerate() {
            self.model.now = u32::try_from(number).unwrap();
            self.does(deed).await;
            self.compare(deed).await;
        }
        self.hands.clear();
        self.world.holds().await;
    }

    async fn does(&mut self, deed: &Deed) {
        match deed {
            Deed::Enqueue(order) => self.enqueue(order).await,
            Deed::Begin { hand, order } => self.begin(*hand, order).await,
            Deed::Commit { hand } => {
                if let Some(hand) = self.hands.remove(hand) {
                    hand.transaction.commit().await.unwrap();
                    for (id, order) in hand.jobs {
                        self.model.add(id, &order, hand.began);
                    }
                }
            }
            Deed::Rollback { hand } => {
                if let Some(hand) = self.hands.remove(hand) {
                    hand.transaction.rollback().await.unwrap();
                }
            }
            Deed::Claim { most } => self.claim(*most).await,
            Deed::Renew { runs } => self.renew(runs).await,
            Deed::Finish { runs, how } => self.finish(runs, *how).await,
            Deed::Expire(pick) => self.expire(*pick).await,
            Deed::Reap => {
                let reaped = queue::reap(&self.world.db).await.unwrap();
                let reaped: BTreeSet<_> = reaped.iter().map(|run| run.execution).collect();
                assert_eq!(reaped, self.model.reap());
            }
            Deed::Cancel(pick) => self.cancel(*pick).await,
            Deed::Retry { job, budget } => self.retry(*job, *budget).await,
            Deed::MakeDue(pick) => self.make_due(*pick).await,
            Deed::Pause { subject, is_over } => self.pause(*subject, *is_over).await,
            Deed::Resume { subject } => self.resume(*subject).await,
            Deed::Cap(most) => {
                queue::limit_running(&self.world.db, Kind::Backup, *most)
                    .await
                    .unwrap();
                self.model.cap = *most;
            }
        }
    }

    async fn enqueue(&mut self, order: &Order) {
        let answer = self.world.try_enqueue(&new_job(order)).await;
        let entry = match &answer {
            Ok(Enqueued::New(_)) => Entry::New,
            Ok(Enqueued::AlreadyOpen(job)) => Entry::Open(*job),
            Err(QueueError::RequestKeyReused(_)) => Entry::Conflict,
            Err(error) => panic!("{error:?}"),
        };
        assert_eq!(entry, self.model.entry(order));
        if let Ok(Enqueued::New(job)) = answer {
            self.model.add(job, order, self.model.now);
        }
    }

    async fn begin(&mut self, hand: u8, order: &Order) {
        if !self.hands.contains_key(&hand) {
            let mut transaction = self.world.db.pool().begin().await.unwrap();
            // It may stay open for as long as a script takes.
            sqlx::raw_sql("set local idle_in_transaction_session_timeout = 0")
                .execute(&mut transaction)
                .await
                .unwrap();
            let begun = Hand {
                transaction,
                began: self.model.now,
                jobs: Vec::new(),
            };
            self.hands.insert(hand, begun);
        }
        let hand = self.hands.get_mut(&hand).unwrap();
        let enqueued = queue::enqueue(&mut hand.transaction, &new_job(order)).await;
        hand.jobs.push((enqueued.unwrap().job(), order.clone()));
    }

    async fn claim(&mut self, most: usize) {
        let claimed = self.world.claim_many(Kind::Backup, MINUTE, most).await;
        let jobs: BTreeSet<_> = claimed.iter().map(|claimed| claimed.job).collect();
        assert_eq!(jobs, self.model.winners(most));
        for claimed in &claimed {
            self.model.open(claimed);
        }
    }

    async fn renew(&mut self, picks: &[Pick]) {
        let runs: Vec<Run> = self
            .model
            .pick_runs(picks)
            .into_iter()
            .map(|place| self.model.runs[place])
            .collect();
        let renewals: Vec<_> = runs
            .iter()
            .map(|run| Renewal {
                id: run.id,
                progress: None,
                log_from: 0,
                log: Vec::new(),
            })
            .collect();
        let renewed = queue::renew(&self.world.db, &renewals, MINUTE, MINUTE)
            .await
            .unwrap();
        let renewed: BTreeMap<_, _> = renewed
            .into_iter()
            .map(|renewed| (renewed.execution, renewed.cancel_requested))
            .collect();
        let held = runs.iter().filter(|run| run.life == Life::Held);
        let expected: BTreeMap<_, _> = held
            .map(|run| (run.id, self.model.jobs[&run.job].cancel_asked))
            .collect();
        assert_eq!(renewed, expected);
    }

    async fn finish(&mut self, picks: &[Pick], how: How) {
        let places = self.model.pick_runs(picks);
        let endings: Vec<_> = places
            .iter()
            .map(|&place| {
                let run = self.model.runs[place];
                Ending::new(run.id, run.job, how.close())
            })
            .collect();
        let batch: Vec<_> = endings.iter().collect();
        let answers: BTreeMap<_, _> = queue::finish_many(&self.world.db, &batch)
            .await
            .unwrap()
            .into_iter()
            .collect();
        for place in places {
            let run = self.model.runs[place].id;
            assert_eq!(answers[&run], self.model.finish(place, how));
        }
    }

    async fn expire(&mut self, pick: Pick) {
        for place in self.model.pick_runs(&[pick]) {
            let run = &mut self.model.runs[place];
            if run.life == Life::Held {
                run.life = Life::Expired;
                self.world.expire(run.id).await;
            }
        }
    }

    async fn cancel(&mut self, pick: Pick) {
        let Some(job) = self.model.pick_job(pick) else {
            return;
        };
        let answer = queue::cancel(&self.world.db, job, "anna").await.unwrap();
        let job = self.model.jobs.get_mut(&job).unwrap();
        let expected = match job.state {
            JobState::Queued => {
                job.state = JobState::Cancelled;
                Cancelled::AtOnce
            }
            JobState::Running => {
                job.cancel_asked = true;
                Cancelled::Requested
            }
            state => Cancelled::TooLate(state),
        };
        assert_eq!(answer, expected);
    }

    async fn retry(&mut self, pick: Pick, budget: i16) {
        let Some(id) = self.model.pick_job(pick) else {
            return;
        };
        let answer = queue::retry(&self.world.db, id, budget).await;
        let job = &self.model.jobs[&id];
        let twin = job
            .order
            .unless_open
            .then(|| self.model.open_twin(job.order.subject))
            .flatten();
        if job.state != JobState::Dead {
            assert!(
                matches!(answer, Err(QueueError::NotDead { .. })),
                "{answer:?}"
            );
            return;
        }
        let expected = twin.map_or(Retried::Queued, Retried::AlreadyOpen);
        assert_eq!(answer.unwrap(), expected);
        if expected == Retried::Queued {
            let now = self.model.now;
            let job = self.model.jobs.get_mut(&id).unwrap();
            job.state = JobState::Queued;
            job.due = Some(now);
            job.max_attempts = job.attempts + budget;
            job.cancel_asked = false;
        }
    }

    async fn make_due(&mut self, pick: Pick) {
        let now = self.model.now;
        let Some(id) = self.model.pick_job(pick) else {
            return;
        };
        let job = self.model.jobs.get_mut(&id).unwrap();
        if job.state == JobState::Queued && job.due.is_none() {
            job.due = Some(now);
            self.world.make_due(id).await;
        }
    }

    async fn pause(&mut self, of: Option<u8>, is_over: bool) {
        let until = is_over.then(|| now() + chrono::TimeDelta::hours(1));
        let subject = of.map(|n| subject(n).parse().unwrap());
        let db = &self.world.db;
        queue::pause(db, None, subject.as_ref(), until, None, "anna")
            .await
            .unwrap();
        if is_over {
            self.world
                .sql("update kanbu_backup.queue_control set paused_until = now() where paused_until > now()")
                .await;
        }
        self.model.pauses.insert(of, !is_over);
    }

    async fn resume(&mut self, of: Option<u8>) {
        let subject = of.map(|n| subject(n).parse().unwrap());
        let resumed = queue::resume(&self.world.db, None, subject.as_ref())
            .await
            .unwrap();
        assert_eq!(resumed, self.model.pauses.remove(&of) == Some(true));
    }

    /// Every row says what the model says.
    async fn compare(&self, deed: &Deed) {
        let rows = sqlx::query(
            "select id, state, attempts, max_attempts, run_at <= now() from kanbu_backup.job order by id",
        )
        .fetch_all(self.world.db.bare_pool())
        .await
        .unwrap();
        let rows: Vec<_> = rows
            .iter()
            .map(|row| {
                let state: JobState = row.get::<String, _>(1).parse().unwrap();
                let is_due = row.get::<bool, _>(4) || state != JobState::Queued;
                let attempts: (i16, i16) = (row.get(2), row.get(3));
                (
                    JobId::from(row.get::<uuid::Uuid, _>(0)),
                    state,
                    attempts,
                    is_due,
                )
            })
            .collect();
        let jobs = self.model.jobs.values().map(|job| {
            let is_due = job.due.is_some() || job.state != JobState::Queued;
            (job.id, job.state, (job.attempts, job.max_attempts), is_due)
        });
        assert_eq!(rows, jobs.collect::<Vec<_>>(), "after {deed:?}");

        let rows =
            sqlx::query("select id, job_id from kanbu_backup.execution where ended_at is null")
                .fetch_all(self.world.db.bare_pool())
                .await
                .unwrap();
        let rows: BTreeSet<_> = rows
            .iter()
            .map(|row| {
                (
                    ExecutionId::from(row.get::<uuid::Uuid, _>(0)),
                    JobId::from(row.get::<uuid::Uuid, _>(1)),
                )
            })
            .collect();
        let open = self.model.open_runs().map(|run| (run.id, run.job));
        assert_eq!(rows, open.collect(), "after {deed:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24,
        max_shrink_iters: 200,
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..ProptestConfig::default()
    })]

    // On a failure, proptest prints the smallest script it found; the script is the seed to replay.
    #[test]
    fn the_queue_does_what_its_model_says(script in prop::collection::vec(deed(), 20..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { Pair::new().await.play(&script).await });
    }
}
