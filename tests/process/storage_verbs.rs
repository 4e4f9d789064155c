//! The verbs about storages: what is there, whether it works, what it lacks, and its end.

use std::fs;

use serde_json::Value;

use crate::{running::everything_in, world::World};

async fn world_of_two() -> World {
    let mut world = World::new().await;
    world.set(
        "KANBU_BACKUP_REPLICAS",
        &format!("second={}", world.path("second").display()),
    );
    world
}

async fn storages(world: &World) -> Vec<Value> {
    let args = ["storage", "list", "--json"];
    let document = world.run(&args).await.with(0).document();
    document["storages"].as_array().unwrap().clone()
}

#[tokio::test]
async fn storages_are_listed_with_what_they_hold_and_lack() {
    let mut world = World::new().await;
    let worker = world.worker("one").await;
    world.result(&["backup"]).await;
    world.dismiss(worker).await;
    let second = world.path("second");
    world.set(
        "KANBU_BACKUP_REPLICAS",
        &format!("second={}", second.display()),
    );
    let listed = storages(&world).await;
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0]["name"], "local");
    assert_eq!(listed[0]["role"], "primary");
    assert_eq!(listed[0]["copies"]["stored"]["copies"], 1);
    assert!(listed[0]["copies"]["stored"]["bytes"].as_u64().unwrap() > 0);
    assert_eq!(listed[0]["lacks"], 0);
    assert!(listed[0]["last_seen"].is_string());
    assert_eq!(
        listed[0]["capabilities"]["create-only put"], true,
        "{listed:?}"
    );
    assert_eq!(listed[1]["lacks"], 1);
    assert_eq!(listed[1]["last_seen"], Value::Null);

    let lacking = world
        .run(&["storage", "sync", "second", "--dry-run", "--json"])
        .await
        .with(0)
        .document();
    assert_eq!(lacking["lacking"][0]["has_source"], true, "{lacking}");
    let queued = world
        .run(&["storage", "sync", "second", "--no-wait"])
        .await
        .with(0);
    assert!(
        queued.stdout.contains("1 copies are to be made"),
        "{queued:?}"
    );
    let asked = "select payload ->> 'repair' || ' ' || (payload ->> 'level') from kanbu_backup.job where kind = 'verify'";
    assert_eq!(world.control().texts(asked).await, ["true quick"]);
}

#[tokio::test]
async fn a_storage_is_tried_without_a_control_database_and_left_clean() {
    let mut world = world_of_two().await;
    world.unset("KANBU_BACKUP_DATABASE_URL");
    let document = world
        .run(&["storage", "test", "--json"])
        .await
        .with(0)
        .document();
    for storage in document["storages"].as_array().unwrap() {
        assert_eq!(storage["ok"], true, "{storage}");
        let steps = storage["steps"].as_array().unwrap();
        assert_eq!(steps.len(), 7, "{storage}");
        assert!(steps.iter().all(|step| step["ms"].is_u64()), "{storage}");
    }
    assert_eq!(world.stored(), Vec::<String>::new());

    // In the way of its directory lies a file.
    fs::remove_dir_all(world.path("second")).unwrap();
    fs::write(world.path("second"), "").unwrap();
    let ended = world.run(&["storage", "test"]).await.with(7);
    assert!(ended.stdout.contains("local can be used"), "{ended:?}");
    assert!(ended.stdout.contains("second can't be used"), "{ended:?}");
    assert!(ended.stdout.contains("hint: "), "{ended:?}");
    world.run(&["storage", "test", "local"]).await.with(0);
    world.run(&["storage", "test", "third"]).await.refused(
        2,
        "usage.no_subject",
        "no storage \"third\"",
    );
}

#[tokio::test]
async fn a_bucket_that_is_not_there_fails_its_test_with_the_way_out() {
    let mut world = World::new().await;
    world.unset("KANBU_BACKUP_DATABASE_URL");
    world.set("BACKUP_STORAGE", "s3");
    // Nobody listens there.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    world.set(
        "KANBU_BACKUP_STORAGE_URL",
        &format!("s3://nowhere?endpoint=http://127.0.0.1:{port}"),
    );
    world.set("AWS_ACCESS_KEY_ID", "a");
    world.set("AWS_SECRET_ACCESS_KEY", "b");
    let ended = world.run(&["storage", "test", "--json"]).await.with(7);
    let error = &ended.document()["storages"][0]["error"];
    assert_eq!(error["code"], "storage.unreachable", "{error}");
    assert_eq!(error["step"], "write");
    assert!(error["hint"].is_string());
}

/// Two backups on the first storage, of which the second one has but the first. Returns the other's id.
async fn one_on_both_and_one_alone(world: &World) -> String {
    let worker = world.worker("one").await;
    world.result(&["backup"]).await;
    fs::rename(world.path("second"), world.path("aside")).unwrap();
    fs::write(world.path("second"), "").unwrap();
    let alone = world.run(&["backup", "--json"]).await.with(3).result();
    world.dismiss(worker).await;
    fs::remove_file(world.path("second")).unwrap();
    fs::rename(world.path("aside"), world.path("second")).unwrap();
    alone["artifact"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_storage_with_a_last_copy_or_without_confirmation_is_kept() {
    let mut world = world_of_two().await;
    let alone = one_on_both_and_one_alone(&world).await;
    let refused = world
        .run(&["storage", "rm", "local", "--confirm", "local"])
        .await
        .refused(5, "catalog.last_copies", "last good copy of 1 backups");
    assert!(refused.stderr.contains(&alone), "{refused:?}");
    let plan = world
        .run(&["storage", "rm", "local", "--dry-run"])
        .await
        .with(5);
    assert!(plan.stdout.contains("forgets 2 copies"), "{plan:?}");
    for more in [vec![], vec!["--confirm", "local"]] {
        let args: Vec<_> = ["storage", "rm", "second"]
            .into_iter()
            .chain(more)
            .collect();
        world
            .run(&args)
            .await
            .refused(2, "usage.not_confirmed", "forgets 2 copies");
    }
    let plan = world
        .run(&["storage", "rm", "second", "--dry-run", "--json"])
        .await
        .with(0);
    assert_eq!(plan.document()["plan"]["copies"], 2, "{plan:?}");
    let copies = "select count(*)::text from kanbu_backup.artifact_copy";
    assert_eq!(world.control().texts(copies).await, ["4"]);

    // One that only the catalog knows is listed, too.
    world.unset("KANBU_BACKUP_REPLICAS");
    let text = world.run(&["storage", "list"]).await.with(0).stdout;
    assert!(
        text.contains("second") && text.contains("not configured"),
        "{text}"
    );
    assert!(text.contains("1 missing"), "{text}");
}

#[tokio::test]
async fn a_storage_is_forgotten_with_its_objects_only_if_that_was_asked_for() {
    let mut world = world_of_two().await;
    one_on_both_and_one_alone(&world).await;
    let rm = ["storage", "rm", "second", "--confirm", "second"];
    let before = everything_in(&world.path("second"));
    let ended = world.run(&rm).await.with(0);
    assert!(
        ended.stdout.contains("forgot 2 copies on second"),
        "{ended:?}"
    );
    assert!(ended.stderr.contains("still configured"), "{ended:?}");
    assert_eq!(everything_in(&world.path("second")), before);

    // What was forgotten is found again, and then goes with its objects.
    world
        .run(&["catalog", "rebuild", "--storage", "second"])
        .await
        .with(0);
    let purge: Vec<_> = rm.into_iter().chain(["--purge"]).collect();
    let ended = world.run(&purge).await.with(0);
    assert!(
        ended.stdout.contains("deleted 1 copies on second"),
        "{ended:?}"
    );
    let left = everything_in(&world.path("second"));
    assert!(
        left.iter().all(|path| !path.ends_with("manifest.json")),
        "{left:?}"
    );
    assert_eq!(world.listed().await, 2);
    world.unset("KANBU_BACKUP_REPLICAS");
    world
        .run(&rm)
        .await
        .refused(2, "usage.no_subject", "second");
}
