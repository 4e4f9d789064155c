//! Notifications in Kanbu's own database: whom, what, under which switches, and never twice.

use super::{
    receiver::{Answer as Reply, Receiver},
    *,
};

/// As far as Kanbu's schema matters here.
const KANBU: &str = r#"
    create type "AppRole" as enum ('ADMIN', 'MANAGER', 'USER');
    create table users (id serial primary key, email varchar(255) not null unique, name varchar(255) not null,
        role "AppRole" not null default 'USER', is_active boolean not null default true);
    insert into users (email, name, role, is_active) values
        ('a@x', 'a', 'ADMIN', true), ('b@x', 'b', 'ADMIN', true), ('c@x', 'c', 'ADMIN', false),
        ('d@x', 'd', 'MANAGER', true), ('e@x', 'e', 'USER', true);
    create table notifications (id serial primary key, user_id integer not null references users on delete cascade,
        type varchar(100) not null, title varchar(255) not null, content text, data jsonb not null default '{}',
        is_read boolean not null default false, created_at timestamp(3) not null default current_timestamp);
    create table backup_notification_config (id serial primary key, notify_on_success boolean not null default false,
        notify_on_failure boolean not null default true, webhook_url varchar(500), webhook_secret varchar(255),
        created_at timestamp(3) not null default current_timestamp, updated_at timestamp(3) not null);"#;

const CHANNELS: &str = "[notify.kanbu]\ntype = \"kanbu\"\n[notify.hook]\ntype = \"webhook\"\nfrom = \"kanbu\"\nallow_private = true\n";

async fn kanbu(schema: &str) -> (TestDatabase, World) {
    let kanbu = testing::TestServer::shared().await.database("kanbu").await;
    if !schema.is_empty() {
        kanbu.run(schema).await;
    }
    let world = World::with(CHANNELS, &[("DATABASE_URL", &kanbu.url)]).await;
    (kanbu, world)
}

async fn switch(kanbu: &TestDatabase, success: bool, failure: bool, url: &str) {
    kanbu
        .run(&format!(
            "delete from backup_notification_config;
             insert into backup_notification_config (notify_on_success, notify_on_failure, webhook_url, webhook_secret, updated_at)
             values ({success}, {failure}, '{url}', 'kanbus-own-secret', now())"
        ))
        .await;
}

async fn rows(kanbu: &TestDatabase) -> Vec<String> {
    kanbu
        .texts(
            "select concat_ws(' | ', u.name, n.type, n.title, n.content, n.data - 'backupDuration', n.is_read)
               from notifications n join users u on u.id = n.user_id order by n.id",
        )
        .await
}

#[tokio::test]
async fn active_administrators_are_told_in_kanbu_and_its_own_webhook_is_called() {
    let (kanbu, world) = kanbu(KANBU).await;
    let receiver = Receiver::start([]).await;
    switch(&kanbu, true, true, &receiver.url("/hook")).await;
    let worker = world.work();
    world.backup(failed(Fault::Permanent)).await;
    world.until_message("kanbu", JobState::Succeeded).await;
    let row = |name: &str| {
        format!(
            "{name} | backup_failed | Database backup failed | it failed | \
             {{\"link\": \"/admin/backup\", \"backupType\": \"database\", \"backupError\": \"it failed\"}} | f"
        )
    };
    assert_eq!(rows(&kanbu).await, [row("a"), row("b")]);
    // Kanbu keeps UTC without a zone, whatever zone the connection has.
    let age = kanbu
        .texts("select (max(abs(extract(epoch from created_at - (now() at time zone 'UTC')))) < 600)::text from notifications")
        .await;
    assert_eq!(age, ["true"]);
    let sent = receiver.until(1).await.remove(0);
    assert_eq!(
        (sent.path.as_str(), sent.json()["event"].as_str()),
        ("/hook", Some("backup.failed"))
    );
    assert!(
        sent.header("X-Kanbu-Signature")
            .unwrap()
            .starts_with("sha256=")
    );
    worker.go_home().await;
}

#[tokio::test]
async fn kanbus_switches_decide_and_without_a_row_its_defaults() {
    let (kanbu, world) = kanbu(KANBU).await;
    let worker = world.work();
    world.backup(done()).await;
    world.until_deliveries(2).await;
    assert_eq!(rows(&kanbu).await.len(), 0);
    world.backup(failed(Fault::Permanent)).await;
    world.until_deliveries(4).await;
    assert_eq!(rows(&kanbu).await.len(), 2);
    switch(&kanbu, true, false, "").await;
    world.backup(failed(Fault::Permanent)).await;
    world.until_deliveries(6).await;
    assert_eq!(rows(&kanbu).await.len(), 2);
    world.backup(done()).await;
    world.until_deliveries(8).await;
    assert_eq!(rows(&kanbu).await.len(), 4);
    let skipped = world
        .texts(
            "select distinct error from kanbu_backup.delivery where status = 'skipped' order by 1",
        )
        .await;
    assert_eq!(
        skipped,
        ["Kanbu has no webhook", "it is switched off in Kanbu"]
    );
    worker.go_home().await;
}

#[tokio::test]
async fn a_message_that_comes_twice_is_one_row_for_each() {
    let (kanbu, world) = kanbu(KANBU).await;
    let worker = world.work();
    world.backup(failed(Fault::Permanent)).await;
    world.until_message("kanbu", JobState::Succeeded).await;
    let event = world.newest_event().await;
    kanbu_backup::execution::delivery::replay(&world.db, event, Some("kanbu"))
        .await
        .unwrap();
    eventually("the second delivery", async || {
        let count = "select count(*) from kanbu_backup.delivery where channel = 'kanbu'";
        (world.number(count).await == 2).then_some(())
    })
    .await;
    assert_eq!(rows(&kanbu).await.len(), 2);
    worker.go_home().await;
}

#[tokio::test]
async fn a_database_that_is_not_kanbus_is_left_alone() {
    let (kanbu, world) = kanbu("create table people (id integer)").await;
    let worker = world.work();
    world.backup(failed(Fault::Permanent)).await;
    let message = world.until_message("kanbu", JobState::Succeeded).await;
    assert_eq!(message.error_code, None);
    let why = world
        .text("select error from kanbu_backup.delivery where channel = 'kanbu'")
        .await;
    assert_eq!(why, "the protected database is not Kanbu's");
    assert_eq!(
        kanbu
            .texts("select tablename::text from pg_tables where schemaname = 'public'")
            .await,
        ["people"]
    );
    worker.go_home().await;
}

#[tokio::test]
async fn a_kanbu_that_refuses_the_row_fails_the_message_and_nothing_else() {
    let (kanbu, world) = kanbu(KANBU).await;
    kanbu
        .run("alter table notifications add check (type <> 'backup_failed')")
        .await;
    let receiver = Receiver::start([Reply::Status(200)]).await;
    switch(&kanbu, true, true, &receiver.url("/x")).await;
    let worker = world.work();
    let claimed = world.backup(failed(Fault::Permanent)).await;
    world.until_message("kanbu", JobState::Queued).await;
    world.until_message("hook", JobState::Succeeded).await;
    let state = queue::job(&world.db, claimed.job).await.unwrap().unwrap();
    assert_eq!(
        (state.state, state.error_code.as_deref()),
        (JobState::Dead, Some("test.failed"))
    );
    let code = world
        .text("select error_code from kanbu_backup.delivery where channel = 'kanbu'")
        .await;
    assert_eq!(code, "notify.kanbu_database");
    assert_eq!(rows(&kanbu).await.len(), 0);
    worker.go_home().await;
}

#[tokio::test]
async fn after_a_swap_the_rows_go_into_the_database_that_took_the_name() {
    let (kanbu, world) = kanbu(KANBU).await;
    let aside = testing::TestServer::shared().await.database("aside").await;
    let old = format!("{}_old", kanbu.name);
    let worker = world.work();
    world.backup(failed(Fault::Permanent)).await;
    world.until_message("kanbu", JobState::Succeeded).await;
    aside
        .run(&format!("alter database {} rename to {old}", kanbu.name))
        .await;
    aside.run(&format!("create database {}", kanbu.name)).await;
    kanbu.run(KANBU).await;
    world.backup(failed(Fault::Permanent)).await;
    eventually("rows in the new database", async || {
        (rows(&kanbu).await.len() == 2).then_some(())
    })
    .await;
    worker.go_home().await;
}
