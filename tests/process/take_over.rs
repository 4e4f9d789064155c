//! Several workers at one queue, and what becomes of the work of one that dies.

use kanbu_backup::{
    control::ControlDb,
    execution::Outcome,
    fault::Fault,
    id::JobId,
    job::{Backup, Job},
    pg::process::Signal,
    queue::{self, Enqueued, JobState, NewJob, Origin},
};

use crate::{
    running::{name_of, until},
    world::World,
};

/// A backup job of its own, however many are open.
async fn enqueue(world: &World, label: &str) -> JobId {
    let subject = format!("database:{}", world.protected.name);
    let backup = Backup {
        label: Some(label.to_owned()),
        ..Backup::of(subject.parse().unwrap())
    };
    let db: &ControlDb = world.db();
    let new = NewJob::new(Job::Backup(backup), Origin::Operator);
    match queue::submit(db, &new).await.unwrap() {
        Enqueued::New(job) => job,
        Enqueued::AlreadyOpen(job) => panic!("job {job} is open already"),
    }
}

#[tokio::test]
async fn two_jobs_for_one_database_never_run_at_once_on_two_workers() {
    let world = World::large().await;
    let (one, two) = (world.worker("one").await, world.worker("two").await);
    let held = world.hold_dumps().await;
    let jobs = [
        enqueue(&world, "first").await,
        enqueue(&world, "second").await,
    ];
    let first = until("one of them to run", async || {
        let views = [world.job(jobs[0]).await, world.job(jobs[1]).await];
        let running = views.iter().position(|job| job.state == JobState::Running);
        running.filter(|_| !world.stored().is_empty())
    })
    .await;
    // The other worker is idle and has been told of the job; longer than it takes to claim one, nothing happens.
    let second = jobs[1 - first];
    let renewed = world.job(jobs[first]).await.running.unwrap().lease_until;
    until("the lease to be renewed", async || {
        let running = world.job(jobs[first]).await.running.unwrap();
        (running.lease_until > renewed).then_some(())
    })
    .await;
    assert_eq!(world.job(second).await.state, JobState::Queued);
    drop(held);
    for job in jobs {
        world.until_job(job, JobState::Succeeded).await;
    }
    let mut runs = Vec::new();
    for job in jobs {
        runs.extend(world.executions(job).await);
    }
    runs.sort_by_key(|run| run.started_at);
    assert_eq!(runs.len(), 2);
    assert!(runs[0].ended_at.unwrap() <= runs[1].started_at, "{runs:?}");
    assert_eq!(world.listed().await, 2);
    world.holds().await;
    world.dismiss(one).await;
    world.dismiss(two).await;
}

#[tokio::test]
async fn a_worker_that_slept_past_its_lease_publishes_nothing_when_it_wakes() {
    let world = World::large().await;
    let held = world.hold_dumps().await;
    let sleeper = world.worker("sleeper").await;
    let job = enqueue(&world, "slept over").await;
    let dump = world.until_dump_waits(&sleeper).await;
    let slept = world.job(job).await.running.unwrap().id;
    sleeper.signal(Signal::STOP);
    drop(held);
    let heir = world.worker("heir").await;
    world.until_job(job, JobState::Succeeded).await;
    sleeper.signal(Signal::CONT);
    sleeper.until_it_says("the lease").await;
    until("its pg_dump to end", async || {
        name_of(dump).is_none().then_some(())
    })
    .await;
    world.dismiss(sleeper).await;

    let runs = world.executions(job).await;
    let faults: Vec<_> = runs.iter().map(|run| run.fault).collect();
    assert_eq!(faults, [Some(Fault::LeaseLost), None]);
    assert_eq!(runs[0].id, slept);
    assert_eq!(runs[0].artifact, None);
    assert_eq!(world.listed().await, 1);
    // On the storage there is nothing but the heir's backup.
    let of_sleeper = slept.to_string();
    until("the sleeper's files to be gone", async || {
        let all_else = world
            .stored()
            .iter()
            .all(|path| !path.contains(&of_sleeper));
        all_else.then_some(())
    })
    .await;
    world.object();
    world.result(&["verify", "latest"]).await;
    world.holds().await;
    world.dismiss(heir).await;
}

#[tokio::test]
async fn the_backup_of_a_killed_worker_is_made_by_another_and_leaves_nothing_behind() {
    let world = World::large().await;
    let held = world.hold_dumps().await;
    let doomed = world.worker("doomed").await;
    let job = enqueue(&world, "interrupted").await;
    let dump = world.until_dump_waits(&doomed).await;
    let dead_run = world.job(job).await.running.unwrap();
    let remains = world.stored();
    assert!(!remains.is_empty());

    doomed.signal(Signal::KILL);
    doomed.end().await.with(137);
    until("its pg_dump to die with it", async || {
        name_of(dump).is_none().then_some(())
    })
    .await;
    drop(held);
    let heir = world.worker("heir").await;
    world.until_job(job, JobState::Succeeded).await;

    let runs = world.executions(job).await;
    assert_eq!(runs.len(), 2);
    assert_eq!(runs[0].id, dead_run.id);
    assert_eq!(
        (runs[0].outcome, runs[0].fault),
        (Some(Outcome::Failed), Some(Fault::LeaseLost))
    );
    assert_eq!(runs[1].outcome, Some(Outcome::Succeeded));
    assert!(
        runs[1].started_at >= dead_run.lease_until,
        "before the lease had run out"
    );
    assert_ne!(runs[0].worker, runs[1].worker);
    // Exactly one backup is listed, by the second run, and of the first not a file is left.
    assert_eq!(world.listed().await, 1);
    for path in &remains {
        assert!(!std::path::Path::new(path).exists(), "{path} is left");
    }
    let of_dead = dead_run.id.to_string();
    assert!(world.stored().iter().all(|path| !path.contains(&of_dead)));
    let sessions = "select pid::text from pg_stat_activity
        where datname = current_database() and application_name like 'kanbu_backup/%'";
    assert_eq!(world.protected.texts(sessions).await, Vec::<String>::new());
    world.result(&["verify", "latest"]).await;
    world.holds().await;
    world.dismiss(heir).await;
}
