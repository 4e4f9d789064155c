//! Roles beside a database: dumped with it, never in clear with their passwords, and made again where they are missing.

use std::os::unix::fs::symlink;

use kanbu_backup::{
    backup::Deps,
    catalog::{KeptGlobals, Manifest},
    crypto::Keyring,
    execution::{Effects, Outcome},
    id::ExecutionId,
    pg::{
        cluster::Cluster,
        dump::Route,
        globals::{create_missing_roles, dump_globals},
        tools::find_toolsets,
    },
    testing::TestServer,
};
use sqlx::Connection;

use crate::{
    containers::{TestContainer, inside},
    protected::{database, execute, tools},
    use_world::World,
};

const SMALL: &str = "create table t as select n from generate_series(1, 10) as n";

fn manifest(effects: &Effects) -> (String, Manifest) {
    let (artifact, _) = effects.artifact.as_ref().unwrap();
    let manifest = Manifest::parse(artifact.manifest.as_bytes()).unwrap();
    (artifact.manifest.clone(), manifest)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_holds_the_roles_and_never_a_password_in_clear() {
    let world = World::new(SMALL).await;
    let role = format!("kept_{}", ExecutionId::new().short());
    execute(
        &world.cluster,
        &format!("create role {role} login password 'hunter2'"),
    )
    .await;
    let create = format!("CREATE ROLE {role};");

    let effects = world.backup(&world.deps).await.unwrap();
    let (text, sealed) = manifest(&effects);
    assert!(!text.contains("SCRAM-SHA-256") && !text.contains(&role));
    let kept = KeptGlobals::of(&sealed).unwrap();
    let sql = kept.open(&world.deps.keyring).unwrap();
    assert!(
        sql.contains(&create) && sql.contains("SCRAM-SHA-256"),
        "{sql}"
    );
    assert!(kept.open(&Keyring::new(None, Vec::new())).is_err());

    let keyless = Deps {
        keyring: Keyring::new(None, Vec::new()),
        ..world.deps.clone()
    };
    let effects = world.backup(&keyless).await.unwrap();
    let (text, open) = manifest(&effects);
    assert!(!text.contains("SCRAM-SHA-256"));
    let sql = KeptGlobals::of(&open)
        .unwrap()
        .open(&keyless.keyring)
        .unwrap();
    assert!(sql.contains(&create), "{sql}");
    execute(&world.cluster, &format!("drop role {role}")).await;
}

#[tokio::test]
async fn roles_are_dumped_through_a_container_as_well() {
    let container = TestContainer::start(&TestContainer::unique("kanbu-globals")).await;
    container
        .execute("create role app login password 'hunter2' connection limit 7; create role team; grant team to app")
        .await;
    let route = container.route().await;
    for with_passwords in [true, false] {
        let dumped = dump_globals(&route, &inside(), ExecutionId::new(), with_passwords)
            .await
            .unwrap();
        assert_eq!(dumped.with_passwords, with_passwords);
        assert!(dumped.sql.contains("CREATE ROLE app;"), "{}", dumped.sql);
        assert!(dumped.sql.contains("GRANT team TO app"), "{}", dumped.sql);
        assert_eq!(dumped.sql.contains("SCRAM-SHA-256"), with_passwords);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_tool_for_globals_there_is_a_warning_and_a_backup() {
    let world = World::new(SMALL).await;
    let place = tempfile::tempdir().unwrap();
    for tool in ["pg_dump", "pg_restore", "psql"] {
        symlink(tools().await.program(tool), place.path().join(tool)).unwrap();
    }
    let mut deps = world.deps.clone();
    deps.sources.databases[0].toolsets = find_toolsets(&[place.path().to_owned()], None).await;
    deps.sources.databases[0]
        .toolsets
        .retain(|found| found.program("psql").starts_with(place.path()));
    let effects = world.backup(&deps).await.unwrap();
    assert_eq!(effects.outcome(), Outcome::Succeeded);
    let codes: Vec<_> = effects.warnings.iter().map(|w| w.code.as_str()).collect();
    assert_eq!(codes, ["globals.missing"]);
    assert!(KeptGlobals::of(&manifest(&effects).1).is_err());
}

async fn texts(cluster: &Cluster, query: &str) -> Vec<String> {
    let mut connection = cluster.connect(None).await.unwrap();
    let texts = sqlx::query_scalar(sqlx::AssertSqlSafe(query.to_owned()))
        .fetch_all(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    texts
}

/// All there is to a role.
const STATE: &str = "select concat_ws('|', rolname, rolcanlogin, rolconnlimit, rolpassword, rolconfig, d.description,
               (select string_agg(m.roleid::regrole::text, ',') from pg_auth_members as m where m.member = a.oid))
          from pg_authid as a left join pg_shdescription as d on d.objoid = a.oid and d.classoid = 'pg_authid'::regclass
          left join lateral (select setconfig as rolconfig from pg_db_role_setting where setrole = a.oid) as s on true
         where rolname in ('Odd \"role\"', 'app') order by 1";

#[tokio::test]
async fn missing_roles_are_created_as_they_were_and_existing_ones_are_left_alone() {
    let server = TestServer::start(&[]).await;
    let (_database, cluster) = database(&server, "").await;
    execute(
        &cluster,
        r#"create role "Odd ""role""" nologin;
           create role app login password 'hunter2' connection limit 7 in role "Odd ""role""";
           comment on role app is 'it''s; quoted';
           alter role app set work_mem = '8MB';
           create role stays login connection limit 5"#,
    )
    .await;
    let before = texts(&cluster, STATE).await;
    assert_eq!(before.len(), 2, "{before:?}");
    let route = Route::Direct(tools().await);
    let dumped = dump_globals(&route, &cluster, ExecutionId::new(), true)
        .await
        .unwrap();
    assert!(dumped.with_passwords);

    execute(
        &cluster,
        r#"drop role app; drop role "Odd ""role"""; alter role stays connection limit 9"#,
    )
    .await;
    let made = create_missing_roles(&cluster, &dumped.sql).await.unwrap();
    let mut created = made.created.clone();
    created.sort();
    assert_eq!(created, ["Odd \"role\"", "app"]);
    assert!(made.existing.contains(&"stays".to_owned()), "{made:?}");
    assert_eq!(made.refused, Vec::<String>::new());
    assert_eq!(texts(&cluster, STATE).await, before);
    let limit = "select rolconnlimit::text from pg_roles where rolname = 'stays'";
    assert_eq!(texts(&cluster, limit).await, ["9"]);
}

#[tokio::test]
async fn a_refused_role_is_told_without_its_statement() {
    let server = TestServer::start(&[]).await;
    let (database, cluster) = database(&server, "create role plain login password 'x'").await;
    let (_, place) = database.url.rsplit_once('@').unwrap();
    let plain = Cluster::from_url(&format!("postgres://plain:x@{place}")).unwrap();
    let sql = "CREATE ROLE late;\nALTER ROLE late WITH LOGIN PASSWORD 'SCRAM-SHA-256$hunter2';\n";
    let made = create_missing_roles(&plain, sql).await.unwrap();
    assert_eq!(made.created, Vec::<String>::new());
    assert!(!made.refused.is_empty());
    let told = format!("{made:?}");
    assert!(
        told.contains("\\\"late\\\"") && !told.contains("hunter2"),
        "{told}"
    );
    let found = texts(
        &cluster,
        "select rolname::text from pg_roles where rolname = 'late'",
    )
    .await;
    assert_eq!(found, Vec::<String>::new());
}
