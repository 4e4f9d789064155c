//! A control database of its own for each scenario, the jobs that were ordered, and the processes that work on them.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use kanbu_backup::{
    control::{ControlConfig, ControlDb},
    id::{ExecutionId, JobId},
    job::{Backup, Job},
    pg::process::Program,
    queue::{self, Enqueued, NewJob, Origin},
    testing::{self, ScratchDirectory, TestDatabase},
};
use kanbu_backup_faults::journal::{Entry, What, read_all};
use serde::Serialize;
use sqlx::{AssertSqlSafe, PgPool, postgres::PgPoolOptions};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::{
    standstill::Standstills,
    worker::{Blow, Process, Terms},
};

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

const LOOK_EVERY: Duration = Duration::from_millis(25);

/// A job to order, and how it has to end.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    subject: String,
    script: String,
    max_attempts: Option<i16>,
    want: &'static str,
    code: Option<&'static str>,
    executions: Option<i64>,
}

impl Order {
    /// It shall succeed, after however many attempts.
    pub(crate) fn new(subject: impl Into<String>, script: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            script: script.into(),
            max_attempts: None,
            want: "succeeded",
            code: None,
            executions: None,
        }
    }

    pub(crate) fn at_most(self, max_attempts: i16) -> Self {
        Self {
            max_attempts: Some(max_attempts),
            ..self
        }
    }

    /// With exactly so many executions.
    pub(crate) fn executions(self, executions: i64) -> Self {
        Self {
            executions: Some(executions),
            ..self
        }
    }

    /// It shall be dead in the end.
    pub(crate) fn dies(self) -> Self {
        Self {
            want: "dead",
            ..self
        }
    }

    pub(crate) fn of(self, code: &'static str) -> Self {
        Self {
            code: Some(code),
            ..self
        }
    }

    pub(crate) fn cancelled(self) -> Self {
        Self {
            want: "cancelled",
            ..self
        }
    }
}

/// An order that was accepted, as the verdict's SQL reads it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Ordered {
    job: JobId,
    script: String,
    want: &'static str,
    code: Option<&'static str>,
    executions: Option<i64>,
}

pub(crate) struct World {
    /// Where it is dropped with the world.
    _database: Option<TestDatabase>,
    pub(crate) url: String,
    pub(crate) directory: ScratchDirectory,
    pub(crate) sql: PgPool,
    db: ControlDb,
    pub(crate) orders: Mutex<Vec<Ordered>>,
    pub(crate) blows: Mutex<Vec<Blow>>,
    pub(crate) standstills: Standstills,
    processes: AtomicUsize,
}

impl World {
    /// On the server that all scenarios share.
    pub(crate) async fn new() -> Self {
        let (database, db) = testing::control_db().await;
        let url = database.url.clone();
        Self::of(Some(database), url, db).await
    }

    /// On a server of its own, in the database of this address.
    pub(crate) async fn at(url: &str) -> Self {
        let config = ControlConfig::new(url, "test");
        let db = ControlDb::connect(&config).await.unwrap();
        db.migrate().await.unwrap();
        Self::of(None, url.to_owned(), db).await
    }

    async fn of(database: Option<TestDatabase>, url: String, db: ControlDb) -> Self {
        let pool = PgPoolOptions::new().max_connections(3);
        let world = Self {
            _database: database,
            sql: pool.connect(&url).await.unwrap(),
            url,
            directory: ScratchDirectory::new(),
            db,
            orders: Mutex::default(),
            blows: Mutex::default(),
            standstills: Standstills::watch(),
            processes: AtomicUsize::default(),
        };
        world
            .run(
                "update kanbu_backup.kind_rule
                    set backoff_base = '200 milliseconds', backoff_cap = '2 seconds'",
            )
            .await;
        world.run(include_str!("tables.sql")).await;
        world
    }

    pub(crate) async fn run(&self, statements: &str) {
        sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
            .execute(&self.sql)
            .await
            .unwrap_or_else(|error| panic!("{statements}: {error}"));
    }

    /// The rows of a query for one column of text.
    pub(crate) async fn texts(&self, query: &str) -> Vec<String> {
        sqlx::query_scalar(AssertSqlSafe(query.to_owned()))
            .fetch_all(&self.sql)
            .await
            .unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    pub(crate) async fn count(&self, query: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(query.to_owned()))
            .fetch_one(&self.sql)
            .await
            .unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    pub(crate) async fn order(&self, order: Order) -> JobId {
        let backup = Backup {
            label: Some(order.script.clone()),
            ..Backup::of(order.subject.parse().unwrap())
        };
        let new = NewJob {
            max_attempts: order.max_attempts,
            ..NewJob::new(Job::Backup(backup), Origin::Operator)
        };
        let Enqueued::New(job) = queue::submit(&self.db, &new).await.unwrap() else {
            panic!("a job without a key is always new");
        };
        self.expect(job, order);
        job
    }

    /// This job exists already, and has to end as the order says.
    pub(crate) fn expect(&self, job: JobId, order: Order) {
        self.orders.lock().unwrap().push(Ordered {
            job,
            script: order.script,
            want: order.want,
            code: order.code,
            executions: order.executions,
        });
    }

    pub(crate) async fn cancel(&self, job: JobId) {
        queue::cancel(&self.db, job, "the suite").await.unwrap();
    }

    pub(crate) fn hire(&self, terms: &Terms) -> Process {
        let number = self.processes.fetch_add(1, Ordering::Relaxed);
        self.hire_as(&format!("worker-{number}"), terms)
    }

    pub(crate) fn hire_as(&self, name: &str, terms: &Terms) -> Process {
        let program = self.program(name, terms.url.as_deref()).args(terms.args());
        let program = match terms.clock {
            Some(offset) => program
                .env("LD_PRELOAD", libfaketime())
                .env("FAKETIME", offset)
                // The clock on the wall alone: whoever sets it doesn't stop time.
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            None => program,
        };
        Process::start(program, name)
    }

    pub(crate) fn produce(&self, name: &str, url: Option<&str>, args: &[&str]) -> Process {
        let program = self.program(name, url).arg("produce").args(args);
        Process::start(program, name)
    }

    fn program(&self, name: &str, url: Option<&str>) -> Program {
        Program::new(env!("CARGO_BIN_EXE_fault-worker"))
            .args(["--name", name, "--directory"])
            .arg(self.directory.path())
            .env("KANBU_FAULTS_DATABASE_URL", url.unwrap_or(&self.url))
    }

    pub(crate) fn open_gate(&self, name: &str) {
        fs::write(self.path(&format!("{name}.gate")), "").unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn journal(&self) -> Vec<Entry> {
        read_all(self.directory.path()).unwrap()
    }

    /// Waits until a handler has begun this job for the nth time, and tells under which execution and in which process.
    pub(crate) async fn until_begun(&self, job: JobId, times: usize) -> (ExecutionId, i32) {
        self.until_noted(&format!("job {job} to begin"), job, What::Began, times)
            .await
    }

    /// Waits until handlers have touched the world so many times for this job.
    pub(crate) async fn until_touched(&self, job: JobId, times: usize) {
        let what = format!("job {job} to touch the world");
        self.until_noted(&what, job, What::Effect, times).await;
    }

    pub(crate) async fn until_handler_ended(&self, job: JobId, times: usize) -> (ExecutionId, i32) {
        let what = format!("the handler of job {job} to end");
        self.until_noted(&what, job, What::Ended, times).await
    }

    async fn until_noted(
        &self,
        what: &str,
        job: JobId,
        kind: What,
        times: usize,
    ) -> (ExecutionId, i32) {
        until(what, async || {
            let mut entries = self.journal();
            entries.retain(|entry| entry.what == kind && entry.job == Some(job));
            entries.sort_by_key(|entry| entry.at);
            let entry = entries.get(times - 1)?;
            Some((entry.execution?, i32::try_from(entry.pid).ok()?))
        })
        .await
    }

    pub(crate) async fn until_state(&self, job: JobId, state: &str) {
        let query = format!("select state from kanbu_backup.job where id = '{job}'");
        until(&format!("job {job} to be {state}"), async || {
            (self.texts(&query).await == [state]).then_some(())
        })
        .await;
    }

    pub(crate) fn suffered(&self, blows: Vec<Blow>) {
        self.blows.lock().unwrap().extend(blows);
    }

    pub(crate) async fn kill(&self, process: Process) {
        self.suffered(process.kill().await);
    }

    pub(crate) async fn dismiss(&self, process: Process) {
        self.suffered(process.dismiss().await);
    }

    /// What the producers enqueued: one job per tick, which succeeds.
    pub(crate) async fn expect_ticks(&self, ticks: u32) {
        for tick in 0..ticks {
            let query =
                format!("select id::text from kanbu_backup.job where request_key = 'tick {tick}'");
            let job = self.texts(&query).await.pop();
            // A missing tick is a job that nobody will find.
            let job = job.map_or_else(JobId::new, |id| id.parse().unwrap());
            self.expect(job, Order::new("", "").executions(1));
        }
    }

    /// Whether all that was ordered has ended, within the time.
    pub(crate) async fn until_all_ended(&self, patience: Duration) -> bool {
        let open = "select count(*) from kanbu_backup.job where state in ('queued', 'running')";
        let ended = until_within(patience, async || {
            (self.count(open).await == 0).then_some(())
        });
        ended.await.is_some()
    }
}

async fn until_within<T>(
    patience: Duration,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> Option<T> {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let seen = async {
        loop {
            ticks.tick().await;
            if let Some(seen) = look().await {
                return seen;
            }
        }
    };
    timeout(patience, seen).await.ok()
}

/// Looks again and again until there is something to see.
pub(crate) async fn until<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    let seen = until_within(PATIENCE, look).await;
    seen.unwrap_or_else(|| panic!("waited in vain for {what}"))
}

/// Lets time pass that a scenario is made of: an outage, a freeze, the second between two kills.
pub(crate) async fn for_a_time(time: Duration) {
    let end = tokio::time::Instant::now() + time;
    tokio::time::sleep_until(end).await;
}

fn libfaketime() -> PathBuf {
    let places = fs::read_dir("/usr/lib").unwrap();
    let found = places
        .filter_map(Result::ok)
        .map(|entry| entry.path().join("faketime/libfaketimeMT.so.1"))
        .find(|path| Path::new(path).exists());
    found.expect("libfaketime (Debian: the package faketime)")
}
