//! What can be backed up here, and opening it as a stream.

use std::{path::PathBuf, sync::Arc};

use serde_json::{Value, json};

use super::{BackupError, Plan, warnings};
use crate::{
    archive::{self, Excludes, PackHandle, PackSpec},
    catalog::Content,
    execution::{Lease, Warning},
    fault::Failure,
    job::Subject,
    pg::{
        cluster::{Address, Cluster},
        docker::ContainerChoice,
        dump::{self, DumpFormat, DumpHandle, PgMode, Route},
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
}

/// What the source has to say once its stream has ended.
pub(super) enum Report {
    Dump(DumpHandle),
    Pack(PackHandle),
}

/// Starts reading the plan's source.
pub(super) async fn open(
    plan: &Plan,
    sources: &Sources,
    lease: &Arc<Lease>,
) -> Result<Opened, Failure> {
    match (sources.database(&plan.subject), sources.tree(&plan.subject)) {
        (Some(database), _) => open_database(plan, database, lease).await,
        (None, Some(tree)) => Ok(open_tree(tree, lease)),
        (None, None) => Err(BackupError::UnknownSubject(plan.subject.clone()).into()),
    }
}

async fn open_database(
    plan: &Plan,
    source: &DatabaseSource,
    lease: &Arc<Lease>,
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
    let (feed, handle) = dump::dump(&route, cluster, format, lease.execution(), cancel).await?;
    Ok(Opened {
        feed,
        estimate: Some(server.size_bytes),
        facts: json!({ "server": server, "route": by(&route) }),
        report: Report::Dump(handle),
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
    }
}

/// What the source had to say: facts for the manifest, warnings for the operator.
pub(super) struct Told {
    pub facts: Value,
    pub warnings: Vec<Warning>,
}

impl Report {
    pub(super) async fn told(self, encrypted: bool) -> Result<Told, Failure> {
        match self {
            Self::Dump(handle) => {
                let report = handle.report().await.unwrap_or_default();
                let facts = json!({ "client_version": report.header.map(|h| h.client_version) });
                Ok(Told {
                    facts,
                    warnings: report.warnings.into_iter().map(warnings::of_dump).collect(),
                })
            }
            Self::Pack(handle) => {
                let report = handle.report().await?;
                let facts = json!({ "files": report.files, "directories": report.directories });
                Ok(Told {
                    facts,
                    warnings: warnings::of_tree(&report, encrypted),
                })
            }
        }
    }
}
