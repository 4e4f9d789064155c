//! What can be backed up here, and opening it as a stream.

use std::{path::PathBuf, sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::{BackupError, Deps, Plan, globals::Dumping, warnings};
use crate::{
    archive::{self, Excludes, PackHandle, PackSpec},
    catalog::Content,
    execution::{Lease, Warning},
    fault::Failure,
    job::Subject,
    pg::{
        cluster::{Address, Cluster},
        docker::ContainerChoice,
        dump::{self, DumpFormat, DumpHandle, DumpOrder, DumpReport, PgMode, Route},
        inventory::{Beside, Inventory, Snapshot},
        tools::Toolset,
    },
    pipeline::Feed,
};

/// A protected database and the ways to it.
#[derive(Clone, Debug)]
pub struct DatabaseSource {
    pub subject: Subject,
    pub cluster: Cluster,
    pub mode: PgMode,
    pub containers: ContainerChoice,
    pub toolsets: Vec<Toolset>,
}

impl DatabaseSource {
    /// Whether dumps run inside the server's container.
    pub fn through_docker(&self) -> bool {
        match (self.mode, self.cluster.address()) {
            (PgMode::Docker, _) | (PgMode::Auto, Address::Container) => true,
            (PgMode::Auto | PgMode::Direct, _) => false,
        }
    }
}

/// A protected directory.
#[derive(Clone, Debug)]
pub struct TreeSource {
    pub subject: Subject,
    pub root: PathBuf,
    pub excludes: Excludes,
}

/// Everything this worker can back up.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    pub databases: Vec<DatabaseSource>,
    pub trees: Vec<TreeSource>,
}

impl Sources {
    pub fn database(&self, subject: &Subject) -> Option<&DatabaseSource> {
        self.databases
            .iter()
            .find(|source| source.subject == *subject)
    }

    fn tree(&self, subject: &Subject) -> Option<&TreeSource> {
        self.trees.iter().find(|source| source.subject == *subject)
    }

    pub(super) fn require(&self, subject: &Subject) -> Result<(), BackupError> {
        let known = self.database(subject).is_some() || self.tree(subject).is_some();
        if known {
            Ok(())
        } else {
            Err(BackupError::UnknownSubject(subject.clone()))
        }
    }
}

/// A source that is being read.
pub(super) struct Opened {
    pub feed: Feed,
    /// A guess at the bytes to come, for the progress bar.
    pub estimate: Option<u64>,
    /// What the manifest says of the source.
    pub facts: Value,
    pub report: Report,
    /// Of the cluster, beside a database.
    pub globals: Option<Dumping>,
}

/// What the source has to say once its stream has ended.
pub(super) enum Report {
    /// With what must be in it.
    Watched(Beside),
    /// And why nobody knows what must be in it.
    Dump(DumpHandle, Failure),
    Pack(PackHandle),
}

/// Starts reading the plan's source; a database in a snapshot that its inventory is taken in, unless it is known why that
/// can't be.
pub(super) async fn open(
    plan: &Plan,
    deps: &Deps,
    lease: &Arc<Lease>,
    unwatched: Option<&Failure>,
) -> Result<Opened, Failure> {
    let sources = &deps.sources;
    match (sources.database(&plan.subject), sources.tree(&plan.subject)) {
        (Some(database), _) => {
            let budget = unwatched.map_or(Ok(deps.content.count_budget), Err);
            open_database(plan, database, deps, lease, budget).await
        }
        (None, Some(tree)) => Ok(open_tree(tree, lease)),
        (None, None) => Err(BackupError::UnknownSubject(plan.subject.clone()).into()),
    }
}

async fn open_database(
    plan: &Plan,
    source: &DatabaseSource,
    deps: &Deps,
    lease: &Arc<Lease>,
    budget: Result<Duration, &Failure>,
) -> Result<Opened, Failure> {
    let DatabaseSource {
        cluster,
        mode,
        containers,
        toolsets,
        ..
    } = source;
    let route = dump::route(*mode, cluster, containers, toolsets).await?;
    let server = route.facts(cluster).await?;
    lease.log(format!(
        "PostgreSQL {} {}, dumped {}",
        server.version,
        server.database,
        by(&route)
    ));
    let format = match plan.content {
        Content::PgDumpCustom => DumpFormat::Custom,
        Content::Sql | Content::Tar => DumpFormat::Plain,
    };
    let cancel = lease.cancelled().clone();
    let execution = lease.execution();
    let watch = match budget {
        Ok(budget) => match Snapshot::export(&route, cluster, execution).await {
            Ok(snapshot) => Ok((snapshot, budget)),
            Err(error) => Err(Failure::from(error)),
        },
        Err(failure) => Err(failure.clone()),
    };
    let order = DumpOrder {
        format,
        execution,
        snapshot: watch
            .as_ref()
            .ok()
            .map(|(snapshot, _)| snapshot.name().to_owned()),
    };
    let (feed, handle) = dump::dump_as_ordered(&route, cluster, &order, cancel.clone()).await?;
    let report = match watch {
        Ok((snapshot, budget)) => Report::Watched(snapshot.beside(handle, budget, &cancel)),
        Err(failure) => Report::Dump(handle, failure),
    };
    Ok(Opened {
        feed,
        estimate: Some(server.size_bytes),
        facts: json!({ "server": server, "route": by(&route) }),
        report,
        globals: Some(Dumping::start(&route, cluster, execution, &deps.keyring)),
    })
}

fn by(route: &Route) -> &'static str {
    match route {
        Route::Direct(_) => "direct",
        Route::Docker(_) => "docker",
    }
}

fn open_tree(source: &TreeSource, lease: &Lease) -> Opened {
    let spec = PackSpec {
        root: source.root.clone(),
        excludes: source.excludes.clone(),
    };
    let (feed, handle) = archive::pack(spec, lease.cancelled().clone());
    Opened {
        feed,
        estimate: None,
        facts: json!({}),
        report: Report::Pack(handle),
        globals: None,
    }
}

/// What the source had to say: facts for the manifest, warnings for the operator.
pub(super) struct Told {
    pub facts: Value,
    /// What the database held.
    pub inventory: Option<Inventory>,
    pub warnings: Vec<Warning>,
}

impl Report {
    pub(super) async fn told(self, encrypted: bool) -> Result<Told, Failure> {
        match self {
            Self::Watched(beside) => {
                let taken = beside.taken().await.ok_or_else(Failure::cancelled)?;
                let inventory = taken.inventory.map_err(Failure::from);
                Ok(of_dump(taken.dump.unwrap_or_default(), inventory))
            }
            Self::Dump(handle, reason) => {
                let report = handle.report().await.unwrap_or_default();
                Ok(of_dump(report, Err(reason)))
            }
            Self::Pack(handle) => {
                let report = handle.report().await?;
                let facts = json!({ "files": report.files, "directories": report.directories });
                Ok(Told {
                    facts,
                    inventory: None,
                    warnings: warnings::of_tree(&report, encrypted),
                })
            }
        }
    }
}

/// A dump is good without an inventory, and its restore can be measured only with one.
fn of_dump(report: DumpReport, inventory: Result<Inventory, Failure>) -> Told {
    let client_version = report.header.map(|header| header.client_version);
    let mut facts = json!({ "client_version": client_version });
    let mut warnings: Vec<_> = report.warnings.into_iter().map(warnings::of_dump).collect();
    let inventory = match inventory {
        Ok(inventory) => {
            let inventory = inventory.folded();
            facts["expectations"] = json!(inventory);
            Some(inventory)
        }
        Err(reason) => {
            warnings.push(warnings::no_expectations(&reason));
            None
        }
    };
    Told {
        facts,
        inventory,
        warnings,
    }
}
