//! The way that everything stands on: backed up, listed, verified, restored, equal.

use std::fs;

use kanbu_backup::pg::process::Signal;
use serde_json::Value;

use crate::{
    running::{Running, until},
    tree,
    world::World,
};

/// `up` on its private PostgreSQL, ready for jobs.
async fn up(world: &World) -> Running {
    let up = world.start(&["up"]);
    up.until_it_says("working").await;
    up
}

#[tokio::test]
async fn up_without_a_control_database_brings_lost_tables_back() {
    let world = World::alone().await;
    world.run(&["backup"]).await.refused(
        8,
        "server.not_running",
        "no private PostgreSQL is running",
    );
    let up = up(&world).await;
    let before = world.checksums(&world.protected.name).await;
    assert!(before.len() == 5 && before.iter().any(|table| table.rows == 4000));

    let backup = world
        .result(&["backup", "database", "--label", "before the accident"])
        .await;
    assert_eq!(backup["outcome"], "succeeded");
    assert_eq!(backup["copies"], 1);
    let id = backup["artifact"].as_str().unwrap();

    let list = world.run(&["list"]).await.with(0).stdout;
    assert!(
        list.contains("before the accident") && list.contains("1/1"),
        "{list}"
    );
    let show = world.run(&["show", "latest"]).await.with(0).stdout;
    assert!(
        show.contains(id) && show.contains("PostgreSQL") | show.contains("pg_dump"),
        "{show}"
    );
    let verified = world.result(&["verify", "latest"]).await;
    assert_eq!(
        (&verified["good"], &verified["bad"]),
        (&Value::from(1), &Value::from(0))
    );
    let list = world.run(&["list", "--json"]).await.with(0).document();
    assert_eq!(list["backups"][0]["proof"], "checked");

    world
        .protected
        .run("drop table wiki_pages cascade; delete from events")
        .await;
    assert_ne!(world.checksums(&world.protected.name).await, before);
    let target = format!("{}_back", world.protected.name);
    let restored = world.result(&["restore", id, "--into", &target]).await;
    assert_eq!(restored["database"], target.as_str());
    assert_eq!(restored["tables"], before.len());
    assert_eq!(world.checksums(&target).await, before);

    // What it knew survives its sudden death, and nothing of its server does.
    let server = fs::read_to_string(world.directory.server().join("data/postmaster.pid")).unwrap();
    let server: i32 = server.lines().next().unwrap().parse().unwrap();
    up.signal(Signal::KILL);
    up.end().await.with(137);
    until("the private server to end", async || {
        crate::running::name_of(server).is_none().then_some(())
    })
    .await;
    let up = self::up(&world).await;
    assert_eq!(world.listed().await, 1);
    world.dismiss(up).await;
    world
        .protected
        .run(&format!("drop database {target}"))
        .await;
}

#[tokio::test]
async fn a_source_tree_comes_back_with_its_names_modes_links_and_contents() {
    let world = World::new().await;
    let root = world.path("tree");
    tree::plant(&root);
    let before = tree::entries(&root);
    let _worker = world.worker("one").await;
    let backup = world.result(&["backup", "source"]).await;
    assert_eq!(backup["outcome"], "succeeded", "{backup}");
    fs::remove_dir_all(root.join("src")).unwrap();
    let back = world.path("back");
    let restored = world
        .result(&[
            "restore",
            "latest",
            "--kind",
            "source",
            "--into",
            back.to_str().unwrap(),
        ])
        .await;
    assert_eq!(restored["directory"], back.to_str().unwrap());
    assert_eq!(tree::entries(&tree::root_in(&back)), before);
    // A second time there is something in the way, and it stays as it is.
    world
        .run(&[
            "restore",
            "latest",
            "--kind",
            "source",
            "--into",
            back.to_str().unwrap(),
        ])
        .await
        .refused(5, "source.destination_not_empty", "back");
    world.holds().await;
}

#[tokio::test]
async fn a_job_without_a_worker_says_what_it_waits_for_and_can_be_left() {
    let world = World::new().await;
    let left = world.run(&["backup", "--no-wait", "--json"]).await.with(0);
    assert_eq!(left.result()["state"], "queued");
    // The same again is the same job.
    let joined = world.run(&["backup", "--timeout", "11s"]).await.with(12);
    assert!(joined.stderr.contains("joining job"), "{}", joined.stderr);
    assert!(
        joined.stderr.contains("does a worker run"),
        "{}",
        joined.stderr
    );
    assert!(joined.stdout.contains("goes on"), "{}", joined.stdout);
    let jobs = world
        .run(&["job", "list", "--json"])
        .await
        .with(0)
        .document();
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), 1);
    let worker = world.worker("late").await;
    world
        .until_job(
            world.newest_job().await.id,
            kanbu_backup::queue::JobState::Succeeded,
        )
        .await;
    assert_eq!(world.listed().await, 1);
    world.dismiss(worker).await;
    world.holds().await;
}
