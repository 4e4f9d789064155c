//! Stopping: a worker that is told to go, a person who loses patience, a job that is cancelled, a backup that is deleted.

use kanbu_backup::{execution::Outcome, id::JobId, pg::process::Signal, queue::JobState};

use crate::{
    running::{Running, children_of, name_of, until},
    world::World,
};

/// A backup in its middle, followed by `backup`.
struct Middle {
    world: World,
    worker: Running,
    held: kanbu_backup::testing::Session,
    follower: Running,
    job: JobId,
    dump: i32,
}

impl Middle {
    async fn reach(mut world: World, follow: &[&str], grace: &str) -> Self {
        world.set("KANBU_BACKUP_GRACE_SECONDS", grace);
        let worker = world.worker("one").await;
        let held = world.hold_dumps().await;
        let follower = world.start(&[&["backup"], follow].concat());
        let dump = world.until_dump_waits(&worker).await;
        let job = world.newest_job().await.id;
        Self {
            world,
            worker,
            held,
            follower,
            job,
            dump,
        }
    }

    /// The dump was ended and nothing of it is left.
    async fn is_swept(&self) {
        until("pg_dump to end", async || {
            name_of(self.dump).is_none().then_some(())
        })
        .await;
        until("the staging files to go", async || {
            self.world.stored().is_empty().then_some(())
        })
        .await;
        assert_eq!(self.world.listed().await, 0);
        self.world.holds().await;
    }
}

#[tokio::test]
async fn a_worker_past_its_grace_hands_the_job_back_and_another_finishes_it() {
    let mid = Middle::reach(World::large().await, &[], "0").await;
    mid.worker.signal(Signal::TERM);
    let ended = mid.worker.end().await.with(0);
    assert!(
        ended.stderr.contains("the grace is over"),
        "{}",
        ended.stderr
    );
    assert_eq!(name_of(mid.dump), None);
    assert_eq!(mid.world.stored(), Vec::<String>::new());
    let job = mid.world.job(mid.job).await;
    assert_eq!((job.state, job.attempts), (JobState::Queued, 0));
    let runs = mid.world.executions(mid.job).await;
    assert_eq!(runs.len(), 1);
    assert_eq!(
        (runs[0].outcome, runs[0].charged),
        (Some(Outcome::Cancelled), false)
    );
    mid.follower
        .until_it_says("the worker shut down and gave the job back (execution.released)")
        .await;

    drop(mid.held);
    let heir = mid.world.worker("two").await;
    mid.follower.end().await.with(0);
    assert_eq!(mid.world.job(mid.job).await.attempts, 1);
    assert_eq!(mid.world.listed().await, 1);
    mid.world.holds().await;
    mid.world.dismiss(heir).await;
}

#[tokio::test]
async fn a_worker_within_its_grace_finishes_what_it_has_begun_and_takes_no_more() {
    let mid = Middle::reach(World::large().await, &[], "60").await;
    mid.worker.signal(Signal::TERM);
    mid.worker.until_it_says("claiming no more").await;
    mid.world
        .run(&["backup", "source", "--no-wait"])
        .await
        .with(0);
    drop(mid.held);
    mid.follower.end().await.with(0);
    mid.worker.end().await.with(0);
    assert_eq!(mid.world.job(mid.job).await.state, JobState::Succeeded);
    assert_eq!(mid.world.newest_job().await.state, JobState::Queued);
}

#[tokio::test]
async fn a_second_signal_skips_the_grace() {
    let mid = Middle::reach(World::large().await, &["--timeout", "1h"], "600").await;
    mid.worker.signal(Signal::TERM);
    mid.worker.until_it_says("claiming no more").await;
    mid.worker.signal(Signal::INT);
    mid.worker.end().await.with(0);
    assert_eq!(mid.world.job(mid.job).await.attempts, 0);
}

#[tokio::test]
async fn an_interrupt_of_the_follower_cancels_the_job_and_says_so() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mid = Middle::reach(World::large().await, &["--json"], "1").await;
        mid.follower.signal(signal);
        until("the job to be cancelled", async || {
            (mid.world.job(mid.job).await.state == JobState::Cancelled).then_some(())
        })
        .await;
        mid.is_swept().await;
        let ended = mid.follower.end().await.with(code);
        assert_eq!(ended.result()["fate"], "is being cancelled");
        mid.world.dismiss(mid.worker).await;
    }
}

#[tokio::test]
async fn a_follower_whose_time_is_over_leaves_and_the_job_goes_on() {
    let mid = Middle::reach(World::large().await, &["--timeout", "1", "--json"], "1").await;
    let ended = mid.follower.end().await.with(12);
    assert_eq!(ended.result()["state"], "running");
    assert!(
        ended
            .lines()
            .iter()
            .any(|line| line["type"] == "progress" && line["phase"] == "dump")
    );
    drop(mid.held);
    mid.world.until_job(mid.job, JobState::Succeeded).await;
    assert_eq!(mid.world.listed().await, 1);
}

#[tokio::test]
async fn a_cancelled_job_stops_its_dump_and_its_follower_learns_it() {
    let mid = Middle::reach(World::large().await, &[], "1").await;
    let id = mid.job.to_string();
    let short = &id[id.len() - 8..];
    let cancel = mid.world.run(&["job", "cancel", short]).await.with(0);
    assert!(
        cancel.stdout.contains("is being cancelled"),
        "{}",
        cancel.stdout
    );
    mid.world.until_job(mid.job, JobState::Cancelled).await;
    mid.is_swept().await;
    let ended = mid.follower.end().await.with(1);
    assert!(
        ended.stderr.contains("(execution.cancelled)"),
        "{}",
        ended.stderr
    );
    assert_eq!(children_of(mid.worker.pid()), Vec::<i32>::new());
    // What has ended can't be cancelled again, and what isn't dead can't be retried.
    mid.world.run(&["job", "cancel", short]).await.with(5);
    mid.world
        .run(&["job", "retry", short])
        .await
        .refused(5, "queue.not_dead", "can't be retried");
}

#[tokio::test]
async fn a_job_cancelled_before_it_ran_ends_its_followers_stream() {
    let world = World::new().await;
    let follower = world.start(&["backup", "--json"]);
    let job = world.newest_job().await.id.to_string();
    world.run(&["job", "cancel", &job]).await.with(0);
    let ended = follower.end().await.with(1);
    let error = ended.result();
    assert_eq!(error["code"], "execution.cancelled", "{error}");
}

#[tokio::test]
async fn a_failed_attempt_is_told_with_its_hint_while_the_next_is_waited_for() {
    let mut world = World::new().await;
    let url = world.protected.url.clone();
    let (login, _) = url.split_once("@127.0.0.1:").unwrap();
    world.set(
        "DATABASE_URL",
        &format!("{login}@127.0.0.1:1/{}", world.protected.name),
    );
    let worker = world.worker("astray").await;
    let follower = world.start(&["backup"]);
    let said = follower.until_it_says("the next begins at").await;
    assert!(
        said.contains("warning: could not reach the server at 127.0.0.1:1"),
        "{said}"
    );
    assert!(said.contains("(database.unreachable)"), "{said}");
    assert!(said.contains("hint: check that the server runs"), "{said}");
    assert!(said.contains("attempt 1 of 4 failed"), "{said}");
    let list = world.run(&["job", "list"]).await.with(0).stdout;
    assert!(list.contains("retrying") && list.contains("1/4"), "{list}");
    world.dismiss(worker).await;
    // The server is back: the same job succeeds.
    world.set("DATABASE_URL", &url);
    let _worker = world.worker("on its way").await;
    world.hurry().await;
    follower.end().await.with(0);
    assert_eq!(world.listed().await, 1);
}

#[tokio::test]
async fn a_dead_job_runs_again_by_hand() {
    let mut world = World::new().await;
    world.without_retries().await;
    let url = world.protected.url.clone();
    world.set("DATABASE_URL", &url.replace("@127.0.0.1:", "@127.0.0.2:1"));
    let name = format!("{}_elsewhere", world.protected.name);
    world.set("DATABASE_URL", &url.replace(&world.protected.name, &name));
    let worker = world.worker("one").await;
    world
        .run(&["backup"])
        .await
        .refused(8, "database.missing", "there is no database");
    let job = world.newest_job().await;
    assert_eq!(job.state, JobState::Dead);
    world
        .protected
        .run(&format!("create database {name}"))
        .await;
    world.run(&["job", "retry", &job.id.short()]).await.with(0);
    world.until_job(job.id, JobState::Succeeded).await;
    world.dismiss(worker).await;
    world.protected.run(&format!("drop database {name}")).await;
}

#[tokio::test]
async fn a_deletion_wants_to_be_confirmed_and_spares_the_last_backup() {
    let world = World::new().await;
    let _worker = world.worker("one").await;
    let id = async |label: &str| {
        let made = world.result(&["backup", "--label", label]).await;
        made["artifact"].as_str().unwrap().to_owned()
    };
    let (old, new) = (id("old").await, id("new").await);
    world
        .run(&["delete", &old])
        .await
        .refused(2, "usage.not_confirmed", "Nothing was changed");
    world.run(&["delete", &old, "--dry-run"]).await.with(0);
    assert_eq!(world.listed().await, 2);
    let deleted = world.result(&["delete", &old, "--yes"]).await;
    assert_eq!(deleted["pending"], 0);
    assert_eq!(world.listed().await, 1);
    // Of the old one nothing is left on the storage, of the new one everything.
    world.object();
    world.run(&["delete", &new, "--yes"]).await.refused(
        5,
        "catalog.last_of_subject",
        "the last stored one",
    );
    world
        .run(&["delete", &new, "--yes", "--force-last"])
        .await
        .with(2);
    assert_eq!(world.listed().await, 1);
    let other = id("other").await;
    let both = [
        "delete",
        &new,
        &other,
        "--yes",
        "--force-last",
        "--reason",
        "moved away",
    ];
    assert_eq!(world.result(&both).await["artifacts"], 2);
    assert_eq!(world.listed().await, 0);
    assert_eq!(world.stored(), Vec::<String>::new());
}

#[tokio::test]
async fn an_idle_worker_goes_when_it_is_told() {
    let world = World::new().await;
    let worker = world.worker("one").await;
    world.dismiss(worker).await;
}
