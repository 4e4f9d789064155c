//! Retention as an operator sees it, and what is left of a prune whose worker is killed.

use std::fs;

use kanbu_backup::{
    id::{JobId, ScheduleId},
    job::{Backup, Job, Prune, Subject},
    pg::process::Signal,
    queue::{self, JobState, NewJob, Origin},
};

use crate::{running::until, world::World};

const TREE: &str = "source:tree";

fn tree() -> Subject {
    TREE.parse().unwrap()
}

async fn submit(world: &World, job: Job) -> JobId {
    let new = NewJob::new(job, Origin::Operator);
    queue::submit(world.db(), &new).await.unwrap().job()
}

/// A schedule that keeps the newest two, and so many backups of its own, of which the newest is proven.
async fn nights(world: &World, count: usize) -> Vec<String> {
    fs::write(world.path("tree").join("note"), "text").unwrap();
    let schedule = ScheduleId::new();
    let rule = format!(
        "insert into kanbu_backup.schedule (id, name, kind, subject, cron, time_zone, retention)
         values ('{schedule}', 'nightly', 'backup', '{TREE}', '0 2 * * *', 'Europe/Amsterdam',
                 '{{\"keep_last\": 2, \"keep_daily\": 0, \"keep_weekly\": 0, \"keep_monthly\": 0}}')"
    );
    world.control().run(&rule).await;
    let worker = world.worker("maker").await;
    for _ in 0..count {
        let backup = Backup {
            schedule: Some(schedule),
            ..Backup::of(tree())
        };
        let job = submit(world, Job::Backup(backup)).await;
        world.until_job(job, JobState::Succeeded).await;
    }
    // The prunes that follow find nothing proven, and so nothing to do.
    until("the prunes that follow", async || {
        let open = "select id::text from kanbu_backup.job where state in ('queued', 'running')";
        world.control().texts(open).await.is_empty().then_some(())
    })
    .await;
    world.dismiss(worker).await;
    let ids = "select id::text from kanbu_backup.artifact order by created_at, id";
    let ids = world.control().texts(ids).await;
    assert_eq!(ids.len(), count);
    let proof = format!(
        "insert into kanbu_backup.proof (execution_id, artifact_id, place, holds_until, seconds, notes)
         values (gen_random_uuid(), '{}', 'directory', now() + interval '1 day', 1, '[]')",
        ids[count - 1]
    );
    world.control().run(&proof).await;
    ids
}

async fn listed(world: &World) -> Vec<String> {
    let listed = "select id::text from kanbu_backup.artifact
                   where deletion_decided_at is null order by created_at, id";
    world.control().texts(listed).await
}

/// Every backup that is listed has its two files.
async fn assert_whole(world: &World, when: &str) {
    let folders = "select folder from kanbu_backup.artifact where deletion_decided_at is null";
    let stored = world.stored();
    for folder in world.control().texts(folders).await {
        let files = stored.iter().filter(|path| path.contains(&folder)).count();
        assert_eq!(files, 2, "{when}: {folder}");
    }
}

/// Writes that wait, each for a lock of its own that a test may hold.
const GATES: &str = "
    create function public.wait_at_gate() returns trigger language plpgsql as $$
    begin
      perform pg_advisory_xact_lock(tg_argv[0]::int);
      return new;
    end $$;
    create trigger gate before insert on kanbu_backup.prune_item
      for each row execute function public.wait_at_gate(1);
    create trigger gate before update of deletion_decided_at on kanbu_backup.artifact
      for each row execute function public.wait_at_gate(2);
    create trigger gate before update on kanbu_backup.artifact_copy
      for each row when (new.state = 'deleted') execute function public.wait_at_gate(3);
    create trigger gate before update on kanbu_backup.prune_plan
      for each row execute function public.wait_at_gate(4);";

#[tokio::test]
async fn a_worker_that_is_killed_within_a_prune_keeps_its_promises() {
    let world = World::new().await;
    let made = nights(&world, 6).await;
    world.control().run(GATES).await;
    let job = submit(&world, Job::Prune(Prune::of(tree()))).await;
    // After a second lost lease a job waits a minute.
    let due = "update kanbu_backup.job set run_at = now() where state = 'queued'; notify kanbu_backup_job, 'prune'";
    for (gate, when) in [
        (1, "while the plan is stored"),
        (2, "while it is decided again"),
        (3, "with a copy gone and its row not yet written"),
        (4, "at the end of the plan"),
    ] {
        let mut held = world.control().session().await;
        held.run(&format!("select pg_advisory_lock({gate})")).await;
        let worker = world.worker("victim").await;
        until(&format!("the prune to wait {when}"), async || {
            world.control().run(due).await;
            let waiting = "select pid::text from pg_stat_activity
                            where datname = current_database() and wait_event = 'advisory'";
            let waits = !world.control().texts(waiting).await.is_empty();
            waits.then_some(())
        })
        .await;
        worker.signal(Signal::KILL);
        drop(worker.end().await);
        drop(held);
        assert!(listed(&world).await.ends_with(&made[4..]), "{when}");
        assert_whole(&world, when).await;
    }
    let worker = world.worker("heir").await;
    until("the prune to be carried on", async || {
        world.control().run(due).await;
        let state = world.job(job).await.state;
        (state == JobState::Succeeded).then_some(())
    })
    .await;
    assert_eq!(listed(&world).await, made[4..]);
    assert_eq!(world.stored().len(), 2 * 2, "{:?}", world.stored());
    let open = "select id::text from kanbu_backup.prune_plan where ended_at is null";
    assert_eq!(world.control().texts(open).await, [""; 0]);
    world.holds().await;
    world.dismiss(worker).await;
}

#[tokio::test]
async fn a_plan_is_previewed_and_explained_and_changes_nothing() {
    let world = World::new().await;
    let made = nights(&world, 4).await;
    let preview = world.run(&["retention", "preview", "--json"]).await.with(0);
    let document = preview.document()["retention"].clone();
    let backups = document[0]["backups"].as_array().unwrap();
    let verdicts: Vec<_> = backups
        .iter()
        .map(|backup| backup["verdict"].as_str().unwrap())
        .collect();
    assert_eq!(verdicts, ["kept", "kept", "expires", "expires"]);
    assert_eq!(
        (&document[0]["class"], &document[0]["schedule"]),
        (&"schedule".into(), &"nightly".into())
    );
    let shown = world
        .run(&["retention", "preview", "--schedule", "nightly"])
        .await
        .with(0);
    assert!(
        shown.stdout.contains("2 kept, 2 expire"),
        "{}",
        shown.stdout
    );
    let next = world
        .run(&["retention", "preview", "--with-next", "--as-of", "1d"])
        .await
        .with(0);
    assert!(
        next.stdout.contains("next") && next.stdout.contains("2 kept, 3 expire"),
        "{}",
        next.stdout
    );
    let other = world
        .run(&["retention", "preview", "--keep-last", "9"])
        .await
        .with(0);
    assert!(
        other.stdout.contains("4 kept, 0 expire"),
        "{}",
        other.stdout
    );
    let short = &made[3][28..];
    let why = world
        .run(&["retention", "preview", "--explain", short])
        .await
        .with(0);
    assert!(why.stdout.contains("newest proven"), "{}", why.stdout);
    world
        .run(&["retention", "preview", "--schedule", "none"])
        .await
        .refused(4, "schedule.not_found", "there is no schedule");

    let shown = world.run(&["show", short]).await.with(0);
    assert!(
        shown.stdout.contains("schedule nightly"),
        "{}",
        shown.stdout
    );
}

#[tokio::test]
async fn what_is_applied_spares_what_is_pinned_and_stands_in_the_log() {
    let world = World::new().await;
    let made = nights(&world, 4).await;
    world.run(&["pin", &made[0], "--dry-run"]).await.with(0);
    world.run(&["pin", &made[0]]).await.with(0);
    world
        .run(&["retention", "apply", "--dry-run"])
        .await
        .with(0);
    assert_eq!(listed(&world).await.len(), 4);
    let worker = world.worker("one").await;
    let applied = world
        .result(&["retention", "apply", "--subject", TREE])
        .await;
    assert_eq!(applied["deleted"], 1);
    assert_eq!(
        listed(&world).await,
        [&made[0], &made[2], &made[3]].map(Clone::clone)
    );
    world.run(&["unpin", &made[0]]).await.with(0);
    world.run(&["retention", "apply"]).await.with(0);
    assert_eq!(listed(&world).await, made[2..]);
    let log = world.run(&["retention", "log", "--json"]).await.with(0);
    let deletions = log.document()["deletions"].clone();
    assert_eq!(
        (&deletions[0]["id"], &deletions[1]["id"]),
        (&made[0].as_str().into(), &made[1].as_str().into())
    );
    assert_eq!(
        (&deletions[0]["by"], &deletions[0]["fate"]),
        (&"prune".into(), &"deleted".into())
    );
    let refused = world.run(&["delete", &made[3], "--yes"]).await;
    refused.refused(5, "catalog.newest_proven", "newest proven");
    world.dismiss(worker).await;
}
