//! From a job to its handler: the single exhaustive match.

use std::sync::Arc;

use kanbu_backup::{
    execution::{Effects, Lease},
    fault::{Failure, Fault},
    job::{Job, Kind},
    queue::Handler,
};

use crate::{backup, prune, restore, verify};

/// What each handler needs; none sees another's.
#[derive(Clone, Debug)]
pub struct Deps {
    pub backup: kanbu_backup::backup::Deps,
    pub restore: kanbu_backup::restore::Deps,
    pub verify: kanbu_backup::verify::Deps,
    pub prune: kanbu_backup::prune::Deps,
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
        Job::Notify(_) => Err(no_handler(job.kind())),
    }
}

/// The queue takes no such job; only a row written around it gets here.
fn no_handler(kind: Kind) -> Failure {
    let text = format!("this release has no handler for {kind} jobs");
    Failure::new(Fault::Permanent, "handler.missing", text)
}
