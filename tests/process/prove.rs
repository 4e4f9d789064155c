//! Test restores as an operator sees them, and what is left of one whose worker is killed.

use std::{fs, path::PathBuf};

use kanbu_backup::{
    catalog,
    execution::Outcome,
    job::Kind,
    pg::{process::Signal, scratch, server},
    queue::{self, JobFilter, JobState},
};

use crate::{
    running::{Running, until},
    world::World,
};

/// Directories of test restores, and databases of this world's executions on the protected server.
async fn left(world: &World) -> Vec<String> {
    let root = world.directory.server().join(server::SCRATCH);
    let directories = scratch::directories(&root);
    let mut left: Vec<_> = directories
        .into_iter()
        .map(|(_, path)| path.display().to_string())
        .collect();
    let ids = "select id::text from kanbu_backup.execution";
    for id in world.control().texts(ids).await {
        let name = scratch::database_of(id.parse().unwrap());
        if world.has_database(&name).await {
            left.push(name);
        }
    }
    left
}

fn checks(world: &World, name: &str, text: &str) -> PathBuf {
    let path = world.path(name);
    fs::write(&path, text).unwrap();
    path
}

#[tokio::test]
async fn a_test_restore_proves_a_backup_and_a_false_check_is_an_integrity_failure() {
    let world = World::new().await;
    let worker = world.worker("one").await;
    world.result(&["backup", "database"]).await;
    let good = checks(
        &world,
        "good.sql",
        "-- people\nselect count(*) = 500 from people;\nselect ';' = ';';",
    );
    let good = good.to_str().unwrap();
    let proven = world.result(&["test-restore", "--checks", good]).await;
    assert_eq!(
        (&proven["proven"], &proven["rows"]),
        (&true.into(), &500.into())
    );
    assert_eq!(proven["place"], "scratch");
    let list = world.run(&["list"]).await.with(0);
    assert!(list.stdout.contains("proven"), "{}", list.stdout);
    let show = world.run(&["show", &short_id(&world).await]).await.with(0);
    assert!(show.stdout.contains("as measured"), "{}", show.stdout);
    let stats = world.run(&["verify", "--stats", "--json"]).await.with(0);
    let counts = stats.document()["verification"].clone();
    assert_eq!(
        (&counts["total"], &counts["verified"]),
        (&1.into(), &1.into())
    );

    let bad = checks(&world, "bad.sql", "select count(*) = 501\nfrom people");
    let bad = bad.to_str().unwrap();
    let refused = world
        .run(&["verify", "latest", "--level", "proven", "--checks", bad])
        .await
        .with(6);
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert!(said.contains("select count(*) = 501"), "{said}");
    let job = world.newest_job().await;
    assert_eq!(job.state, JobState::Dead, "it is not tried again");
    let runs = world.executions(job.id).await;
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].outcome, Some(Outcome::Failed));
    assert_eq!(runs[0].error_code.as_deref(), Some("proof.untrue"));
    let list = world.run(&["list"]).await.with(0);
    assert!(list.stdout.contains("FAILED"), "{}", list.stdout);
    let doctor = world.run(&["doctor"]).await.with(1);
    assert!(
        doctor.stdout.contains("FAILED its last test restore"),
        "{}",
        doctor.stdout
    );
    world.run(&["verify", "--stats"]).await.with(3);
    assert_eq!(left(&world).await, [""; 0]);
    let unread = world.run(&["test-restore", "--checks", "/nonexistent"]);
    assert_ne!(unread.await.code, 0);
    world.holds().await;
    world.dismiss(worker).await;
}

async fn short_id(world: &World) -> String {
    let all = catalog::list(world.db(), &catalog::Filter::default()).await;
    all.unwrap().remove(0).id.short()
}

#[tokio::test]
async fn what_a_killed_test_restore_leaves_is_swept_by_the_next_start_and_the_job_ends_well() {
    for ground in ["scratch", "server"] {
        let mut world = World::new().await;
        world.set("KANBU_BACKUP_PROVE_ON", ground);
        let victim = world.worker("victim").await;
        world.result(&["backup", "database"]).await;
        let slow = checks(
            &world,
            "slow.sql",
            "select pg_sleep(30) is not null where exists (select from people)",
        );
        let asked = [
            "test-restore",
            "--no-wait",
            "--checks",
            slow.to_str().unwrap(),
        ];
        world.run(&asked).await.with(0);
        let job = world.newest_job().await.id;
        until("the comparison", async || {
            let running = world.job(job).await.running?;
            let progress = running.progress?;
            (progress.phase.as_str() == "compare").then_some(())
        })
        .await;
        let before = left(&world).await;
        assert_eq!(before.len(), 1, "{ground}: {before:?}");
        let content = world.checksums(&world.protected.name).await;
        victim.signal(Signal::KILL);
        victim.end().await;

        // Whoever comes next finds the job cancelled, and only the remains to be seen to.
        queue::cancel(world.db(), job, "test").await.unwrap();
        let heir = world.worker("heir").await;
        until("the job to end", async || {
            let state = world.job(job).await.state;
            (state == JobState::Cancelled).then_some(())
        })
        .await;
        world.dismiss(heir).await;
        let second = world.worker("second").await;
        until("the remains to be swept", async || {
            left(&world).await.is_empty().then_some(())
        })
        .await;
        assert_eq!(world.checksums(&world.protected.name).await, content);
        world.holds().await;
        world.dismiss(second).await;
    }
}

#[tokio::test]
async fn two_workers_restore_the_newest_backup_in_a_test_once_and_by_themselves() {
    let mut world = World::new().await;
    let worker = world.worker("first").await;
    world.result(&["backup", "database"]).await;
    world.dismiss(worker).await;
    world.set("KANBU_BACKUP_PROVE_DAYS", "7");
    let workers = [world.worker("one").await, world.worker("two").await];
    let filter = JobFilter {
        kind: Some(Kind::Verify),
        ..JobFilter::default()
    };
    let job = until("a test restore", async || {
        let jobs = queue::jobs(world.db(), &filter).await.unwrap();
        jobs.first().map(|job| job.id)
    })
    .await;
    world.until_job(job, JobState::Succeeded).await;
    for worker in workers {
        world.dismiss(worker).await;
    }
    let asked =
        "select count(*)::text from kanbu_backup.job where kind = 'verify' and origin = 'cron'";
    assert_eq!(world.control().texts(asked).await, ["1"]);
    let list = world.run(&["list"]).await.with(0);
    assert!(list.stdout.contains("proven"), "{}", list.stdout);
    assert_eq!(left(&world).await, [""; 0]);
}

#[tokio::test]
async fn what_is_pending_is_read_newest_first_and_then_nothing_is() {
    let world = World::new().await;
    let worker = world.worker("one").await;
    world.result(&["backup", "database"]).await;
    world.result(&["backup", "source"]).await;
    let found = world.result(&["verify", "--pending"]).await;
    assert_eq!(found["backups"], 2);
    let again = world.result(&["verify", "--pending"]).await;
    assert_eq!(again["backups"], 0);
    let stats = world.run(&["verify", "--stats"]).await.with(0);
    assert!(stats.stdout.contains("pending"), "{}", stats.stdout);
    world.dismiss(worker).await;
}

/// Far more than a worker may take, and nothing that can be compressed.
const BULK: &str = "
    create table bulk (id integer primary key, bytes bytea not null);
    alter table bulk alter bytes set storage external;
    insert into bulk select n, string_agg(sha512(convert_to(random()::text || m, 'UTF8')), '')
      from generate_series(1, 72) as n, generate_series(1, 16384) as m group by n;";

/// The most memory that a process has taken so far, without the pages of its binary.
fn peak_kib(worker: &Running) -> u64 {
    let path = format!("/proc/{}/status", worker.pid());
    let status = fs::read_to_string(path).unwrap();
    let kib = |name: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(name));
        let number = line.unwrap().split_whitespace().nth(1);
        number.unwrap().parse().unwrap()
    };
    kib("VmHWM:") - kib("RssFile:")
}

#[tokio::test]
async fn a_test_restore_takes_no_more_memory_than_a_worker_may() {
    let world = World::new().await;
    world.protected.run(BULK).await;
    let worker = world.worker("one").await;
    world.result(&["backup", "database"]).await;
    let proven = world.result(&["test-restore"]).await;
    assert_eq!(proven["proven"], true);
    let peak = peak_kib(&worker);
    println!("a test restore of 72 MiB took {peak} KiB");
    assert!(peak <= 64 * 1024, "{peak} KiB");
    world.dismiss(worker).await;
}
