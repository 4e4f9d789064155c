//! Crews at work: take-over, overlap, failing handlers, cancel, drain and shutdown.

use kanbu_backup::{
    execution::{Outcome, Phase, Progress},
    queue::Cancelled,
};

use super::*;

fn outcomes(executions: &[ExecutionView]) -> Vec<(Option<Outcome>, Option<Fault>)> {
    executions.iter().map(|e| (e.outcome, e.fault)).collect()
}

const SUCCEEDED: (Option<Outcome>, Option<Fault>) = (Some(Outcome::Succeeded), None);
const LOST: (Option<Outcome>, Option<Fault>) = (Some(Outcome::Failed), Some(Fault::LeaseLost));

#[tokio::test]
async fn a_job_goes_from_the_queue_to_its_handler_and_back() {
    let world = World::new().await;
    let mut hands = Hands::hire(&world.db, 1, 30);
    let job = world.backup("database:kanbu").await;
    let act = hands.next().await;
    assert_eq!((act.lease.job(), act.lease.attempt()), (job, 1));
    assert_eq!(act.job.subject().to_string(), "database:kanbu");
    act.lease.check().await.unwrap();
    act.lease.log("half way");
    act.succeeds();
    let executions = world.until_ended(job, 1).await;
    assert_eq!(outcomes(&executions), [SUCCEEDED]);
    assert!(executions[0].log[0].ends_with(" half way"));
    assert_eq!(world.state(job).await, (JobState::Succeeded, 1));
    hands.go_home().await;
    let gone = world
        .number(
            "select count(*) from kanbu_backup.worker where stopped_at is not null and slots = '{\"backup\": 1}'",
        )
        .await;
    assert_eq!(gone, 1);
    world.holds().await;
}

/// S1, S2
#[tokio::test]
async fn the_job_of_a_killed_worker_is_taken_over() {
    let world = World::new().await;
    let mut first = Hands::hire(&world.db, 1, 3);
    let job = world.backup("database:kanbu").await;
    let act = first.next().await;
    first.kill().await;
    let mut second = Hands::hire(&world.db, 1, 3);
    let successor = second.next().await;
    assert_ne!(successor.lease.execution(), act.lease.execution());
    assert_eq!((successor.lease.job(), successor.lease.attempt()), (job, 2));
    successor.succeeds();
    let executions = world.until_ended(job, 2).await;
    assert_eq!(outcomes(&executions), [LOST, SUCCEEDED]);
    second.go_home().await;
    world.holds().await;
}

/// S3
#[tokio::test]
async fn jobs_of_one_subject_run_one_after_the_other_and_others_beside_them() {
    let world = World::new().await;
    let mut one = Hands::hire(&world.db, 2, 30);
    let mut two = Hands::hire(&world.db, 2, 30);
    for subject in ["database:db1", "database:db1", "database:db2"] {
        world.backup(subject).await;
    }
    let mut begun = Vec::new();
    for _ in 0..2 {
        let act = tokio::select! {
            act = one.next() => act,
            act = two.next() => act,
        };
        begun.push(act);
    }
    begun.sort_by_key(|act| act.job.subject());
    let subjects: Vec<_> = begun.iter().map(|a| a.job.subject().to_string()).collect();
    assert_eq!(subjects, ["database:db1", "database:db2"]);
    let mut begun = begun.into_iter();
    let (first, other) = (begun.next().unwrap(), begun.next().unwrap());

    first.succeeds();
    let second = tokio::select! {
        act = one.next() => act,
        act = two.next() => act,
    };
    assert_eq!(second.job.subject().to_string(), "database:db1");
    let overlaps = world
        .number(
            "select count(*) from kanbu_backup.execution a join kanbu_backup.execution b
                on a.subject = b.subject and a.fence < b.fence and a.ended_at > b.started_at",
        )
        .await;
    assert_eq!(overlaps, 0);
    second.succeeds();
    other.succeeds();
    one.go_home().await;
    two.go_home().await;
    world.holds().await;
}

/// S4, without the signal: the lease ran out while its holder slept, and a successor has begun.
#[tokio::test]
async fn a_worker_that_slept_past_its_lease_publishes_nothing() {
    let world = World::new().await;
    let mut sleeper = Hands::hire(&world.db, 1, 30);
    let job = world.backup("database:kanbu").await;
    let old = sleeper.next().await;
    world.expire(old.lease.execution()).await;
    queue::reap(&world.db).await.unwrap();
    let refused = old.lease.check().await.unwrap_err();
    assert_eq!(refused.fault, Fault::LeaseLost);

    let new = sleeper.next().await;
    assert_eq!(new.lease.job(), job);
    new.succeeds();
    let executions = world.until_ended(job, 2).await;
    assert_eq!(outcomes(&executions), [LOST, SUCCEEDED]);
    sleeper.go_home().await;
    world.holds().await;
}

/// S6
#[tokio::test]
async fn failing_and_panicking_handlers_cost_an_attempt_and_no_worker() {
    let world = World::new().await;
    let mut hands = Hands::hire(&world.db, 1, 30);
    let job = world.backup("database:kanbu").await;
    hands.next().await.fails(Fault::Transient);
    let view = world.until_state(job, JobState::Queued).await;
    assert_eq!(view.error_code.as_deref(), Some("test.failed"));

    world.make_due(job).await;
    drop(hands.next().await);
    let view = eventually("the panic to be recorded", async || {
        let view = world.job(job).await;
        (view.error_code.as_deref() == Some("handler.panicked")).then_some(view)
    })
    .await;
    assert!(view.error.unwrap().ends_with("the act was dropped"));

    world.make_due(job).await;
    hands.next().await.fails(Fault::Permanent);
    assert_eq!(world.until_state(job, JobState::Dead).await.attempts, 3);

    let other = world.backup("database:other").await;
    hands.next().await.succeeds();
    world.until_state(other, JobState::Succeeded).await;
    hands.go_home().await;
    world.holds().await;
}

#[tokio::test]
async fn a_job_past_its_deadline_is_stopped_and_tried_again() {
    let world = World::new().await;
    let mut hands = Hands::with(&world.db, |crew| {
        crew.limits = Limits::default().with_deadline(Kind::Backup, Duration::from_millis(100));
    });
    let job = world.backup("database:kanbu").await;
    let act = hands.next().await;
    let execution = world.until_ended(job, 1).await.pop().unwrap();
    assert!(act.lease.cancelled().is_cancelled());
    assert_eq!(execution.error_code.as_deref(), Some("execution.deadline"));
    assert_eq!(world.state(job).await, (JobState::Queued, 1));
    hands.go_home().await;
    world.holds().await;
}

#[tokio::test]
async fn a_handler_that_ignores_being_stopped_is_aborted_and_its_slot_is_free_again() {
    let world = World::new().await;
    let mut hands = Hands::stubborn(&world.db, |crew| {
        crew.limits = crew
            .limits
            .clone()
            .with_deadline(Kind::Backup, Duration::from_millis(100));
    });
    let job = world.backup("database:kanbu").await;
    let stuck = hands.next().await;
    let execution = world.until_ended(job, 1).await.pop().unwrap();
    assert_eq!(execution.error_code.as_deref(), Some("execution.deadline"));
    assert!(stuck.end.is_closed());
    let other = world.backup("database:other").await;
    hands.next().await.succeeds();
    world.until_state(other, JobState::Succeeded).await;
    hands.go_home().await;
    world.holds().await;
}

#[tokio::test]
async fn a_payload_that_nobody_can_read_is_dead_at_once_and_harms_no_worker() {
    let world = World::new().await;
    let poison = world
        .plant("backup", "database:kanbu", r#"{"nonsense": true}"#)
        .await;
    let good = world.backup("database:kanbu").await;
    let mut hands = Hands::hire(&world.db, 1, 30);
    let act = hands.next().await;
    assert_eq!(act.lease.job(), good);
    act.succeeds();
    let view = world.until_state(poison, JobState::Dead).await;
    assert_eq!(view.error_code.as_deref(), Some("payload.undecodable"));
    assert_eq!(view.attempts, 1);
    hands.go_home().await;
    world.holds().await;
}

/// S8
#[tokio::test]
async fn a_cancel_reaches_the_running_handler() {
    let world = World::new().await;
    let mut hands = Hands::hire(&world.db, 1, 60);
    let job = world.backup("database:kanbu").await;
    let act = hands.next().await;
    listening(&world).await;
    assert_eq!(
        queue::cancel(&world.db, job, "anna").await.unwrap(),
        Cancelled::Requested
    );
    act.lease.cancelled().cancelled().await;
    world.until_state(job, JobState::Cancelled).await;
    let execution = world.executions(job).await.pop().unwrap();
    assert_eq!(
        (execution.outcome, execution.charged),
        (Some(Outcome::Cancelled), true)
    );
    hands.go_home().await;
    world.holds().await;
}

/// Until the crew's LISTEN is up.
pub(super) async fn listening(world: &World) {
    eventually("the crew to listen", async || {
        let listeners = world
            .number(
                "select count(*) from pg_stat_activity
                  where datname = current_database() and state = 'idle' and query like 'LISTEN%'",
            )
            .await;
        (listeners > 0).then_some(())
    })
    .await;
}

/// S5
#[tokio::test]
async fn a_drain_longer_than_the_lease_is_one_execution() {
    let world = World::new().await;
    let mut hands = Hands::with(&world.db, |crew| {
        crew.terms = LeaseTerms::new(Duration::from_secs(2));
        crew.grace = Duration::from_secs(30);
    });
    let job = world.backup("database:kanbu").await;
    let act = hands.next().await;
    let claimed_until = world.job(job).await.running.unwrap().lease_until;
    let mut rival = Hands::hire(&world.db, 1, 2);
    hands.stop.cancel();
    eventually("the first lease to be long over", async || {
        let now: DateTime<Utc> = sqlx::query_scalar("select now()")
            .fetch_one(world.db.bare_pool())
            .await
            .unwrap();
        (now > claimed_until + chrono::TimeDelta::seconds(2)).then_some(())
    })
    .await;
    assert!(!act.lease.cancelled().is_cancelled());
    act.lease.check().await.unwrap();
    act.succeeds();
    hands.gone().await;
    let executions = world.until_ended(job, 1).await;
    assert_eq!(outcomes(&executions), [SUCCEEDED]);
    assert!(rival.acts.try_recv().is_err());
    rival.go_home().await;
    world.holds().await;
}

#[tokio::test]
async fn after_its_grace_a_job_is_given_back_uncharged_and_another_worker_does_it() {
    let world = World::new().await;
    let mut hands = Hands::with(&world.db, |crew| crew.grace = Duration::from_millis(100));
    let job = world.backup("database:kanbu").await;
    let act = hands.next().await;
    hands.stop.cancel();
    act.lease.cancelled().cancelled().await;
    hands.gone().await;
    assert_eq!(world.state(job).await, (JobState::Queued, 0));
    let mut other = Hands::hire(&world.db, 1, 30);
    let act = other.next().await;
    assert_eq!((act.lease.job(), act.lease.attempt()), (job, 1));
    act.succeeds();
    let executions = world.until_ended(job, 2).await;
    assert!(!executions[0].charged && executions[1].charged);
    other.go_home().await;
    world.holds().await;
}

#[tokio::test]
async fn a_second_signal_skips_the_grace() {
    let world = World::new().await;
    let mut hands = Hands::stubborn(&world.db, |crew| crew.grace = Duration::MAX);
    let job = world.backup("database:kanbu").await;
    let _stuck = hands.next().await;
    hands.stop.cancel();
    hands.hurry.cancel();
    hands.gone().await;
    assert_eq!(world.state(job).await, (JobState::Queued, 0));
    world.holds().await;
}

#[tokio::test]
async fn a_stopped_crew_claims_no_more() {
    let world = World::new().await;
    let mut hands = Hands::hire(&world.db, 2, 30);
    let first = world.backup("database:a").await;
    let act = hands.next().await;
    hands.stop.cancel();
    eventually("the crew to say that it stops", async || {
        let stopping = world
            .number("select count(*) from kanbu_backup.worker where stopping_at is not null")
            .await;
        (stopping == 1).then_some(())
    })
    .await;
    let second = world.backup("database:b").await;
    act.succeeds();
    hands.gone().await;
    assert_eq!(world.state(first).await.0, JobState::Succeeded);
    assert_eq!(world.state(second).await, (JobState::Queued, 0));
    world.holds().await;
}

#[tokio::test]
async fn short_jobs_are_claimed_in_batches_and_all_of_them_are_done() {
    let world = World::new().await;
    world
        .sql(
            "insert into kanbu_backup.job (id, kind, subject, exclusive, payload, payload_version, max_attempts,
                                            backoff_base, backoff_cap, origin)
               select gen_random_uuid(), 'notify', 'database:kanbu', false,
                      jsonb_build_object('subject', 'database:kanbu', 'event', gen_random_uuid()),
                      1, 4, '1 second', '1 minute', 'api' from generate_series(1, 300)",
        )
        .await;
    let mut hands = Hands::with(&world.db, |crew| {
        crew.slots = BTreeMap::from([(Kind::Notify, 10)]);
    });
    for _ in 0..300 {
        hands.next().await.succeeds();
    }
    eventually("all to be done", async || {
        let open = world
            .number("select count(*) from kanbu_backup.job where state <> 'succeeded'")
            .await;
        (open == 0).then_some(())
    })
    .await;
    let claims = world
        .number("select count(distinct started_at) from kanbu_backup.execution")
        .await;
    assert!(claims < 250, "{claims} claims for 300 jobs");
    hands.go_home().await;
    world.holds().await;
}

#[tokio::test]
async fn progress_is_seen_by_whoever_follows_the_job_to_its_end() {
    use futures::StreamExt;

    let world = World::new().await;
    let mut hands = Hands::hire(&world.db, 1, 4);
    let job = world.backup("database:kanbu").await;
    let act = hands.next().await;
    let mut views = std::pin::pin!(queue::follow(&world.db, job));
    assert_eq!(
        views.next().await.unwrap().unwrap().state,
        JobState::Running
    );
    let progress = Progress {
        phase: Phase::Dump,
        done_bytes: 42,
        ..Progress::default()
    };
    act.lease.report(progress.clone());
    loop {
        let view = views.next().await.unwrap().unwrap();
        if view.running.and_then(|r| r.progress).as_ref() == Some(&progress) {
            break;
        }
    }
    act.succeeds();
    let rest: Vec<_> = views.collect().await;
    let last = rest.last().unwrap().as_ref().unwrap();
    assert_eq!(last.state, JobState::Succeeded);
    hands.go_home().await;

    let unknown: Vec<_> = queue::follow(&world.db, JobId::new()).collect().await;
    assert!(matches!(unknown[..], [Err(QueueError::NotFound(_))]));
    world.holds().await;
}

#[tokio::test]
async fn leftovers_are_looked_for_at_the_start_and_after_every_reap() {
    let world = World::new().await;
    let (looked, mut looks) = mpsc::unbounded_channel();
    let mut hands = Hands::with(&world.db, |crew| {
        crew.terms = LeaseTerms::new(Duration::from_secs(2));
        crew.leftovers = Some(Arc::new(move || {
            looked.send(()).ok();
            async {}.boxed()
        }));
    });
    timeout(PATIENCE, looks.recv()).await.unwrap().unwrap();
    world.backup("database:kanbu").await;
    let act = hands.next().await;
    world.expire(act.lease.execution()).await;
    timeout(PATIENCE, looks.recv()).await.unwrap().unwrap();
    hands.next().await.succeeds();
    hands.go_home().await;
    world.holds().await;
}
