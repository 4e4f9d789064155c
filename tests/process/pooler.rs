//! The whole product behind a PgBouncer in transaction mode that knows no prepared statements.

use kanbu_backup::testing::{Pooler, TestServer};

use crate::world::World;

#[tokio::test]
async fn behind_a_pooler_a_backup_is_made_listed_shown_and_verified() {
    for with_direct_address in [false, true] {
        let mut world = World::new().await;
        let direct = world.control().url.clone();
        let pooler = Pooler::before(&direct, "").await;
        world.set("KANBU_BACKUP_DATABASE_URL", pooler.url());
        if with_direct_address {
            world.set("KANBU_BACKUP_LISTEN_URL", &direct);
        }
        let worker = world.worker("pooled").await;
        let backup = world.result(&["backup", "database"]).await;
        assert_eq!(backup["outcome"], "succeeded", "{backup}");
        assert_eq!(world.listed().await, 1);
        let verified = world.result(&["verify", "latest"]).await;
        assert_eq!(verified["good"], 1, "{verified}");
        let job = backup["job"].as_str().unwrap();
        let shown = world.run(&["job", "show", job]).await.with(0).stdout;
        assert!(shown.contains("succeeded"), "{shown}");

        let hint = "KANBU_BACKUP_LISTEN_URL";
        let said = worker.said();
        let hints = usize::from(!with_direct_address);
        assert_eq!(said.matches(hint).count(), hints, "{said}");
        world.dismiss(worker).await;
        for left in ["pg_prepared_statements", "pg_listening_channels()"] {
            let count = format!("select count(*)::text from {left}");
            assert_eq!(pooler.on_each_server(&count).await, ["0"; 2], "{left}");
        }
        world.holds().await;
    }
}

#[tokio::test]
async fn behind_a_pooler_alone_no_schema_is_made_and_the_hint_says_what_is_needed() {
    let mut world = World::alone().await;
    let control = TestServer::shared().await.database("control").await;
    let pooler = Pooler::before(&control.url, "").await;
    world.set("KANBU_BACKUP_DATABASE_URL", pooler.url());
    let refused = world.run(&["migrate", "db"]).await;
    assert!(
        refused.stderr.contains("KANBU_BACKUP_LISTEN_URL"),
        "{}",
        refused.stderr
    );
    refused.refused(8, "control.no_direct_address", "direct address");
    world.set("KANBU_BACKUP_LISTEN_URL", &control.url);
    world.run(&["migrate", "db"]).await.with(0);
    world.unset("KANBU_BACKUP_LISTEN_URL");
    world.run(&["migrate", "db"]).await.with(0);
    assert_eq!(world.listed().await, 0);
}
