//! What earlier executions of the same job left behind: a backup that only lacks its row, or debris.
//!
//! A worker that dies between the manifest and the end of its execution has made a backup that nobody knows of. The next
//! execution takes that one instead of dumping again.

use serde_json::json;

use super::Deps;
use crate::{
    catalog::{self, CopyState, Manifest, NewArtifact, NewCopy, NewSource},
    execution::{self, Effects, Lease, Phase, Total},
    fault::Failure,
    id::ExecutionId,
    pipeline::{self, Input},
    storage::Storage,
};

/// The backup that an earlier execution of this job completed, if there is one and its bytes are good.
pub(super) async fn completed_earlier(deps: &Deps, lease: &Lease) -> Result<Option<Effects>, Failure> {
    let earlier = execution::earlier(&deps.history, lease.job(), lease.execution()).await?;
    if earlier.is_empty() {
        return Ok(None);
    }
    let mut copies = Vec::new();
    let mut found: Option<(Manifest, String)> = None;
    for storage in &deps.storages {
        let Some((manifest, text)) = manifest_on(storage, deps, &earlier).await else { continue };
        // Copies of one backup have one manifest, to the byte; another one's is another backup.
        if found.as_ref().is_some_and(|(first, _)| first.artifact != manifest.artifact) {
            continue;
        }
        let (state, error) = match read_back(storage, &manifest, lease).await {
            Ok(()) => (CopyState::Stored, None),
            Err(failure) => (CopyState::Damaged, Some(failure.to_string())),
        };
        copies.push(NewCopy { storage: storage.name().clone(), state, error, checked_at: None });
        found.get_or_insert((manifest, text));
    }
    Ok(found.filter(|_| copies.iter().any(|copy| copy.state == CopyState::Stored)).map(|(manifest, text)| {
        lease.log(format!("adopting the backup that execution {} completed", manifest.execution));
        effects(&manifest, text, copies)
    }))
}
