//! What a restored database is found to be: the same as its manifest expects, true to the operator's checks, sound.

use std::time::Duration;

use super::{
    Proving,
    record::{Found, UNTRUE},
};
use crate::{
    catalog::ProofWeight,
    execution::Phase,
    fault::Failure,
    pg::{
        amcheck::{self, Structure},
        assertion::{self, Answer},
        cluster::Cluster,
        inventory::{self, Inventory, Weight},
        scratch,
        tools::{Toolset, choose_client},
    },
    restore::Origin,
};

/// For counting the rows of every table. What can't be counted in it isn't compared, and named.
const COUNTING: Duration = Duration::from_hours(1);

/// Where the database is.
pub(super) struct At<'a> {
    pub cluster: &'a Cluster,
    /// Who asks the operator's checks.
    pub reader: &'a Cluster,
    pub has_owners: bool,
    pub toolsets: &'a [Toolset],
}

/// Roles that the manifest names, and that have to exist before anything can be theirs.
pub(super) fn roles(origin: &Origin) -> Vec<String> {
    let server = origin.server.as_ref();
    server
        .and_then(|server| server.shape.owner.clone())
        .into_iter()
        .collect()
}

/// Extensions that the manifest names. A dump creates them all, and stops at one that it can't.
pub(super) fn extensions(origin: &Origin) -> Vec<String> {
    let expected = origin.expectations.iter().flat_map(|e| &e.extensions);
    expected.map(|extension| extension.name.clone()).collect()
}

pub(super) async fn inspect(
    proving: &Proving<'_>,
    origin: &Origin,
    at: &At<'_>,
    found: &mut Found,
) -> Result<(), Failure> {
    proving.lease.stopped()?;
    proving.lease.begin(Phase::Compare, None);
    compare(proving, origin, at, found).await?;
    ask_checks(proving, at, found).await?;
    if proving.deps.proof.with_amcheck {
        look_at_structure(proving, at, found).await?;
    }
    Ok(())
}

async fn compare(
    proving: &Proving<'_>,
    origin: &Origin,
    at: &At<'_>,
    found: &mut Found,
) -> Result<(), Failure> {
    let Some(expected) = &origin.expectations else {
        found.note(
            ProofWeight::Tolerable,
            "proof.no_expectations",
            "its manifest doesn't say what to expect: it could be restored, and that is all that is known",
        );
        if found.tables == Some(0) {
            let text = "no table is in it";
            found.note(ProofWeight::Real, "content.no_tables", text);
        }
        return Ok(());
    };
    let name = scratch::database_of(proving.lease.execution());
    let there = tokio::select! {
        biased;
        () = proving.lease.cancelled().cancelled() => {
            return proving.lease.stopped().and(Err(Failure::cancelled()));
        }
        there = inventory::take(at.cluster, &name, COUNTING) => there?,
    };
    found.tables = Some(there.tables.len() as u64);
    found.rows = Some(there.tables.iter().map(|table| table.rows).sum());
    let has_owners = at.has_owners;
    for difference in differences(expected, &there, has_owners) {
        let weight = match difference.weight {
            Weight::Tolerable => ProofWeight::Tolerable,
            Weight::Real => ProofWeight::Real,
        };
        found.note(weight, difference.code, difference.text);
    }
    Ok(())
}

fn differences(
    expected: &Inventory,
    found: &Inventory,
    has_owners: bool,
) -> Vec<inventory::Difference> {
    if has_owners {
        expected.differences(found)
    } else {
        expected.differences_without_owners(found)
    }
}

async fn ask_checks(proving: &Proving<'_>, at: &At<'_>, found: &mut Found) -> Result<(), Failure> {
    let name = scratch::database_of(proving.lease.execution());
    for statement in &proving.request.checks {
        let asking = assertion::ask(at.reader, &name, statement, proving.deps.proof.check_limit);
        let answer = tokio::select! {
            biased;
            () = proving.lease.cancelled().cancelled() => {
                return proving.lease.stopped().and(Err(Failure::cancelled()));
            }
            answer = asking => answer?,
        };
        if let Answer::Otherwise(wrong) = answer {
            let text = format!("check {:?} {wrong}", assertion::name_of(statement));
            found.note(ProofWeight::Real, UNTRUE, text);
        }
    }
    Ok(())
}

async fn look_at_structure(
    proving: &Proving<'_>,
    at: &At<'_>,
    found: &mut Found,
) -> Result<(), Failure> {
    let name = scratch::database_of(proving.lease.execution());
    let tools = choose_client(at.toolsets, at.cluster.facts().await?.major())?;
    let cancelled = proving.lease.cancelled();
    let structure = amcheck::structure(tools, at.cluster, &name, cancelled).await?;
    match structure {
        Some(Structure::Sound) => proving.lease.log("pg_amcheck found nothing wrong"),
        Some(Structure::Corrupt(said)) => found.note(
            ProofWeight::Real,
            "amcheck.corrupt",
            format!("pg_amcheck: {said}"),
        ),
        Some(Structure::Unknown(why)) => {
            found.note(ProofWeight::Tolerable, "amcheck.unknown", why);
        }
        None => return proving.lease.stopped().and(Err(Failure::cancelled())),
    }
    Ok(())
}
