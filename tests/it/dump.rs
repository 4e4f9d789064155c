//! Dumps by the tools of this host, and what is loaded from them, against real servers.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use kanbu_backup::{
    fault::{Classified, Failure, Fault},
    id::ExecutionId,
    pg::{
        cluster::Cluster,
        docker::ContainerChoice,
        dump::{DumpFormat, PgMode, Route, dump, major_of, route},
        error::PgError,
        facts::Shape,
        restore::{
            LoadOptions, create_database, drop_database, give_properties, load, table_counts,
        },
        tools::find_toolsets,
    },
    pipeline::Message,
    testing::{TestServer, toolsets},
};
use regex::Regex;
use sqlx::Connection;
use tokio_util::sync::CancellationToken;

use crate::protected::{
    BULK, OBJECTS, assert_same, database, drain, dumped, execute, feed_of, loaded, new_database,
    sessions_of, tools,
};

fn into(format: DumpFormat, execution: ExecutionId) -> LoadOptions<'static> {
    LoadOptions {
        format,
        no_owner: false,
        execution,
        list: None,
    }
}

fn no_containers() -> ContainerChoice {
    ContainerChoice {
        socket: "/nonexistent/docker.sock".into(),
        name: None,
        pattern: Regex::new("postgres-").unwrap(),
    }
}

async fn direct(cluster: &Cluster) -> Result<Route, PgError> {
    route(PgMode::Auto, cluster, &no_containers(), &toolsets().await).await
}

async fn round_trip(format: DumpFormat) {
    let server = TestServer::shared().await;
    let (_source, cluster) = database(server, OBJECTS).await;
    let route = direct(&cluster).await.unwrap();
    let (bytes, report) = dumped(&route, &cluster, format).await;
    assert_eq!(report.warnings, Vec::<String>::new());

    let execution = ExecutionId::new();
    let shape = cluster.facts().await.unwrap().shape;
    let copy = new_database(&cluster, &shape, execution).await;
    let report = loaded(
        &copy,
        into(format, execution),
        feed_of(bytes.clone(), Message::End),
    )
    .await
    .unwrap();
    assert_eq!(report.bytes, bytes.len() as u64);
    assert_same(&cluster, &copy).await;
    assert_eq!(copy.facts().await.unwrap().shape, shape);
    drop_database(&cluster, copy.database(), execution)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_custom_dump_brings_back_every_object() {
    round_trip(DumpFormat::Custom).await;
}

#[tokio::test]
async fn a_plain_dump_brings_back_every_object() {
    round_trip(DumpFormat::Plain).await;
}

#[tokio::test]
async fn a_dump_tells_which_server_it_is_of_and_which_tool_made_it() {
    let server = TestServer::shared().await;
    let (_source, cluster) = database(server, "create table t (a int)").await;
    let facts = cluster.facts().await.unwrap();
    let route = direct(&cluster).await.unwrap();
    for format in [DumpFormat::Custom, DumpFormat::Plain] {
        let (_, report) = dumped(&route, &cluster, format).await;
        let header = report.header.unwrap();
        assert_eq!(header.server_version, facts.version);
        assert_eq!(
            major_of(&header.client_version),
            Some(tools().await.major())
        );
    }
}

#[tokio::test]
async fn the_facts_name_version_size_and_identity() {
    let server = TestServer::shared().await;
    let (source, cluster) = database(server, BULK).await;
    let facts = cluster.facts().await.unwrap();
    assert!((15..=18).contains(&facts.major()), "{facts:?}");
    assert_eq!(facts.database, source.name);
    assert!(facts.size_bytes > 15_000_000, "{facts:?}");
    let other = Cluster::from_url(&server.url())
        .unwrap()
        .facts()
        .await
        .unwrap();
    assert!(facts.system_identifier.is_some());
    assert_eq!(facts.system_identifier, other.system_identifier);
    assert_ne!(facts.database_oid, other.database_oid);
}

#[tokio::test]
async fn a_wrong_password_is_said_to_be_one() {
    let server = TestServer::shared().await;
    let (source, _) = database(server, "").await;
    let (_, rest) = source.url.rsplit_once('@').unwrap();
    let cluster = Cluster::from_url(&format!("postgres://nobody_at_all:hunter2@{rest}")).unwrap();
    let error = direct(&cluster).await.unwrap_err();
    assert_eq!(
        (error.code(), error.fault()),
        ("database.authentication", Fault::Permanent)
    );
    let failure = Failure::from(error);
    assert!(failure.hint.is_some());
    assert!(!failure.message.contains("hunter2"), "{failure}");
}

#[tokio::test]
async fn a_missing_database_and_an_absent_server_are_told_apart() {
    let server = TestServer::shared().await;
    let cluster = Cluster::from_url(&server.url_of("there_is_no_such_database")).unwrap();
    let error = direct(&cluster).await.unwrap_err();
    assert_eq!(
        (error.code(), error.fault()),
        ("database.missing", Fault::Permanent)
    );

    let nowhere = Cluster::from_url("postgres://u:p@localhost/d?host=/nonexistent").unwrap();
    let error = direct(&nowhere).await.unwrap_err();
    assert_eq!(
        (error.code(), error.fault()),
        ("database.unreachable", Fault::Transient)
    );
}

#[tokio::test]
async fn after_a_failure_on_the_direct_way_no_container_is_tried() {
    let nowhere = Cluster::from_url("postgres://u:p@localhost/d?host=/nonexistent").unwrap();
    let error = route(PgMode::Auto, &nowhere, &no_containers(), &toolsets().await)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "database.unreachable");
    let error = route(PgMode::Docker, &nowhere, &no_containers(), &[])
        .await
        .unwrap_err();
    assert_eq!(error.code(), "docker.unreachable");
}

#[tokio::test]
async fn client_tools_older_than_the_server_are_refused_with_both_versions() {
    let server = TestServer::shared().await;
    let cluster = Cluster::from_url(&server.url()).unwrap();
    let directory = tempfile::tempdir().unwrap();
    for name in ["pg_dump", "pg_restore", "psql"] {
        script(
            &directory.path().join(name),
            "echo 'pg_dump (PostgreSQL) 14.20'",
        );
    }
    let mut old = find_toolsets(&[directory.path().to_owned()], None).await;
    old.retain(|toolset| toolset.major() == 14);
    assert_eq!(old.len(), 1);
    let error = route(PgMode::Direct, &cluster, &no_containers(), &old)
        .await
        .unwrap_err();
    let major = cluster.facts().await.unwrap().major().to_string();
    let text = error.to_string();
    assert!(text.contains(&major) && text.contains("14"), "{text}");
    assert!(error.hint().unwrap().contains("install"));
    assert_eq!(error.fault(), Fault::Permanent);
}

fn script(path: &Path, line: &str) {
    fs::write(path, format!("#!/bin/sh\n{line}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn a_password_of_odd_characters_reaches_the_tools_and_no_argument_list() {
    const PASSWORD: &str = r#"a:\b'c"d e%f$g`h"#;
    const ENCODED: &str = "a%3A%5Cb%27c%22d%20e%25f%24g%60h";
    let server = TestServer::shared().await;
    let (source, admin) = database(server, BULK).await;
    let role = format!("odd_{}", source.name);
    let quoted = PASSWORD.replace('\'', "''");
    execute(
        &admin,
        &format!("create role {role} superuser login password '{quoted}'"),
    )
    .await;
    let (_, rest) = source.url.rsplit_once('@').unwrap();
    let cluster = Cluster::from_url(&format!("postgres://{role}:{ENCODED}@{rest}")).unwrap();

    let execution = ExecutionId::new();
    let route = direct(&cluster).await.unwrap();
    let (mut feed, _handle) = dump(
        &route,
        &cluster,
        DumpFormat::Custom,
        execution,
        CancellationToken::new(),
    )
    .await
    .unwrap();
    assert!(matches!(feed.next().await, Message::Data(_)));
    let arguments = arguments_of_children_of_ours();
    assert!(
        arguments.contains("pg_dump\0--format=custom"),
        "{arguments:?}"
    );
    assert!(
        !arguments.contains(PASSWORD) && !arguments.contains(ENCODED),
        "{arguments:?}"
    );
    let (_, end) = drain(&mut feed).await;
    end.unwrap();
    execute(&admin, &format!("drop role {role}")).await;
}

/// The argument lists of all processes whose parent is this process.
fn arguments_of_children_of_ours() -> String {
    let own = std::process::id().to_string();
    let mut all = String::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let read = |file| fs::read_to_string(entry.path().join(file)).unwrap_or_default();
        let status = read("status");
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:\t"));
        if parent == Some(own.as_str()) {
            all.push_str(&read("cmdline"));
            all.push('\n');
        }
    }
    all
}

/// A dump of which the first bytes are read and the rest waits.
macro_rules! begun_dump {
    ($cluster:expr, $execution:expr, $cancel:expr) => {{
        let route = direct($cluster).await.unwrap();
        let (mut feed, handle) = dump(&route, $cluster, DumpFormat::Custom, $execution, $cancel)
            .await
            .unwrap();
        assert!(matches!(feed.next().await, Message::Data(_)));
        (feed, handle)
    }};
}

#[tokio::test]
async fn a_server_that_stops_during_a_dump_makes_it_fail() {
    let server = TestServer::start(&[]).await;
    let (_source, cluster) = database(&server, BULK).await;
    let (mut feed, handle) = begun_dump!(&cluster, ExecutionId::new(), CancellationToken::new());
    // What `pg_ctl stop --mode fast` sends.
    rustix::process::kill_process(server.pid(), rustix::process::Signal::INT).unwrap();
    let (_, end) = drain(&mut feed).await;
    let failure = end.unwrap_err();
    assert_eq!(
        (failure.code.as_ref(), failure.fault),
        ("database.went_away", Fault::Transient)
    );
    assert!(
        handle
            .report()
            .await
            .unwrap()
            .stderr
            .contains("pg_dump: error")
    );
}

#[tokio::test]
async fn a_server_that_is_killed_during_a_dump_makes_it_fail() {
    let server = TestServer::start(&[]).await;
    let (_source, cluster) = database(&server, BULK).await;
    let (mut feed, _handle) = begun_dump!(&cluster, ExecutionId::new(), CancellationToken::new());
    rustix::process::kill_process(server.pid(), rustix::process::Signal::KILL).unwrap();
    // The postmaster's children outlive it until they notice; the one that serves the dump is killed too.
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let cmdline = fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        if cmdline.contains(cluster.database()) && cmdline.starts_with("postgres:") {
            let pid = entry.file_name().to_string_lossy().parse().unwrap();
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
    }
    let (_, end) = drain(&mut feed).await;
    let failure = end.unwrap_err();
    assert_eq!(
        (failure.code.as_ref(), failure.fault),
        ("database.went_away", Fault::Transient)
    );
}

#[tokio::test]
async fn a_cancelled_dump_fails_as_cancelled_and_leaves_no_session() {
    let server = TestServer::shared().await;
    let (_source, cluster) = database(server, BULK).await;
    let (execution, cancel) = (ExecutionId::new(), CancellationToken::new());
    let (mut feed, _handle) = begun_dump!(&cluster, execution, cancel.clone());
    let mut connection = cluster.connect(None).await.unwrap();
    assert_eq!(sessions_of(&mut connection, execution).await, 1);
    cancel.cancel();
    let (_, end) = drain(&mut feed).await;
    assert_eq!(end.unwrap_err().fault, Fault::Cancelled);
    // The server notices that its client has gone when it next writes.
    while sessions_of(&mut connection, execution).await > 0 {}
}

#[tokio::test]
async fn a_table_that_stays_locked_is_an_error_and_not_a_wait_for_ever() {
    let server = TestServer::shared().await;
    let (_source, cluster) = database(server, "create table t (a int)").await;
    let mut holder = cluster.connect(None).await.unwrap();
    let mut transaction = holder.begin().await.unwrap();
    sqlx::query("lock table t in access exclusive mode")
        .execute(&mut *transaction)
        .await
        .unwrap();

    let directory = tempfile::tempdir().unwrap();
    // The limit that we give is minutes long. The last one given counts, and is given only in addition to ours.
    let hasty = "case \"$*\" in *--lock-wait-timeout=120000*) exec PG_DUMP \"$@\" --lock-wait-timeout=100 ;; esac";
    let route = tools_with_dump(directory.path(), hasty).await;
    let (mut feed, _handle) = dump(
        &route,
        &cluster,
        DumpFormat::Plain,
        ExecutionId::new(),
        CancellationToken::new(),
    )
    .await
    .unwrap();
    let (_, end) = drain(&mut feed).await;
    let failure = end.unwrap_err();
    assert_eq!(
        (failure.code.as_ref(), failure.fault),
        ("database.locked", Fault::Transient)
    );
    assert!(failure.message.contains("public.t"), "{failure}");
    transaction.rollback().await.unwrap();
}

#[tokio::test]
async fn a_user_who_may_not_read_a_table_gets_an_error_that_says_so() {
    let server = TestServer::shared().await;
    let (source, admin) = database(server, "create table secret (a int)").await;
    let role = format!("poor_{}", source.name);
    execute(&admin, &format!("create role {role} login password 'p'")).await;
    let (_, rest) = source.url.rsplit_once('@').unwrap();
    let poor = Cluster::from_url(&format!("postgres://{role}:p@{rest}")).unwrap();
    let route = direct(&poor).await.unwrap();
    let (mut feed, _handle) = dump(
        &route,
        &poor,
        DumpFormat::Custom,
        ExecutionId::new(),
        CancellationToken::new(),
    )
    .await
    .unwrap();
    let (_, end) = drain(&mut feed).await;
    let failure = end.unwrap_err();
    assert_eq!(
        (failure.code.as_ref(), failure.fault),
        ("database.permission", Fault::Permanent)
    );
    assert!(failure.message.contains("secret"), "{failure}");
    execute(&admin, &format!("drop role {role}")).await;
}

/// Wraps the real tools: `pg_dump` runs, then the line.
async fn tools_with_dump(directory: &Path, line: &str) -> Route {
    let mut real = tools().await;
    let dump = real.program("pg_dump");
    let line = line.replace("PG_DUMP", &dump.display().to_string());
    script(&directory.join("pg_dump"), &line);
    directory.clone_into(&mut real.directory);
    Route::Direct(real)
}

#[tokio::test]
async fn a_plain_dump_without_its_trailer_is_refused_though_its_status_is_zero() {
    let server = TestServer::shared().await;
    let (_source, cluster) = database(server, OBJECTS).await;
    let directory = tempfile::tempdir().unwrap();
    let route = tools_with_dump(directory.path(), "PG_DUMP \"$@\" | head -n 100").await;
    let (mut feed, _handle) = dump(
        &route,
        &cluster,
        DumpFormat::Plain,
        ExecutionId::new(),
        CancellationToken::new(),
    )
    .await
    .unwrap();
    let (bytes, end) = drain(&mut feed).await;
    assert!(!bytes.is_empty());
    assert_eq!(end.unwrap_err().code, "database.dump_incomplete");
}

#[tokio::test]
async fn a_status_other_than_zero_after_all_output_is_a_failure() {
    let server = TestServer::shared().await;
    let (_source, cluster) = database(server, OBJECTS).await;
    let directory = tempfile::tempdir().unwrap();
    let route = tools_with_dump(directory.path(), "PG_DUMP \"$@\"; echo too bad >&2; exit 3").await;
    let (mut feed, handle) = dump(
        &route,
        &cluster,
        DumpFormat::Custom,
        ExecutionId::new(),
        CancellationToken::new(),
    )
    .await
    .unwrap();
    let (_, end) = drain(&mut feed).await;
    let failure = end.unwrap_err();
    assert_eq!(failure.code, "database.dump_failed");
    assert!(
        failure.message.contains("exit status: 3") && failure.message.contains("too bad"),
        "{failure}"
    );
    assert_eq!(handle.report().await.unwrap().stderr, "too bad\n");
}

#[tokio::test]
async fn a_database_that_exists_is_never_loaded_into_nor_dropped() {
    let server = TestServer::shared().await;
    let (source, cluster) = database(server, "create table kept (a int)").await;
    let execution = ExecutionId::new();
    let error = create_database(&cluster, &source.name, &Shape::default(), execution)
        .await
        .unwrap_err();
    assert_eq!(
        (error.code(), error.fault()),
        ("database.exists", Fault::Permanent)
    );
    let error = drop_database(&cluster, &source.name, execution)
        .await
        .unwrap_err();
    assert_eq!(error.code(), "database.not_ours");
    assert_eq!(table_counts(&cluster, &source.name).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_half_made_database_is_dropped_by_its_own_execution_alone() {
    let server = TestServer::shared().await;
    let (_source, cluster) = database(server, OBJECTS).await;
    let route = direct(&cluster).await.unwrap();
    let (bytes, _) = dumped(&route, &cluster, DumpFormat::Custom).await;
    let execution = ExecutionId::new();
    let copy = new_database(&cluster, &Shape::default(), execution).await;
    let half = feed_of(bytes[..bytes.len() / 2].to_vec(), Message::End);
    let failure = loaded(&copy, into(DumpFormat::Custom, execution), half)
        .await
        .unwrap_err();
    assert_eq!(
        (failure.code.as_ref(), failure.fault),
        ("restore.load_failed", Fault::Permanent)
    );

    let stranger = drop_database(&cluster, copy.database(), ExecutionId::new()).await;
    assert_eq!(stranger.unwrap_err().code(), "database.not_ours");
    let _still_connected = copy.connect(None).await.unwrap();
    drop_database(&cluster, copy.database(), execution)
        .await
        .unwrap();
    assert!(matches!(
        copy.connect(None).await,
        Err(PgError::DatabaseMissing { .. })
    ));
    drop_database(&cluster, copy.database(), execution)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_feed_that_fails_is_the_cause_and_leaves_a_plain_load_uncommitted() {
    let server = TestServer::shared().await;
    let (_source, cluster) = database(server, "create table t as select 1 as a").await;
    let route = direct(&cluster).await.unwrap();
    let (bytes, _) = dumped(&route, &cluster, DumpFormat::Plain).await;
    let execution = ExecutionId::new();
    let copy = new_database(&cluster, &Shape::default(), execution).await;
    // Every byte arrives; only the word that they are sound does not.
    let broken = Failure::new(
        Fault::Permanent,
        "envelope.chunk_auth",
        "chunk 7 is not authentic",
    );
    let feed = feed_of(bytes.clone(), Message::Fail(broken.clone()));
    let failure = loaded(&copy, into(DumpFormat::Plain, execution), feed)
        .await
        .unwrap_err();
    assert_eq!(failure, broken);
    assert_eq!(table_counts(&copy, copy.database()).await.unwrap(), []);

    let cut = feed_of(bytes[..bytes.len() - 60].to_vec(), Message::End);
    let failure = loaded(&copy, into(DumpFormat::Plain, execution), cut)
        .await
        .unwrap_err();
    assert_eq!(failure.code, "database.dump_incomplete");
    assert_eq!(table_counts(&copy, copy.database()).await.unwrap(), []);
    drop_database(&cluster, copy.database(), execution)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_cancelled_load_ends_its_tool() {
    let server = TestServer::shared().await;
    let (_source, cluster) = database(server, "").await;
    let execution = ExecutionId::new();
    let copy = new_database(&cluster, &Shape::default(), execution).await;
    let (sender, feed) = kanbu_backup::pipeline::feed();
    let cancel = CancellationToken::new();
    let toolset = tools().await;
    let options = into(DumpFormat::Plain, execution);
    let loading = load(
        &toolset,
        &copy,
        copy.database(),
        options,
        feed,
        cancel.clone(),
    );
    let cancelling = async {
        let text = bytes::Bytes::from_static(b"create table t (a int);\nselect pg_sleep(1000);\n");
        sender.send(Message::Data(text)).await.unwrap();
        let mut observer = cluster.connect(None).await.unwrap();
        while sessions_of(&mut observer, execution).await == 0 {}
        cancel.cancel();
        observer
    };
    let (end, mut observer) = tokio::join!(loading, cancelling);
    assert_eq!(end.unwrap_err().fault, Fault::Cancelled);
    drop_database(&cluster, copy.database(), execution)
        .await
        .unwrap();
    assert_eq!(sessions_of(&mut observer, execution).await, 0);
}

#[tokio::test]
async fn a_role_that_is_missing_is_named_and_can_be_left_out() {
    let server = TestServer::shared().await;
    let (source, cluster) = database(server, "create table t as select 1 as a").await;
    let role = format!("owner_{}", source.name);
    execute(
        &cluster,
        &format!("create role {role}; alter table t owner to {role}"),
    )
    .await;
    let route = direct(&cluster).await.unwrap();
    let (custom, _) = dumped(&route, &cluster, DumpFormat::Custom).await;
    let (plain, _) = dumped(&route, &cluster, DumpFormat::Plain).await;
    execute(
        &cluster,
        &format!("alter table t owner to current_user; drop role {role}"),
    )
    .await;

    let execution = ExecutionId::new();
    for (format, bytes) in [(DumpFormat::Custom, &custom), (DumpFormat::Plain, &plain)] {
        let copy = new_database(&cluster, &Shape::default(), execution).await;
        let feed = feed_of(bytes.clone(), Message::End);
        let failure = loaded(&copy, into(format, execution), feed)
            .await
            .unwrap_err();
        assert_eq!(failure.code, "restore.role_missing");
        assert!(failure.hint.unwrap().contains(&role));
        drop_database(&cluster, copy.database(), execution)
            .await
            .unwrap();
    }
    let copy = new_database(&cluster, &Shape::default(), execution).await;
    let options = LoadOptions {
        no_owner: true,
        ..into(DumpFormat::Custom, execution)
    };
    loaded(&copy, options, feed_of(custom, Message::End))
        .await
        .unwrap();
    assert_eq!(table_counts(&copy, copy.database()).await.unwrap().len(), 1);
    drop_database(&cluster, copy.database(), execution)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_dump_of_a_newer_tool_is_refused_before_it_is_loaded() {
    let server = TestServer::shared().await;
    let (_source, cluster) = database(server, "").await;
    let execution = ExecutionId::new();
    let copy = new_database(&cluster, &Shape::default(), execution).await;
    let text = "-- Dumped from database version 15.1\n-- Dumped by pg_dump version 99.1\n\ncreate table t (a int);\n";
    let feed = feed_of(text.as_bytes().to_vec(), Message::End);
    let failure = loaded(&copy, into(DumpFormat::Plain, execution), feed)
        .await
        .unwrap_err();
    assert_eq!(failure.code, "tools.client_too_old");
    assert!(failure.message.contains("99"), "{failure}");
    drop_database(&cluster, copy.database(), execution)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_database_keeps_its_shape_or_says_how_it_differs() {
    let server = TestServer::shared().await;
    let (source, cluster) = database(server, "").await;
    let name = &source.name;
    execute(
        &cluster,
        &format!("alter database {name} set search_path to \"$user\", public, \"a, b\"; alter database {name} set work_mem = '7MB'"),
    )
    .await;
    let shape = cluster.facts().await.unwrap().shape;
    assert_eq!(shape.settings.len(), 2, "{shape:?}");
    let execution = ExecutionId::new();
    let copy = new_database(&cluster, &shape, execution).await;
    assert_eq!(
        give_properties(&cluster, copy.database(), &shape)
            .await
            .unwrap(),
        Vec::<String>::new()
    );
    assert_eq!(copy.facts().await.unwrap().shape, shape);
    drop_database(&cluster, copy.database(), execution)
        .await
        .unwrap();

    let strange = Shape {
        encoding: Some("UTF8".into()),
        collation: Some("xx_XX.utf8".into()),
        owner: Some("nobody_at_all".into()),
        settings: vec!["no_such_setting=1".into()],
        ..Shape::default()
    };
    let other = format!("{name}_strange");
    let differences = create_database(&cluster, &other, &strange, execution)
        .await
        .unwrap();
    assert!(
        matches!(differences.as_slice(), [one] if one.contains("xx_XX")),
        "{differences:?}"
    );
    let differences = give_properties(&cluster, &other, &strange).await.unwrap();
    assert!(
        differences.len() == 2 && differences[0].contains("nobody_at_all"),
        "{differences:?}"
    );
    drop_database(&cluster, &other, execution).await.unwrap();
}
