//! From written objects to a listed backup: read back, manifest, effects.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Deps, Plan, clear::clear, copies::Copies};
use crate::{
    catalog::{
        self, BackupOrigin, CatalogError, CopyState, EnvelopeFacts, EnvelopeFormat, Manifest,
        ManifestError, ManifestWarning, NewArtifact, NewCopy, Reason,
    },
    execution::{Effects, Lease, Phase, Sightings, Trouble, Warning},
    fault::{Failure, Fault},
    id::ArtifactId,
    job::{Backup, Job, Prune, Verify, VerifyLevel},
    pipeline::{Expected, Written},
    storage::Environment,
};

/// What manifests and envelopes name as their maker.
pub(super) const WRITER: &str = concat!("kanbu-backup ", env!("CARGO_PKG_VERSION"));

/// A stream that has been written to the storages and is no backup yet.
pub(super) struct Made<'a> {
    pub request: &'a Backup,
    pub plan: &'a Plan,
    pub written: Written,
    pub copies: Copies,
    pub facts: Value,
    pub warnings: Vec<Warning>,
}

/// A stream that at least one storage has given back whole: all that it lacks is its manifest.
pub(super) struct Ready<'a> {
    plan: &'a Plan,
    copies: Copies,
    manifest: Manifest,
    text: String,
    warnings: Vec<Warning>,
}

impl<'a> Made<'a> {
    /// Reads every copy back. Ends with the last moment to notice that the lease is gone: what comes after it is a backup.
    pub(super) async fn read_back(
        mut self,
        deps: &Deps,
        lease: &Arc<Lease>,
    ) -> Result<Ready<'a>, Failure> {
        let (plan, written) = (self.plan, &self.written);
        let expected = Expected::opaque(written.stored_bytes, written.stored_sha256);
        self.copies
            .read_back(&plan.data_key(), &expected, deps.stall_timeout, lease)
            .await;
        lease.stopped()?;
        if let Some(refusal) = self.copies.refusal(deps.policy) {
            return Err(refusal);
        }
        let origin = self.origin(deps, lease).await?;
        let (manifest, text) = self.manifest(lease, &deps.environment, origin)?;
        lease.check().await?;
        Ok(Ready {
            plan,
            copies: self.copies,
            manifest,
            text,
            warnings: self.warnings,
        })
    }

    async fn origin(&self, deps: &Deps, lease: &Lease) -> Result<BackupOrigin, CatalogError> {
        if self.plan.safety {
            return Ok(BackupOrigin::safety());
        }
        catalog::origin_of(&deps.history, lease.job(), self.request.schedule).await
    }

    /// The description that makes the objects a backup.
    fn manifest(
        &self,
        lease: &Lease,
        environment: &Environment,
        origin: BackupOrigin,
    ) -> Result<(Manifest, String), ManifestError> {
        let (request, plan, written) = (self.request, self.plan, &self.written);
        let sealed = plan.envelope == EnvelopeFormat::Kbk2;
        let manifest = Manifest {
            artifact: ArtifactId::new(),
            execution: lease.execution(),
            job: lease.job(),
            kind: plan.kind,
            subject: plan.subject.clone(),
            environment: environment.clone(),
            created_at: plan.created_at,
            label: request.label.clone(),
            pinned: request.pin,
            origin,
            writer: WRITER.to_owned(),
            content: plan.content,
            compression: plan.compression,
            content_bytes: written.content_bytes,
            stored_sha256: written.stored_sha256,
            source: self.facts.clone(),
            warnings: self.warnings.iter().map(noted).collect(),
            envelope: EnvelopeFacts {
                format: plan.envelope,
                bytes: written.stored_bytes,
                payload_bytes: written.payload_bytes,
                payload_sha256: written.payload_sha256,
                generation: sealed.then_some(FIRST_GENERATION),
            },
            key_id: written.key_id,
        };
        let text = manifest.render(written.manifest_key.as_ref())?;
        Ok((manifest, text))
    }
}

/// A new object's header has never been re-wrapped.
const FIRST_GENERATION: u32 = 1;

fn noted(warning: &Warning) -> ManifestWarning {
    let Warning {
        code,
        text,
        degrades,
    } = warning.clone();
    ManifestWarning {
        code,
        text,
        degrades,
    }
}

impl Ready<'_> {
    /// Writes the manifests, and says what becomes true with the end of the execution.
    pub(super) async fn publish(
        mut self,
        deps: &Deps,
        lease: &Arc<Lease>,
    ) -> Result<Effects, Failure> {
        lease.begin(Phase::Record, None);
        let key = self.plan.manifest_key();
        self.copies
            .put_manifests(&key, &self.text, deps.stall_timeout)
            .await;
        self.copies.log(lease);
        let refusal = self.copies.refusal(deps.policy);
        self.clear_lost(lease, refusal.is_some(), deps).await;
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        let copies = self.copies.settled(deps.policy, &mut self.warnings);
        let artifact = NewArtifact::from_manifest(&self.manifest, self.text);
        Ok(effects(artifact, copies, self.warnings, deps))
    }

    /// A put that failed for us may have been done all the same. Whoever holds the job by now may have found that
    /// manifest and taken the copy over, so from here on only the holder of the lease removes anything. When too few have
    /// it, it goes from those, too. Where nobody answers nothing is removed: a deletion that comes through late would meet
    /// the copy that the repair has made by then.
    async fn clear_lost(&self, lease: &Arc<Lease>, all: bool, deps: &Deps) {
        if self.copies.lost().next().is_none() {
            return;
        }
        match lease.check().await {
            Err(failure) if failure.fault == Fault::LeaseLost => {
                lease.log("what did not become a copy is left to the sweep: the lease is lost");
            }
            Ok(()) | Err(_) if all => clear(&self.plan.folder, deps.storages.iter(), lease).await,
            Ok(()) | Err(_) => clear(&self.plan.folder, self.copies.lost_aloud(), lease).await,
        }
    }
}

/// What becomes true when the execution ends.
pub(super) fn effects(
    artifact: NewArtifact,
    copies: Vec<NewCopy>,
    warnings: Vec<Warning>,
    deps: &Deps,
) -> Effects {
    let stored = copies
        .iter()
        .filter(|copy| copy.state == CopyState::Stored)
        .count();
    let mut follow_ups = mending(&artifact, &copies);
    follow_ups.extend(pruning(&artifact, deps));
    let result = json!({
        "artifact": artifact.id,
        "stored_bytes": artifact.stored_bytes,
        "payload_sha256": hex::encode(artifact.payload_sha256),
        "copies": stored,
        "storages": sightings(&copies),
    });
    Effects {
        bytes_in: artifact.content_bytes,
        bytes_out: artifact.stored_bytes,
        artifact: Some((artifact, copies)),
        follow_ups,
        warnings,
        result,
        ..Effects::default()
    }
}

fn sightings(copies: &[NewCopy]) -> Sightings {
    let mut seen = Sightings::default();
    for copy in copies
        .iter()
        .filter(|copy| copy.state != CopyState::Pending)
    {
        let error = copy.error.clone().unwrap_or_default();
        let trouble = (copy.state != CopyState::Stored).then_some(Trouble::Unreachable(error));
        seen.note(&copy.storage, trouble);
    }
    seen
}

/// What a new backup makes superfluous, if its policy lets anything go. A safety backup is in the way of nothing.
fn pruning(artifact: &NewArtifact, deps: &Deps) -> Option<Job> {
    let prunes = match artifact.origin.reason {
        Reason::Schedule => true,
        Reason::Manual | Reason::Api => deps.manual.deletes(),
        Reason::Safety => false,
    };
    prunes.then(|| Job::Prune(Prune::of(artifact.subject.clone())))
}

/// The copies that are not there, or not yet, are made from one that is.
fn mending(artifact: &NewArtifact, copies: &[NewCopy]) -> Vec<Job> {
    if copies.iter().all(|copy| copy.state == CopyState::Stored) {
        return Vec::new();
    }
    vec![Job::Verify(Verify {
        artifact: Some(artifact.id),
        level: VerifyLevel::Quick,
        repair: true,
        ..Verify::of(artifact.subject.clone())
    })]
}
