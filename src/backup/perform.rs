//! Carrying a plan out.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{BackupError, Deps, Plan, adopt, source, store, warnings};
use crate::{
    catalog::{ArtifactKind, Compression, EnvelopeFormat},
    crypto::{LegacySealer, Metadata, Sealer},
    execution::{Effects, Lease, Phase, Total},
    fault::{Failure, Fault},
    job::Backup,
    pipeline::{self, CompressionSpec, Limits, Recipe, Seal, Target, Written},
    storage::StorageName,
};

/// Makes the backup, or adopts the one that an earlier execution of this job completed without being able to say so.
pub async fn perform(
    request: &Backup,
    plan: Plan,
    deps: &Deps,
    lease: &Arc<Lease>,
) -> Result<Effects, Failure> {
    let earlier = adopt::earlier(deps, lease).await?;
    if let Some(effects) = adopt::completed_earlier(&earlier, deps, lease).await? {
        return Ok(effects);
    }
    adopt::sweep(&earlier, deps, lease).await;
    say_what_is_planned(&plan, lease);
    let opened = source::open(&plan, &deps.sources, lease).await?;
    let recipe = recipe(&plan, deps, lease).await?;
    let watch = lease.watch(phase(&plan), opened.estimate.map(Total::Estimate));
    let written = pipeline::write(opened.feed, recipe, targets(&plan, deps), watch).await?;
    refuse_empty(&plan, &written)?;
    let source::Told {
        facts,
        warnings: mut said,
    } = opened
        .report
        .told(plan.envelope != EnvelopeFormat::None)
        .await?;
    if plan.envelope == EnvelopeFormat::None {
        said.push(warnings::unencrypted());
    }
    let facts = merged(opened.facts, facts);
    let made = store::Made {
        request,
        plan: &plan,
        written: &written,
        facts,
        warnings: said,
    };
    store::commit(made, deps, lease).await
}

fn phase(plan: &Plan) -> Phase {
    match plan.kind {
        ArtifactKind::Database => Phase::Dump,
        ArtifactKind::Source => Phase::Archive,
    }
}

fn say_what_is_planned(plan: &Plan, lease: &Arc<Lease>) {
    let storages: Vec<_> = plan.storages.iter().map(StorageName::as_str).collect();
    lease.log(format!(
        "backing up {} to {} as {}",
        plan.subject,
        storages.join(", "),
        plan.folder
    ));
}

fn targets(plan: &Plan, deps: &Deps) -> Vec<Target> {
    let key = plan.data_key();
    deps.storages
        .iter()
        .map(|storage| Target {
            storage: storage.clone(),
            key: key.clone(),
        })
        .collect()
}

/// Deriving a passphrase's key takes a good part of a second of pure computation: it has a thread of its own.
async fn recipe(plan: &Plan, deps: &Deps, lease: &Arc<Lease>) -> Result<Recipe, Failure> {
    let (envelope, keyring) = (plan.envelope, deps.keyring.clone());
    let metadata = metadata(plan, lease);
    let seal = tokio::task::spawn_blocking(move || {
        Ok::<_, Failure>(match envelope {
            EnvelopeFormat::None => Seal::Off,
            EnvelopeFormat::KanbuV1 => Seal::V1(Box::new(LegacySealer::new(&keyring)?)),
            EnvelopeFormat::Kbk2 => Seal::V2(Box::new(Sealer::new(&keyring, &metadata)?)),
        })
    })
    .await
    .map_err(|_| {
        Failure::new(
            Fault::Transient,
            "key.derivation",
            "deriving the key was interrupted",
        )
    })??;
    let compression = match plan.compression {
        Compression::Zstd => CompressionSpec::Zstd {
            level: deps.zstd_level,
            workers: deps.zstd_workers,
        },
        Compression::Gzip => CompressionSpec::Gzip { level: GZIP_LEVEL },
        Compression::None => CompressionSpec::None,
    };
    Ok(Recipe {
        compression,
        seal,
        limits: Limits {
            stall_timeout: deps.stall_timeout,
            ..Limits::default()
        },
    })
}

/// What `gzip -c` uses.
const GZIP_LEVEL: u32 = 6;

fn metadata(plan: &Plan, lease: &Arc<Lease>) -> Metadata {
    Metadata {
        kind: Some(plan.kind.as_str().to_owned()),
        content: Some(plan.content.as_str().to_owned()),
        compression: Some(plan.compression.as_str().to_owned()),
        created: Some(
            plan.folder
                .stamp()
                .to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        ),
        execution: Some(lease.execution().to_string()),
        writer: Some(store::WRITER.to_owned()),
    }
}

fn refuse_empty(plan: &Plan, written: &Written) -> Result<(), BackupError> {
    if written.content_bytes == 0 {
        Err(BackupError::Empty(plan.subject.clone()))
    } else {
        Ok(())
    }
}

fn merged(facts: Value, found: Value) -> Value {
    match (facts, found) {
        (Value::Object(mut facts), Value::Object(found)) => {
            facts.extend(found);
            json!(facts)
        }
        (facts, _) => facts,
    }
}
