//! Sending workers home by the list, and a cancel that reaches another process.

use chrono::TimeDelta;
use kanbu_backup::{
    execution::Outcome,
    fault::Fault,
    id::JobId,
    pg::process::Signal,
    queue::{self, JobState, WorkerState},
};

use crate::{
    running::{Running, name_of, until},
    world::World,
};

/// A worker in the middle of a backup, which stays there until `held` is dropped.
struct Middle {
    world: World,
    worker: Running,
    held: kanbu_backup::testing::Session,
    job: JobId,
    dump: i32,
}

impl Middle {
    async fn reach(world: World, args: &[&str]) -> Self {
        let held = world.hold_dumps().await;
        let worker = world.start(&[&["worker", "--name", "one"], args].concat());
        worker.until_it_says("working").await;
        world.run(&["backup", "--no-wait"]).await.with(0);
        let dump = world.until_dump_waits(&worker).await;
        let job = world.newest_job().await.id;
        Self {
            world,
            worker,
            held,
            job,
            dump,
        }
    }

    async fn state_of_worker(&self, name: &str) -> WorkerState {
        let workers = queue::workers(self.world.db()).await.unwrap();
        let worker = workers.into_iter().rfind(|worker| worker.name == name);
        worker.unwrap().state
    }
}

#[tokio::test]
async fn a_drained_worker_finishes_a_job_longer_than_its_lease_in_one_execution() {
    let mut world = World::large().await;
    // A drain doesn't ask for the grace of a stop.
    world.set("KANBU_BACKUP_GRACE_SECONDS", "0");
    let mid = Middle::reach(world, &[]).await;
    let claimed_until = mid.world.job(mid.job).await.running.unwrap().lease_until;
    let dry = mid.world.run(&["drain", "--all", "--dry-run"]).await;
    let dry = dry.with(0).stdout;
    assert!(dry.contains("1 workers would be asked to go"), "{dry}");
    assert_eq!(mid.state_of_worker("one").await, WorkerState::Working);

    let drain = mid.world.start(&["drain", "one"]);
    mid.worker.until_it_says("claiming no more").await;
    let (worker, job) = (mid.state_of_worker("one").await, mid.job.short());
    assert_eq!(worker, WorkerState::Draining);
    mid.world
        .run(&["backup", "source", "--no-wait"])
        .await
        .with(0);
    // Who loses patience is told who still works on what, and the drain goes on.
    let impatient = mid.world.run(&["drain", "--all", "--timeout", "1s"]).await;
    let impatient = impatient.with(12).stdout;
    assert!(impatient.contains("worker one (") && impatient.contains(&job));
    until("the first lease to be long over", async || {
        let running = mid.world.job(mid.job).await.running.unwrap();
        (running.lease_until > claimed_until + TimeDelta::seconds(5)).then_some(())
    })
    .await;
    assert!(name_of(mid.dump).is_some());

    drop(mid.held);
    let told = drain.end().await.with(0).stdout;
    assert!(told.contains("1 workers have gone"), "{told}");
    mid.worker.end().await.with(0);
    let executions = mid.world.executions(mid.job).await;
    assert_eq!(executions.len(), 1);
    assert_eq!(executions[0].outcome, Some(Outcome::Succeeded));
    assert_eq!(mid.world.newest_job().await.state, JobState::Queued);
    let list = mid.world.run(&["queue", "workers"]).await.with(0).stdout;
    assert!(list.contains("no worker is there"), "{list}");
    let list = mid.world.run(&["queue", "workers", "--all"]).await;
    assert!(list.with(0).stdout.contains("gone"));
    mid.world.holds().await;
}

#[tokio::test]
async fn past_the_drain_timeout_the_job_is_handed_back_uncharged() {
    for order in ["drain", "signal"] {
        let mut world = World::large().await;
        world.set("KANBU_BACKUP_GRACE_SECONDS", "3600");
        let mid = Middle::reach(world, &["--drain-timeout", "1s"]).await;
        if order == "drain" {
            mid.world.run(&["drain", "--all"]).await.with(0);
        } else {
            mid.worker.signal(Signal::TERM);
        }
        let ended = mid.worker.end().await.with(0);
        assert!(
            ended.stderr.contains("the grace is over"),
            "{}",
            ended.stderr
        );
        assert_eq!(name_of(mid.dump), None, "{order}");
        let job = mid.world.job(mid.job).await;
        assert_eq!((job.state, job.attempts), (JobState::Queued, 0), "{order}");
        assert!(!mid.world.executions(mid.job).await[0].charged);
        mid.world.holds().await;
    }
}

#[tokio::test]
async fn a_worker_killed_in_a_drain_is_not_waited_for() {
    let mid = Middle::reach(World::large().await, &[]).await;
    let drain = mid.world.start(&["drain", "one"]);
    mid.worker.until_it_says("claiming no more").await;
    mid.worker.signal(Signal::KILL);
    mid.worker.end().await.with(137);
    mid.world
        .control()
        .run("update kanbu_backup.worker set last_seen_at = now() - interval '1 minute'")
        .await;
    let told = drain.end().await.with(3).stderr;
    assert!(told.contains("(worker.silent)"), "{told}");
    drop(mid.held);
}

#[tokio::test]
async fn a_cancel_from_another_process_ends_the_running_child_before_its_job_has_ended() {
    let mut world = World::large().await;
    // So that only the worker's own hand, and no lease that ran out, can have ended it.
    world.set("KANBU_BACKUP_LEASE_SECONDS", "600");
    let mid = Middle::reach(world, &[]).await;
    let other = mid.world.worker("two").await;
    let cancel = mid.world.run(&["job", "cancel", &mid.job.short()]).await;
    cancel.with(0);
    mid.world.until_job(mid.job, JobState::Cancelled).await;
    assert_eq!(name_of(mid.dump), None);
    let job = mid.world.job(mid.job).await;
    let executions = mid.world.executions(mid.job).await;
    assert_eq!(executions.len(), 1);
    let run = &executions[0];
    assert_eq!(
        (run.outcome, run.fault, run.charged),
        (Some(Outcome::Cancelled), Some(Fault::Cancelled), true)
    );
    let (asked, ended) = (job.cancel_requested_at.unwrap(), run.ended_at.unwrap());
    assert!(asked < ended && ended < run.lease_until);
    println!("cancelled after {} ms", (ended - asked).num_milliseconds());
    drop(mid.held);
    mid.world.dismiss(mid.worker).await;
    mid.world.dismiss(other).await;
    mid.world.holds().await;
}
