//! A look at the storages before anything goes: all of them answer, and what the rest relies on is there.
//!
//! Kanbu takes a listing that failed for an empty one. Here it stops the prune, and so does a survivor that only the catalog
//! knows of.

use std::collections::HashSet;

use super::{Deps, PruneError};
use crate::{catalog::Family, fault::Failure, retention::Condition, storage::Folder};

/// Lists every storage; an error of any of them is an error. Nobody lists more than once in a prune.
pub(super) async fn there(deps: &Deps) -> Result<HashSet<Folder>, Failure> {
    let mut there = HashSet::new();
    for storage in &deps.storages {
        let folders = storage.folders(&deps.environment).await?;
        let complete = folders.into_iter().filter(|found| found.has_manifest);
        there.extend(complete.map(|found| found.folder));
    }
    Ok(there)
}

/// Refuses if the newest stored or the newest proven backup of the subject lies nowhere.
pub(super) fn require_survivors(
    family: &Family,
    there: &HashSet<Folder>,
) -> Result<(), PruneError> {
    for wanted in [Condition::Good, Condition::Proven] {
        let sound = family
            .members
            .iter()
            .filter(|member| member.candidate.condition >= wanted);
        let newest = sound.max_by_key(|member| (member.candidate.at, member.candidate.id));
        if let Some(newest) = newest.filter(|newest| !there.contains(&newest.folder)) {
            return Err(PruneError::SurvivorMissing(newest.candidate.id));
        }
    }
    Ok(())
}
