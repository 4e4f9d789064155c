//! Workers in the list, and sending them home.

use kanbu_backup::{
    execution::Outcome,
    queue::{WorkerState, WorkerView},
};

use super::*;

/// The one worker, once it stands like this.
async fn until_worker(world: &World, state: WorkerState) -> WorkerView {
    eventually(&format!("the worker to be {state}"), async || {
        let worker = queue::workers(&world.db).await.unwrap().pop();
        worker.filter(|worker| worker.state == state)
    })
    .await
}

/// A drained worker stops claiming a moment after it was asked.
async fn until_it_claims_no_more(world: &World) {
    eventually("the crew to claim no more", async || {
        let stopping = world
            .number("select count(*) from kanbu_backup.worker where stopping_at is not null")
            .await;
        (stopping == 1).then_some(())
    })
    .await;
}

async fn until_told_to_stop(act: &Act) {
    timeout(PATIENCE, act.lease.cancelled().cancelled())
        .await
        .expect("the handler to be told to stop");
}

#[tokio::test]
async fn a_worker_asked_to_drain_finishes_what_it_has_begun_and_goes() {
    let world = World::new().await;
    let mut hands = Hands::with(&world.db, |crew| {
        crew.slots = BTreeMap::from([(Kind::Backup, 2), (Kind::Verify, 1)]);
        // What a stop would leave it; a drain doesn't ask for it.
        crew.grace = Duration::ZERO;
        crew.terms = LeaseTerms::new(Duration::from_secs(2));
    });
    let job = world.backup("database:kanbu").await;
    let act = hands.next().await;
    let worker = eventually("the worker to hear", async || {
        let worker = until_worker(&world, WorkerState::Working).await;
        worker.listening.then_some(worker)
    })
    .await;
    assert_eq!(
        worker.slots,
        BTreeMap::from([(Kind::Backup, 2), (Kind::Verify, 1)])
    );
    let held: Vec<_> = worker.running.iter().map(|held| held.job).collect();
    assert_eq!(held, [job]);
    let claimed_until = world.job(job).await.running.unwrap().lease_until;

    assert!(queue::drain(&world.db, worker.id, "anna").await.unwrap());
    until_it_claims_no_more(&world).await;
    let draining = until_worker(&world, WorkerState::Draining).await;
    assert_eq!(draining.drain_requested_by.as_deref(), Some("anna"));
    let later = world.backup("database:later").await;
    eventually("the first lease to be long over", async || {
        let lease = world.job(job).await.running.unwrap().lease_until;
        (lease > claimed_until + chrono::TimeDelta::seconds(3)).then_some(())
    })
    .await;
    assert!(!act.lease.cancelled().is_cancelled());
    act.lease.check().await.unwrap();
    act.succeeds();
    hands.gone().await;

    let executions = world.until_ended(job, 1).await;
    assert_eq!(executions.len(), 1);
    assert_eq!(executions[0].outcome, Some(Outcome::Succeeded));
    assert_eq!(world.state(later).await, (JobState::Queued, 0));
    let gone = until_worker(&world, WorkerState::Gone).await;
    assert_eq!(gone.running, []);
    assert!(!queue::drain(&world.db, worker.id, "anna").await.unwrap());
    world.holds().await;
}

#[tokio::test]
async fn past_its_limit_a_drain_gives_the_job_back_uncharged() {
    let world = World::new().await;
    let mut hands = Hands::with(&world.db, |crew| {
        crew.grace = Duration::MAX;
        crew.drain_limit = Duration::from_millis(100);
    });
    let job = world.backup("database:kanbu").await;
    let act = hands.next().await;
    let worker = until_worker(&world, WorkerState::Working).await;
    assert!(queue::drain(&world.db, worker.id, "anna").await.unwrap());
    until_told_to_stop(&act).await;
    hands.gone().await;
    assert_eq!(world.state(job).await, (JobState::Queued, 0));
    assert!(!world.executions(job).await[0].charged);
    world.holds().await;
}

#[tokio::test]
async fn a_stop_during_a_drain_gives_what_runs_the_usual_grace_from_then() {
    let world = World::new().await;
    let mut hands = Hands::with(&world.db, |crew| crew.grace = Duration::from_millis(100));
    let job = world.backup("database:kanbu").await;
    let act = hands.next().await;
    let worker = until_worker(&world, WorkerState::Working).await;
    assert!(queue::drain(&world.db, worker.id, "anna").await.unwrap());
    until_it_claims_no_more(&world).await;
    assert!(!act.lease.cancelled().is_cancelled());
    hands.stop.cancel();
    until_told_to_stop(&act).await;
    hands.gone().await;
    assert_eq!(world.state(job).await, (JobState::Queued, 0));
    world.holds().await;
}

#[tokio::test]
async fn a_drain_that_nobody_announced_is_read_from_the_row() {
    let world = World::new().await;
    let mut hands = Hands::hire(&world.db, 1, 12);
    world.backup("database:kanbu").await;
    hands.next().await.succeeds();
    until_worker(&world, WorkerState::Working).await;
    world
        .sql("update kanbu_backup.worker set drain_requested_at = now()")
        .await;
    hands.gone().await;
    until_worker(&world, WorkerState::Gone).await;
}

#[tokio::test]
async fn a_worker_that_is_not_heard_of_is_silent_and_pruned_after_a_week() {
    let world = World::new().await;
    let silent = WorkerId::new();
    let forgotten = WorkerId::new();
    for (id, age) in [(silent, "31 seconds"), (forgotten, "8 days")] {
        world
            .sql(&format!(
                "insert into kanbu_backup.worker (id, host, version, slots, last_seen_at)
                 values ('{id}', 'test', '0', '{{\"backup\": 1}}', now() - interval '{age}')"
            ))
            .await;
    }
    let states: Vec<_> = queue::workers(&world.db).await.unwrap();
    assert!(states.iter().all(|w| w.state == WorkerState::Silent));
    assert_eq!(states.len(), 2);
    let hands = Hands::hire(&world.db, 1, 30);
    eventually("the new worker's row", async || {
        let ids: Vec<_> = queue::workers(&world.db)
            .await
            .unwrap()
            .into_iter()
            .map(|worker| worker.id)
            .collect();
        (ids.len() == 2 && ids.contains(&silent)).then_some(())
    })
    .await;
    hands.go_home().await;
}
