//! What a request wishes beyond the backup itself: on which storages it is to be, and that it be verified afterwards.

use std::borrow::Cow;

use super::{BackupError, Deps};
use crate::{
    catalog::{CopyState, NewCopy},
    execution::Effects,
    job::{Backup, Job, Verify},
    storage::Storage,
};

/// What the request may use: all storages, or those that it names.
pub fn chosen<'a>(request: &Backup, deps: &'a Deps) -> Result<Cow<'a, Deps>, BackupError> {
    if request.storages.is_empty() {
        return Ok(Cow::Borrowed(deps));
    }
    let known = |name: &&String| deps.storages.iter().any(|one| one.name().as_str() == *name);
    if let Some(unknown) = request.storages.iter().find(|name| !known(name)) {
        return Err(BackupError::UnknownStorage(unknown.clone()));
    }
    let (least, count) = (deps.policy.least(), request.storages.len());
    if count < least {
        return Err(BackupError::TooFewStorages { count, least });
    }
    let mut fewer = deps.clone();
    fewer.storages.retain(|storage| is_chosen(request, storage));
    Ok(Cow::Owned(fewer))
}

/// Adds what follows from the request to what follows from the backup.
pub fn conclude(request: &Backup, deps: &Deps, effects: &mut Effects) {
    let Some((artifact, copies)) = &mut effects.artifact else {
        return;
    };
    // Noted as deleted, a copy that is not to be is made by no repair.
    let left_out = deps
        .storages
        .iter()
        .filter(|storage| !is_chosen(request, storage));
    copies.extend(left_out.map(|storage| NewCopy {
        storage: storage.name().clone(),
        state: CopyState::Deleted,
        error: Some("the request left this storage out".to_owned()),
        checked_at: None,
    }));
    if let Some(level) = request.verify {
        effects.follow_ups.push(Job::Verify(Verify {
            artifact: Some(artifact.id),
            level,
            schedule: request.schedule,
            ..Verify::of(artifact.subject.clone())
        }));
    }
}

fn is_chosen(request: &Backup, storage: &Storage) -> bool {
    let name = storage.name().as_str();
    request.storages.is_empty() || request.storages.iter().any(|one| one == name)
}
