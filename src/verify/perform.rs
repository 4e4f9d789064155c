//! Looking at the copies of one backup, or of all backups of a subject, one backup after the other.
//!
//! The copies of a backup are looked at side by side, and so each storage is read by one reader at a time. What a look finds
//! is in the rows before anything is done about it.

use std::sync::Arc;

use futures::future::join_all;

use super::{
    Deps, VerifyError,
    carry::Carrier,
    case::{Case, Finding},
    findings::Findings,
    look::{Copy, Looker},
    mend::Mender,
    plan::{self, Chosen},
    prove,
};
use crate::{
    catalog::{self, ArtifactView},
    execution::{Effects, Lease, Leg, Phase, Total},
    fault::Failure,
    job::{Verify, VerifyLevel},
    storage::{StorageName, Turn},
};

/// Does what was asked: looks at copies again, or restores one backup in a test.
pub async fn perform(
    request: &Verify,
    deps: &Deps,
    lease: &Arc<Lease>,
) -> Result<Effects, Failure> {
    plan::require_fit(request)?;
    match request.level {
        VerifyLevel::Quick | VerifyLevel::Checked => look_again(request, deps, lease).await,
        VerifyLevel::Proven => prove::perform(request, deps, lease).await,
    }
}

/// Looks at the copies that are due, and mends what is bad if that was asked for. A bad copy is a finding (and degrades the
/// outcome unless it was mended), and so is one on a storage that is configured no more; only when no copy could be looked
/// at at all does the verification itself fail.
async fn look_again(request: &Verify, deps: &Deps, lease: &Arc<Lease>) -> Result<Effects, Failure> {
    if let Some(id) = request.artifact {
        let there = catalog::get(&deps.catalog, id).await?;
        there.ok_or(VerifyError::NotFound(id))?;
    }
    let (subject, level) = (&request.subject, request.level);
    let standings = catalog::standings(&deps.catalog, subject, request.artifact, level).await?;
    let required: Vec<StorageName> = deps.storages.iter().map(|s| s.name().clone()).collect();
    let chosen = plan::choose(&standings, request, &required);
    let mut round = Round {
        request,
        deps,
        lease,
        leg: lease.begin(Phase::Check, total(&chosen, request, &required)),
        findings: Findings::new(request),
    };
    if standings.is_empty() {
        round.findings.nothing_there(subject);
    }
    drop(standings);
    for chosen in &chosen {
        round.take(chosen).await?;
    }
    round.findings.into_effects(lease)
}

/// The bytes that there are to read. What has to be read to mend shows only then.
fn total(chosen: &[Chosen], request: &Verify, configured: &[StorageName]) -> Option<Total> {
    let bytes = |chosen: &Chosen| {
        let here = chosen.storages().filter(|s| configured.contains(s));
        chosen.stored_bytes * here.count() as u64
    };
    let bytes = chosen.iter().map(bytes).sum();
    match (request.level, request.repair) {
        (VerifyLevel::Checked | VerifyLevel::Proven, false) => Some(Total::Known(bytes)),
        (VerifyLevel::Checked | VerifyLevel::Proven, true) => Some(Total::Estimate(bytes)),
        (VerifyLevel::Quick, _) => None,
    }
}

/// One verification under way.
struct Round<'a> {
    request: &'a Verify,
    deps: &'a Deps,
    lease: &'a Arc<Lease>,
    leg: Leg,
    findings: Findings,
}

impl Round<'_> {
    async fn take(&mut self, chosen: &Chosen) -> Result<(), Failure> {
        self.lease.stopped()?;
        let Some(artifact) = catalog::get(&self.deps.catalog, chosen.artifact).await? else {
            // Deleted since the plan was made.
            return Ok(());
        };
        let Some(mut case) = self.open(artifact, chosen) else {
            return Ok(());
        };
        let _turn = self.turn(&case).await?;
        self.look(&mut case).await?;
        if self.request.repair {
            let mender = Mender {
                deps: self.deps,
                lease: self.lease,
                carrier: Carrier {
                    lease: self.lease,
                    leg: &self.leg,
                    patience: self.deps.stall_timeout,
                },
            };
            mender.mend(&mut case).await?;
        }
        self.findings.settle(&case);
        Ok(())
    }

    fn open(&mut self, artifact: ArtifactView, chosen: &Chosen) -> Option<Case> {
        let manifest = match artifact.manifest() {
            Ok(manifest) => manifest,
            // What the catalog holds is damaged. The copies may be as good as ever.
            Err(error) => {
                self.findings.unreadable(&artifact, error.into());
                return None;
            }
        };
        let (storages, repair) = (&self.deps.storages, self.request.repair);
        Some(Case::new(artifact, manifest, chosen, storages, repair))
    }

    /// Waits until there is room for one more job on its storages.
    async fn turn(&self, case: &Case) -> Result<Turn, Failure> {
        let storages = case.posts.iter().filter_map(|post| post.storage.as_ref());
        let turn = Turn::at(storages, self.lease.cancelled()).await;
        self.lease.stopped()?;
        turn.ok_or_else(Failure::cancelled)
    }

    async fn look(&self, case: &mut Case) -> Result<(), Failure> {
        let level = self.request.level;
        let looker = Looker {
            keyring: &self.deps.keyring,
            leg: &self.leg,
            lease: self.lease,
            level,
            patience: self.deps.stall_timeout,
        };
        let looks = case.posts.iter().map(async |post| {
            let (true, Some(storage)) = (post.is_chosen, &post.storage) else {
                return None;
            };
            let copy = Copy {
                storage,
                manifest: &case.manifest,
                text: &case.artifact.manifest,
            };
            Some(looker.look(&copy).await)
        });
        let looks = join_all(looks).await;
        for (post, seen) in case.posts.iter_mut().zip(looks) {
            match seen {
                Some(seen) => seen?.settle(post, level),
                None if post.is_chosen => {
                    let missing = VerifyError::NotConfigured(post.name.clone());
                    post.finding = Finding::OutOfReach(missing.into());
                }
                None => {}
            }
        }
        let is_full = level != VerifyLevel::Quick;
        let checks = case.posts.iter();
        let checks = checks.filter_map(|post| post.check(&case.artifact, is_full));
        let checks: Vec<_> = checks.collect();
        if !checks.is_empty() {
            // Somebody else may be at it by now, and know better.
            self.lease.check().await?;
            catalog::note_checks(&self.deps.catalog, checks).await?;
        }
        Ok(())
    }
}
