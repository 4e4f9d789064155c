//! What stands beside a backup, by the command line: roles of its server, and alarms about its content.

use std::fs;

use kanbu_backup::{id::ExecutionId, testing::TestServer};

use crate::world::World;

#[tokio::test]
async fn roles_are_read_from_a_backup_and_made_again_where_they_are_missing() {
    // Roles are a server's, and those of other tests are none of ours.
    let server = TestServer::start(&[]).await;
    let database = server.database("protected").await;
    let role = format!("app_{}", ExecutionId::new().short());
    database
        .run(&format!(
            "create table t (n int); create role {role} login password 'hunter2' connection limit 7"
        ))
        .await;
    let mut world = World::new().await;
    world.set("DATABASE_URL", &database.url);
    let worker = world.worker("one").await;
    world.result(&["backup", "database"]).await;

    let file = world.path("globals.sql");
    let get = ["get", "latest", "--globals", "-o", file.to_str().unwrap()];
    world.run(&get).await.with(0);
    let sql = fs::read_to_string(&file).unwrap();
    assert!(sql.contains(&format!("CREATE ROLE {role};")), "{sql}");
    assert!(sql.contains("SCRAM-SHA-256"), "{sql}");
    let printed = world.run(&["get", "latest", "--globals"]).await.with(0);
    assert_eq!(printed.stdout, sql);

    let hash =
        format!("select rolpassword || rolconnlimit from pg_authid where rolname = '{role}'");
    let before = database.texts(&hash).await;
    database.run(&format!("drop role {role}")).await;
    let restore = ["restore", "latest", "--globals"];
    let looked = world.run(&["restore", "latest", "--globals", "--dry-run"]);
    let looked = looked.await.with(0);
    assert!(looked.stdout.contains("would create"), "{looked:?}");
    assert_eq!(database.texts(&hash).await, [""; 0]);
    let made = world.result(&restore).await;
    assert_eq!(made["created"], serde_json::json!([role]));
    assert_eq!(database.texts(&hash).await, before);
    let again = world.result(&restore).await;
    assert_eq!(again["created"], serde_json::json!([]));
    world.dismiss(worker).await;

    // Without the key nobody reads a password's hash.
    world.set("BACKUP_ENCRYPTION_KEY", &"cd".repeat(32));
    let refused = world.run(&["get", "latest", "--globals"]).await;
    assert_ne!(refused.code, 0);
    assert!(!refused.stdout.contains("SCRAM"), "{refused:?}");
}

#[tokio::test]
async fn a_backup_that_an_alarm_holds_goes_when_somebody_has_looked() {
    let world = World::new().await;
    let worker = world.worker("one").await;
    let id = async || {
        let made = world.result(&["backup", "database"]).await;
        made["artifact"].as_str().unwrap().to_owned()
    };
    let good = id().await;
    world
        .protected
        .run("delete from people where id > 100")
        .await;
    let alarming = id().await;
    // Nobody is the last one from here on.
    id().await;
    let delete = ["delete", &good, "--yes"];
    world
        .run(&delete)
        .await
        .refused(5, "catalog.held", &alarming);
    // The one that is held raised no alarm; to have looked at it lets nothing go.
    world.run(&["catalog", "acknowledge", &good]).await.with(0);
    world
        .run(&delete)
        .await
        .refused(5, "catalog.held", &alarming);
    let seen = ["catalog", "acknowledge", &alarming, "--reason", "they left"];
    let seen = world.run(&seen).await.with(0);
    assert!(seen.stdout.contains("is acknowledged"), "{seen:?}");
    world.run(&delete).await.with(0);
    world.dismiss(worker).await;
}
