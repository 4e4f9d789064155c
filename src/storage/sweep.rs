//! Removing what executions left that ended without a backup: folders without a manifest, and uploads without an end.
//!
//! A folder with a manifest is a backup and is never touched here; deleting one is decided in the catalog. A plan comes
//! first, as a value that can be shown; each folder is looked at again right before it goes.

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
/// The caller's instant must lie a safe age back: the longest lease, the clocks' difference and a margin.
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
                && f.folder.stamp() < begun_before
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

/// Removes the debris of an environment. Returns what went.
pub async fn sweep(
    storage: &Storage,
    environment: &Environment,
    live: &BTreeSet<ExecutionId>,
    begun_before: DateTime<Utc>,
) -> Result<Vec<Debris>, StorageError> {
    let mut removed = Vec::new();
    let mut found = storage.folders(environment).await?;
    let uploads = storage.add_unfinished(environment, &mut found).await;
    if let Err(error) = &uploads {
        // Often a right that is missing for this alone; the rest can go all the same.
        tracing::warn!(storage.name = %storage.name(), %error, "unfinished uploads could not be listed");
    }
    for debris in plan(&found, live, begun_before) {
        let manifest = ObjectKey::Manifest {
            folder: debris.folder.clone(),
        };
        if !storage.exists(&manifest).await? {
            if uploads.is_ok() {
                storage.abort_unfinished(&debris.folder).await?;
            }
            storage.delete_folder(&debris.folder).await?;
            removed.push(debris);
        }
    }
    Ok(removed)
}
