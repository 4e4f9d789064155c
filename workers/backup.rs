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
    let plan = backup::plan(request, deps, lease)?;
    backup::perform(request, plan, deps, lease).await
}
