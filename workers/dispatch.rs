//! From a job to its handler: the single exhaustive match.

use std::sync::Arc;

use kanbu_backup::{
    execution::{Effects, Lease},
    fault::Failure,
    job::Job,
    queue::Handler,
};

use crate::{backup, notify, prune, restore, verify};

/// What each handler needs; none sees another's.
#[derive(Clone, Debug)]
pub struct Deps {
    pub backup: kanbu_backup::backup::Deps,
    pub restore: kanbu_backup::restore::Deps,
    pub verify: kanbu_backup::verify::Deps,
    pub prune: kanbu_backup::prune::Deps,
    pub notify: kanbu_backup::notify::Deps,
}

/// The one function that workers call for every job.
pub fn handler(deps: Deps) -> Handler {
    let deps = Arc::new(deps);
    Arc::new(move |job, lease| {
        let deps = Arc::clone(&deps);
        Box::pin(async move { run(&job, &deps, &lease).await })
    })
}

async fn run(job: &Job, deps: &Deps, lease: &Arc<Lease>) -> Result<Effects, Failure> {
    kanbu_backup::notify::announce(job, &deps.notify, lease).await;
    match job {
        Job::Backup(request) => backup::run(request, &deps.backup, lease).await,
        Job::Restore(request) => {
            let needs = restore::Needs {
                restore: &deps.restore,
                backup: &deps.backup,
            };
            restore::run(request, needs, lease).await
        }
        Job::Verify(request) => verify::run(request, &deps.verify, lease).await,
        Job::Prune(request) => prune::run(request, &deps.prune, lease).await,
        Job::Notify(request) => notify::run(request, &deps.notify, lease).await,
    }
}
