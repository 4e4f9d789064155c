//! The handler of Backup jobs.

use std::sync::Arc;

use kanbu_backup::{
    backup::{self, Deps},
    execution::{Effects, Lease},
    fault::Failure,
    job::Backup,
};

/// Decides what the request means here, and does it.
pub async fn run(request: &Backup, deps: &Deps, lease: &Arc<Lease>) -> Result<Effects, Failure> {
    let chosen = backup::chosen(request, deps)?;
    let plan = backup::plan(request, &chosen, lease)?;
    let mut effects = backup::perform(request, plan, &chosen, lease).await?;
    backup::conclude(request, deps, &mut effects);
    Ok(effects)
}
