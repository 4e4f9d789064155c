//! Removing what executions left that ended without a backup: folders without a manifest, and uploads without an end.
//!
//! A folder with a manifest is a backup and is never touched here; deleting one is decided in the catalog. A plan comes
//! first, as a value that can be shown and from which more can be spared; each folder is looked at again right before it
//! goes.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::{Environment, Folder, Found, ObjectKey, Storage, StorageError};
use crate::id::ExecutionId;

/// A folder that no backup will come of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Debris {
    pub folder: Folder,
    /// Objects and unfinished uploads.
    pub files: usize,
    pub bytes: u64,
}

/// What of `found` may go: no manifest, no live execution, begun before `begun_before`.
///
/// The caller's instant must lie a safe age back: the longest lease, the clocks' difference and a margin. A folder is as
/// young as its execution's id: what is imported stands under the date of its origin, and was begun only now.
pub fn plan(
    found: &[Found],
    live: &BTreeSet<ExecutionId>,
    begun_before: DateTime<Utc>,
) -> Vec<Debris> {
    found
        .iter()
        .filter(|f| {
            !f.has_manifest
                && !live.contains(&f.folder.execution())
                && begun_at(&f.folder) < begun_before
        })
        .map(|f| Debris {
            folder: f.folder.clone(),
            files: f.objects.len() + f.staging.len(),
            bytes: f
                .objects
                .iter()
                .chain(&f.staging)
                .map(|(_, size)| size)
                .sum(),
        })
        .collect()
}

fn begun_at(folder: &Folder) -> DateTime<Utc> {
    let made_at = folder.execution().made_at();
    made_at.map_or(folder.stamp(), |made_at| made_at.max(folder.stamp()))
}

/// Removes the debris of an environment. Returns what went.
pub async fn sweep(
    storage: &Storage,
    environment: &Environment,
    live: &BTreeSet<ExecutionId>,
    begun_before: DateTime<Utc>,
) -> Result<Vec<Debris>, StorageError> {
    let debris = look(storage, environment, live, begun_before).await?;
    remove(storage, debris).await
}

/// The debris of an environment. Changes nothing.
pub async fn look(
    storage: &Storage,
    environment: &Environment,
    live: &BTreeSet<ExecutionId>,
    begun_before: DateTime<Utc>,
) -> Result<Vec<Debris>, StorageError> {
    let mut found = storage.folders(environment).await?;
    if let Err(error) = storage.add_unfinished(environment, &mut found).await {
        // Often a right that is missing for this alone; the rest can go all the same.
        tracing::warn!(storage.name = %storage.name(), %error, "unfinished uploads could not be listed");
    }
    Ok(plan(&found, live, begun_before))
}

/// Removes debris. Returns what went: not what has become a backup meanwhile.
pub async fn remove(storage: &Storage, debris: Vec<Debris>) -> Result<Vec<Debris>, StorageError> {
    let mut removed = Vec::new();
    for debris in debris {
        let manifest = ObjectKey::Manifest {
            folder: debris.folder.clone(),
        };
        if !storage.exists(&manifest).await? {
            if let Err(error) = storage.abort_unfinished(&debris.folder).await {
                tracing::warn!(storage.name = %storage.name(), %error, "an unfinished upload could not be aborted");
            }
            storage.delete_folder(&debris.folder).await?;
            removed.push(debris);
        }
    }
    Ok(removed)
}
