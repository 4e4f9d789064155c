//! A database that doesn't exist yet: created, filled and counted, or dropped again.

use std::sync::Arc;

use serde_json::json;

use super::{DatabaseTarget, Origin};
use crate::{
    bytes::ByteSize,
    crypto::Keyring,
    execution::{Effects, Lease, Phase, Warning},
    fault::Failure,
    pg::{
        cluster::Cluster,
        dump::DumpFormat,
        facts::Shape,
        restore::{self as pg, Differences, LoadOptions, TableCount},
        tools::{Toolset, choose_client},
    },
    pipeline,
};

/// All that is decided about a database before anything is read or created.
#[derive(Debug)]
pub(super) struct NewDatabase<'a> {
    cluster: &'a Cluster,
    tools: &'a Toolset,
    name: &'a str,
    format: DumpFormat,
    no_owner: bool,
}

/// What lies in it at the end.
struct Filled {
    bytes: u64,
    counts: Vec<TableCount>,
    differences: Differences,
}

impl<'a> NewDatabase<'a> {
    /// The name must be free. The tools must be as new as the server that is filled, as the one that was dumped, and as
    /// the `pg_dump` that dumped it.
    pub(super) async fn plan(
        name: &'a str,
        format: DumpFormat,
        no_owner: bool,
        origin: &Origin,
        target: &'a DatabaseTarget,
    ) -> Result<Self, Failure> {
        let DatabaseTarget { cluster, toolsets } = target;
        let server = cluster.facts().await?.major();
        let newest = origin.newest_major().map_or(server, |m| m.max(server));
        let tools = choose_client(toolsets, newest)?;
        pg::require_absent(cluster, name).await?;
        Ok(Self {
            cluster,
            tools,
            name,
            format,
            no_owner,
        })
    }

    /// Creates and fills it; whatever fails then, cancelled work and a lost lease included, nothing half made stays. The
    /// database bears the mark of this execution, so dropping it can hit nobody else's.
    pub(super) async fn make(
        self,
        origin: Origin,
        keyring: &Keyring,
        lease: &Arc<Lease>,
    ) -> Result<Effects, Failure> {
        let shape = origin.shape();
        let execution = lease.execution();
        let differences = pg::create_database(self.cluster, self.name, &shape, execution).await?;
        lease.log(format!("created database {}", self.name));
        match self.fill(origin, &shape, keyring, lease).await {
            Ok(mut filled) => {
                filled.differences.splice(0..0, differences);
                Ok(self.effects(filled, lease))
            }
            Err(failure) => Err(self.dropped(failure, lease).await),
        }
    }

    async fn fill(
        &self,
        origin: Origin,
        shape: &Shape,
        keyring: &Keyring,
        lease: &Arc<Lease>,
    ) -> Result<Filled, Failure> {
        let bytes = self.load(origin, keyring, lease).await?;
        let differences = if self.no_owner {
            Differences::new()
        } else {
            pg::give_properties(self.cluster, self.name, shape).await?
        };
        lease.stopped()?;
        lease.begin(Phase::Compare, None);
        let counting = pg::table_counts(self.cluster, self.name);
        let counts = tokio::select! {
            biased;
            () = lease.cancelled().cancelled() => return lease.stopped().and(Err(Failure::cancelled())),
            counts = counting => counts?,
        };
        Ok(Filled {
            bytes,
            counts,
            differences,
        })
    }

    /// The second reading. It is held to the same expectations as the first: an object that was changed in between
    /// ends in a failure instead of `End`.
    async fn load(
        &self,
        origin: Origin,
        keyring: &Keyring,
        lease: &Arc<Lease>,
    ) -> Result<u64, Failure> {
        let watch = lease.watch(Phase::Load, origin.total());
        let feed = pipeline::open(origin.input, origin.expected, keyring.clone(), watch).await?;
        let options = LoadOptions {
            format: self.format,
            no_owner: self.no_owner,
            execution: lease.execution(),
            list: None,
        };
        let cancel = lease.cancelled().clone();
        let report = pg::load(self.tools, self.cluster, self.name, options, feed, cancel).await?;
        lease.log(format!("loaded {}", ByteSize(report.bytes)));
        Ok(report.bytes)
    }

    fn effects(&self, filled: Filled, lease: &Lease) -> Effects {
        let Filled {
            bytes,
            counts,
            differences,
        } = filled;
        let (name, tables) = (self.name, counts.len());
        let rows: u64 = counts.iter().map(|count| count.rows).sum();
        lease.log(format!("{tables} tables, {rows} rows in {name}"));
        let mut warnings: Vec<_> = differences
            .into_iter()
            .map(|text| said("restore.difference", text))
            .collect();
        if tables == 0 {
            let text = format!("no table is in {name}: was the right database backed up?");
            warnings.push(said("restore.no_tables", text));
        }
        Effects {
            warnings,
            result: json!({ "database": name, "tables": tables, "rows": rows, "counts": counts }),
            bytes_out: bytes,
            ..Effects::default()
        }
    }

    /// If even dropping fails, both reasons are told.
    async fn dropped(&self, failure: Failure, lease: &Lease) -> Failure {
        let name = self.name;
        match pg::drop_database(self.cluster, name, lease.execution()).await {
            Ok(()) => {
                lease.log(format!("dropped the half-made database {name}"));
                failure
            }
            Err(error) => {
                let still_there = format!("the half-made database {name} is still there: {error}");
                Failure {
                    message: format!("{}; {still_there}", failure.message),
                    ..failure
                }
            }
        }
    }
}

fn said(code: &str, text: String) -> Warning {
    Warning {
        code: code.to_owned(),
        text,
        degrades: false,
    }
}
