//! What earlier executions of the same job left behind: a backup that only lacks its row, or debris.
//!
//! A worker that dies between the manifest and the end of its execution has made a backup that nobody knows of. The next
//! execution takes that one instead of dumping again. It takes nothing on trust: every byte is read, opened with the keys
//! at hand, and compared, and so is the manifest's seal.

use std::sync::Arc;

use tokio::time::timeout;

use super::{
    BackupError, Deps,
    copies::{Attempt, Copies, Fate, Reading, stalled},
    store,
};
use crate::{
    catalog::{self, EnvelopeFormat, Manifest, ManifestWarning, NewArtifact, adopt},
    execution::{self, Effects, Lease, Phase, Total, Warning},
    fault::Failure,
    id::ExecutionId,
    job::Backup,
    pipeline::Input,
    storage::{Folder, Storage},
};

/// A backup that was completed and not reported, with its manifest's exact text.
struct Adopted {
    manifest: Manifest,
    text: String,
}

/// The backup that an earlier execution of this job completed, if there is one and its bytes are good on some storage.
/// What else they left is removed.
pub(super) async fn completed_earlier(
    request: &Backup,
    deps: &Deps,
    lease: &Arc<Lease>,
) -> Result<Option<Effects>, Failure> {
    let earlier = execution::store::earlier_executions(&deps.history, lease.job()).await?;
    if earlier.is_empty() {
        return Ok(None);
    }
    let mut adopted = None;
    let mut attempts = Vec::new();
    for storage in &deps.storages {
        let result = match look(storage, request, &earlier, deps, lease).await {
            Ok(found) => take(&mut adopted, found),
            Err(failure) => Err(failure),
        };
        lease.stopped()?;
        if let Err(failure) = &result {
            lease.log(format!("{}: nothing to adopt: {failure}", storage.name()));
        }
        attempts.push(Attempt {
            storage: storage.clone(),
            fate: fate(storage, result, deps),
        });
    }
    sweep(&earlier, deps, lease).await;
    let copies = Copies::new(attempts);
    Ok(adopted.map(|adopted| effects(adopted, copies, deps, lease)))
}

/// The first copy that is good decides which backup it is; the other storages have that one too, or none.
fn take(adopted: &mut Option<Adopted>, found: Adopted) -> Result<(), Failure> {
    match adopted {
        Some(first) if first.text != found.text => Err(BackupError::AnotherBackup.into()),
        Some(_) => Ok(()),
        None => {
            *adopted = Some(found);
            Ok(())
        }
    }
}

/// A storage that wasn't to be in the stream lacks nothing yet.
fn fate(storage: &Storage, found: Result<(), Failure>, deps: &Deps) -> Fate {
    let is_streamed_to = deps.policy.streams_to(storage.role(), storage.terms().live);
    match found {
        Err(_) if !is_streamed_to => Fate::Later,
        found => found.into(),
    }
}

/// What lies on one storage, looked at as if a stranger had put it there.
async fn look(
    storage: &Storage,
    request: &Backup,
    earlier: &[ExecutionId],
    deps: &Deps,
    lease: &Arc<Lease>,
) -> Result<Adopted, Failure> {
    let finding = adopt::find(storage, &deps.environment, earlier);
    let found = timeout(deps.stall_timeout, finding)
        .await
        .map_err(|_| stalled(storage, deps.stall_timeout))?;
    let (manifest, text) = found?.ok_or(BackupError::NothingThere)?;
    if manifest.job != lease.job() || manifest.subject != request.subject {
        return Err(BackupError::AnotherBackup.into());
    }
    let input = Input::Object {
        storage: storage.clone(),
        key: manifest.data_key(),
        sidecar: manifest.sidecar_key(),
    };
    let reading = Reading {
        expected: &manifest.expected(),
        keyring: &deps.keyring,
        patience: deps.stall_timeout,
    };
    // Not a reading back: phases never return, and the dump may still have to come.
    let watch = lease.watch(Phase::Connect, Some(Total::Known(manifest.envelope.bytes)));
    let read = reading.through(storage, &input, watch).await?;
    let opened = read.opened.ok_or(BackupError::Locked)?;
    match (manifest.envelope.format, opened.manifest_key) {
        (EnvelopeFormat::Kbk2, Some(key)) => catalog::check_seal(text.as_bytes(), &key)?,
        (EnvelopeFormat::Kbk2, None) => return Err(BackupError::Locked.into()),
        (EnvelopeFormat::KanbuV1 | EnvelopeFormat::None, _) => {}
    }
    Ok(Adopted { manifest, text })
}

/// As the dead execution would have reported it: what degraded it then still does.
fn effects(
    Adopted { manifest, text }: Adopted,
    copies: Copies,
    deps: &Deps,
    lease: &Lease,
) -> Effects {
    lease.log(format!(
        "adopting the backup that execution {} completed",
        manifest.execution
    ));
    let artifact = NewArtifact::from_manifest(&manifest, text);
    let mut warnings: Vec<_> = manifest.warnings.into_iter().map(said).collect();
    let copies = copies.settled(deps.policy, &mut warnings);
    store::effects(artifact, copies, warnings, deps)
}

fn said(noted: ManifestWarning) -> Warning {
    let ManifestWarning {
        code,
        text,
        degrades,
    } = noted;
    Warning {
        code,
        text,
        degrades,
    }
}

/// Removes what those executions left half made. Not worth failing for: the general sweep comes by later.
async fn sweep(earlier: &[ExecutionId], deps: &Deps, lease: &Lease) {
    for storage in &deps.storages {
        match sweep_one(storage, earlier, deps).await {
            Ok(swept) => {
                for folder in swept {
                    lease.log(format!(
                        "{}: swept {folder}, left by an earlier attempt",
                        storage.name()
                    ));
                }
            }
            Err(failure) => lease.log(format!("{}: could not sweep: {failure}", storage.name())),
        }
    }
}

async fn sweep_one(
    storage: &Storage,
    earlier: &[ExecutionId],
    deps: &Deps,
) -> Result<Vec<Folder>, Failure> {
    let mut swept = Vec::new();
    for found in storage.folders(&deps.environment).await? {
        if earlier.contains(&found.folder.execution()) && !found.has_manifest {
            storage.delete_folder(&found.folder).await?;
            swept.push(found.folder);
        }
    }
    Ok(swept)
}
