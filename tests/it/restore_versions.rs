//! Backups of a server of another version: PostgreSQL 17, which `tests/support/newer-postgres` installs, beside this host's.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use kanbu_backup::{
    backup::{Deps, Format},
    catalog::ArtifactView,
    execution::Lease,
    fault::Fault,
    pg::{
        cluster::Cluster,
        process::Program,
        scratch::Ground,
        tools::{Toolset, find_toolsets},
    },
    restore::{self, Destination, Origin},
    testing::{ScratchDirectory, TestServer},
};

use crate::{
    fault_world::{EVERY_WAY, ON_THE_SERVER, Stage, Way, content},
    protected::database,
};

const CONTENT: &str =
    "create table page as select n, md5(n::text) from generate_series(1, 300) as n";

/// The programs of the newer version, where a server's user may run them.
struct Newer {
    toolset: Toolset,
    _directory: ScratchDirectory,
}

impl Newer {
    async fn new() -> Self {
        let installed = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("target/test-tools/newer-postgres/pginstall");
        assert!(
            installed.exists(),
            "{} is not installed: run `tests/support/newer-postgres install`, or `./test restore`, which does it",
            installed.display()
        );
        let directory = ScratchDirectory::new();
        let place: PathBuf = directory.path().join("newer");
        Program::new("/bin/cp")
            .args(["-rL"])
            .arg(&installed)
            .arg(&place)
            .run(4096, std::time::Duration::from_mins(1))
            .await
            .unwrap();
        let bin = std::fs::canonicalize(place.join("bin")).unwrap();
        let mut found = find_toolsets(std::slice::from_ref(&bin), None).await;
        found.retain(|set| set.directory == bin);
        Self {
            toolset: found.remove(0),
            _directory: directory,
        }
    }

    async fn server(&self) -> TestServer {
        TestServer::start_with(vec![self.toolset.clone()]).await
    }

    /// A backup of a database on a server of that version, in the stage's catalog.
    async fn backup(&self, stage: &Stage, cluster: &Cluster, format: Format) -> ArtifactView {
        let mut deps = Deps {
            format,
            ..stage.world.deps.clone()
        };
        deps.sources.databases[0].cluster = cluster.clone();
        deps.sources.databases[0].toolsets = vec![self.toolset.clone()];
        stage.world.listed("database:kanbu", &deps).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_a_newer_server_harms_nothing_and_is_told() {
    let newer = Newer::new().await;
    let source = newer.server().await;
    let (_database, cluster) = database(&source, CONTENT).await;
    let server = TestServer::start(&[]).await;
    let mut stage = Stage::new(&server, "", Format::Native).await;
    let own = stage.toolsets.clone();
    assert!(own.iter().all(|set| set.major() < newer.toolset.major()));
    for format in [Format::Native, Format::Kanbu] {
        stage.artifact = newer.backup(&stage, &cluster, format).await;

        // The tools here are as old as the server.
        stage.toolsets.clone_from(&own);
        for way in EVERY_WAY.into_iter().filter(|way| way.takes(format)) {
            let failure = stage.failed(way).await;
            let what = format!("{format:?} {way:?}: {failure}");
            let (code, words) = match way {
                Way::Test(Ground::Scratch) => {
                    ("scratch.no_place", "no PostgreSQL server of version 17")
                }
                _ => (
                    "tools.client_too_old",
                    "the newest client tools found are of version",
                ),
            };
            assert_eq!(
                (&*failure.code, failure.fault),
                (code, Fault::Permanent),
                "{what}"
            );
            assert!(failure.message.contains(words), "{what}");
            stage.assert_unharmed(&what).await;
        }

        // The tools are new enough, the server is not: what it doesn't know is found out in the load.
        stage.toolsets.push(newer.toolset.clone());
        for way in ON_THE_SERVER.into_iter().filter(|way| way.takes(format)) {
            let failure = stage.failed(way).await;
            let what = format!("{format:?} {way:?}: {failure}");
            assert_eq!(
                (&*failure.code, failure.fault),
                ("restore.load_failed", Fault::Permanent),
                "{what}"
            );
            assert!(failure.message.contains("transaction_timeout"), "{what}");
            stage.assert_unharmed(&what).await;
        }

        // And a private server of its own version proves it.
        let lease = Arc::new(Lease::unattended());
        stage
            .restored(Way::Test(Ground::Scratch), &lease)
            .await
            .unwrap();
        stage.assert_unharmed("a proof").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_an_older_server_is_restored_and_nothing_real_differs() {
    let newer = Newer::new().await;
    let target = newer.server().await;
    let (_database, cluster) = database(&target, "").await;
    let server = TestServer::start(&[]).await;
    let mut stage = Stage::new(&server, crate::protected::OBJECTS, Format::Native).await;
    stage.target = cluster.clone();
    stage.toolsets = vec![newer.toolset.clone()];
    let deps = stage.deps().await;
    let origin = Origin::of_artifact(stage.artifact.id, None, &deps.storages, &deps.catalog).await;
    let into = Destination::Database {
        name: "newer".to_owned(),
        no_owner: true,
    };
    let lease = Arc::new(Lease::unattended());
    restore::perform(origin.unwrap(), &into, deps.parts(), &lease)
        .await
        .unwrap();
    assert_eq!(
        content(&cluster.with_database("newer")).await,
        stage.backed_up
    );
    // Where the dump's own version isn't installed, a newer one proves it.
    let lease = Arc::new(Lease::unattended());
    stage
        .restored(Way::Test(Ground::Scratch), &lease)
        .await
        .unwrap();
}
