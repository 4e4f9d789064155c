//! The handler of Prune jobs.

use std::sync::Arc;

use kanbu_backup::{
    execution::{Effects, Lease},
    fault::Failure,
    job::Prune,
    prune::{self, Deps},
};

/// Lets go what no policy keeps.
pub async fn run(request: &Prune, deps: &Deps, lease: &Arc<Lease>) -> Result<Effects, Failure> {
    prune::perform(request, deps, lease).await
}
