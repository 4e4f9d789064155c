//! What can be backed up here, and opening it as a stream.

use std::sync::Arc;

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{BackupError, Plan};
use crate::{
    archive::{self, Excludes, PackHandle, PackSpec},
    catalog::Content,
    execution::{Lease, Warning},
    fault::Failure,
    job::Subject,
    pg::{self, Cluster, ContainerChoice, DumpFormat, DumpHandle, PgMode, Toolset},
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
        self.databases.iter().find(|source| source.subject == *subject)
    }

    fn tree(&self, subject: &Subject) -> Option<&TreeSource> {
        self.trees.iter().find(|source| source.subject == *subject)
    }

    pub(super) fn require(&self, subject: &Subject) -> Result<(), BackupError> {
        let known = self.database(subject).is_some() || self.tree(subject).is_some();
        if known { Ok(()) } else { Err(BackupError::UnknownSubject(subject.clone())) }
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
pub(super) async fn open(plan: &Plan, sources: &Sources, lease: &Arc<Lease>) -> Result<Opened, Failure> {
    match (sources.database(&plan.subject), sources.tree(&plan.subject)) {
        (Some(database), _) => open_database(plan, database, lease).await,
        (None, Some(tree)) => open_tree(tree, lease),
        (None, None) => Err(BackupError::UnknownSubject(plan.subject.clone()).into()),
    }
}

async fn open_database(
    plan: &Plan,
    source: &DatabaseSource,
    lease: &Arc<Lease>,
) -> Result<Opened, Failure> {
    let DatabaseSource { cluster, mode, containers, toolsets, .. } = source;
    let route = pg::route(*mode, cluster, containers, toolsets).await?;
    let facts = pg::facts_by(&route, cluster).await?;
    let format = match plan.content {
        Content::PgDumpCustom => DumpFormat::Custom,
        Content::Sql | Content::Tar => DumpFormat::Plain,
    };
    let (feed, handle) =
        pg::dump(&route, cluster, format, lease.execution(), lease.cancelled().clone()).await?;
    Ok(Opened {
        feed,
        estimate: Some(facts.size_bytes),
        facts: json!({
            "server_version": facts.version,
            "client_version": route.client_version(),
            "route": route.word(),
            "database": facts.database,
            "database_bytes": facts.size_bytes,
            "encoding": facts.encoding,
            "collation": facts.collation,
        }),
        report: Report::Dump(handle),
    })
}

fn open_tree(source: &TreeSource, lease: &Arc<Lease>) -> Result<Opened, Failure> {
    let spec = PackSpec { root: source.root.clone(), excludes: source.excludes.clone() };
    let (feed, handle) = archive::pack(spec, lease.cancelled().clone())?;
    Ok(Opened { feed, estimate: None, facts: json!({}), report: Report::Pack(handle) })
}

impl Report {
    /// What an operator should know about the source, and what the manifest gains from it.
    pub(super) async fn finish(self, encrypted: bool) -> (Value, Vec<Warning>) {
        match self {
            Self::Dump(handle) => {
                let report = handle.report().await;
                (json!({}), report.warnings)
            }
            Self::Pack(handle) => {
                let report = handle.report().await;
                (json!({ "files": report.files, "directories": report.directories }), report.warnings(encrypted))
            }
        }
    }
}
