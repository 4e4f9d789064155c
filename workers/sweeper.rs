//! The broom: once at the start and then every hour, what dead executions left is removed, on the storages and where backups
//! are restored in a test, and databases that were replaced long enough ago.

use std::{collections::BTreeSet, time::Duration};

use kanbu_backup::{
    backup,
    catalog::adopt,
    config::Config,
    execution,
    fault::Failure,
    storage::{Storage, sweep},
    verify,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{dispatch::Deps, roles::leftovers};

const EVERY: Duration = Duration::from_hours(1);

/// Sweeps in the background until `stop`.
pub fn spawn(deps: &Deps, config: &Config, stop: CancellationToken) -> JoinHandle<()> {
    let (restore, proof) = (deps.restore.clone(), deps.verify.proof.clone());
    let deps = deps.backup.clone();
    let safe_age = config.worker.sweep_after;
    tokio::spawn(async move {
        let mut round = tokio::time::interval(EVERY);
        loop {
            tokio::select! {
                _ = round.tick() => {
                    sweep_all(&deps, safe_age).await;
                    sweep_test_restores(&deps, &proof).await;
                    leftovers::tidy(&restore).await;
                }
                () = stop.cancelled() => return,
            }
        }
    })
}

async fn sweep_all(deps: &backup::Deps, safe_age: Duration) {
    for storage in &deps.storages {
        match sweep_one(storage, deps, safe_age).await {
            Ok(()) => {}
            Err(failure) => warn!(storage.name = %storage.name(), %failure, "could not sweep"),
        }
    }
}

async fn sweep_test_restores(deps: &backup::Deps, proof: &verify::ProofTerms) {
    if let Err(failure) = verify::sweep(proof, &deps.history).await {
        warn!(%failure, "could not sweep what dead test restores left");
    }
}

/// An execution that is open may still publish: its folder stays, however old. So does the folder of a backup that the
/// catalog knows: a repair may be making a copy in it, under the name of an execution that ended long ago.
async fn sweep_one(
    storage: &Storage,
    deps: &backup::Deps,
    safe_age: Duration,
) -> Result<(), Failure> {
    let live: BTreeSet<_> = execution::store::open(&deps.history)
        .await?
        .into_iter()
        .collect();
    let begun_before = deps.clock.now() - safe_age;
    let mut debris = sweep::look(storage, &deps.environment, &live, begun_before).await?;
    let executions: Vec<_> = debris.iter().map(|d| d.folder.execution()).collect();
    let known = adopt::known(&deps.history, &executions).await?;
    debris.retain(|debris| !known.contains(&debris.folder.execution()));
    for debris in sweep::remove(storage, debris).await? {
        info!(storage.name = %storage.name(), folder = %debris.folder, bytes = debris.bytes, "swept what no backup came of");
    }
    Ok(())
}
