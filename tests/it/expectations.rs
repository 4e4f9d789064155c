//! What a backup says that it holds: taken in the dump's own snapshot, directly and inside a container.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    time::Duration,
};

use kanbu_backup::{
    backup::{ContentTerms, Deps},
    catalog::Manifest,
    id::ExecutionId,
    pg::{
        cluster::Cluster,
        dump::{DumpFormat, DumpOrder, Route, dump_as_ordered},
        inventory::{Inventory, Snapshot},
        restore::{LoadOptions, drop_database},
        tools::find_toolsets,
    },
    pipeline::Message,
    testing::TestServer,
};
use serde::Deserialize as _;
use tokio_util::sync::CancellationToken;

use crate::{
    containers::{TestContainer, inside},
    inventory::taken,
    protected::{
        BULK, OBJECTS, database, drain, execute, feed_of, loaded, new_database, sessions_of, tools,
    },
    use_world::World,
};

/// Enough for every count here, on any machine.
const PATIENCE: Duration = Duration::from_mins(10);

const LETTERS: &str = "create table letters (id serial primary key, body text); \
    insert into letters (body) select 'x' from generate_series(1, 100)";

/// What happens to the database while it is dumped.
const MEANWHILE: &str = "insert into letters (body) select 'late' from generate_series(1, 23); \
    delete from letters where id <= 10; create table late (a int)";

/// A dump in an exported snapshot: the gate is that everything `meanwhile` does is committed before the dump begins.
async fn gated(
    route: &Route,
    cluster: &Cluster,
    meanwhile: impl AsyncFnOnce(),
) -> (Vec<u8>, Inventory) {
    let execution = ExecutionId::new();
    let snapshot = Snapshot::export(route, cluster, execution).await.unwrap();
    meanwhile().await;
    let order = DumpOrder {
        format: DumpFormat::Custom,
        execution,
        snapshot: Some(snapshot.name().to_owned()),
    };
    let cancel = CancellationToken::new();
    let (mut feed, handle) = dump_as_ordered(route, cluster, &order, cancel.clone())
        .await
        .unwrap();
    let beside = snapshot.beside(handle, PATIENCE, &cancel);
    let (bytes, end) = drain(&mut feed).await;
    end.unwrap();
    let taken = beside.taken().await.unwrap();
    assert_eq!(taken.dump.unwrap().bytes, bytes.len() as u64);
    (bytes, taken.inventory.unwrap())
}

fn rows(inventory: &Inventory, table: &str) -> Option<(u64, bool)> {
    let found = inventory.tables.iter().find(|rows| rows.table == table)?;
    Some((found.rows, found.exact))
}

#[tokio::test]
async fn what_is_committed_while_the_dump_runs_is_in_neither_the_dump_nor_the_expectations() {
    let server = TestServer::shared().await;
    let (_source, cluster) = database(server, LETTERS).await;
    let route = Route::Direct(tools().await);
    let (bytes, expected) = gated(&route, &cluster, async || {
        execute(&cluster, MEANWHILE).await;
    })
    .await;
    assert_eq!(rows(&expected, "letters"), Some((100, true)));
    assert_eq!(rows(&expected, "late"), None);

    let execution = ExecutionId::new();
    let shape = cluster.facts().await.unwrap().shape;
    let copy = new_database(&cluster, &shape, execution).await;
    let options = LoadOptions {
        format: DumpFormat::Custom,
        no_owner: false,
        execution,
        list: None,
    };
    loaded(&copy, options, feed_of(bytes, Message::End))
        .await
        .unwrap();
    assert_eq!(expected.differences(&taken(&copy).await), []);
    let sequence = &expected.sequences[0];
    assert_eq!(
        (sequence.last_value, sequence.moved_to),
        (100, Some(123)),
        "a sequence is outside of every snapshot"
    );
    drop_database(&cluster, copy.database(), execution)
        .await
        .unwrap();
}

#[tokio::test]
async fn inside_a_container_the_expectations_are_those_of_the_dumps_snapshot_too() {
    let container = TestContainer::start(&TestContainer::unique("kanbu-expect")).await;
    container.execute(LETTERS).await;
    let route = container.route().await;
    let (_, expected) = gated(&route, &inside(), async || {
        container.execute(MEANWHILE).await;
    })
    .await;
    assert_eq!(rows(&expected, "letters"), Some((100, true)));
    assert_eq!(rows(&expected, "late"), None);
    assert_eq!(expected.sequences[0].moved_to, Some(123));

    let server = TestServer::shared().await;
    let (_twin, twin) = database(server, LETTERS).await;
    let of_server = ["owner", "grants", "database owner"];
    let kinds = |inventory: &Inventory| -> Vec<_> {
        let objects = inventory.objects.clone().into_iter();
        objects
            .filter(|object| !of_server.contains(&object.kind.as_str()))
            .collect()
    };
    assert_eq!(kinds(&expected), kinds(&taken(&twin).await));
}

#[tokio::test]
async fn nothing_of_a_cancelled_inventory_runs_on_inside_the_container() {
    let container = TestContainer::start(&TestContainer::unique("kanbu-uncounted")).await;
    container.execute(BULK).await;
    let (route, execution) = (container.route().await, ExecutionId::new());
    let snapshot = Snapshot::export(&route, &inside(), execution)
        .await
        .unwrap();
    let cancel = CancellationToken::new();
    let order = DumpOrder {
        format: DumpFormat::Custom,
        execution,
        snapshot: Some(snapshot.name().to_owned()),
    };
    let (mut feed, handle) = dump_as_ordered(&route, &inside(), &order, cancel.clone())
        .await
        .unwrap();
    let beside = snapshot.beside(handle, PATIENCE, &cancel);
    assert!(matches!(feed.next().await, Message::Data(_)));
    assert!(container.processes().await.contains("psql"));
    cancel.cancel();
    assert!(beside.taken().await.is_none());
    let processes = container.processes().await;
    assert!(!processes.contains("psql"), "{processes}");
}

#[tokio::test]
async fn an_inventory_that_nobody_waits_for_any_more_ends_its_transaction() {
    let server = TestServer::shared().await;
    let (_source, cluster) = database(server, LETTERS).await;
    let (route, execution) = (Route::Direct(tools().await), ExecutionId::new());
    let snapshot = Snapshot::export(&route, &cluster, execution).await.unwrap();
    let order = DumpOrder {
        format: DumpFormat::Custom,
        execution,
        snapshot: Some(snapshot.name().to_owned()),
    };
    let cancel = CancellationToken::new();
    let (feed, handle) = dump_as_ordered(&route, &cluster, &order, cancel.clone())
        .await
        .unwrap();
    drop((snapshot.beside(handle, PATIENCE, &cancel), feed));
    let mut watcher = cluster.connect(None).await.unwrap();
    loop {
        let others: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()",
        )
        .fetch_one(&mut watcher)
        .await
        .unwrap();
        if others == 0 && sessions_of(&mut watcher, execution).await == 0 {
            return;
        }
    }
}

fn expectations(manifest: &str) -> (Manifest, Option<Inventory>) {
    let manifest = Manifest::parse(manifest.as_bytes()).unwrap();
    let expectations = Inventory::deserialize(&manifest.source["expectations"]).ok();
    (manifest, expectations)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_holds_what_the_database_held() {
    let world = World::new(OBJECTS).await;
    let expected = taken(&world.cluster).await;
    let effects = world.backup(&world.deps).await.unwrap();
    let (artifact, _) = effects.artifact.unwrap();
    let (manifest, held) = expectations(&artifact.manifest);
    let held = held.unwrap();
    assert_eq!(rows(&held, "wiki_pages"), Some((4000, true)));
    assert_eq!(expected.differences(&held), []);
    assert_eq!(manifest.warnings, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_is_used_up_leaves_estimates() {
    let world = World::new(OBJECTS).await;
    execute(&world.cluster, "analyze users").await;
    let content = ContentTerms {
        count_budget: Duration::ZERO,
        ..ContentTerms::default()
    };
    let deps = Deps {
        content,
        ..world.deps.clone()
    };
    let effects = world.backup(&deps).await.unwrap();
    let (artifact, _) = effects.artifact.unwrap();
    let (_, held) = expectations(&artifact.manifest);
    let held = held.unwrap();
    assert_eq!(rows(&held, "users"), Some((200, false)));
    assert!(held.tables.iter().all(|table| !table.exact), "{held:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_exports_no_snapshot_is_backed_up_and_the_warning_says_why() {
    let world = World::new(LETTERS).await;
    let role = format!("plain_{}", ExecutionId::new().short());
    execute(
        &world.cluster,
        &format!(
            "create role {role} login password 'x'; grant pg_read_all_data to {role}; \
             revoke execute on function pg_catalog.pg_export_snapshot() from public"
        ),
    )
    .await;
    let mut deps = world.deps.clone();
    let source = &mut deps.sources.databases[0];
    source.cluster = world.as_role(&role);
    let effects = world.backup(&deps).await.unwrap();
    let warning = &effects.warnings[0];
    assert_eq!(
        (warning.code.as_str(), warning.degrades),
        ("expectations.missing", false)
    );
    assert!(warning.text.contains("permission denied"), "{warning:?}");
    let (artifact, _) = effects.artifact.unwrap();
    let (manifest, held) = expectations(&artifact.manifest);
    assert_eq!((held, manifest.warnings.len()), (None, 1));
    execute(
        &world.cluster,
        &format!("drop owned by {role}; drop role {role}"),
    )
    .await;
}

/// A `pg_dump` whose session is led to a server that doesn't know the snapshot.
const ELSEWHERE: &str = r#"#!/bin/sh
for argument; do
    shift
    case $argument in --snapshot=*) argument=--snapshot=00000009-0000FFFF-9 ;; esac
    set -- "$@" "$argument"
done
exec PG_DUMP "$@"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_does_not_find_the_snapshot_is_made_without_one() {
    let world = World::new(LETTERS).await;
    let (place, real) = (tempfile::tempdir().unwrap(), tools().await);
    for tool in ["pg_restore", "psql", "pg_dumpall"] {
        symlink(real.program(tool), place.path().join(tool)).unwrap();
    }
    let script = ELSEWHERE.replace("PG_DUMP", &real.program("pg_dump").to_string_lossy());
    let dump = place.path().join("pg_dump");
    fs::write(&dump, script).unwrap();
    fs::set_permissions(&dump, fs::Permissions::from_mode(0o755)).unwrap();
    let mut deps = world.deps.clone();
    let found = &mut deps.sources.databases[0].toolsets;
    *found = find_toolsets(&[place.path().to_owned()], None).await;
    found.retain(|tools| tools.program("psql").starts_with(place.path()));
    let effects = world.backup(&deps).await.unwrap();
    let warnings: Vec<_> = effects.warnings.iter().map(|w| w.code.as_str()).collect();
    assert_eq!(warnings, ["expectations.missing"]);
    let text = &effects.warnings[0].text;
    assert!(text.contains("found no snapshot"), "{text}");
    let (artifact, _) = effects.artifact.unwrap();
    assert_eq!(expectations(&artifact.manifest).1, None);
}
