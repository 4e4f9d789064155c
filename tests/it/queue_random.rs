//! S12: whatever several workers, people and reapers do in whatever order, the invariants hold and nobody deadlocks.

use kanbu_backup::queue::{Answer, Close, Ending, Renewal};
use proptest::{prelude::*, test_runner::FileFailurePersistence};

use super::*;

/// One thing that somebody does.
#[derive(Clone, Debug)]
enum Deed {
    Enqueue { subject: u8, unless_open: bool },
    Claim { most: usize },
    Renew,
    Succeed,
    Fail { permanent: bool },
    Release,
    LoseLease,
    Reap,
    Cancel,
    Retry,
    Pause { subject: u8 },
    Resume { subject: u8 },
    Cap { most: Option<i32> },
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        6 => (0..3_u8, any::<bool>())
            .prop_map(|(subject, unless_open)| Deed::Enqueue { subject, unless_open }),
        8 => (1..4_usize).prop_map(|most| Deed::Claim { most }),
        3 => Just(Deed::Renew),
        4 => Just(Deed::Succeed),
        3 => any::<bool>().prop_map(|permanent| Deed::Fail { permanent }),
        2 => Just(Deed::Release),
        2 => Just(Deed::LoseLease),
        3 => Just(Deed::Reap),
        2 => Just(Deed::Cancel),
        2 => Just(Deed::Retry),
        1 => (0..3_u8).prop_map(|subject| Deed::Pause { subject }),
        2 => (0..3_u8).prop_map(|subject| Deed::Resume { subject }),
        1 => prop_oneof![Just(None), (1..3_i32).prop_map(Some)].prop_map(|most| Deed::Cap { most }),
    ]
}

fn subject(n: u8) -> String {
    format!("database:kanbu{n}")
}

/// What one actor holds.
#[derive(Default)]
struct Actor {
    claimed: Vec<Claimed>,
}

impl Actor {
    async fn act(&mut self, world: &World, deeds: &[Deed]) {
        for deed in deeds {
            self.does(world, deed).await;
        }
    }

    async fn does(&mut self, world: &World, deed: &Deed) {
        let db = &world.db;
        match *deed {
            Deed::Enqueue {
                subject: n,
                unless_open,
            } => {
                let new = backup(&subject(n));
                let new = if unless_open { new.unless_open() } else { new };
                world.try_enqueue(&new).await.unwrap();
            }
            Deed::Claim { most } => {
                self.claimed
                    .extend(world.claim_many(Kind::Backup, MINUTE, most).await);
                world
                    .sql("update kanbu_backup.job set run_at = now() where id in
                            (select id from kanbu_backup.job where state = 'queued' for update skip locked)")
                    .await;
            }
            Deed::Renew => self.renew(world).await,
            Deed::Succeed => self.ends(world, Close::Done(Box::default())).await,
            Deed::Fail { permanent } => {
                let fault = if permanent {
                    Fault::Permanent
                } else {
                    Fault::Transient
                };
                self.ends(world, Close::Failed(Failure::new(fault, "x.y", "x")))
                    .await;
            }
            Deed::Release => self.ends(world, Close::Released).await,
            Deed::LoseLease => {
                if let Some(claimed) = self.claimed.last() {
                    world.expire(claimed.execution).await;
                }
            }
            Deed::Reap => {
                queue::reap(db).await.unwrap();
            }
            ref other => rules(world, other).await,
        }
    }

    async fn renew(&self, world: &World) {
        let renewals: Vec<_> = self
            .claimed
            .iter()
            .map(|claimed| Renewal {
                id: claimed.execution,
                progress: None,
                log_from: 0,
                log: vec!["renewed".to_owned()],
            })
            .collect();
        queue::renew(&world.db, &renewals, MINUTE, MINUTE)
            .await
            .unwrap();
    }

    /// All but the first end like this, whatever has become of their leases.
    async fn ends(&mut self, world: &World, close: Close) {
        let endings: Vec<_> = self
            .claimed
            .drain(self.claimed.len().min(1)..)
            .map(|claimed| Ending::new(claimed.execution, claimed.job, close.clone()))
            .collect();
        let batch: Vec<_> = endings.iter().collect();
        for (_, answer) in queue::finish_many(&world.db, &batch).await.unwrap() {
            assert_ne!(answer, Answer::Already);
        }
        if let Some(claimed) = self.claimed.pop() {
            let ending = Ending::new(claimed.execution, claimed.job, close);
            queue::publish(&world.db, &ending).await.unwrap();
        }
    }
}

/// What people do to jobs and to the queue.
async fn rules(world: &World, deed: &Deed) {
    let db = &world.db;
    match *deed {
        Deed::Cancel => {
            if let Some(job) = any_job(world, "state in ('queued', 'running')").await {
                queue::cancel(db, job, "anna").await.unwrap();
            }
        }
        Deed::Retry => {
            if let Some(job) = any_job(world, "state = 'dead'").await {
                let retried = queue::retry(db, job, 2).await;
                assert!(
                    matches!(retried, Ok(_) | Err(QueueError::NotDead { .. })),
                    "{retried:?}"
                );
            }
        }
        Deed::Pause { subject: n } => {
            let subject = subject(n).parse().unwrap();
            queue::pause(db, None, Some(&subject), None, None, "anna")
                .await
                .unwrap();
        }
        Deed::Resume { subject: n } => {
            let subject = subject(n).parse().unwrap();
            queue::resume(db, None, Some(&subject)).await.unwrap();
        }
        Deed::Cap { most } => queue::limit_running(db, Kind::Backup, most).await.unwrap(),
        Deed::Enqueue { .. }
        | Deed::Claim { .. }
        | Deed::Renew
        | Deed::Succeed
        | Deed::Fail { .. }
        | Deed::Release
        | Deed::LoseLease
        | Deed::Reap => unreachable!("{deed:?} is a worker's"),
    }
}

async fn any_job(world: &World, condition: &str) -> Option<JobId> {
    let query = format!("select id from kanbu_backup.job where {condition} order by id limit 1");
    let id: Option<uuid::Uuid> = sqlx::query_scalar(AssertSqlSafe(query))
        .fetch_optional(world.db.bare_pool())
        .await
        .unwrap();
    id.map(JobId::from)
}

/// Nothing stays open once every lease has run out, and no cap or lost worker keeps a job for ever.
async fn settle(world: &World) {
    world
        .sql("update kanbu_backup.execution set lease_until = now() - interval '1 second' where ended_at is null")
        .await;
    while !queue::reap(&world.db).await.unwrap().is_empty() {}
    world.holds().await;
    let open = world
        .number("select count(*) from kanbu_backup.job where state = 'running'")
        .await;
    assert_eq!(open, 0);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 12,
        max_shrink_iters: 60,
        failure_persistence: Some(Box::new(FileFailurePersistence::Off)),
        ..ProptestConfig::default()
    })]

    // On a failure, proptest prints the smallest script it found; the script is the seed to replay.
    #[test]
    fn no_interleaving_breaks_an_invariant(
        scripts in prop::collection::vec(prop::collection::vec(deed(), 5..40), 4),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let world = World::new().await;
            let mut actors: Vec<Actor> = scripts.iter().map(|_| Actor::default()).collect();
            let acting = actors
                .iter_mut()
                .zip(&scripts)
                .map(|(actor, script)| actor.act(&world, script));
            futures::future::join_all(acting).await;
            world.holds().await;
            settle(&world).await;
        });
    }
}
