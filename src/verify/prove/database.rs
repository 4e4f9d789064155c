//! The test restore of a dump: into a private server or a database of its own, compared there, and removed.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use super::{
    Proving, ground, inspect,
    record::{Found, Trial, is_the_backups},
    sweep,
};
use crate::{
    catalog::{Content, ProofPlace, ProofWeight},
    execution::Effects,
    fault::{Failure, Fault},
    pg::{
        complaint::{missing_role, missing_tablespace},
        facts::Facts,
        scratch::{self, ScratchServer},
        tools::Toolset,
    },
    pipeline::Input,
    restore::{self, DatabaseTarget, Destination, Origin, Parts},
    storage::StorageName,
    verify::VerifyError,
};

/// Roles and tablespaces that are made one after the other as a dump asks for them.
const MOST_MADE: usize = 40;

/// Roles of the protected server that are made beforehand.
const MOST_KNOWN_ROLES: usize = 2000;

/// A private server that is of no use for this backup. That says nothing about the backup.
enum Off {
    Unfit(Failure),
    Failed(Failure),
}

pub(super) async fn restore(proving: &Proving<'_>) -> Result<Trial, Failure> {
    let Proving { deps, lease, .. } = proving;
    let origin = Origin::of_artifact(proving.artifact.id, None, &deps.storages, &deps.catalog);
    let origin = match origin.await {
        Ok(origin) => origin,
        Err(failure) if is_the_backups(&failure) => return Ok(unreadable(failure)),
        Err(failure) => return Err(failure),
    };
    let major = origin.server.as_ref().map_or(0, Facts::major);
    let places = ground::places(&deps.proof, major)?;
    let unfit = match places.private {
        Some(toolset) => match on_a_private_server(proving, &origin, toolset).await {
            Ok(trial) => return Ok(trial),
            Err(Off::Failed(failure)) => return Err(failure),
            Err(Off::Unfit(failure)) => Some(failure),
        },
        None => None,
    };
    match (places.protected, unfit) {
        (Some(target), unfit) => {
            if let Some(failure) = unfit {
                lease.log(format!("no private server: {failure}"));
            }
            on_the_protected_server(proving, &origin, target).await
        }
        (None, Some(failure)) => Err(failure),
        (None, None) => Err(VerifyError::NoPlace("nothing fits".to_owned()).into()),
    }
}

/// Not a single copy of it could be opened.
fn unreadable(failure: Failure) -> Trial {
    Trial {
        place: ProofPlace::Scratch,
        storage: None,
        took: Duration::ZERO,
        result: Err(failure),
    }
}

async fn on_a_private_server(
    proving: &Proving<'_>,
    origin: &Origin,
    toolset: &Toolset,
) -> Result<Trial, Off> {
    let terms = &proving.deps.proof;
    let size = origin.server.as_ref().map_or(0, |server| server.size_bytes);
    let bytes = size.max(proving.artifact.content_bytes);
    ground::require_room_for_database(&terms.directory, bytes).map_err(off)?;
    let directory = terms.directory.join(proving.lease.execution().to_string());
    let trial = while_it_runs(proving, origin, toolset, &directory).await;
    sweep::clear(&directory, proving.lease).await;
    trial
}

/// A directory that can't be used is no place. A full disk is one, and no reason to fill another.
fn off(error: VerifyError) -> Off {
    match error {
        VerifyError::Scratch(..) => Off::Unfit(error.into()),
        other => Off::Failed(other.into()),
    }
}

async fn while_it_runs(
    proving: &Proving<'_>,
    origin: &Origin,
    toolset: &Toolset,
    directory: &Path,
) -> Result<Trial, Off> {
    let lease = proving.lease;
    let server = tokio::select! {
        biased;
        () = lease.cancelled().cancelled() => Err(Failure::cancelled()),
        started = ScratchServer::start(directory, toolset) => started,
    };
    let server = server.map_err(|failure| match failure.fault {
        Fault::Permanent => Off::Unfit(failure),
        _ => Off::Failed(failure),
    })?;
    lease.log(format!(
        "a private PostgreSQL {} runs in {}",
        toolset.text,
        directory.display()
    ));
    // Nobody starts it again, and so nothing is to be waited for.
    let trial = tokio::select! {
        biased;
        end = server.ended() => Err(Off::Failed(end.into())),
        trial = on_it(proving, origin, &server) => trial,
    };
    if let Err(error) = server.stop().await {
        lease.log(format!("the private PostgreSQL did not stop well: {error}"));
    }
    trial
}

async fn on_it(
    proving: &Proving<'_>,
    origin: &Origin,
    server: &ScratchServer,
) -> Result<Trial, Off> {
    require_extensions(origin, server).await?;
    let deps = proving.deps;
    let target = DatabaseTarget {
        cluster: server.cluster().clone(),
        toolsets: deps.proof.toolsets.clone(),
    };
    make_known_roles(proving, origin, server).await?;
    let mut made = 0;
    let (restored, took) = loop {
        let began = Instant::now();
        let restored = load(proving, origin, &target, false).await;
        let lack = restored.as_ref().err().and_then(lack);
        let Some(lack) = lack.filter(|_| made < MOST_MADE) else {
            break (restored, began.elapsed());
        };
        made += 1;
        let made = match lack {
            Lack::Role(name) => server.make_roles(&[name]).await,
            Lack::Tablespace(name) => server.make_tablespace(&name).await,
        };
        made.map_err(|error| Off::Failed(error.into()))?;
    };
    let name = scratch::database_of(proving.lease.execution());
    let reader = server
        .reader(&name)
        .map_err(|error| Off::Failed(error.into()))?;
    let at = inspect::At {
        cluster: server.cluster(),
        reader: &reader,
        has_owners: true,
        toolsets: &deps.proof.toolsets,
    };
    let trial = look(proving, origin, restored, &at).await;
    let (storage, result) = trial.map_err(Off::Failed)?;
    Ok(Trial {
        place: ProofPlace::Scratch,
        storage,
        took,
        result,
    })
}

/// Those of the protected server, where most dumps come from; it may be away, and needn't be there.
async fn make_known_roles(
    proving: &Proving<'_>,
    origin: &Origin,
    server: &ScratchServer,
) -> Result<(), Off> {
    let mut roles = inspect::roles(origin);
    if let Some(target) = &proving.deps.proof.target {
        match scratch::roles(&target.cluster).await {
            Ok(known) => roles.extend(known.into_iter().take(MOST_KNOWN_ROLES)),
            Err(error) => {
                let text = format!("the roles of the protected server are not known: {error}");
                proving.lease.log(text);
            }
        }
    }
    let made = server.make_roles(&roles).await;
    made.map_err(|error| Off::Failed(error.into()))
}

/// What can't be installed would fail the load, and say nothing about the backup.
async fn require_extensions(origin: &Origin, server: &ScratchServer) -> Result<(), Off> {
    let lacking = server.lacking(&inspect::extensions(origin)).await;
    let lacking = lacking.map_err(|error| Off::Failed(error.into()))?;
    if lacking.is_empty() {
        return Ok(());
    }
    let text = format!(
        "a private server here can't install the extensions {}",
        lacking.join(", ")
    );
    Err(Off::Unfit(VerifyError::NoPlace(text).into()))
}

/// What a dump names and its server had beside the database.
enum Lack {
    Role(String),
    Tablespace(String),
}

fn lack(failure: &Failure) -> Option<Lack> {
    match &*failure.code {
        "restore.role_missing" => missing_role(&failure.message).map(Lack::Role),
        "restore.load_failed" => missing_tablespace(&failure.message).map(Lack::Tablespace),
        _ => None,
    }
}

async fn on_the_protected_server(
    proving: &Proving<'_>,
    origin: &Origin,
    target: &DatabaseTarget,
) -> Result<Trial, Failure> {
    let execution = proving.lease.execution();
    // A plain dump has its owners in its text.
    let no_owner = origin.content != Content::Sql;
    let began = Instant::now();
    let restored = load(proving, origin, target, no_owner).await;
    let took = began.elapsed();
    let is_there = restored.is_ok();
    let at = inspect::At {
        cluster: &target.cluster,
        reader: &target.cluster,
        has_owners: !no_owner,
        toolsets: &target.toolsets,
    };
    let looked = look(proving, origin, restored, &at).await;
    let is_kept = proving.request.keep && is_there && looked.is_ok();
    let left = if is_kept {
        scratch::keep(&target.cluster, execution).await
    } else {
        scratch::drop_database(&target.cluster, execution).await
    };
    if let Err(error) = left {
        // The sweeper comes again.
        proving.lease.log(format!("the scratch database: {error}"));
    }
    let (storage, result) = looked?;
    let kept = is_kept.then(|| scratch::database_of(execution));
    Ok(Trial {
        place: ProofPlace::Server,
        storage,
        took,
        result: result.map(|found| Found { kept, ..found }),
    })
}

async fn load(
    proving: &Proving<'_>,
    origin: &Origin,
    target: &DatabaseTarget,
    no_owner: bool,
) -> Result<Effects, Failure> {
    let destination = Destination::Database {
        name: scratch::database_of(proving.lease.execution()),
        no_owner,
    };
    let parts = Parts {
        target: Some(target),
        keyring: &proving.deps.keyring,
        catalog: Some(&proving.deps.catalog),
    };
    restore::perform_unjudged(origin.clone(), &destination, parts, proving.lease).await
}

/// What came of the load, and what is found where it went well.
async fn look(
    proving: &Proving<'_>,
    origin: &Origin,
    restored: Result<Effects, Failure>,
    at: &inspect::At<'_>,
) -> Result<(Option<StorageName>, Result<Found, Failure>), Failure> {
    let restored = match restored {
        Ok(restored) => restored,
        Err(failure) if is_the_backups(&failure) => return Ok((None, Err(failure))),
        Err(failure) => return Err(failure),
    };
    let storage = storage_used(&storages(origin), &restored);
    let mut found = Found {
        tables: restored.result["tables"].as_u64(),
        rows: restored.result["rows"].as_u64(),
        bytes: restored.bytes_out,
        warnings: restored.warnings,
        follow_ups: restored.follow_ups,
        ..Found::default()
    };
    if !at.has_owners {
        found.note(
            ProofWeight::Tolerable,
            "proof.no_owners",
            "owners and grants were left out, as the database is on the protected server",
        );
    }
    inspect::inspect(proving, origin, at, &mut found).await?;
    Ok((Some(storage).flatten(), Ok(found)))
}

/// The storages whose copies a restore may read, in its order.
pub(super) fn storages(origin: &Origin) -> Vec<StorageName> {
    let inputs = std::iter::once(&origin.input).chain(&origin.others);
    let names = inputs.filter_map(|input| match input {
        Input::Object { storage, .. } => Some(storage.name().clone()),
        Input::File { .. } => None,
    });
    names.collect()
}

/// The one whose copy it read: each that was set aside before it left a warning.
pub(super) fn storage_used(storages: &[StorageName], restored: &Effects) -> Option<StorageName> {
    let is_of_another = |code: &str| code == "restore.other_copy";
    let set_aside = restored
        .warnings
        .iter()
        .filter(|warning| is_of_another(&warning.code));
    storages.get(set_aside.count()).cloned()
}
