//! Every kind of object there and back: what `pg_dump` says of a restored database is what it says of its source.

use std::sync::Arc;

use kanbu_backup::{
    backup::{Deps, Format},
    crypto::Keyring,
    execution::Lease,
    id::ExecutionId,
    pg::{
        cluster::Cluster,
        dump::{DumpFormat, Route},
    },
    restore::{self, Destination, Origin},
};

use crate::{
    protected::{dumped, tools},
    use_world::World,
};

const REGRESSION: &str = include_str!("../support/regression.sql");

/// The kinds of objects that have to be in the text, so that nothing falls out of the test unseen.
const KINDS: &[&str] = &[
    "CREATE AGGREGATE",
    "CREATE CAST",
    "CREATE COLLATION",
    "CREATE DOMAIN",
    "CREATE EVENT TRIGGER",
    "CREATE FOREIGN TABLE",
    "CREATE FUNCTION",
    "CREATE INDEX",
    "CREATE MATERIALIZED VIEW",
    "CREATE OPERATOR",
    "CREATE POLICY",
    "CREATE PROCEDURE",
    "CREATE PUBLICATION",
    "CREATE RULE",
    "CREATE SEQUENCE",
    "CREATE STATISTICS",
    "CREATE TEXT SEARCH CONFIGURATION",
    "CREATE TRIGGER",
    "CREATE TYPE",
    "CREATE UNLOGGED TABLE",
    "CREATE VIEW",
    "ATTACH PARTITION",
    "COMMENT ON",
    "ALTER DEFAULT PRIVILEGES",
    "FORCE ROW LEVEL SECURITY",
    "lo_create",
];

/// The database as SQL, without the key that is another one in each dump.
async fn text(cluster: &Cluster) -> Vec<String> {
    let (bytes, _) = dumped(&Route::Direct(tools().await), cluster, DumpFormat::Plain).await;
    let text = String::from_utf8(bytes).unwrap();
    let lines = text.lines().filter(|line| !line.contains("restrict "));
    lines.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_object_survives_a_backup_and_its_restore() {
    let world = World::new(REGRESSION).await;
    let source = text(&world.cluster).await;
    for kind in KINDS {
        assert!(source.iter().any(|line| line.contains(kind)), "{kind}");
    }
    let keyless = Keyring::new(None, Vec::new());
    for (format, keyring) in [
        (Format::Native, &world.deps.keyring),
        (Format::Native, &keyless),
        (Format::Kanbu, &world.deps.keyring),
    ] {
        let deps = Deps {
            format,
            keyring: keyring.clone(),
            ..world.deps.clone()
        };
        let artifact = world.listed("database:kanbu", &deps).await;
        let parts = world.restore_deps().await;
        let name = format!("round_trip_{}", ExecutionId::new().as_uuid().simple());
        let destination = Destination::Database {
            name: name.clone(),
            no_owner: false,
        };
        let origin = Origin::of_artifact(artifact.id, None, &parts.storages, &world.db).await;
        let lease = Arc::new(Lease::unattended());
        restore::perform(origin.unwrap(), &destination, parts.parts(), &lease)
            .await
            .unwrap();
        let back = text(&world.cluster.with_database(&name)).await;
        let first = source
            .iter()
            .zip(&back)
            .position(|(one, other)| one != other);
        let around = |lines: &[String]| {
            let at = first.unwrap_or_default();
            lines[at.saturating_sub(5)..(at + 5).min(lines.len())].join("\n")
        };
        assert!(
            first.is_none() && source.len() == back.len(),
            "{format:?}:\n{}\n--- is now\n{}",
            around(&source),
            around(&back)
        );
        world.drop_database(&name).await;
    }
}
