//! The test restore of a source archive: unpacked into a directory of its own, counted, and removed.

use std::time::Instant;

use super::{
    Proving, ground,
    record::{Found, Trial, is_the_backups},
};
use crate::{
    catalog::{Manifest, ProofPlace, ProofWeight},
    execution::Effects,
    fault::Failure,
    pg::server,
    restore::{self, Destination, Origin, Parts},
    storage::StorageName,
};

pub(super) async fn restore(proving: &Proving<'_>) -> Result<Trial, Failure> {
    let began = Instant::now();
    let trial = |storage, result| Trial {
        place: ProofPlace::Directory,
        storage,
        took: began.elapsed(),
        result,
    };
    match unpack(proving).await {
        Ok((storage, found)) => Ok(trial(storage, Ok(found))),
        Err(failure) if is_the_backups(&failure) => Ok(trial(None, Err(failure))),
        Err(failure) => Err(failure),
    }
}

async fn unpack(proving: &Proving<'_>) -> Result<(Option<StorageName>, Found), Failure> {
    let Proving {
        deps,
        lease,
        artifact,
        ..
    } = proving;
    let terms = &deps.proof;
    let manifest = artifact.manifest()?;
    let origin = Origin::of_artifact(artifact.id, None, &deps.storages, &deps.catalog).await?;
    ground::require_room_for_tree(&terms.directory, artifact.content_bytes)?;
    let directory = terms.directory.join(lease.execution().to_string());
    let occupied = server::occupy(&directory)?;
    let storages = super::database::storages(&origin);
    let destination = Destination::Directory {
        path: directory.join("tree"),
    };
    let parts = Parts {
        target: None,
        keyring: &deps.keyring,
        catalog: Some(&deps.catalog),
    };
    let restored = restore::perform(origin, &destination, parts, lease).await;
    drop(occupied);
    super::sweep::clear(&directory, lease).await;
    let restored = restored?;
    let storage = super::database::storage_used(&storages, &restored);
    Ok((storage, found(&manifest, restored)))
}

fn found(manifest: &Manifest, restored: Effects) -> Found {
    let files = restored.result["files"].as_u64();
    let mut found = Found {
        files,
        bytes: restored.bytes_out,
        warnings: restored.warnings,
        follow_ups: restored.follow_ups,
        ..Found::default()
    };
    match (manifest.source["files"].as_u64(), files) {
        (Some(expected), Some(files)) if files != expected => {
            let text = format!("{files} files were unpacked instead of {expected}");
            found.note(ProofWeight::Real, "files.count", text);
        }
        (None, _) => found.note(
            ProofWeight::Tolerable,
            "proof.no_expectations",
            "its manifest doesn't say how many files it holds",
        ),
        (Some(_), _) => {}
    }
    found
}
