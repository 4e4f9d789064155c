//! How a plan's bytes are compressed and sealed.

use tokio::task::spawn_blocking;

use super::{BackupError, Deps, Plan, store};
use crate::{
    catalog::{Compression, EnvelopeFormat},
    crypto::{LegacySealer, Metadata, Sealer},
    execution::Lease,
    fault::Failure,
    pipeline::{CompressionSpec, Limits, Recipe, Seal},
};

/// What `gzip -c` uses.
const GZIP_LEVEL: u32 = 6;

/// Derives the key, before anything is read: a key that can't be used must not cost a dump.
pub(super) async fn recipe(plan: &Plan, deps: &Deps, lease: &Lease) -> Result<Recipe, Failure> {
    Ok(Recipe {
        compression: compression(plan, deps),
        seal: seal(plan, deps, lease).await?,
        limits: Limits {
            stall_timeout: deps.stall_timeout,
            slowness: deps.slowness,
            least: deps.policy.least(),
            ..Limits::default()
        },
    })
}

fn compression(plan: &Plan, deps: &Deps) -> CompressionSpec {
    match plan.compression {
        Compression::Zstd => CompressionSpec::Zstd {
            level: deps.zstd_level,
            workers: deps.zstd_workers,
        },
        Compression::Gzip => CompressionSpec::Gzip { level: GZIP_LEVEL },
        Compression::None => CompressionSpec::None,
    }
}

/// Deriving a passphrase's key takes a good part of a second of pure computation: it has a thread of its own.
async fn seal(plan: &Plan, deps: &Deps, lease: &Lease) -> Result<Seal, Failure> {
    let (envelope, keyring) = (plan.envelope, deps.keyring.clone());
    let metadata = metadata(plan, lease);
    let derived = spawn_blocking(move || {
        Ok::<_, Failure>(match envelope {
            EnvelopeFormat::None => Seal::Off,
            EnvelopeFormat::KanbuV1 => Seal::V1(Box::new(LegacySealer::new(&keyring)?)),
            EnvelopeFormat::Kbk2 => Seal::V2(Box::new(Sealer::new(&keyring, &metadata)?)),
        })
    });
    derived.await.map_err(|_| BackupError::Derivation)?
}

/// What the sealed object says of itself, for whoever finds it without its manifest.
fn metadata(plan: &Plan, lease: &Lease) -> Metadata {
    let created = plan.folder.stamp();
    Metadata {
        kind: Some(plan.kind.as_str().to_owned()),
        content: Some(plan.content.as_str().to_owned()),
        compression: Some(plan.compression.as_str().to_owned()),
        created: Some(created.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)),
        execution: Some(lease.execution().to_string()),
        writer: Some(store::WRITER.to_owned()),
    }
}
