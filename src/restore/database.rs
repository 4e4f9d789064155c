//! A database that doesn't exist yet: created, filled and compared with what was backed up, or dropped again.

use std::time::Duration;

use serde_json::json;

use super::{
    DatabaseTarget, Origin, RestoreError, plan,
    right::Right,
    wanted::{self, Chosen},
};
use crate::{
    bytes::ByteSize,
    crypto::Keyring,
    execution::{Effects, Phase, Warning},
    fault::Failure,
    pg::{
        cluster::Cluster,
        dump::DumpFormat,
        inventory::{self, Difference, Inventory, Weight},
        restore::{self as pg, Differences, LoadOptions},
        swap,
        tools::{Toolset, choose_client},
    },
};

/// After so long the rows of the remaining tables are estimated.
const COUNT_WITHIN: Duration = Duration::from_hours(1);

/// All that is decided about a database before anything is read or created.
#[derive(Debug)]
pub(super) struct NewDatabase<'a> {
    cluster: &'a Cluster,
    tools: &'a Toolset,
    name: String,
    format: DumpFormat,
    terms: Terms,
}

/// How it is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub no_owner: bool,
    /// One that differs from what was backed up stays, to be looked at.
    pub keep: bool,
    /// It gets its properties from the live one whose place it takes.
    pub replaces: bool,
}

/// What lies in it at the end.
pub(super) struct Made {
    pub name: String,
    bytes: u64,
    found: Inventory,
    pub warnings: Vec<Warning>,
}

impl<'a> NewDatabase<'a> {
    /// The name must be free. The tools must be as new as the server that is filled, as the one that was dumped, and as
    /// the `pg_dump` that dumped it.
    pub(super) async fn plan(
        name: String,
        format: DumpFormat,
        terms: Terms,
        origin: &Origin,
        target: &'a DatabaseTarget,
    ) -> Result<Self, Failure> {
        let DatabaseTarget { cluster, toolsets } = target;
        let server = cluster.facts().await?.major();
        let newest = origin.newest_major().map_or(server, |m| m.max(server));
        let tools = choose_client(toolsets, newest)?;
        plan::require_absent(target, &name).await?;
        Ok(Self {
            cluster,
            tools,
            name,
            format,
            terms,
        })
    }

    /// Creates and fills it; whatever fails then, cancelled work and a lost lease included, nothing half made stays. The
    /// database bears the mark of this execution, so dropping it can hit nobody else's.
    pub(super) async fn make(
        &self,
        origin: &Origin,
        keyring: &Keyring,
        right: &Right,
    ) -> Result<Made, Failure> {
        let shape = origin.shape();
        let execution = right.lease.execution();
        let wanted = &origin.wanted;
        let chosen = wanted.choose(origin, self.tools, keyring, right).await?;
        let differences = pg::create_database(self.cluster, &self.name, &shape, execution).await?;
        right.lease.log(format!("created database {}", self.name));
        match self.fill(origin, chosen, keyring, right).await {
            Ok(mut made) => {
                made.warnings.splice(0..0, differing(differences));
                Ok(made)
            }
            Err(failure) if self.terms.keep && failure.code == "restore.differs" => {
                right
                    .lease
                    .log(format!("{} stays to be looked at", self.name));
                pg::keep_database(self.cluster, &self.name, execution).await?;
                Err(failure)
            }
            Err(failure) => Err(dropped(
                self.cluster,
                &self.name,
                right.explain(failure).await,
                right,
            )
            .await),
        }
    }

    async fn fill(
        &self,
        origin: &Origin,
        chosen: Option<Chosen>,
        keyring: &Keyring,
        right: &Right,
    ) -> Result<Made, Failure> {
        let bytes = self.load(origin, chosen.as_ref(), keyring, right).await?;
        let differences = if self.terms.no_owner || self.terms.replaces {
            Differences::new()
        } else {
            pg::give_properties(self.cluster, &self.name, &origin.shape()).await?
        };
        right.stopped()?;
        right.lease.begin(Phase::Compare, None);
        let (cancel, _ends) = right.cancelled();
        let found = tokio::select! {
            biased;
            () = cancel.cancelled() => return right.stopped().and(Err(Failure::cancelled())),
            found = inventory::take(self.cluster, &self.name, COUNT_WITHIN) => found?,
        };
        let mut warnings: Vec<_> = differing(differences).collect();
        let left_out = chosen.into_iter().flat_map(|chosen| chosen.left_out);
        warnings.extend(left_out.map(|text| said("restore.left_out", text)));
        self.compare(origin, &found, &mut warnings)?;
        Ok(Made {
            name: self.name.clone(),
            bytes,
            found,
            warnings,
        })
    }

    /// What was backed up is what has to be there.
    fn compare(
        &self,
        origin: &Origin,
        found: &Inventory,
        warnings: &mut Vec<Warning>,
    ) -> Result<(), RestoreError> {
        if found.tables.is_empty() {
            if self.terms.replaces {
                return Err(RestoreError::NothingToReplaceWith);
            }
            let text = format!(
                "no table is in {}: was the right database backed up?",
                self.name
            );
            warnings.push(said("restore.no_tables", text));
        }
        let Some(expected) = &origin.expectations else {
            let text = "the backup does not tell what it must hold, so nothing could be compared";
            warnings.push(said("restore.not_compared", text.to_owned()));
            return Ok(());
        };
        let wanted = &origin.wanted;
        let differences = wanted.differences(expected, found, self.terms.no_owner);
        let is_real = |difference: &Difference| match difference.weight {
            Weight::Real => true,
            Weight::Tolerable => false,
        };
        let (real, tolerable): (Vec<_>, Vec<_>) = differences.into_iter().partition(is_real);
        if !real.is_empty() {
            return Err(RestoreError::Differs {
                name: self.name.clone(),
                differences: real.into_iter().map(|difference| difference.text).collect(),
            });
        }
        let tolerated = tolerable
            .into_iter()
            .map(|difference| said("restore.difference", difference.text));
        warnings.extend(tolerated);
        Ok(())
    }

    async fn load(
        &self,
        origin: &Origin,
        chosen: Option<&Chosen>,
        keyring: &Keyring,
        right: &Right,
    ) -> Result<u64, Failure> {
        let options = LoadOptions {
            format: self.format,
            no_owner: self.terms.no_owner,
            execution: right.lease.execution(),
            list: chosen.map(|chosen| &chosen.list),
        };
        let into = wanted::Load {
            tools: self.tools,
            cluster: self.cluster,
            name: &self.name,
            options,
            only: chosen.map(|chosen| chosen.entries.as_slice()),
        };
        let report = wanted::load(origin, into, keyring, right).await?;
        right
            .lease
            .log(format!("loaded {}", ByteSize(report.bytes)));
        Ok(report.bytes)
    }

    /// Sets right what a copy of a running Kanbu says, and gives the database what belongs to the live one.
    pub(super) async fn prepare(
        made: &mut Made,
        cluster: &Cluster,
        live: &str,
        right: &Right,
    ) -> Result<(), Failure> {
        let phantoms = swap::end_phantoms(cluster, &made.name).await?;
        if phantoms > 0 {
            let text = format!(
                "{phantoms} backups that Kanbu had noted as running are noted as interrupted"
            );
            made.warnings.push(said("restore.phantoms", text));
        }
        let differences = swap::dress(&right.guard, live, &made.name).await?;
        made.warnings.extend(differing(differences));
        Ok(())
    }
}

impl Made {
    pub(super) fn effects(self, right: &Right) -> Effects {
        let Self {
            name,
            bytes,
            found,
            warnings,
        } = self;
        let tables = found.tables.len();
        let rows: u64 = found.tables.iter().map(|table| table.rows).sum();
        right
            .lease
            .log(format!("{tables} tables, {rows} rows in {name}"));
        Effects {
            warnings,
            result: json!({ "database": name, "tables": tables, "rows": rows, "counts": found.tables }),
            bytes_out: bytes,
            ..Effects::default()
        }
    }
}

/// If even dropping fails, both reasons are told.
pub(super) async fn dropped(
    cluster: &Cluster,
    name: &str,
    failure: Failure,
    right: &Right,
) -> Failure {
    match pg::drop_database(cluster, name, right.lease.execution()).await {
        Ok(()) => {
            right
                .lease
                .log(format!("dropped the half-made database {name}"));
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

fn differing(differences: Differences) -> impl Iterator<Item = Warning> {
    differences
        .into_iter()
        .map(|text| said("restore.difference", text))
}

pub(super) fn said(code: &str, text: String) -> Warning {
    Warning {
        code: code.to_owned(),
        text,
        degrades: false,
    }
}
