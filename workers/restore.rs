//! The handler of Restore jobs.

use std::sync::Arc;

use kanbu_backup::{
    backup,
    execution::{Effects, Lease, Phase},
    fault::Failure,
    job::{Backup, Restore, RestoreInto, Scope, Subject},
    restore::{self, Deps, Destination, Origin, Safety, Wanted},
};

/// What a restore needs, and what the backup that is made before a live database gives way.
#[derive(Clone, Copy, Debug)]
pub struct Needs<'a> {
    pub restore: &'a Deps,
    pub backup: &'a backup::Deps,
}

/// Finds a good copy of the backup and restores it into something new, which may then take the live database's place.
pub async fn run(
    request: &Restore,
    needs: Needs<'_>,
    lease: &Arc<Lease>,
) -> Result<Effects, Failure> {
    let deps = needs.restore;
    match &request.into {
        RestoreInto::Rollback { restore, .. } => {
            let confirm = request.confirm.as_deref();
            restore::rollback(&restore.to_string(), confirm, deps, lease).await
        }
        RestoreInto::Live { name } => replace(request, name, needs, lease).await,
        into @ (RestoreInto::Database { .. } | RestoreInto::Directory { .. }) => {
            let origin = origin(request, deps).await?;
            let to = Destination::of(into, request.no_owner)?;
            if request.keep {
                restore::perform_and_keep(origin, &to, deps.parts(), lease).await
            } else {
                restore::perform(origin, &to, deps.parts(), lease).await
            }
        }
    }
}

async fn origin(request: &Restore, deps: &Deps) -> Result<Origin, Failure> {
    let storage = request.storage.as_deref();
    let origin =
        Origin::of_artifact(request.artifact, storage, &deps.storages, &deps.catalog).await?;
    Ok(origin.wanting(Wanted::of(request)?))
}

/// The safety backup is made under this very execution: a job of its own would wait for the subject, which this one has.
async fn replace(
    request: &Restore,
    live: &str,
    needs: Needs<'_>,
    lease: &Arc<Lease>,
) -> Result<Effects, Failure> {
    let origin = origin(request, needs.restore).await?;
    let begun = restore::begin(request, live, origin, needs.restore, lease).await?;
    let safety = match &request.no_safety_backup {
        Some(reason) => Safety::Declined(reason.clone()),
        None => safety_backup(request, live, needs, lease).await?,
    };
    restore::replace(begun, safety).await
}

async fn safety_backup(
    request: &Restore,
    live: &str,
    needs: Needs<'_>,
    lease: &Arc<Lease>,
) -> Result<Safety, Failure> {
    lease.log("backing up the live database first");
    let lent = Arc::new(lease.lent(Phase::ReadBack));
    let subject = Subject::new(Scope::Database, live).map_err(restore::RestoreError::from)?;
    let backup = Backup {
        label: Some(format!("before restore of {}", request.artifact.short())),
        ..Backup::of(subject)
    };
    let plan = backup::plan(&backup, needs.backup, &lent)?.for_safety();
    let effects = backup::perform(&backup, plan, needs.backup, &lent).await?;
    if let Some((artifact, copies)) = effects.artifact.clone() {
        restore::record_safety(artifact, copies, needs.restore).await?;
    }
    Ok(Safety::Made(Box::new(effects)))
}
