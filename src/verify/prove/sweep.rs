//! What test restores leave behind when their process dies: directories on this host, databases on the protected server.
//!
//! Each bears the id of its execution. On this host it goes when that execution is not open and no process holds it; a
//! database goes only when this control database knows that its execution has ended, for other installations may restore
//! on the same server.

use std::path::Path;

use tracing::{info, warn};

use super::ProofTerms;
use crate::{
    control::ControlDb,
    execution::{self, Lease},
    fault::Failure,
    pg::{scratch, server},
    verify::Deps,
};

/// Removes what dead test restores left behind. Returns how much it was.
pub async fn sweep(terms: &ProofTerms, db: &ControlDb) -> Result<u64, Failure> {
    Ok(sweep_directories(terms, db).await? + sweep_databases(terms, db).await?)
}

async fn sweep_directories(terms: &ProofTerms, db: &ControlDb) -> Result<u64, Failure> {
    let found = scratch::directories(&terms.directory);
    let ids: Vec<_> = found.iter().map(|(execution, _)| *execution).collect();
    let ended = execution::store::ended(db, &ids).await?;
    let mut swept = 0;
    for (execution, directory) in found {
        if ended.contains(&execution) && server::clear(&directory).await? {
            info!(directory = %directory.display(), "swept what a dead test restore left");
            swept += 1;
        }
    }
    Ok(swept)
}

async fn sweep_databases(terms: &ProofTerms, db: &ControlDb) -> Result<u64, Failure> {
    let Some(target) = &terms.target else {
        return Ok(0);
    };
    let found = scratch::databases(&target.cluster).await?;
    let ids: Vec<_> = found.iter().map(|(execution, _)| *execution).collect();
    let over = execution::store::over(db, &ids).await?;
    let mut swept = 0;
    for (execution, database) in found {
        if over.contains(&execution) {
            scratch::drop_database(&target.cluster, execution).await?;
            info!(%database, "dropped what a dead test restore left");
            swept += 1;
        }
    }
    Ok(swept)
}

/// Before another one: the remains of the last one may take the room. That they can't be swept must not cost the new one.
pub(super) async fn sweep_before(deps: &Deps) {
    if let Err(failure) = sweep(&deps.proof, &deps.catalog).await {
        warn!(%failure, "could not sweep what dead test restores left");
    }
}

/// Removes the directory of this execution. If that fails, the next sweep does it.
pub(super) async fn clear(directory: &Path, lease: &Lease) {
    match server::clear(directory).await {
        Ok(true) => {}
        Ok(false) => lease.log(format!("{} is still in use", directory.display())),
        Err(error) => {
            lease.log(format!("{} is still there: {error}", directory.display()));
            warn!(directory = %directory.display(), %error, "could not remove a test restore");
        }
    }
}
