//! The forms of a backup and the keys it is sealed with; what programs read; what nobody may read.

use std::fs;

use serde_json::Value;

use crate::{
    running::{arguments_of, children_of},
    world::{KEY, World},
};

const PASSPHRASE: &str = "correct horse battery staple";

/// Backs up, restores, and compares. Returns the listed backup.
async fn round_trip(world: &World) -> Value {
    let worker = world.worker("one").await;
    world.result(&["backup"]).await;
    let target = format!("{}_back", world.protected.name);
    world
        .result(&["restore", "latest", "--into", &target])
        .await;
    let before = world.checksums(&world.protected.name).await;
    assert_eq!(world.checksums(&target).await, before);
    assert_eq!(world.result(&["verify", "latest"]).await["good"], 1);
    world
        .protected
        .run(&format!("drop database {target}"))
        .await;
    world.dismiss(worker).await;
    let list = world.run(&["list", "--json"]).await.with(0).document();
    list["backups"][0].clone()
}

#[tokio::test]
async fn kanbus_own_format_goes_round_with_a_raw_key_and_with_a_passphrase() {
    for key in [KEY, PASSPHRASE] {
        let mut world = World::new().await;
        world.set("BACKUP_FORMAT", "kanbu");
        world.set("BACKUP_ENCRYPTION_KEY", key);
        let backup = round_trip(&world).await;
        assert_eq!(
            (&backup["content"], &backup["compression"]),
            (&"sql".into(), &"gzip".into())
        );
        let object = world.object();
        assert!(
            object.to_str().unwrap().ends_with(".sql.gz.enc"),
            "{object:?}"
        );
        // As Kanbu's own tools open it: to the gzip file, or to the SQL in it.
        let sql = world.path("dump.sql");
        world
            .run(&["get", "latest", "--decrypt", "-o", sql.to_str().unwrap()])
            .await
            .with(0);
        let sql = fs::read_to_string(sql).unwrap();
        assert!(sql.contains("COPY public.people") && sql.contains("person 500"));
    }
}

#[tokio::test]
async fn without_a_key_the_backup_is_made_and_everybody_is_warned() {
    let mut world = World::new().await;
    world.unset("BACKUP_ENCRYPTION_KEY");
    let backup = round_trip(&world).await;
    assert_eq!(backup["key_id"], Value::Null);
    let worker = world.worker("two").await;
    assert!(worker.said().contains("NOT encrypted"), "{}", worker.said());
    let made = world.run(&["backup"]).await.with(0);
    assert!(made.stderr.contains("(encryption.off)"), "{}", made.stderr);
    assert!(made.stdout.contains("not encrypted"), "{}", made.stdout);
    let show = world.run(&["show", "latest"]).await.with(0).stdout;
    assert!(show.contains("encryption.off"), "{show}");
    let doctor = world.run(&["doctor"]).await.with(3);
    assert!(
        doctor.stdout.contains("NOT encrypted") && doctor.stdout.contains("fix:"),
        "{}",
        doctor.stdout
    );
}

#[tokio::test]
async fn a_passphrase_keeps_its_key_id_across_workers() {
    let mut world = World::new().await;
    world.set("BACKUP_ENCRYPTION_KEY", PASSPHRASE);
    let first = round_trip(&world).await;
    let second = round_trip(&world).await;
    assert_ne!(first["id"], second["id"]);
    assert!(first["key_id"].is_string(), "{first}");
    assert_eq!(first["key_id"], second["key_id"]);
}

#[tokio::test]
async fn no_secret_stands_on_a_command_line_or_reaches_a_tool_that_does_not_need_it() {
    let world = World::large().await;
    let worker = world.worker("one").await;
    let held = world.hold_dumps().await;
    let follower = world.start(&["backup"]);
    let dump = world.until_dump_waits(&worker).await;
    let (login, _) = world.protected.url.split_once('@').unwrap();
    let (_, password) = login.rsplit_once(':').unwrap();
    assert!(password.len() > 8);
    let mut all = children_of(worker.pid());
    all.extend([worker.pid(), follower.pid()]);
    assert!(all.contains(&dump));
    for pid in all {
        let arguments = arguments_of(pid);
        assert!(!arguments.is_empty());
        assert!(
            !arguments.contains(password) && !arguments.contains(KEY),
            "{arguments}"
        );
    }
    let environment = fs::read(format!("/proc/{dump}/environ")).unwrap();
    let environment = String::from_utf8_lossy(&environment);
    assert!(environment.contains("PGHOST"), "{environment}");
    assert!(!environment.contains(KEY) && !environment.contains("KANBU_BACKUP_DATABASE_URL"));
    drop(held);
    follower.end().await.with(0);
    let said = worker.said();
    assert!(!said.contains(password) && !said.contains(KEY), "{said}");
}

#[tokio::test]
async fn programs_read_one_document_or_lines_with_one_end() {
    let world = World::new().await;
    crate::tree::plant(&world.path("tree"));
    let _worker = world.worker("one").await;
    // Streams: `result` asserts that nothing but the last line is an end.
    let backup = world.result(&["backup"]).await;
    assert_eq!(backup["outcome"], "succeeded");
    assert_eq!(backup["sha256"].as_str().unwrap().len(), 64);
    let source = world.result(&["backup", "source"]).await;
    assert_eq!(world.result(&["verify", "--all"]).await["subjects"], 2);
    world.result(&["migrate", "db"]).await;
    let missing = world.run(&["verify", "0123abcd", "--json"]).await.with(4);
    assert_eq!(missing.result()["type"], "error");
    // Documents.
    let id = backup["artifact"].as_str().unwrap();
    let job = backup["job"].as_str().unwrap();
    let object = world.object_of("database");
    let documents: [(&[&str], &str); 9] = [
        (&["list"], "backups"),
        (&["list", "--from", "backups"], "backups"),
        (&["show", id], "detail"),
        (&["job", "list"], "jobs"),
        (&["job", "show", job], "detail"),
        (&["doctor"], "checks"),
        (&["config", "show", "--origin"], "settings"),
        (&["inspect", &object], "file"),
        (&["backup", "--dry-run"], "plan"),
    ];
    for (args, name) in documents {
        let ended = world.run(&[args, &["--json"]].concat()).await.with(0);
        let document = ended.document();
        assert!(!document[name].is_null(), "{args:?}: {document}");
        assert!(!ended.stdout.contains(KEY));
    }
    let both = [id, source["artifact"].as_str().unwrap()];
    let delete = [
        "delete",
        both[0],
        both[1],
        "--yes",
        "--force-last",
        "--reason",
        "test",
    ];
    assert_eq!(world.result(&delete).await["artifacts"], 2);
}
