//! The handler of Verify jobs.

use std::sync::Arc;

use kanbu_backup::{
    execution::{Effects, Lease},
    fault::Failure,
    job::Verify,
    verify::{self, Deps},
};

/// Looks at the copies again.
pub async fn run(request: &Verify, deps: &Deps, lease: &Arc<Lease>) -> Result<Effects, Failure> {
    verify::perform(request, deps, lease).await
}
