//! The catalog made anew: from the storages alone, with its database gone.

use std::{fs, path::Path};

use serde_json::Value;

use crate::world::World;

async fn world_of_two() -> World {
    let mut world = World::new().await;
    let second = world.path("second");
    fs::create_dir(&second).unwrap();
    world.set(
        "KANBU_BACKUP_REPLICAS",
        &format!("second={}", second.display()),
    );
    world
}

/// The first storage of a rebuild's report.
async fn rebuilt(world: &World, args: &[&str], code: i32) -> Value {
    let args: Vec<_> = ["catalog", "rebuild", "--json"]
        .iter()
        .chain(args)
        .copied()
        .collect();
    let report = world.run(&args).await.with(code).document();
    report["rebuilt"]["storages"].clone()
}

fn counts(storage: &Value) -> [u64; 5] {
    ["manifests", "backups", "copies", "deleted", "doubted"]
        .map(|name| storage[name].as_u64().unwrap())
}

async fn listed(world: &World) -> Vec<Value> {
    let list = world.run(&["list", "--json"]).await.with(0).document();
    list["backups"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_lost_control_database_costs_no_backup() {
    let mut world = world_of_two().await;
    let before = world.checksums(&world.protected.name).await;
    let worker = world.worker("one").await;
    let first = world.result(&["backup", "--label", "the first"]).await;
    let second = world.result(&["backup", "--pin"]).await;
    assert_eq!(
        (&first["copies"], &second["copies"]),
        (&2.into(), &2.into())
    );
    world.dismiss(worker).await;
    let known = listed(&world).await;

    world.lose_control().await;
    world.run(&["list"]).await.with(8);
    world.protected.run("delete from people").await;

    // One storage alone is enough.
    let local = rebuilt(&world, &["--storage", "local"], 0).await;
    assert_eq!(counts(&local[0]), [2, 2, 0, 0, 0], "{local}");
    let now = listed(&world).await;
    assert_eq!(now.len(), 2);
    for (now, known) in now.iter().zip(&known) {
        for member in [
            "id",
            "created_at",
            "subject",
            "label",
            "pinned",
            "payload_sha256",
        ] {
            assert_eq!(now[member], known[member], "{member}");
        }
        assert_eq!(now["copies"].as_array().unwrap().len(), 1);
    }

    let worker = world.worker("two").await;
    let id = first["artifact"].as_str().unwrap();
    let target = format!("{}_back", world.protected.name);
    world.result(&["restore", id, "--into", &target]).await;
    assert_eq!(world.checksums(&target).await, before);
    assert_eq!(world.result(&["verify", id]).await["good"], 1);

    // The other one's copies join the same backups, and a third time there is nothing left to do.
    let second = world.path("second");
    let other = rebuilt(&world, &["--storage", second.to_str().unwrap()], 0).await;
    assert_eq!(counts(&other[0]), [2, 0, 2, 0, 0], "{other}");
    let both = rebuilt(&world, &[], 0).await;
    for storage in both.as_array().unwrap() {
        assert_eq!(counts(storage), [2, 0, 0, 0, 0], "{both}");
    }
    for backup in listed(&world).await {
        assert_eq!(backup["copies"].as_array().unwrap().len(), 2, "{backup}");
    }
    assert_eq!(world.result(&["verify", id]).await["good"], 2);
    world.dismiss(worker).await;
    world
        .protected
        .run(&format!("drop database {target}"))
        .await;
    world.holds().await;
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn a_backup_that_was_deleted_on_purpose_stays_away() {
    let world = World::new().await;
    let worker = world.worker("one").await;
    let unwanted = world.result(&["backup"]).await;
    world.result(&["backup"]).await;
    world.dismiss(worker).await;
    // Somebody's mirror of the storage brings back what was deleted.
    copy_tree(&world.path("backups"), &world.path("mirror"));
    let id = unwanted["artifact"].as_str().unwrap();
    world.run(&["delete", id, "--yes"]).await.with(0);
    copy_tree(&world.path("mirror"), &world.path("backups"));
    let local = rebuilt(&world, &[], 0).await;
    assert_eq!(counts(&local[0]), [2, 0, 0, 1, 0], "{local}");
    assert_eq!(world.listed().await, 1);
}

#[tokio::test]
async fn a_rebuild_names_what_it_does_not_believe_and_where_it_cannot_look() {
    let mut world = world_of_two().await;
    let worker = world.worker("one").await;
    world.result(&["backup"]).await;
    world.dismiss(worker).await;
    world.lose_control().await;
    let manifest = world
        .stored()
        .into_iter()
        .find(|path| path.ends_with("manifest.json"))
        .unwrap();
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(
        &manifest,
        text.replace("\"pinned\":false", "\"pinned\":true "),
    )
    .unwrap();

    let ended = world
        .run(&["catalog", "rebuild", "--storage", "local"])
        .await
        .with(3);
    assert!(ended.stdout.contains("(manifest.seal)"), "{ended:?}");
    assert_eq!(world.listed().await, 0);
    // A key that opens nothing leaves the seal unchecked, which isn't good.
    fs::write(&manifest, text).unwrap();
    let key = "11".repeat(32);
    world.set("BACKUP_ENCRYPTION_KEY", &key);
    let ended = world.run(&["catalog", "rebuild"]).await.with(3);
    assert!(ended.stdout.contains("(catalog.unknown_key)"), "{ended:?}");
    world.set("BACKUP_ENCRYPTION_KEY", crate::world::KEY);

    // A storage that is away doesn't keep the other one from being read.
    fs::rename(world.path("second"), world.path("elsewhere")).unwrap();
    fs::write(world.path("second"), "in the way").unwrap();
    let dry = rebuilt(&world, &["--dry-run", "--storage", "local"], 0).await;
    assert_eq!(counts(&dry[0]), [1, 1, 0, 0, 0], "{dry}");
    assert_eq!(world.listed().await, 0);
    let both = rebuilt(&world, &[], 7).await;
    assert_eq!(counts(&both[0]), [1, 1, 0, 0, 0], "{both}");
    assert!(
        both[1]["error"]["code"]
            .as_str()
            .unwrap()
            .starts_with("storage.")
    );
    assert_eq!(world.listed().await, 1);

    for (name, words) in [
        ("sceond", "no storage \"sceond\""),
        ("s3:///", "the URL names no bucket"),
    ] {
        let args = ["catalog", "rebuild", "--storage", name];
        let ended = world.run(&args).await.with(2);
        assert!(ended.stderr.contains(words), "{ended:?}");
    }
}
