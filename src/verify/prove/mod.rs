//! A test restore: one backup is really restored, where that harms nobody, and compared with what its manifest expects.
//!
//! Invariant: nothing of it stays, however it ends, but for a database that was to be kept; what a crash leaves is found by
//! the execution's id and swept. Only what speaks of the backup makes a proof, good or bad: a place that can't be used says
//! nothing about it.
//!
//! `ground` decides where, `database` and `tree` restore and compare, `checks` asks the operator's own questions, `record`
//! makes a row of it, `sweep` comes after crashes. Restoring itself is `restore`'s.

mod checks;
mod database;
mod ground;
mod inspect;
mod record;
mod sweep;
mod tree;

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use self::{
    checks::{MAX_CHECKS_BYTES, Unsplit, statements},
    sweep::sweep,
};
use super::{Deps, VerifyError};
use crate::{
    catalog::{self, ArtifactKind, ArtifactView, Filter},
    execution::{Effects, Lease, Warning},
    fault::Failure,
    job::Verify,
    pg::{scratch::Ground, tools::Toolset},
    restore::DatabaseTarget,
};

/// How backups are restored in a test.
#[derive(Clone, Debug)]
pub struct ProofTerms {
    pub ground: Ground,
    /// Of private servers and unpacked trees; each execution has a directory of its own in it.
    pub directory: PathBuf,
    /// The protected server, where there is an address of it.
    pub target: Option<DatabaseTarget>,
    pub toolsets: Vec<Toolset>,
    /// Whether `pg_amcheck` is asked as well.
    pub with_amcheck: bool,
    /// For each of the operator's checks.
    pub check_limit: Duration,
    /// How long a good proof counts.
    pub holds_for: Duration,
    /// One test restore at a time: they take room and time that others need.
    pub turn: Arc<Semaphore>,
}

impl ProofTerms {
    /// For each of the operator's checks, if nobody says otherwise.
    pub const CHECK_LIMIT: Duration = Duration::from_mins(1);

    /// On a private server in this directory, or where nothing else is possible on `target`; for a month.
    pub fn new(directory: PathBuf, target: Option<DatabaseTarget>, toolsets: Vec<Toolset>) -> Self {
        Self {
            ground: Ground::Auto,
            directory,
            target,
            toolsets,
            with_amcheck: false,
            check_limit: Self::CHECK_LIMIT,
            holds_for: Duration::from_hours(24 * 31),
            turn: Arc::new(Semaphore::new(1)),
        }
    }
}

/// One test restore under way.
struct Proving<'a> {
    request: &'a Verify,
    deps: &'a Deps,
    lease: &'a Arc<Lease>,
    artifact: &'a ArtifactView,
}

pub(super) async fn perform(
    request: &Verify,
    deps: &Deps,
    lease: &Arc<Lease>,
) -> Result<Effects, Failure> {
    let Some(artifact) = meant(request, deps).await? else {
        return Ok(nothing_there(request));
    };
    let _turn = turn(&deps.proof, lease).await?;
    sweep::sweep_before(deps).await;
    lease.check().await?;
    lease.log(format!("restoring backup {} in a test", artifact.id));
    let proving = Proving {
        request,
        deps,
        lease,
        artifact: &artifact,
    };
    let trial = match artifact.kind {
        ArtifactKind::Database => database::restore(&proving).await,
        ArtifactKind::Source => tree::restore(&proving).await,
    }?;
    Ok(record::effects(&proving, trial))
}

/// The named backup, or the newest of the subject: also when no good copy of it is left, for that is worth knowing.
async fn meant(request: &Verify, deps: &Deps) -> Result<Option<ArtifactView>, Failure> {
    if let Some(id) = request.artifact {
        let artifact = catalog::get(&deps.catalog, id).await?;
        return Ok(Some(artifact.ok_or(VerifyError::NotFound(id))?));
    }
    let newest = Filter {
        subject: Some(request.subject.clone()),
        limit: Some(1),
        include_lost: true,
        ..Filter::default()
    };
    Ok(catalog::list(&deps.catalog, &newest).await?.pop())
}

fn nothing_there(request: &Verify) -> Effects {
    let warning = Warning {
        code: "backup.none".to_owned(),
        text: format!("there is no backup of {} to restore", request.subject),
        degrades: true,
    };
    Effects {
        warnings: vec![warning],
        ..Effects::default()
    }
}

async fn turn(terms: &ProofTerms, lease: &Lease) -> Result<OwnedSemaphorePermit, Failure> {
    let turn = tokio::select! {
        biased;
        () = lease.cancelled().cancelled() => None,
        turn = Arc::clone(&terms.turn).acquire_owned() => turn.ok(),
    };
    lease.stopped()?;
    turn.ok_or_else(Failure::cancelled)
}
