//! Channels as an operator meets them: by verbs, in the log, and when workers are killed.

#[path = "../it/notify/receiver.rs"]
mod receiver;

use std::fs;

use kanbu_backup::pg::process::Signal;

use self::receiver::{Answer, Receiver};
use crate::{
    running::{PATIENCE, until},
    world::World,
};

const TOKEN: &str = "T0KEN-of-the-hook";
const SECRET: &str = "hush-hush-secret";

/// A world whose configuration file has the channel `hook`, to this receiver.
async fn world(receiver: &Receiver) -> World {
    let mut world = World::new().await;
    let config = world.path("config.toml");
    let url = receiver.url(&format!("/{TOKEN}"));
    let text = format!(
        "[notify.hook]\ntype = \"webhook\"\nurl = \"{url}\"\non = \"all\"\nallow_private = true\n"
    );
    fs::write(&config, text).unwrap();
    world.set("KANBU_BACKUP_CONFIG", config.to_str().unwrap());
    world.set("KANBU_BACKUP_NOTIFY_HOOK_SECRET", SECRET);
    world
}

/// Neither the address nor the secret of the channel is in what was said.
#[track_caller]
fn hides(said: &str) {
    for secret in [TOKEN, SECRET] {
        assert!(!said.contains(secret), "{secret} is shown:\n{said}");
    }
}

#[tokio::test]
async fn channels_are_listed_and_tried_whatever_they_are_told_of() {
    let receiver = Receiver::start([]).await;
    let world = world(&receiver).await;
    let list = world.run(&["notify", "list"]).await.with(0);
    assert!(list.stdout.contains("127.0.0.1"), "{}", list.stdout);
    let tested = world.result(&["notify", "test", "hook"]).await;
    assert_eq!(
        (&tested["status"], &tested["http_status"]),
        (&"delivered".into(), &200.into())
    );
    let sent = receiver.sent().remove(0);
    assert_eq!(
        (
            sent.method.as_str(),
            &sent.path[1..],
            sent.header("X-Kanbu-Test")
        ),
        ("POST", TOKEN, Some("true"))
    );
    assert_eq!(sent.json()["execution"]["filename"], "test_backup.sql");
    world
        .run(&["notify", "test", "hok"])
        .await
        .refused(4, "channel.not_found", "hok");
    receiver.will(Answer::Full(
        403,
        vec![],
        format!("no hook {TOKEN}, no {SECRET}"),
    ));
    let refused = world.run(&["notify", "test", "hook"]).await;
    let refused = refused.refused(1, "notify.refused", "403");
    let shown = world.run(&["config", "show", "--origin"]).await.with(0);
    hides(&[list.stdout, refused.stderr, refused.stdout, shown.stdout].concat());
}

#[tokio::test]
async fn messages_are_logged_and_told_once_more() {
    let receiver = Receiver::start([]).await;
    let world = world(&receiver).await;
    let worker = world.worker("telling").await;
    let made = world.result(&["backup", "database"]).await;
    let sent = receiver.until(1).await.remove(0);
    let body = sent.json();
    assert_eq!(body["event"], "backup.completed");
    assert_eq!(body["execution"]["checksum"], made["sha256"]);
    assert_eq!(body["execution"]["isEncrypted"], true);
    let id = sent.header("X-Kanbu-Backup-Id").unwrap().to_owned();
    let line = until("the delivery in the log", async || {
        let log = world.run(&["notify", "log", "--json"]).await.with(0);
        log.document()["deliveries"]
            .as_array()
            .unwrap()
            .first()
            .cloned()
    })
    .await;
    assert_eq!(
        (&line["event_id"], &line["event"], &line["status"]),
        (
            &id.as_str().into(),
            &"backup.completed".into(),
            &"delivered".into()
        )
    );
    let failed = world
        .run(&["notify", "log", "--failed", "--channel", "hook"])
        .await
        .with(0);
    assert!(!failed.stdout.contains("delivered"), "{}", failed.stdout);

    let again = world.run(&["notify", "replay", &id[28..]]).await.with(0);
    assert_eq!(
        receiver.until(2).await[1].header("X-Kanbu-Backup-Id"),
        Some(id.as_str())
    );
    let delivery = line["id"].as_str().unwrap();
    world
        .run(&["notify", "replay", delivery, "--dry-run"])
        .await
        .with(0);
    world
        .run(&["notify", "replay", "00000000"])
        .await
        .refused(4, "event.not_found", "00000000");
    hides(&[worker.said(), failed.stdout, again.stdout].concat());
    world.holds().await;
    world.dismiss(worker).await;
}

#[tokio::test]
async fn what_a_killed_worker_has_not_told_its_successor_tells_under_the_same_id() {
    let receiver = Receiver::start([Answer::Hang]).await;
    let world = world(&receiver).await;
    let worker = world.worker("first").await;
    // It ends although its receiver hangs.
    world.result(&["backup", "database"]).await;
    let first = receiver.until(1).await.remove(0);
    worker.signal(Signal::KILL);
    worker.end().await.with(128 + Signal::KILL.as_raw());
    let successor = world.worker("second").await;
    let again = receiver.until(2).await.remove(1);
    assert_eq!(
        again.header("X-Kanbu-Backup-Id"),
        first.header("X-Kanbu-Backup-Id")
    );
    assert_eq!(again.body, first.body);
    world.dismiss(successor).await;
    world.holds().await;
}

#[tokio::test]
async fn a_receiver_that_cuts_and_refuses_changes_no_outcome() {
    let receiver = Receiver::start([Answer::Cut, Answer::Endless(404)]).await;
    let world = world(&receiver).await;
    let worker = world.worker("refused").await;
    world.result(&["backup", "database"]).await;
    receiver.until(2).await;
    let dead = until("the message to be dead", async || {
        let dead = world
            .run(&["queue", "dead", "--json"])
            .await
            .with(0)
            .document();
        dead["dead"].as_array().unwrap().first().cloned()
    })
    .await;
    assert_eq!(
        (&dead["kind"], &dead["error_code"]),
        (&"notify".into(), &"notify.refused".into())
    );
    let jobs = world
        .run(&["job", "list", "--kind", "backup", "--json"])
        .await
        .with(0)
        .document();
    assert_eq!(jobs["jobs"][0]["state"], "succeeded");
    world.holds().await;
    world.dismiss(worker).await;
}
