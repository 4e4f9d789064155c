//! The control database: its schema, its limits, and that it is never the one to be backed up.

use std::{fs, net::Ipv4Addr, time::Duration};

use futures::future::BoxFuture;
use kanbu_backup::{
    control::{Connection, ControlConfig, ControlDb, ControlError, refuse_if_protected, within},
    fault::{Classified, Failure, Fault},
    pg::process::{Child, Program},
    testing::{ScratchDirectory, TestDatabase, TestServer, control_db},
};
use sqlx::AssertSqlSafe;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

async fn connect(url: &str) -> ControlDb {
    let config = ControlConfig::new(url, "test");
    ControlDb::connect(&config).await.unwrap()
}

async fn empty_db() -> (TestDatabase, ControlDb) {
    let database = TestServer::shared().await.database("control").await;
    let db = connect(&database.url).await;
    (database, db)
}

async fn run(db: &ControlDb, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(db.bare_pool())
        .await
        .unwrap();
}

async fn text(db: &ControlDb, sql: &str) -> String {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
        .fetch_one(db.bare_pool())
        .await
        .unwrap()
}

async fn applied(db: &ControlDb) -> Vec<(i64, bool)> {
    sqlx::query_as("select version, success from kanbu_backup.migration order by version")
        .fetch_all(db.bare_pool())
        .await
        .unwrap()
}

#[tokio::test]
async fn migrating_twice_changes_nothing() {
    let (_database, db) = empty_db().await;
    db.migrate().await.unwrap();
    let once = applied(&db).await;
    assert_eq!(once.first(), Some(&(1, true)));
    db.migrate().await.unwrap();
    assert_eq!(applied(&db).await, once);
}

#[tokio::test]
#[ignore = "not a test: a process that another test starts five times"]
async fn migrating_process() {
    let Ok(url) = fs::read_to_string("url") else {
        return;
    };
    connect(&url).await.migrate().await.unwrap();
}

/// Waits until so many connections to the database wait for a lock.
async fn wait_for_waiting(db: &ControlDb, wanted: i64) {
    let count = "select count(*) from pg_stat_activity
                 where datname = current_database() and wait_event_type = 'Lock'";
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    loop {
        let waiting: i64 = sqlx::query_scalar(count)
            .fetch_one(db.bare_pool())
            .await
            .unwrap();
        if waiting == wanted {
            return;
        }
        ticks.tick().await;
    }
}

#[tokio::test]
async fn five_processes_may_migrate_at_once() {
    let (database, db) = empty_db().await;
    let directory = ScratchDirectory::new();
    fs::write(directory.path().join("url"), &database.url).unwrap();
    let start = |_| -> Child {
        Program::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "control::migrating_process"])
            .directory(directory.path())
            .without_stdout()
            .spawn()
            .unwrap()
    };
    // All of them meet: none gets further than the schema before this transaction ends.
    let mut gate = database.session().await;
    gate.run("begin; create schema kanbu_backup").await;
    let processes: Vec<Child> = (0..5).map(start).collect();
    wait_for_waiting(&db, 5).await;
    gate.run("rollback").await;
    for process in &processes {
        process.success().await.unwrap();
    }
    let steps = applied(&db).await;
    assert!(!steps.is_empty() && steps.iter().all(|(_, success)| *success));
    db.migrate().await.unwrap();
    assert_eq!(applied(&db).await, steps);
}

#[tokio::test]
async fn a_schema_that_is_newer_than_the_binary_is_refused() {
    let (_database, db) = control_db().await;
    let newer =
        "insert into kanbu_backup.migration values (9999, 'of tomorrow', now(), true, '', 0)";
    run(&db, newer.into()).await;
    let error = db.migrate().await.unwrap_err();
    assert_eq!(error.code(), "control.newer_schema");
    assert!(error.to_string().contains("schema version 9999"), "{error}");
    // The lock was given back with the connection, or this would wait for it in vain.
    assert_eq!(db.migrate().await.unwrap_err().code(), error.code());
}

#[tokio::test]
async fn a_migration_that_was_changed_after_its_release_is_refused() {
    let (_database, db) = control_db().await;
    let changed = r"update kanbu_backup.migration set checksum = '\x00' where version = 1";
    run(&db, changed.into()).await;
    let error = db.migrate().await.unwrap_err();
    assert_eq!(error.code(), "control.other_migration");
    assert_eq!(error.fault(), Fault::Permanent);
}

#[tokio::test]
async fn the_search_path_of_the_database_does_not_matter() {
    let (database, db) = empty_db().await;
    let name = &database.name;
    run(
        &db,
        format!("create schema trap; alter database {name} set search_path = trap"),
    )
    .await;
    let db = connect(&database.url).await;
    assert_eq!(text(&db, "show search_path").await, "trap");
    db.migrate().await.unwrap();
    let elsewhere =
        "select count(*)::text from pg_class c join pg_namespace n on n.oid = relnamespace
                     where nspname in ('trap', 'public')";
    assert_eq!(text(&db, elsewhere).await, "0");
}

#[tokio::test]
async fn a_control_database_that_is_the_protected_one_is_refused() {
    let (database, db) = control_db().await;
    for address in ["127.0.0.1", "localhost"] {
        let protected = database.url.replace("127.0.0.1", address);
        let error = refuse_if_protected(&db, &protected).await.unwrap_err();
        assert!(matches!(&error, ControlError::SameDatabase { name } if *name == database.name));
        assert!(error.hint().unwrap().contains("KANBU_BACKUP_DATABASE_URL"));
    }
    let neighbour = TestServer::shared().await.database("protected").await;
    refuse_if_protected(&db, &neighbour.url).await.unwrap();
}

#[tokio::test]
async fn the_same_database_is_recognised_without_the_right_to_ask_for_the_cluster() {
    let (database, db) = empty_db().await;
    let role = format!("plain_{}", database.name);
    run(
        &db,
        format!(
            "revoke execute on function pg_control_system() from public;
             create role {role} login password 'plain'"
        ),
    )
    .await;
    let mut url = url::Url::parse(&database.url).unwrap();
    url.set_username(&role).unwrap();
    url.set_password(Some("plain")).unwrap();
    let plain = connect(url.as_str()).await;
    assert_eq!(plain.identity().await.unwrap().system_identifier, None);
    assert!(db.identity().await.unwrap().system_identifier.is_some());
    let error = refuse_if_protected(&plain, &database.url)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "control.same_database");

    plain.close().await;
    run(&db, format!("drop role {role}")).await;
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_named_without_its_password() {
    let config = ControlConfig::new("postgres://me:hunter2@127.0.0.1:1/kanbu_backup", "test");
    let failure = Failure::from(ControlDb::connect(&config).await.unwrap_err());
    assert_eq!(failure.code, "control.unreachable");
    assert_eq!(failure.fault, Fault::Transient);
    assert!(
        failure.message.contains("127.0.0.1:1/kanbu_backup"),
        "{failure}"
    );
    let broken = ControlConfig::new("postgres://me:hunter2@[::1/kanbu_backup", "test");
    let address = Failure::from(ControlDb::connect(&broken).await.unwrap_err());
    assert_eq!(address.code, "control.address");
    for shown in [failure.message, address.message, format!("{config:?}")] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_no_passing_trouble() {
    let (database, _db) = empty_db().await;
    let wrong = database.url.replacen("kanbu_backup:", "kanbu_backup:x", 1);
    let error = ControlDb::connect(&ControlConfig::new(wrong, "test")).await;
    assert_eq!(error.unwrap_err().fault(), Fault::Permanent);
}

#[tokio::test]
async fn connections_have_limits_and_a_name() {
    let (_database, db) = empty_db().await;
    for limit in ["statement_timeout", "idle_in_transaction_session_timeout"] {
        let shown = text(&db, &format!("show {limit}")).await;
        assert_eq!(shown, "5s", "{limit}");
    }
    assert_eq!(
        text(&db, "show application_name").await,
        "kanbu_backup/test work"
    );
}

#[tokio::test]
async fn a_pooler_is_sent_no_start_up_options() {
    let (database, _db) = empty_db().await;
    let config = ControlConfig {
        listen_url: Some(database.url.clone()),
        ..ControlConfig::new(&database.url, "test")
    };
    let db = ControlDb::connect(&config).await.unwrap();
    assert_eq!(text(&db, "show statement_timeout").await, "0");
    assert_eq!(text(&db, "show extra_float_digits").await, "1");
}

#[tokio::test]
async fn a_pooler_that_loses_statements_is_named_in_the_hint() {
    let (_database, db) = empty_db().await;
    let lost = sqlx::raw_sql("execute prepared_elsewhere").execute(db.bare_pool());
    let error = ControlError::from(lost.await.unwrap_err());
    assert!(error.hint().unwrap().contains("KANBU_BACKUP_LISTEN_URL"));
}

fn nap<'c>(connection: &'c mut Connection<'_>) -> BoxFuture<'c, Result<(), ControlError>> {
    Box::pin(async move {
        sqlx::query("select pg_sleep(600)")
            .execute(connection)
            .await?;
        Ok(())
    })
}

#[tokio::test]
async fn connections_that_do_not_answer_make_room_for_others() {
    let (_database, db) = empty_db().await;
    for _ in 0..4 {
        let slow = within(db.renewals(), Duration::from_millis(100), nap).await;
        assert_eq!(slow.unwrap_err().code(), "control.slow");
    }
    let quick: Result<(), ControlError> =
        within(db.renewals(), Duration::from_secs(30), |connection| {
            Box::pin(async move {
                sqlx::query("select 1").execute(connection).await?;
                Ok(())
            })
        })
        .await;
    quick.unwrap();
}

#[tokio::test]
async fn a_listener_hears_what_others_notify() {
    let (_database, db) = empty_db().await;
    let mut listener = db.listener().await.unwrap();
    listener.listen("kanbu_backup_job").await.unwrap();
    run(&db, "select pg_notify('kanbu_backup_job', 'backup')".into()).await;
    let heard = tokio::time::timeout(Duration::from_secs(30), listener.recv()).await;
    assert_eq!(heard.unwrap().unwrap().payload(), "backup");
}

/// A way to the server on which every new connection is taken only after a while.
async fn slow_to_open(url: &str, delay: Duration) -> String {
    let mut url = url::Url::parse(url).unwrap();
    let server = (Ipv4Addr::LOCALHOST, url.port().unwrap());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    url.set_port(Some(listener.local_addr().unwrap().port()))
        .unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = tokio::time::timeout(delay, std::future::pending::<()>()).await;
                let mut server = TcpStream::connect(server).await.unwrap();
                copy_bidirectional(&mut client, &mut server).await.ok();
            });
        }
    });
    url.into()
}

#[tokio::test]
async fn a_connection_that_opens_slower_than_anybody_waits_is_there_in_the_end() {
    let database = TestServer::shared().await.database("control").await;
    let db = connect(&slow_to_open(&database.url, Duration::from_millis(700)).await).await;
    let ask = || {
        within(db.renewals(), Duration::from_millis(300), |conn| {
            Box::pin(async move {
                let one: i32 = sqlx::query_scalar("select 1").fetch_one(conn).await?;
                Ok::<_, ControlError>(one)
            })
        })
    };
    let first = ask().await.unwrap_err();
    assert!(matches!(first, ControlError::Slow { .. }), "{first:?}");
    let answered = async { while ask().await.is_err() {} };
    let patience = Duration::from_secs(40);
    tokio::time::timeout(patience, answered)
        .await
        .expect("an answer in the end");
}
