//! Looking at every copy of one backup, or of all backups of a subject.

use std::sync::Arc;

use super::{
    Deps, VerifyError,
    findings::Findings,
    look::{Copy, Looker, verdict},
};
use crate::{
    catalog::{self, ArtifactView, CopyState, CopyView, Filter, Manifest},
    execution::{Effects, Lease, Leg, Phase, Total},
    fault::{Failure, Fault},
    job::{Verify, VerifyLevel},
    storage::{Storage, StorageName},
};

/// Looks at every copy that the catalog believes in. A bad one is a finding (and degrades the outcome), and so is one on a
/// storage that is configured no more; only when no copy could be looked at at all does the verification itself fail.
pub async fn perform(
    request: &Verify,
    deps: &Deps,
    lease: &Arc<Lease>,
) -> Result<Effects, Failure> {
    let artifacts = wanted(request, deps).await?;
    let mut round = Round {
        deps,
        lease,
        level: request.level,
        leg: lease.begin(Phase::Check, total(&artifacts, request.level, deps)),
        findings: Findings::new(request.level),
    };
    if artifacts.is_empty() {
        round.findings.nothing_there(&request.subject);
    }
    for artifact in &artifacts {
        round.look_at(artifact).await?;
    }
    round.findings.into_effects(lease)
}

async fn wanted(request: &Verify, deps: &Deps) -> Result<Vec<ArtifactView>, Failure> {
    let Some(id) = request.artifact else {
        let filter = Filter {
            subject: Some(request.subject.clone()),
            include_lost: true,
            ..Filter::default()
        };
        return Ok(catalog::list(&deps.catalog, &filter).await?);
    };
    let artifact = catalog::get(&deps.catalog, id).await?;
    Ok(vec![artifact.ok_or(VerifyError::NotFound(id))?])
}

/// A copy that is being deleted is nobody's promise any more.
fn expected(artifact: &ArtifactView) -> impl Iterator<Item = &CopyView> {
    artifact.copies.iter().filter(|copy| match copy.state {
        CopyState::Pending | CopyState::Stored | CopyState::Missing | CopyState::Damaged => true,
        CopyState::Deleting | CopyState::Deleted => false,
    })
}

/// The bytes that there are to read.
fn total(artifacts: &[ArtifactView], level: VerifyLevel, deps: &Deps) -> Option<Total> {
    let bytes = |artifact: &ArtifactView| {
        let here = expected(artifact).filter(|copy| deps.storage(&copy.storage).is_some());
        artifact.stored_bytes * here.count() as u64
    };
    match level {
        VerifyLevel::Checked => Some(Total::Known(artifacts.iter().map(bytes).sum())),
        VerifyLevel::Quick => None,
    }
}

impl Deps {
    fn storage(&self, name: &StorageName) -> Option<&Storage> {
        self.storages.iter().find(|storage| storage.name() == name)
    }
}

/// One verification under way.
struct Round<'a> {
    deps: &'a Deps,
    lease: &'a Arc<Lease>,
    level: VerifyLevel,
    leg: Leg,
    findings: Findings,
}

impl Round<'_> {
    async fn look_at(&mut self, artifact: &ArtifactView) -> Result<(), Failure> {
        let manifest = match artifact.manifest() {
            Ok(manifest) => manifest,
            // What the catalog holds is damaged. The copies may be as good as ever.
            Err(error) => {
                let failure = Failure::from(error);
                for copy in expected(artifact) {
                    self.findings.cannot_look(artifact, copy, failure.clone());
                }
                return Ok(());
            }
        };
        for copy in expected(artifact) {
            self.lease.stopped()?;
            if let Some(storage) = self.deps.storage(&copy.storage) {
                self.look(artifact, copy, &manifest, storage).await?;
            } else {
                let missing = VerifyError::NotConfigured(copy.storage.clone());
                self.findings.out_of_reach(artifact, copy, &missing.into());
            }
        }
        Ok(())
    }

    async fn look(
        &mut self,
        artifact: &ArtifactView,
        known: &CopyView,
        manifest: &Manifest,
        storage: &Storage,
    ) -> Result<(), Failure> {
        let copy = Copy {
            storage,
            manifest,
            text: &artifact.manifest,
        };
        let looker = Looker {
            keyring: &self.deps.keyring,
            leg: &self.leg,
            lease: self.lease,
            patience: self.deps.stall_timeout,
        };
        match looker.look(&copy, self.level).await {
            Ok(()) if self.level == VerifyLevel::Quick && known.state == CopyState::Damaged => {
                let reason = known.error.as_deref().unwrap_or("found damaged before");
                self.findings
                    .bad(artifact, known, CopyState::Damaged, reason);
            }
            Ok(()) => self.findings.good(artifact, known),
            // Told to stop in the middle of it: nothing was found out.
            Err(failure) if matches!(failure.fault, Fault::Cancelled | Fault::LeaseLost) => {
                return Err(failure);
            }
            Err(failure) => match verdict(&failure) {
                Some(state) => {
                    let reason = format!("{failure} ({})", failure.code);
                    self.findings.bad(artifact, known, state, &reason);
                }
                None => self.findings.cannot_look(artifact, known, failure),
            },
        }
        Ok(())
    }
}
