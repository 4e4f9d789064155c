//! The handler of Restore jobs.

use std::sync::Arc;

use kanbu_backup::{
    execution::{Effects, Lease},
    fault::Failure,
    job::Restore,
    restore::{self, Deps, Destination, Origin},
};

/// Finds a good copy of the backup and restores it into something new.
pub async fn run(request: &Restore, deps: &Deps, lease: &Arc<Lease>) -> Result<Effects, Failure> {
    let Restore {
        artifact,
        into,
        storage,
        no_owner,
    } = request;
    let origin =
        Origin::of_artifact(*artifact, storage.as_deref(), &deps.storages, &deps.catalog).await?;
    let destination = Destination::of(into, *no_owner);
    restore::perform(origin, &destination, deps.parts(), lease).await
}
