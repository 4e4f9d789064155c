//! What each role may and may not, under logins of its own: rights are asked of the server, and the refusals met for real.

use std::collections::BTreeSet;

use kanbu_backup::{
    control::ControlConfig,
    fault::{Classified, Fault},
    testing::TestServer,
};
use sqlx::{Connection, PgConnection};
use url::Url;

use super::*;

/// A login with a password and one role, on the server of a database.
async fn login(database: &TestDatabase, role: &str) -> Url {
    let mut random = [0; 6];
    getrandom::fill(&mut random).unwrap();
    let name = format!("login_{}", hex::encode(random));
    database
        .run(&format!(
            "create role {name} login password 'p-{name}' in role kanbu_backup_{role}"
        ))
        .await;
    let mut url = Url::parse(&database.url).unwrap();
    url.set_username(&name).unwrap();
    url.set_password(Some(&format!("p-{name}"))).unwrap();
    url
}

async fn connect(url: &Url) -> ControlDb {
    let config = ControlConfig::new(url.as_str(), "test");
    ControlDb::connect(&config).await.unwrap()
}

async fn session(url: &Url) -> PgConnection {
    PgConnection::connect(url.as_str()).await.unwrap()
}

/// Runs a statement; the answer is the SQLSTATE of a refusal.
async fn refusal(conn: &mut PgConnection, statement: &str) -> Option<String> {
    let done = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
        .execute(conn)
        .await;
    let error = done.err()?;
    let error = error
        .as_database_error()
        .expect("an answer of the database");
    Some(error.code().expect("an SQLSTATE").into_owned())
}

impl World {
    fn database(&self) -> &TestDatabase {
        self.database.as_ref().expect("a database of its own")
    }

    /// The functions of the schema that a role may call.
    async fn callable(&self, role: &str) -> BTreeSet<String> {
        let query = format!(
            "select proname::text from pg_proc where pronamespace = 'kanbu_backup'::regnamespace
               and has_function_privilege('kanbu_backup_{role}', oid, 'execute')"
        );
        self.database().texts(&query).await.into_iter().collect()
    }

    /// What a role may do with the relations of the schema, `select job` for instance; sequences count.
    async fn touchable(&self, role: &str) -> BTreeSet<String> {
        let query = format!(
            "select p.privilege || ' ' || c.relname
               from pg_class c, unnest('{{select,insert,update,delete,truncate,references,trigger}}'::text[]) as p (privilege)
              where c.relnamespace = 'kanbu_backup'::regnamespace and c.relkind in ('r', 'v', 'm', 'p')
                and (has_table_privilege('kanbu_backup_{role}', c.oid, p.privilege)
                     or p.privilege in ('select', 'insert', 'update', 'references')
                        and has_any_column_privilege('kanbu_backup_{role}', c.oid, p.privilege))"
        );
        self.database().texts(&query).await.into_iter().collect()
    }
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

#[tokio::test]
async fn the_role_for_enqueueing_may_do_that_and_nothing_else() {
    let world = World::new().await;
    let may = [
        "enqueue_backup",
        "enqueue_verify",
        "job_status",
        "api_version",
    ];
    assert_eq!(world.callable("enqueue").await, set(&may));
    assert_eq!(world.touchable("enqueue").await, set(&[]));

    let mut app = session(&login(world.database(), "enqueue").await).await;
    for call in [
        "select kanbu_backup.enqueue_backup('database:kanbu')",
        "select kanbu_backup.enqueue_verify('database:kanbu')",
        "select * from kanbu_backup.job_status(gen_random_uuid())",
        "select kanbu_backup.api_version()",
    ] {
        assert_eq!(refusal(&mut app, call).await, None, "{call}");
    }
    for call in [
        "select kanbu_backup.enqueue_restore('database:kanbu')",
        "select kanbu_backup.enqueue_prune('database:kanbu')",
        "select kanbu_backup.cancel(gen_random_uuid())",
        "select kanbu_backup.retry(gen_random_uuid())",
        "select kanbu_backup.pause()",
        "select kanbu_backup.resume()",
        "select kanbu_backup.limit_running('backup', 1)",
        "select kanbu_backup.claim(gen_random_uuid(), 'backup', 1, '1 minute', '{}')",
        "select kanbu_backup.enqueue(gen_random_uuid(), 'backup', 'database:x', '{\"subject\": \"database:x\"}', 1, 'api')",
        "select kanbu_backup.reap()",
        "select kanbu_backup.finish('[]')",
        "select kanbu_backup.request('backup', '{}', null)",
        "select kanbu_backup.grant_roles()",
        "select from kanbu_backup.job",
        "select from kanbu_backup.job_overview",
        "select from kanbu_backup.subject",
        "select from kanbu_backup.artifact",
        "delete from kanbu_backup.job",
        "update kanbu_backup.kind_rule set accepted = true",
        "insert into kanbu_backup.subject values ('database:mine')",
        "create table kanbu_backup.mine ()",
    ] {
        assert_eq!(
            refusal(&mut app, call).await.as_deref(),
            Some("42501"),
            "{call}"
        );
    }
    let by = "select distinct requested_by from kanbu_backup.job";
    assert!(
        world.database().texts(by).await[0].starts_with("login_"),
        "the login is recorded"
    );
}

#[tokio::test]
async fn a_reader_sees_every_view_and_no_payload() {
    let world = World::new().await;
    assert_eq!(world.callable("read").await, set(&[]));
    let mut reader = session(&login(world.database(), "read").await).await;
    for right in world.touchable("read").await {
        let (privilege, relation) = right.split_once(' ').unwrap();
        assert_eq!(privilege, "select", "{right}");
        let columns = world
            .database()
            .texts(&format!(
                "select attname::text from pg_attribute where attrelid = 'kanbu_backup.{relation}'::regclass and attnum > 0"
            ))
            .await;
        assert!(
            !columns.iter().any(|column| column == "payload"),
            "{relation}"
        );
        let read = format!("select * from kanbu_backup.{relation}");
        assert_eq!(refusal(&mut reader, &read).await, None, "{relation}");
    }
    let views = world.touchable("read").await;
    for view in [
        "job_overview",
        "execution_overview",
        "running",
        "waiting",
        "dead_letter",
    ] {
        assert!(views.contains(&format!("select {view}")), "{view}");
    }
    for call in [
        "select from kanbu_backup.job",
        "select from kanbu_backup.execution",
        "select kanbu_backup.enqueue_backup('database:x')",
        "update kanbu_backup.job_overview set priority = 1",
    ] {
        // A view over a join can't be written by anybody.
        let code = refusal(&mut reader, call).await;
        assert!(
            matches!(code.as_deref(), Some("42501" | "55000")),
            "{call}: {code:?}"
        );
    }
}

#[tokio::test]
async fn the_api_controls_the_queue_and_can_not_work_in_it() {
    let world = World::new().await;
    let callable = world.callable("api").await;
    let may = [
        "api_version",
        "cancel",
        "drain",
        "enqueue_backup",
        "enqueue_prune",
        "enqueue_restore",
        "enqueue_verify",
        "job_status",
        "limit_running",
        "pause",
        "resume",
        "retry",
        "run_now",
    ];
    assert!(callable.is_superset(&set(&may)), "{callable:?}");
    for work in [
        "claim",
        "enqueue",
        "finish",
        "grant_roles",
        "reap",
        "recover",
        "renew",
        "request",
        "settle",
        "thin_history",
    ] {
        assert!(!callable.contains(work), "{work}");
    }
    let touchable = world.touchable("api").await;
    assert!(touchable.is_superset(&world.touchable("read").await));
    assert!(
        touchable.iter().all(|right| right.starts_with("select ")),
        "{touchable:?}"
    );
    assert!(!touchable.contains("select job"));

    let job = world.backup("database:kanbu").await;
    let mut api = session(&login(world.database(), "api").await).await;
    for call in [
        "select kanbu_backup.pause('backup', 'database:kanbu', null, 'maintenance')".to_owned(),
        "select kanbu_backup.resume('backup', 'database:kanbu')".to_owned(),
        "select kanbu_backup.limit_running('backup', 3)".to_owned(),
        "select kanbu_backup.limit_running('backup', null)".to_owned(),
        format!("select kanbu_backup.cancel('{job}')"),
        format!("select kanbu_backup.retry('{job}')"),
        format!("select from kanbu_backup.job_overview where job_id = '{job}'"),
    ] {
        assert_eq!(refusal(&mut api, &call).await, None, "{call}");
    }
    assert_eq!(world.state(job).await.0, JobState::Cancelled);
}

#[tokio::test]
async fn a_crew_works_with_the_rights_of_a_worker_alone() {
    let world = World::new().await;
    let url = login(world.database(), "worker").await;
    let db = connect(&url).await;
    db.migrate().await.expect("nothing to migrate");
    queue::register_subjects(&db, &["database:kanbu".parse().unwrap()])
        .await
        .unwrap();
    let mut hands = Hands::hire(&db, 1, 60);
    for fault in [None, Some(Fault::Permanent)] {
        let job = queue::submit(&db, &backup("database:kanbu"))
            .await
            .unwrap()
            .job();
        let act = hands.next().await;
        act.lease.check().await.unwrap();
        match fault {
            None => act.succeeds(),
            Some(fault) => act.fails(fault),
        }
        let state = if fault.is_none() {
            JobState::Succeeded
        } else {
            JobState::Dead
        };
        world.until_state(job, state).await;
    }
    assert!(queue::reap(&db).await.unwrap().is_empty());
    assert_eq!(queue::invariants(&db).await.unwrap(), []);
    hands.go_home().await;

    let cancel = queue::cancel(&db, JobId::new(), "anna").await.unwrap_err();
    assert!(matches!(cancel, QueueError::NotAllowed(_)), "{cancel:?}");
    assert!(cancel.hint().unwrap().contains("kanbu_backup_api"));
    let mut worker = session(&url).await;
    for call in [
        "update kanbu_backup.job set state = 'queued'",
        "delete from kanbu_backup.execution",
        "insert into kanbu_backup.execution default values",
        "update kanbu_backup.kind_rule set accepted = true",
        "delete from kanbu_backup.artifact",
        "select kanbu_backup.settle('{}')",
        "drop table kanbu_backup.subject",
        "create table kanbu_backup.mine ()",
    ] {
        assert_eq!(
            refusal(&mut worker, call).await.as_deref(),
            Some("42501"),
            "{call}"
        );
    }
}

#[tokio::test]
async fn nothing_of_a_caller_s_own_gets_in_between() {
    let world = World::new().await;
    world
        .sql("insert into kanbu_backup.subject values ('database:kanbu')")
        .await;
    let url = login(world.database(), "enqueue").await;
    let schema = format!("own_{}", url.username());
    world
        .sql(&format!(
            "create schema {schema} authorization {}",
            url.username()
        ))
        .await;
    let mut caller = session(&url).await;
    let traps = format!(
        "create temporary table job (id uuid, request_key text, request_digest bytea);
         create temporary table kind_rule (like_backup text);
         create temporary table subject (subject text);
         insert into subject values ('database:mine');
         create temporary table artifact (subject text, deletion_decided_at timestamptz);
         create function {schema}.yes(text, text) returns boolean language sql immutable as 'select true';
         create operator {schema}.= (leftarg = text, rightarg = text, function = {schema}.yes);
         create operator {schema}.~ (leftarg = text, rightarg = text, function = {schema}.yes);
         create function {schema}.now() returns timestamptz language sql as $$select '-infinity'::timestamptz$$;
         create function {schema}.refuse(text, text) returns void language sql as '';
         create function {schema}.check_request(text, jsonb, text[]) returns void language sql as '';
         create function {schema}.payload_flaw(text, jsonb) returns text language sql as 'select null';
         create function {schema}.request(text, jsonb, text) returns uuid language sql as 'select gen_random_uuid()';
         create function {schema}.pg_notify(text, text) returns void language sql as '';
         set search_path = pg_temp, {schema}, pg_catalog, kanbu_backup"
    );
    assert_eq!(refusal(&mut caller, &traps).await, None);
    for call in [
        "select kanbu_backup.enqueue_backup('database:mine')",
        "select kanbu_backup.enqueue_backup('nothing at all')",
    ] {
        assert_eq!(
            refusal(&mut caller, call).await.as_deref(),
            Some("22023"),
            "{call}"
        );
    }
    let good = "select kanbu_backup.enqueue_backup('database:kanbu')";
    assert_eq!(refusal(&mut caller, good).await, None);
    let caught: i64 = sqlx::query_scalar("select pg_catalog.count(*) from pg_temp.job")
        .fetch_one(&mut caller)
        .await
        .unwrap();
    assert_eq!(caught, 0);
    let sound =
        "select count(*) from kanbu_backup.job where run_at = created_at and isfinite(run_at)";
    assert_eq!(world.number(sound).await, 1);
}

#[tokio::test]
async fn every_function_is_closed_to_the_public_and_finds_only_its_own_names() {
    let world = World::new().await;
    let open = world
        .database()
        .texts(
            "select oid::regprocedure::text from pg_proc p where pronamespace = 'kanbu_backup'::regnamespace
               and (proacl is null or exists (select from aclexplode(proacl) a where a.grantee = 0))",
        )
        .await;
    assert_eq!(open, [""; 0], "everybody may call these");
    let loose = world
        .database()
        .texts(
            "select distinct p.oid::regprocedure::text
               from pg_proc p join kanbu_backup.role_right r on r.privilege = 'execute' and r.object = p.proname
              where pronamespace = 'kanbu_backup'::regnamespace and prosqlbody is null
                and not (prosecdef and coalesce('search_path=kanbu_backup, pg_temp' = any (proconfig), false))",
        )
        .await;
    assert_eq!(
        loose, [""; 0],
        "these run with their caller's rights or names"
    );
    let missing = world
        .database()
        .texts(
            "select object from kanbu_backup.role_right r
              where not exists (select from pg_proc where pronamespace = 'kanbu_backup'::regnamespace
                                   and proname = r.object and r.privilege = 'execute')
                and not exists (select from pg_class where relnamespace = 'kanbu_backup'::regnamespace
                                   and relname = r.object and r.privilege <> 'execute')",
        )
        .await;
    assert_eq!(missing, [""; 0], "rights to what there isn't");
}

#[tokio::test]
async fn databases_of_one_cluster_migrate_at_the_same_time() {
    for end in ["commit", "rollback"] {
        let server = TestServer::start(&[]).await;
        let database = server.database("control").await;
        // Another database's migration has made a role and is not through yet.
        let other = server.database("other").await;
        let mut other = other.session().await;
        other.run("begin; create role kanbu_backup_worker").await;
        let db = connect(&Url::parse(&database.url).unwrap()).await;
        let (migrated, ()) = tokio::join!(db.migrate(), async {
            eventually("the migration to wait for the role", async || {
                let waiting =
                    "select pid::text from pg_stat_activity where wait_event_type = 'Lock'";
                database.texts(waiting).await.pop()
            })
            .await;
            other.run(end).await;
        });
        migrated.unwrap();
        let roles =
            "select rolname::text from pg_roles where rolname like 'kanbu\\_backup\\_%' order by 1";
        let names = ["api", "enqueue", "owner", "read", "worker"];
        let names = names.map(|name| format!("kanbu_backup_{name}"));
        assert_eq!(database.texts(roles).await, names, "after a {end}");
    }
}

#[tokio::test]
async fn a_login_that_may_not_make_roles_migrates_without_them_and_grants_them_later() {
    let server = TestServer::start(&[]).await;
    let database = server.database("control").await;
    database
        .run(&format!(
            "create role plain login password 'plain'; grant create on database {} to plain",
            database.name
        ))
        .await;
    let mut plain = Url::parse(&database.url).unwrap();
    plain.set_username("plain").unwrap();
    plain.set_password(Some("plain")).unwrap();
    let db = connect(&plain).await;
    db.migrate().await.unwrap();
    let roles = "select rolname::text from pg_roles where rolname like 'kanbu\\_backup\\_%'";
    assert_eq!(database.texts(roles).await, [""; 0]);
    queue::submit(&db, &backup("database:kanbu"))
        .await
        .expect("the owner needs no role");

    let names = ["owner", "worker", "api", "enqueue", "read"];
    let make = names.map(|name| format!("create role kanbu_backup_{name};"));
    database.run(&make.concat()).await;
    let mut owner = session(&plain).await;
    for _ in 0..2 {
        assert_eq!(
            refusal(&mut owner, "select kanbu_backup.grant_roles()").await,
            None
        );
    }
    let mut app = session(&login(&database, "enqueue").await).await;
    let call = "select kanbu_backup.enqueue_backup('database:other')";
    assert_eq!(refusal(&mut app, call).await, None);
}
