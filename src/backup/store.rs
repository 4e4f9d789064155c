//! From written objects to a listed backup: read back, manifest, effects.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{BackupError, Deps, Plan};
use crate::{
    catalog::{
        CopyState, EnvelopeFacts, EnvelopeFormat, Manifest, ManifestError, ManifestWarning,
        NewArtifact, NewCopy,
    },
    crypto::Keyring,
    execution::{Effects, Lease, Phase, Total, Warning},
    fault::Failure,
    id::ArtifactId,
    job::Backup,
    pipeline::{self, Expected, Input, Written},
    storage::{Environment, ObjectKey, Storage, StorageName},
};

/// What manifests and envelopes name as their maker.
pub(super) const WRITER: &str = concat!("kanbu-backup ", env!("CARGO_PKG_VERSION"));

/// A stream that has been written to the storages and is no backup yet.
pub(super) struct Made<'a> {
    pub request: &'a Backup,
    pub plan: &'a Plan,
    pub written: &'a Written,
    pub facts: Value,
    pub warnings: Vec<Warning>,
}

/// How one storage came out of it.
struct End {
    storage: StorageName,
    result: Result<(), Failure>,
}

/// Reads every copy back, writes the manifests, and says what becomes true with the end of the execution.
pub(super) async fn commit(
    made: Made<'_>,
    deps: &Deps,
    lease: &Arc<Lease>,
) -> Result<Effects, Failure> {
    let ends = read_back(&made, deps, lease).await;
    require_one(&ends)?;
    let (manifest, text) = manifest(&made, lease, &deps.environment)?;
    // The last moment to notice that the lease is gone: after this the backup exists.
    lease.check().await?;
    let ends = put_manifests(&made, ends, &text, deps, lease).await;
    require_one(&ends)?;
    let mut warnings = made.warnings;
    let copies = settled(ends, &mut warnings);
    Ok(effects(
        NewArtifact::from_manifest(&manifest, text),
        warnings,
        copies,
    ))
}

/// A copy counts once its bytes have come back from the storage with the hash that left us.
async fn read_back(made: &Made<'_>, deps: &Deps, lease: &Arc<Lease>) -> Vec<End> {
    let mut ends = Vec::new();
    for target in &made.written.ends {
        let result = match (&target.result, storage(deps, &target.storage)) {
            (Ok(()), Some(storage)) => read_one(made, storage, lease).await,
            (Ok(()), None) => continue,
            (Err(failure), _) => Err(failure.clone()),
        };
        if let Err(failure) = &result {
            lease.log(format!("{}: {failure}", target.storage));
        }
        ends.push(End {
            storage: target.storage.clone(),
            result,
        });
    }
    ends
}

async fn read_one(made: &Made<'_>, storage: &Storage, lease: &Arc<Lease>) -> Result<(), Failure> {
    let Written {
        stored_bytes,
        stored_sha256,
        ..
    } = *made.written;
    compare(
        made.plan.data_key(),
        storage,
        (stored_bytes, stored_sha256),
        lease,
    )
    .await
}

/// Whether a copy that somebody else wrote holds what its manifest says.
pub(super) async fn read_back_one(
    manifest: &Manifest,
    storage: &Storage,
    lease: &Arc<Lease>,
) -> Result<(), Failure> {
    let promised = (manifest.envelope.bytes, manifest.stored_sha256);
    compare(manifest.data_key(), storage, promised, lease).await
}

async fn compare(
    key: ObjectKey,
    storage: &Storage,
    (bytes, sha256): (u64, [u8; 32]),
    lease: &Arc<Lease>,
) -> Result<(), Failure> {
    let watch = lease.watch(Phase::ReadBack, Some(Total::Known(bytes)));
    let input = Input::Object {
        storage: storage.clone(),
        key,
        sidecar: None,
    };
    pipeline::check(
        &input,
        &Expected::opaque(bytes, sha256),
        &Keyring::new(None, Vec::new()),
        watch,
    )
    .await?;
    Ok(())
}

fn storage<'a>(deps: &'a Deps, name: &StorageName) -> Option<&'a Storage> {
    deps.storages.iter().find(|storage| storage.name() == name)
}

/// At least one storage must hold everything; otherwise the first one's failure, the primary's, is the run's.
fn require_one(ends: &[End]) -> Result<(), Failure> {
    if ends.iter().any(|end| end.result.is_ok()) {
        return Ok(());
    }
    let mut failures = ends.iter().filter_map(|end| end.result.as_ref().err());
    let first = failures.next().cloned();
    first.map_or_else(|| Err(BackupError::NoStorage.into()), Err)
}

async fn put_manifests(
    made: &Made<'_>,
    ends: Vec<End>,
    text: &str,
    deps: &Deps,
    lease: &Arc<Lease>,
) -> Vec<End> {
    let key = made.plan.manifest_key();
    let mut committed = Vec::new();
    for End {
        storage: name,
        result,
    } in ends
    {
        let result = match (result, storage(deps, &name)) {
            (Ok(()), Some(storage)) => storage
                .put_new(&key, Bytes::from(text.to_owned()))
                .await
                .map_err(Failure::from),
            (result, _) => result,
        };
        lease.log(match &result {
            Ok(()) => format!("{name}: stored, read back, manifest written"),
            Err(failure) => format!("{name}: no copy: {failure}"),
        });
        committed.push(End {
            storage: name,
            result,
        });
    }
    committed
}

/// The description that makes the objects a backup.
fn manifest(
    made: &Made<'_>,
    lease: &Arc<Lease>,
    environment: &Environment,
) -> Result<(Manifest, String), ManifestError> {
    let Made {
        request,
        plan,
        written,
        ..
    } = made;
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
        writer: WRITER.to_owned(),
        content: plan.content,
        compression: plan.compression,
        content_bytes: written.content_bytes,
        stored_sha256: written.stored_sha256,
        source: made.facts.clone(),
        warnings: made.warnings.iter().map(noted).collect(),
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

/// The copies as they came out, and what an operator must know of them.
fn settled(ends: Vec<End>, warnings: &mut Vec<Warning>) -> Vec<NewCopy> {
    let mut copies = Vec::new();
    for End { storage, result } in ends {
        let error = result.err().map(|failure| failure.to_string());
        if let Some(reason) = &error {
            warnings.push(Warning {
                code: "storage.no_copy".to_owned(),
                text: format!("no copy on {storage}: {reason}"),
                degrades: true,
            });
        }
        let state = if error.is_none() {
            CopyState::Stored
        } else {
            CopyState::Missing
        };
        copies.push(NewCopy {
            storage,
            state,
            error,
            checked_at: None,
        });
    }
    copies
}

/// What becomes true when the execution ends.
pub(super) fn effects(
    artifact: NewArtifact,
    warnings: Vec<Warning>,
    copies: Vec<NewCopy>,
) -> Effects {
    let stored = copies
        .iter()
        .filter(|copy| copy.state == CopyState::Stored)
        .count();
    let result = json!({
        "artifact": artifact.id,
        "stored_bytes": artifact.stored_bytes,
        "payload_sha256": hex::encode(artifact.payload_sha256),
        "copies": stored,
    });
    Effects {
        bytes_in: artifact.content_bytes,
        bytes_out: artifact.stored_bytes,
        artifact: Some((artifact, copies)),
        warnings,
        result,
        ..Effects::default()
    }
}
