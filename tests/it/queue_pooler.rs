//! S13: the queue behind a PgBouncer that knows no prepared statements and has two server connections for everybody. Crews
//! go through it; the test itself looks directly.

use kanbu_backup::{
    catalog,
    control::ControlConfig,
    execution::{Outcome, store},
    job::{Verify, VerifyLevel},
    queue::{Answer, Cancelled, Close, Ending, Renewal, Retried},
    testing::Pooler,
};

use super::{
    crew::listening,
    endings::effects,
    outage::{Mode, Relay},
    *,
};

/// Long enough that no lease runs out by itself.
const LEASE: u64 = 60;

/// A pooler in front of a control database.
struct Pooled {
    world: World,
    pooler: Pooler,
    db: ControlDb,
}

impl Pooled {
    async fn new(with_direct_address: bool) -> Self {
        let world = World::new().await;
        let url = world.url().to_owned();
        let pooler = Pooler::before(&url, "").await;
        let db = through(&pooler, with_direct_address.then_some(url)).await;
        Self { world, pooler, db }
    }

    async fn left_nothing(&self) {
        for left in ["pg_prepared_statements", "pg_listening_channels()"] {
            let count = format!("select count(*)::text from {left}");
            assert_eq!(self.pooler.on_each_server(&count).await, ["0"; 2], "{left}");
        }
    }
}

async fn through(pooler: &Pooler, listen_url: Option<String>) -> ControlDb {
    let config = ControlConfig {
        listen_url,
        ..ControlConfig::new(pooler.url(), "pooled")
    };
    ControlDb::connect(&config).await.unwrap()
}

async fn claimed(db: &ControlDb) -> Option<Claimed> {
    let ids = [ExecutionId::new()];
    let claim = queue::claim(db, WorkerId::new(), Kind::Backup, MINUTE, &ids).await;
    match claim.unwrap() {
        Claim::Jobs(mut jobs) => jobs.pop(),
        Claim::Nothing { .. } => None,
    }
}

/// From the request to the entry in the catalog, with a pause before.
async fn a_job_is_published(db: &ControlDb, subject: &str) {
    let new = backup(subject);
    queue::pause(db, Some(Kind::Backup), None, None, Some("moving"), "anna")
        .await
        .unwrap();
    let job = queue::submit(db, &new).await.unwrap().job();
    assert!(claimed(db).await.is_none());
    let waiting = queue::waiting(db).await.unwrap();
    assert!(waiting.iter().any(|waiting| waiting.id == job));
    assert!(queue::resume(db, Some(Kind::Backup), None).await.unwrap());
    queue::limit_running(db, Kind::Backup, Some(1))
        .await
        .unwrap();
    let claimed = claimed(db).await.expect("the job");
    queue::limit_running(db, Kind::Backup, None).await.unwrap();
    assert_eq!((claimed.job, claimed.attempt), (job, 1));
    let renewal = Renewal {
        id: claimed.execution,
        progress: None,
        log_from: 0,
        log: vec!["a line".to_owned()],
    };
    let renewed = queue::renew(db, &[renewal], MINUTE, MINUTE).await.unwrap();
    assert_eq!((renewed.len(), renewed[0].cancel_requested), (1, false));

    let close = Close::Done(Box::new(effects(&claimed)));
    let ending = Ending::new(claimed.execution, job, close);
    assert_eq!(queue::publish(db, &ending).await.unwrap(), Answer::Closed);
    assert_eq!(queue::publish(db, &ending).await.unwrap(), Answer::Already);
    let view = queue::job(db, job).await.unwrap().unwrap();
    assert_eq!(view.state, JobState::Succeeded);
    let artifact = catalog::resolve(db, "latest").await.unwrap();
    let listed = catalog::get(db, artifact).await.unwrap().unwrap();
    assert_eq!(listed.execution, claimed.execution);
    let history = store::executions(db, job).await.unwrap();
    assert_eq!(history[0].log, ["a line"]);
}

/// Lost, taken over, failed for good, retried, cancelled.
async fn a_job_is_cancelled_after_much_trouble(world: &World, db: &ControlDb, subject: &str) {
    let job = queue::submit(db, &backup(subject)).await.unwrap().job();
    let lost = claimed(db).await.expect("the job");
    assert_eq!(
        queue::cancel(db, job, "anna").await.unwrap(),
        Cancelled::Requested
    );
    world
        .sql(&format!(
            "update kanbu_backup.job set cancel_requested_at = null, cancel_requested_by = null where id = '{job}'"
        ))
        .await;
    world.expire(lost.execution).await;
    let reaped = queue::reap(db).await.unwrap();
    assert_eq!((reaped.len(), reaped[0].job), (1, job));
    world.make_due(job).await;
    let again = claimed(db).await.expect("the job again");
    let failure = Failure::new(Fault::Permanent, "test.failed", "it failed");
    let ending = Ending::new(again.execution, job, Close::Failed(failure));
    let answers = queue::finish_many(db, &[&ending]).await.unwrap();
    assert_eq!(answers, [(again.execution, Answer::Closed)]);
    let id = job.to_string();
    assert_eq!(queue::resolve(db, &id[id.len() - 12..]).await.unwrap(), job);
    assert_eq!(queue::retry(db, job, 1).await.unwrap(), Retried::Queued);
    assert_eq!(
        queue::cancel(db, job, "anna").await.unwrap(),
        Cancelled::AtOnce
    );
}

#[tokio::test]
async fn every_deed_of_the_queue_goes_through_a_pooler_and_leaves_nothing_behind() {
    for with_direct_address in [true, false] {
        let pooled = Pooled::new(with_direct_address).await;
        // Each statement meets both server connections, and meets itself again.
        for round in 0..4 {
            let subject = format!("database:kanbu{round}");
            a_job_is_published(&pooled.db, &subject).await;
            a_job_is_cancelled_after_much_trouble(&pooled.world, &pooled.db, &subject).await;
        }
        pooled.left_nothing().await;
        pooled.world.holds().await;
    }
}

#[tokio::test]
async fn a_caller_enqueues_in_a_transaction_of_his_own_behind_a_pooler_too() {
    let pooled = Pooled::new(false).await;
    for (subject, commits) in [("database:kept", true), ("database:lost", false)] {
        let mut tx = pooled.db.pool().begin().await.unwrap();
        queue::enqueue(&mut tx, &backup(subject)).await.unwrap();
        if commits {
            tx.commit().await.unwrap();
        } else {
            tx.rollback().await.unwrap();
        }
    }
    assert_eq!(pooled.world.claim().await.subject, "database:kept");
    assert!(pooled.world.try_claim().await.is_none());
}

/// Two crews of three slots, for 36 jobs over six subjects; `trouble` is asked for whenever some more have ended.
async fn crews_do_dozens(
    pooled: &mut Pooled,
    lease: u64,
    mut trouble: impl AsyncFnMut(&mut Pooled),
) {
    const JOBS: i64 = 36;
    for n in 0..JOBS {
        pooled
            .world
            .backup(&format!("database:kanbu{}", n % 6))
            .await;
    }
    let stop = CancellationToken::new();
    let crews: Vec<_> = ["one", "two"]
        .map(|name| {
            let handler: Handler = Arc::new(|_, _| async { Ok(Effects::default()) }.boxed());
            let slots = BTreeMap::from([(Kind::Backup, 3)]);
            let mut crew = Crew::new(pooled.db.clone(), handler, slots, name);
            crew.terms = LeaseTerms::new(Duration::from_secs(lease));
            tokio::spawn(crew.run(stop.clone(), CancellationToken::new()))
        })
        .into();
    let mut before = 0;
    eventually("all jobs to be done", async || {
        let done = "select count(*) from kanbu_backup.job where state = 'succeeded'";
        let done = pooled.world.number(done).await;
        if done >= before + 6 {
            before = done;
            trouble(pooled).await;
        }
        (done == JOBS).then_some(())
    })
    .await;
    stop.cancel();
    for crew in crews {
        timeout(PATIENCE, crew).await.unwrap().unwrap().unwrap();
    }
    let twice =
        "select count(*) from (select from kanbu_backup.execution where outcome = 'succeeded'
                                        group by job_id having count(*) > 1) as twice";
    assert_eq!(pooled.world.number(twice).await, 0);
    pooled.world.holds().await;
}

#[tokio::test]
async fn two_crews_do_dozens_of_jobs_over_two_server_connections() {
    for with_direct_address in [true, false] {
        let mut pooled = Pooled::new(with_direct_address).await;
        crews_do_dozens(&mut pooled, LEASE, async |_| {}).await;
        let executions = "select count(*) from kanbu_backup.execution";
        assert_eq!(pooled.world.number(executions).await, 36);
        pooled.left_nothing().await;
    }
}

#[tokio::test]
async fn server_connections_that_are_killed_cost_no_job() {
    let mut pooled = Pooled::new(true).await;
    crews_do_dozens(&mut pooled, 5, async |pooled| {
        let kill = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                     where datname = current_database() and application_name like 'kanbu_backup/pooled%'";
        pooled.world.number(kill).await;
    })
    .await;
}

#[tokio::test]
async fn a_pooler_that_is_killed_and_restarted_costs_no_job() {
    let mut pooled = Pooled::new(false).await;
    crews_do_dozens(&mut pooled, 5, async |pooled| pooled.pooler.restart().await).await;
}

#[tokio::test]
async fn a_running_job_outlives_a_restart_of_the_pooler_in_one_execution() {
    let mut pooled = Pooled::new(false).await;
    let mut hands = Hands::hire(&pooled.db, 1, LEASE);
    let job = pooled.world.backup("database:kanbu").await;
    let act = hands.next().await;
    pooled.pooler.restart().await;
    act.lease.check().await.unwrap();
    act.succeeds();
    assert_eq!(pooled.world.until_ended(job, 1).await.len(), 1);
    assert_eq!(pooled.world.state(job).await, (JobState::Succeeded, 1));
    hands.go_home().await;
    pooled.world.holds().await;
}

/// S1
#[tokio::test]
async fn the_job_of_a_killed_worker_is_taken_over_behind_a_pooler() {
    let pooled = Pooled::new(false).await;
    let job = pooled.world.backup("database:kanbu").await;
    let mut victim = Hands::hire(&pooled.db, 1, 3);
    let _act = victim.next().await;
    victim.kill().await;
    let mut heir = Hands::hire(&pooled.db, 1, 3);
    let act = heir.next().await;
    assert_eq!((act.lease.job(), act.lease.attempt()), (job, 2));
    act.succeeds();
    let executions = pooled.world.until_ended(job, 2).await;
    assert_eq!(executions[0].fault, Some(Fault::LeaseLost));
    assert_eq!(executions[1].outcome, Some(Outcome::Succeeded));
    heir.go_home().await;
    pooled.world.holds().await;
}

#[tokio::test]
async fn without_a_direct_address_jobs_and_cancels_are_found_by_the_clock() {
    let pooled = Pooled::new(false).await;
    let mut hands = Hands::hire(&pooled.db, 1, LEASE);
    for _ in 0..2 {
        let job = pooled.world.backup("database:kanbu").await;
        let act = hands.next().await;
        assert_eq!(act.lease.job(), job);
        queue::cancel(&pooled.db, job, "anna").await.unwrap();
        timeout(PATIENCE, act.lease.cancelled().cancelled())
            .await
            .unwrap();
        pooled.world.until_state(job, JobState::Cancelled).await;
    }
    let listening = "select count(*) from pg_stat_activity
                      where datname = current_database() and query like 'LISTEN%'";
    assert_eq!(pooled.world.number(listening).await, 0);
    hands.go_home().await;
    pooled.left_nothing().await;
    pooled.world.holds().await;
}

#[tokio::test]
async fn with_a_direct_address_a_crew_behind_a_pooler_is_woken() {
    let pooled = Pooled::new(true).await;
    let mut hands = Hands::hire(&pooled.db, 1, LEASE);
    listening(&pooled.world).await;
    for n in 0..3 {
        pooled.world.backup(&format!("database:kanbu{n}")).await;
        let act = super::wake::soon(&mut hands).await;
        let job = act.lease.job();
        act.succeeds();
        pooled.world.until_state(job, JobState::Succeeded).await;
    }
    hands.go_home().await;
    pooled.left_nothing().await;
    pooled.world.holds().await;
}

/// S14, between the pooler and its server: of every message in turn, the answer to the commit among them.
#[tokio::test]
async fn whichever_answer_a_pooler_does_not_get_nothing_is_lost_or_done_twice() {
    let world = World::new().await;
    let relay = Relay::before(world.url()).await;
    let pooler = Pooler::before(&relay.url, "").await;
    let db = through(&pooler, Some(world.url().to_owned())).await;
    let mut hands = Hands::hire(&db, 1, LEASE);
    let lose = |text, further| {
        relay.set(Mode::Lose {
            text,
            further,
            then_cut: false,
        });
    };
    // Parse, execute and commit of a claim; those of a publication, with its savepoints and its follow-up.
    for (round, (of_claim, of_publication)) in (0..8).map(|n| (n % 3, n)).enumerate() {
        lose("kanbu_backup.claim(", of_claim);
        let subject = format!("database:kanbu{round}");
        let job = world.backup(&subject).await;
        let act = hands.next().await;
        assert_eq!(*relay.mode.borrow(), Mode::Pass, "no answer was lost");
        assert_eq!((act.lease.job(), act.lease.attempt()), (job, 1));
        lose("kanbu_backup.finish(", of_publication);
        act.ends(Ok(Effects {
            follow_ups: vec![Job::Verify(Verify {
                level: VerifyLevel::Quick,
                ..Verify::of(subject.parse().unwrap())
            })],
            ..Effects::default()
        }));
        world.until_state(job, JobState::Succeeded).await;
        eventually("an answer to be lost", async || {
            (*relay.mode.borrow() == Mode::Pass).then_some(())
        })
        .await;
        assert_eq!(world.executions(job).await.len(), 1);
        let follow_ups =
            format!("select count(*) from kanbu_backup.job where parent_job_id = '{job}'");
        assert_eq!(world.number(&follow_ups).await, 1);
    }
    hands.go_home().await;
    world.holds().await;
}
