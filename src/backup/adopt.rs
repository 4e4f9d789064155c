//! What earlier executions of the same job left behind: a backup that only lacks its row, or debris.
//!
//! A worker that dies between the manifest and the end of its execution has made a backup that nobody knows of. The next
//! execution takes that one instead of dumping again.

use std::sync::Arc;

use super::{Deps, store};
use crate::{
    catalog::{CopyState, Manifest, NewArtifact, NewCopy, adopt},
    execution::{self, Effects, Lease},
    fault::Failure,
    id::ExecutionId,
    storage::{Folder, Storage},
};

/// The backup that an earlier execution of this job completed, if there is one and its bytes are good on some storage.
pub(super) async fn completed_earlier(
    earlier: &[ExecutionId],
    deps: &Deps,
    lease: &Arc<Lease>,
) -> Result<Option<Effects>, Failure> {
    let mut adopted: Option<(Manifest, String)> = None;
    let mut copies = Vec::new();
    for storage in &deps.storages {
        let Some((manifest, text)) = adopt::find(storage, &deps.environment, earlier).await? else {
            continue;
        };
        // Every storage's copy of one backup has the same manifest; another one is another backup.
        if adopted
            .as_ref()
            .is_some_and(|(first, _)| first.artifact != manifest.artifact)
        {
            continue;
        }
        if let Err(failure) = store::read_back_one(&manifest, storage, lease).await {
            lease.log(format!("{}: not adopted: {failure}", storage.name()));
            continue;
        }
        copies.push(copy_on(storage));
        adopted.get_or_insert((manifest, text));
    }
    Ok(adopted.map(|(manifest, text)| {
        lease.log(format!(
            "adopting the backup that execution {} completed",
            manifest.execution
        ));
        store::effects(
            NewArtifact::from_manifest(&manifest, text),
            Vec::new(),
            copies,
        )
    }))
}

fn copy_on(storage: &Storage) -> NewCopy {
    NewCopy {
        storage: storage.name().clone(),
        state: CopyState::Stored,
        error: None,
        checked_at: None,
    }
}

/// Removes what those executions left half made. Not worth failing for: the general sweep comes by later.
pub(super) async fn sweep(earlier: &[ExecutionId], deps: &Deps, lease: &Arc<Lease>) {
    if earlier.is_empty() {
        return;
    }
    for storage in &deps.storages {
        match sweep_one(storage, earlier, deps).await {
            Ok(swept) => {
                for folder in swept {
                    lease.log(format!(
                        "{}: swept {folder}, left by an earlier attempt",
                        storage.name()
                    ));
                }
            }
            Err(failure) => lease.log(format!("{}: could not sweep: {failure}", storage.name())),
        }
    }
}

async fn sweep_one(
    storage: &Storage,
    earlier: &[ExecutionId],
    deps: &Deps,
) -> Result<Vec<Folder>, Failure> {
    let mut swept = Vec::new();
    for found in storage.folders(&deps.environment).await? {
        if earlier.contains(&found.folder.execution()) && !found.has_manifest {
            storage.delete_folder(&found.folder).await?;
            swept.push(found.folder);
        }
    }
    Ok(swept)
}

/// The executions of this job that came before.
pub(super) async fn earlier(deps: &Deps, lease: &Lease) -> Result<Vec<ExecutionId>, Failure> {
    Ok(execution::store::earlier_executions(&deps.history, lease.job()).await?)
}
