//! The handler of Notify jobs.

use std::sync::Arc;

use kanbu_backup::{
    execution::{Effects, Lease},
    fault::Failure,
    job::Notify,
    notify::{self, Deps},
};

/// Tells of an event.
pub async fn run(request: &Notify, deps: &Deps, lease: &Arc<Lease>) -> Result<Effects, Failure> {
    notify::perform(request, deps, lease).await
}
