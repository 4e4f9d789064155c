//! Looking at every copy of one backup, or of all backups of a subject.

use std::sync::Arc;

use serde_json::json;

use super::Deps;
use crate::{
    catalog::{self, ArtifactView, CopyCheck, CopyState, Filter},
    execution::{Effects, Lease, Phase, Total, Warning},
    fault::{Failure, Fault},
    job::{Verify, VerifyLevel},
    pipeline::{self, Input},
    storage::{Storage, StorageName},
};

/// What was seen so far.
#[derive(Default)]
struct Findings {
    checks: Vec<CopyCheck>,
    warnings: Vec<Warning>,
    /// The first reason why a copy could not be looked at.
    blind: Option<Failure>,
    bytes: u64,
}

/// Looks at every copy that the catalog believes in. A bad one is a finding (and degrades the outcome); only when no copy
/// could be looked at at all does the verification itself fail.
pub async fn perform(
    request: &Verify,
    deps: &Deps,
    lease: &Arc<Lease>,
) -> Result<Effects, Failure> {
    let mut findings = Findings::default();
    for artifact in wanted(request, deps).await? {
        for copy in artifact
            .copies
            .iter()
            .filter(|copy| is_expected(copy.state))
        {
            lease.stopped()?;
            let storage = deps
                .storages
                .iter()
                .find(|storage| *storage.name() == copy.storage);
            let Some(storage) = storage else {
                findings.cannot_look(&artifact, &copy.storage, unknown_storage(&copy.storage));
                continue;
            };
            look(
                &artifact,
                storage,
                request.level,
                deps,
                (lease, &mut findings),
            )
            .await;
        }
    }
    findings.into_effects(lease)
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
    let gone = || {
        Failure::new(
            Fault::Permanent,
            "backup.not_found",
            format!("there is no backup {id}"),
        )
    };
    Ok(vec![artifact.ok_or_else(gone)?])
}

/// A copy that is being deleted is nobody's promise any more.
fn is_expected(state: CopyState) -> bool {
    match state {
        CopyState::Stored | CopyState::Missing | CopyState::Damaged => true,
        CopyState::Deleting | CopyState::Deleted => false,
    }
}

async fn look(
    artifact: &ArtifactView,
    storage: &Storage,
    level: VerifyLevel,
    deps: &Deps,
    (lease, findings): (&Arc<Lease>, &mut Findings),
) {
    let seen = match level {
        VerifyLevel::Quick => glance(artifact, storage).await,
        VerifyLevel::Checked => read(artifact, storage, deps, lease).await,
    };
    match seen {
        Ok(()) => {
            findings.bytes += artifact.stored_bytes;
            findings.good(artifact, storage, level);
        }
        Err(failure) => match verdict(&failure) {
            Some(state) => findings.bad(artifact, storage, state, &failure, level),
            None => findings.cannot_look(artifact, storage.name(), failure),
        },
    }
}

/// The objects are there and have their size.
async fn glance(artifact: &ArtifactView, storage: &Storage) -> Result<(), Failure> {
    let manifest = artifact.manifest()?;
    storage.head(&manifest.manifest_key()).await?;
    let data = storage.head(&manifest.data_key()).await?;
    if data.bytes == artifact.stored_bytes {
        return Ok(());
    }
    let text = format!(
        "{} bytes are stored instead of {}",
        data.bytes, artifact.stored_bytes
    );
    Err(Failure::new(Fault::Permanent, "integrity.length", text))
}

/// Every byte is what was written, and the manifest beside it is the one that was written with it.
async fn read(
    artifact: &ArtifactView,
    storage: &Storage,
    deps: &Deps,
    lease: &Arc<Lease>,
) -> Result<(), Failure> {
    let manifest = artifact.manifest()?;
    let stored = storage
        .read_small(&manifest.manifest_key(), catalog::MAX_MANIFEST_BYTES)
        .await?;
    if stored != artifact.manifest.as_bytes() {
        return Err(Failure::new(
            Fault::Permanent,
            "manifest.changed",
            "the manifest is not the one that was written",
        ));
    }
    let input = Input::Object {
        storage: storage.clone(),
        key: manifest.data_key(),
        sidecar: manifest.sidecar_key(),
    };
    let watch = lease.watch(Phase::Check, Some(Total::Known(artifact.stored_bytes)));
    let read = pipeline::check(&input, &manifest.expected(), &deps.keyring, watch).await?;
    match read.opened {
        Some(opened) => opened
            .manifest_key
            .map_or(Ok(()), |key| catalog::check_seal(&stored, &key))?,
        None => lease.log(format!(
            "{}: hash of the stored bytes only, no key opens it",
            artifact.id.short()
        )),
    }
    Ok(())
}

/// What a failure says about the copy; `None` when it says something about the way there instead.
fn verdict(failure: &Failure) -> Option<CopyState> {
    if failure.fault != Fault::Permanent {
        return None;
    }
    match failure.code.split_once('.') {
        Some(("storage", "not_found")) => Some(CopyState::Missing),
        Some(("envelope" | "integrity" | "manifest" | "pipeline", _)) => Some(CopyState::Damaged),
        _ => None,
    }
}

fn unknown_storage(name: &StorageName) -> Failure {
    Failure::new(
        Fault::Permanent,
        "storage.not_configured",
        format!("storage {name} is not configured here"),
    )
    .with_hint("a storage that holds copies must stay configured")
}

impl Findings {
    fn good(&mut self, artifact: &ArtifactView, storage: &Storage, level: VerifyLevel) {
        self.checks.push(CopyCheck {
            artifact: artifact.id,
            storage: storage.name().clone(),
            state: CopyState::Stored,
            error: None,
            full: level == VerifyLevel::Checked,
        });
    }

    fn bad(
        &mut self,
        artifact: &ArtifactView,
        storage: &Storage,
        state: CopyState,
        failure: &Failure,
        level: VerifyLevel,
    ) {
        let text = format!(
            "backup {} is {state} on {}: {failure}",
            artifact.id.short(),
            storage.name()
        );
        self.warnings.push(Warning {
            code: format!("copy.{state}"),
            text,
            degrades: true,
        });
        self.checks.push(CopyCheck {
            artifact: artifact.id,
            storage: storage.name().clone(),
            state,
            error: Some(format!("{failure} ({})", failure.code)),
            full: level == VerifyLevel::Checked,
        });
    }

    fn cannot_look(&mut self, artifact: &ArtifactView, storage: &StorageName, failure: Failure) {
        let text = format!(
            "backup {} could not be looked at on {storage}: {failure}",
            artifact.id.short()
        );
        self.warnings.push(Warning {
            code: failure.code.to_string(),
            text,
            degrades: true,
        });
        self.blind.get_or_insert(failure);
    }

    fn into_effects(self, lease: &Arc<Lease>) -> Result<Effects, Failure> {
        if let (true, Some(failure)) = (self.checks.is_empty(), self.blind) {
            return Err(failure);
        }
        for warning in &self.warnings {
            lease.log(warning.text.clone());
        }
        let good = self
            .checks
            .iter()
            .filter(|check| check.state == CopyState::Stored)
            .count();
        let result = json!({ "good": good, "bad": self.checks.len() - good, "bytes": self.bytes });
        Ok(Effects {
            checks: self.checks,
            warnings: self.warnings,
            result,
            bytes_in: self.bytes,
            ..Effects::default()
        })
    }
}
