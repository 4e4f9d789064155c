//! The control database behind a PgBouncer in transaction mode that knows no prepared statements: recognised, used
//! without leaving anything behind, and gone around where it has to be.

use std::time::Duration;

use futures::future::BoxFuture;
use kanbu_backup::{
    control::{Connection, ControlConfig, ControlDb, ControlError, refuse_if_protected, within},
    fault::{Classified, Fault},
    testing::{Pooler, TestDatabase, TestServer, control_db},
};

/// PgBouncer's usual answer to start-up parameters is to refuse them.
const REFUSES: &str = "";
const IGNORES: &str = "ignore_startup_parameters = extra_float_digits, options";

const PATIENCE: Duration = Duration::from_secs(40);

async fn connect(url: &str, listen_url: Option<&str>) -> Result<ControlDb, ControlError> {
    let config = ControlConfig {
        listen_url: listen_url.map(str::to_owned),
        ..ControlConfig::new(url, "pooled")
    };
    ControlDb::connect(&config).await
}

async fn empty() -> TestDatabase {
    TestServer::shared().await.database("control").await
}

/// Two statements with a parameter each; what the second one says.
fn limit<'c>(connection: &'c mut Connection<'_>) -> BoxFuture<'c, Result<String, ControlError>> {
    Box::pin(async move {
        let mut said = String::new();
        for name in ["idle_in_transaction_session_timeout", "statement_timeout"] {
            said = sqlx::query_scalar("select current_setting($1)")
                .bind(name)
                .fetch_one(&mut *connection)
                .await?;
        }
        Ok(said)
    })
}

/// Works with it, often enough that every server connection gets its turn.
async fn works(db: &ControlDb) {
    for _ in 0..6 {
        let limit = within(db.pool(), PATIENCE, limit).await;
        assert_eq!(limit.unwrap(), "5s");
    }
}

async fn left_nothing_on(pooler: &Pooler) {
    for (left, nothing) in [
        ("show statement_timeout", "0"),
        ("show idle_in_transaction_session_timeout", "0"),
        ("select count(*)::text from pg_prepared_statements", "0"),
        ("select count(*)::text from pg_listening_channels()", "0"),
    ] {
        assert_eq!(pooler.on_each_server(left).await, [nothing; 2], "{left}");
    }
}

#[tokio::test]
async fn a_pooler_is_recognised_whether_it_refuses_or_ignores_start_up_parameters() {
    for settings in [REFUSES, IGNORES] {
        let database = empty().await;
        let pooler = Pooler::before(&database.url, settings).await;
        let servers = pooler.on_each_server("select pg_backend_pid()::text").await;
        assert_ne!(servers[0], servers[1], "{servers:?}");
        let db = connect(pooler.url(), None).await.unwrap();
        works(&db).await;
        let listener = db.listener().await.unwrap_err();
        assert_eq!(listener.code(), "control.no_direct_address");
        left_nothing_on(&pooler).await;
    }
}

#[tokio::test]
async fn a_pooler_is_recognised_where_the_database_has_our_own_limit_by_itself() {
    let database = empty().await;
    let limit = format!(
        "alter database {} set statement_timeout = '5s'",
        database.name
    );
    database.run(&limit).await;
    let pooler = Pooler::before(&database.url, IGNORES).await;
    let db = connect(pooler.url(), None).await.unwrap();
    works(&db).await;
    assert!(db.listener().await.is_err());
}

#[tokio::test]
async fn with_a_direct_address_the_pooler_is_gone_around_to_listen() {
    let database = empty().await;
    let pooler = Pooler::before(&database.url, REFUSES).await;
    let db = connect(pooler.url(), Some(&database.url)).await.unwrap();
    works(&db).await;
    let mut listener = db.listener().await.unwrap();
    listener.listen("kanbu_backup_job").await.unwrap();
    pooler
        .on_each_server("notify kanbu_backup_job, 'backup'")
        .await;
    let heard = tokio::time::timeout(PATIENCE, listener.recv()).await;
    assert_eq!(heard.unwrap().unwrap().payload(), "backup");
    left_nothing_on(&pooler).await;
}

#[tokio::test]
async fn a_direct_address_that_leads_to_a_pooler_too_is_refused() {
    for settings in [REFUSES, IGNORES] {
        let database = empty().await;
        let pooler = Pooler::before(&database.url, settings).await;
        let db = connect(pooler.url(), Some(pooler.url())).await.unwrap();
        works(&db).await;
        for error in [
            db.listener().await.unwrap_err(),
            db.migrate().await.unwrap_err(),
        ] {
            assert_eq!(error.code(), "control.no_direct_address");
            assert_eq!(error.fault(), Fault::Permanent);
        }
        left_nothing_on(&pooler).await;
    }
}

#[tokio::test]
async fn a_direct_connection_keeps_its_statements_and_its_limits_without_a_transaction() {
    let (_database, db) = control_db().await;
    let mut connection = db.pool().acquire().await.unwrap();
    assert_eq!(limit(&mut connection).await.unwrap(), "5s");
    let kept: i64 = sqlx::query_scalar(
        "select count(*) from pg_prepared_statements where statement like '%current_setting($1)%'",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!(kept, 2, "the statement, and the one that looks for it");
}

#[tokio::test]
async fn nothing_goes_to_a_pooler_outside_of_a_transaction_or_under_a_name() {
    let database = empty().await;
    let pooler = Pooler::before(&database.url, REFUSES).await;
    let db = connect(pooler.url(), None).await.unwrap();
    let mut connection = db.pool().acquire().await.unwrap();
    let error = limit(&mut connection).await.unwrap_err();
    assert!(matches!(
        &error,
        ControlError::Query {
            source: sqlx::Error::Protocol(_)
        }
    ));
    let mut transaction = connection.begin().await.unwrap();
    let named =
        sqlx::Executor::prepare(&mut transaction, sqlx::SqlSafeStr::into_sql_str("select 1"));
    assert!(matches!(named.await.unwrap_err(), sqlx::Error::Protocol(_)));
    assert_eq!(limit(&mut transaction).await.unwrap(), "5s");
    transaction.commit().await.unwrap();
    left_nothing_on(&pooler).await;
}

#[tokio::test]
async fn work_behind_a_pooler_is_done_wholly_or_not_at_all() {
    let (database, _db) = control_db().await;
    let pooler = Pooler::before(&database.url, REFUSES).await;
    let db = connect(pooler.url(), None).await.unwrap();
    let pause = |subject: &'static str, ends_well: bool| {
        within(db.pool(), PATIENCE, move |connection| {
            Box::pin(async move {
                sqlx::query("select kanbu_backup.pause('backup', $1)")
                    .bind(subject)
                    .execute(&mut *connection)
                    .await?;
                let mut savepoint = connection.begin().await?;
                sqlx::query("select kanbu_backup.pause('verify', $1)")
                    .bind(subject)
                    .execute(&mut savepoint)
                    .await?;
                savepoint.rollback().await?;
                ends_well
                    .then_some(())
                    .ok_or(ControlError::Slow { limit: PATIENCE })
            })
        })
    };
    pause("database:kept", true).await.unwrap();
    pause("database:lost", false).await.unwrap_err();
    let paused = "select kind || ' ' || subject from kanbu_backup.queue_control";
    assert_eq!(database.texts(paused).await, ["backup database:kept"]);
}

#[tokio::test]
async fn strangers_keep_the_statements_that_they_prepared_on_the_same_connections() {
    let (database, _db) = control_db().await;
    let pooler = Pooler::before(&database.url, REFUSES).await;
    // The name that our client would take first.
    pooler
        .on_each_server("prepare sqlx_s_1 as select 'theirs'::text")
        .await;
    let db = connect(pooler.url(), None).await.unwrap();
    works(&db).await;
    assert_eq!(
        pooler.on_each_server("execute sqlx_s_1").await,
        ["theirs"; 2]
    );
    let names = "select string_agg(name, ' ') from pg_prepared_statements";
    assert_eq!(pooler.on_each_server(names).await, ["sqlx_s_1"; 2]);
}

#[tokio::test]
async fn missing_migrations_need_a_direct_address_and_a_complete_schema_needs_none() {
    let database = empty().await;
    let pooler = Pooler::before(&database.url, REFUSES).await;
    let behind = connect(pooler.url(), None).await.unwrap();
    let error = behind.migrate().await.unwrap_err();
    assert_eq!(error.code(), "control.no_direct_address");
    assert!(error.hint().unwrap().contains("KANBU_BACKUP_LISTEN_URL"));
    let schemas = "select nspname::text from pg_namespace where nspname = 'kanbu_backup'";
    assert!(database.texts(schemas).await.is_empty());

    let with_direct = connect(pooler.url(), Some(&database.url)).await.unwrap();
    with_direct.migrate().await.unwrap();
    behind.migrate().await.unwrap();

    database
        .run("insert into kanbu_backup.migration values (9999, 'of tomorrow', now(), true, '', 0)")
        .await;
    let error = behind.migrate().await.unwrap_err();
    assert_eq!(error.code(), "control.newer_schema");
    left_nothing_on(&pooler).await;
}

#[tokio::test]
async fn a_role_that_may_only_read_the_record_of_migrations_finds_the_schema_complete() {
    let (database, _db) = control_db().await;
    let role = format!("reader_{}", database.name);
    database
        .run(&format!(
            "create role {role} login password 'reader';
             grant usage on schema kanbu_backup to {role};
             grant select on kanbu_backup.migration to {role}"
        ))
        .await;
    let mut url = url::Url::parse(&database.url).unwrap();
    url.set_username(&role).unwrap();
    url.set_password(Some("reader")).unwrap();
    let reader = connect(url.as_str(), None).await.unwrap();
    reader.migrate().await.unwrap();
    reader.close().await;
    database
        .run(&format!("drop owned by {role}; drop role {role}"))
        .await;
}

#[tokio::test]
async fn the_protected_database_is_recognised_through_a_pooler() {
    let (database, direct) = control_db().await;
    let pooler = Pooler::before(&database.url, REFUSES).await;
    let behind = connect(pooler.url(), None).await.unwrap();
    for (control, protected) in [
        (&behind, database.url.as_str()),
        (&direct, pooler.url()),
        (&behind, pooler.url()),
    ] {
        let error = refuse_if_protected(control, protected).await.unwrap_err();
        assert_eq!(error.code(), "control.same_database");
    }
    let neighbour = empty().await;
    refuse_if_protected(&behind, &neighbour.url).await.unwrap();
}

#[tokio::test]
async fn a_pooler_without_its_server_is_no_control_database() {
    let server = TestServer::start(&[]).await;
    let pooler = Pooler::before(&server.url(), REFUSES).await;
    drop(server);
    for listen_url in [None, Some("postgres://nobody@127.0.0.1:1/none")] {
        let error = connect(pooler.url(), listen_url).await.unwrap_err();
        assert_eq!(error.code(), "control.unreachable");
        assert_eq!(error.fault(), Fault::Transient);
    }
}

/// A worker that froze between two statements must not hold on to rows that others wait for.
#[tokio::test]
async fn a_transaction_that_its_owner_forgets_lets_go_of_its_rows() {
    let (database, direct) = control_db().await;
    let pooler = Pooler::before(&database.url, REFUSES).await;
    let behind = connect(pooler.url(), None).await.unwrap();
    for db in [&direct, &behind] {
        let lock = "select kind from kanbu_backup.kind_rule for update";
        let mut forgotten = db.pool().begin().await.unwrap();
        sqlx::query(lock).execute(&mut forgotten).await.unwrap();
        let waited = tokio::time::timeout(PATIENCE, database.texts(lock)).await;
        assert_eq!(waited.expect("the rows").len(), 5);
        let error = ControlError::from(forgotten.commit().await.unwrap_err());
        assert_eq!(error.fault(), Fault::Transient, "{error:?}");
    }
}
