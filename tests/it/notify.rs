//! Events and their messages, on a real queue, to receivers that behave and to such that don't.

#[path = "notify/addresses.rs"]
mod addresses;
#[path = "notify/chats.rs"]
mod chats;
#[path = "notify/deliveries.rs"]
mod deliveries;
#[path = "notify/events.rs"]
mod events;
#[path = "notify/heartbeats.rs"]
mod heartbeats;
#[path = "notify/in_kanbu.rs"]
mod in_kanbu;
#[path = "notify/mail.rs"]
mod mail;
#[path = "notify/receiver.rs"]
mod receiver;
#[path = "notify/settings.rs"]
mod settings;
#[path = "notify/webhooks.rs"]
mod webhooks;

use std::{collections::BTreeMap, fs, sync::Arc, time::Duration};

use kanbu_backup::{
    config::{Config, Env},
    control::ControlDb,
    execution::{Effects, Lease, event},
    fault::{Failure, Fault},
    id::{EventId, ExecutionId, JobId, WorkerId},
    job::{Backup, Job, Kind},
    notify::{self, Deps},
    queue::{
        self, Answer, Claim, Claimed, Close, Crew, Ending, Enqueued, Handler, JobState, JobView,
        LeaseTerms, NewJob, Origin,
    },
    testing::{self, ScratchDirectory, TestDatabase},
};
use sqlx::AssertSqlSafe;
use tokio::{
    task::JoinHandle,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
const MINUTE: Duration = Duration::from_mins(1);

/// A control database, and the channels of a configuration file.
struct World {
    database: TestDatabase,
    db: ControlDb,
    deps: Deps,
    _directory: ScratchDirectory,
}

/// Reads a configuration file as a worker does.
fn config(directory: &ScratchDirectory, text: &str, env: &[(&str, &str)]) -> Config {
    let path = directory.path().join("config.toml");
    fs::write(&path, text).unwrap();
    let env: Env = env.iter().copied().collect();
    Config::load(&env, Some(&path)).unwrap()
}

impl World {
    /// With these tables `[notify.…]`.
    async fn new(channels: &str) -> Self {
        Self::with(channels, &[]).await
    }

    async fn with(channels: &str, env: &[(&str, &str)]) -> Self {
        let (database, db) = testing::control_db().await;
        let directory = ScratchDirectory::new();
        let config = config(&directory, channels, env);
        let deps = Deps {
            channels: kanbu_backup_workers::wiring::channels(&config).unwrap(),
            environment: "test".to_owned(),
            control: db.clone(),
        };
        let world = Self {
            database,
            db,
            deps,
            _directory: directory,
        };
        let names = world.deps.channels.iter();
        let names: Vec<_> = names
            .map(|channel| (channel.name.clone(), channel.kind))
            .collect();
        event::register_channels(&world.db, &names).await.unwrap();
        // Tests wait for what comes of an attempt, not for the next one's time.
        world.sql("update kanbu_backup.kind_rule set backoff_base = interval '1 hour' where kind = 'notify'").await;
        world
    }

    async fn sql(&self, sql: &str) {
        self.database.run(sql).await;
    }

    async fn texts(&self, query: &str) -> Vec<String> {
        self.database.texts(query).await
    }

    async fn text(&self, query: &str) -> String {
        let texts = self.texts(query).await;
        assert_eq!(texts.len(), 1, "{query}: {texts:?}");
        texts.into_iter().next().unwrap()
    }

    async fn number(&self, query: &str) -> i64 {
        let query = sqlx::query_scalar(AssertSqlSafe(query.to_owned()));
        query.fetch_one(self.db.bare_pool()).await.unwrap()
    }

    async fn enqueue(&self, job: Job) -> JobId {
        match queue::submit(&self.db, &NewJob::new(job, Origin::Operator))
            .await
            .unwrap()
        {
            Enqueued::New(job) | Enqueued::AlreadyOpen(job) => job,
        }
    }

    async fn claim(&self, kind: Kind) -> Claimed {
        match queue::claim(
            &self.db,
            WorkerId::new(),
            kind,
            MINUTE,
            &[ExecutionId::new()],
        )
        .await
        .unwrap()
        {
            Claim::Jobs(mut jobs) => jobs.remove(0),
            Claim::Nothing { .. } => panic!("there is no {kind} to claim"),
        }
    }

    /// A backup that ends like this.
    async fn backup(&self, close: Close) -> Claimed {
        self.enqueue(backup("database:kanbu")).await;
        let claimed = self.claim(Kind::Backup).await;
        assert_eq!(self.end(&claimed, close).await, Answer::Closed);
        claimed
    }

    async fn end(&self, claimed: &Claimed, close: Close) -> Answer {
        let ending = Ending::new(claimed.execution, claimed.job, close);
        queue::publish(&self.db, &ending).await.unwrap()
    }

    /// `name severity subject` of all events, in their order.
    async fn events(&self) -> Vec<String> {
        self.texts(
            "select concat_ws(' ', event, severity, subject) from kanbu_backup.event order by id",
        )
        .await
    }

    async fn newest_event(&self) -> EventId {
        let id = self
            .text("select id::text from kanbu_backup.event order by at desc, id desc limit 1")
            .await;
        id.parse().unwrap()
    }

    /// `channel status http attempt` of all deliveries, in their order.
    async fn deliveries(&self) -> Vec<String> {
        let query = "select concat_ws(' ', channel, status, http_status, attempt) from kanbu_backup.delivery order by at";
        self.texts(query).await
    }

    async fn until_deliveries(&self, count: usize) -> Vec<String> {
        eventually(&format!("{count} deliveries"), async || {
            let deliveries = self.deliveries().await;
            (deliveries.len() >= count).then_some(deliveries)
        })
        .await
    }

    async fn until_message(&self, channel: &str, state: JobState) -> JobView {
        eventually(&format!("the message to {channel} to be {state}"), async || {
            let query = format!(
                "select id::text from kanbu_backup.job where kind = 'notify' and payload ->> 'channel' = '{channel}'
                    and state = '{state}' order by id desc limit 1"
            );
            let id = self.texts(&query).await.pop()?;
            queue::job(&self.db, id.parse().unwrap()).await.unwrap()
        })
        .await
    }

    /// Makes what waits for its next attempt due.
    async fn hurry(&self) {
        self.sql("update kanbu_backup.job set run_at = now() where state = 'queued'; notify kanbu_backup_job, 'notify'").await;
    }

    /// A worker for messages.
    fn work(&self) -> Worker {
        self.work_on([Kind::Notify])
    }

    /// A worker for these kinds; its backups do nothing and succeed.
    fn work_on(&self, kinds: impl IntoIterator<Item = Kind>) -> Worker {
        let deps = Arc::new(self.deps.clone());
        let handler: Handler = Arc::new(move |job, lease: Arc<Lease>| {
            let deps = Arc::clone(&deps);
            Box::pin(async move {
                notify::announce(&job, &deps, &lease).await;
                match &job {
                    Job::Notify(request) => notify::perform(request, &deps, &lease).await,
                    _ => Ok(Effects::default()),
                }
            })
        });
        let slots: BTreeMap<Kind, usize> = kinds.into_iter().map(|kind| (kind, 4)).collect();
        let crew = Crew {
            terms: LeaseTerms::new(Duration::from_secs(5)),
            grace: Duration::ZERO,
            ..Crew::new(self.db.clone(), handler, slots, "test")
        };
        let stop = CancellationToken::new();
        let running = crew.run(stop.clone(), stop.clone());
        Worker {
            stop,
            task: tokio::spawn(async move { running.await.unwrap() }),
        }
    }
}

/// A crew at work.
struct Worker {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Worker {
    async fn go_home(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }

    /// As if its process were killed.
    async fn die(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

fn backup(subject: &str) -> Job {
    Job::Backup(Backup::of(subject.parse().unwrap()))
}

fn done() -> Close {
    Close::Done(Box::default())
}

fn failed(fault: Fault) -> Close {
    Close::Failed(Failure::new(fault, "test.failed", "it failed"))
}

async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let mut ticks = interval(Duration::from_millis(50));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let seen = async {
        loop {
            ticks.tick().await;
            if let Some(seen) = look().await {
                return seen;
            }
        }
    };
    timeout(PATIENCE, seen)
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// A channel of type webhook to this address.
fn webhook(name: &str, url: &str, more: &str) -> String {
    format!(
        "[notify.{name}]\ntype = \"webhook\"\nurl = \"{url}\"\nallow_private = true\non = \"all\"\n{more}\n"
    )
}
