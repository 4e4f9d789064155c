//! A run: the source once, through the stages, to every storage at the same time; then all of it or nothing of it.
//!
//! Invariant: an upload is completed only when the source said that its data is complete, every stage ended well, their
//! counts agree, and the gate is open. On every other way each upload is aborted, and that is waited for.

use std::time::Duration;

use futures::future::join_all;
use tokio::{runtime::Handle, sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{
    CompressionSpec, Feed, PartGrowth, PipelineError, Seal, Target, TargetEnd, Watch, compress,
    parts::{FanOut, MOST_PARTS, Part},
    stage::Halt,
    stream::{Stages, Stream, Streamed},
    target::{Arrived, abort, commit, transfer},
    watch::{Gate, Meter, Waiter},
};
use crate::{
    crypto::{KeyId, ManifestKey},
    fault::{Failure, Fault},
    storage::StorageName,
};

/// How a run turns content into an object.
#[derive(Debug)]
pub struct Recipe {
    pub compression: CompressionSpec,
    pub seal: Seal,
    pub limits: Limits,
}

impl Recipe {
    /// With the usual limits.
    pub fn new(compression: CompressionSpec, seal: Seal) -> Self {
        Self {
            compression,
            seal,
            limits: Limits::default(),
        }
    }
}

/// What a run puts up with.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A storage with parts to move that moves none for this long is given up.
    pub stall_timeout: Duration,
    /// The same for the completion, when a local storage flushes all that the operating system has kept back.
    pub commit_timeout: Duration,
    pub part_growth: PartGrowth,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            stall_timeout: Duration::from_mins(1),
            commit_timeout: Duration::from_mins(15),
            part_growth: PartGrowth::default(),
        }
    }
}

/// A run that ended well at one storage at least.
#[derive(Debug)]
pub struct Written {
    /// Bytes read from the source.
    pub content_bytes: u64,
    /// Compressed, not yet sealed.
    pub payload_bytes: u64,
    pub payload_sha256: [u8; 32],
    /// What lies on the storages.
    pub stored_bytes: u64,
    pub stored_sha256: [u8; 32],
    /// With envelope v2: seals the manifest.
    pub manifest_key: Option<ManifestKey>,
    pub key_id: Option<KeyId>,
    /// One for each target, in their order.
    pub ends: Vec<TargetEnd>,
}

/// Runs a source to its end. To stop it, cancel the watch and wait: dropping the future gives the uploads up too, but
/// nobody then waits until they are gone.
pub async fn write(
    source: Feed,
    recipe: Recipe,
    targets: Vec<Target>,
    watch: Watch,
) -> Result<Written, Failure> {
    if targets.is_empty() {
        return Err(PipelineError::NoStorage.into());
    }
    let Recipe {
        compression,
        seal,
        limits,
    } = recipe;
    let (key_id, manifest_key) = (seal.key_id(), seal.manifest_key());
    let stages = Stages {
        compress: compress::stage(compression)?,
        seal: seal.into_stage(),
    };
    let (streamed, ends) = run(source, stages, limits, targets, watch).await?;
    Ok(Written {
        content_bytes: streamed.content_bytes,
        payload_bytes: streamed.payload.bytes,
        payload_sha256: streamed.payload.sha256,
        stored_bytes: streamed.stored.bytes,
        stored_sha256: streamed.stored.sha256,
        manifest_key,
        key_id,
        ends,
    })
}

async fn run(
    source: Feed,
    stages: Stages,
    limits: Limits,
    targets: Vec<Target>,
    watch: Watch,
) -> Result<(Streamed, Vec<TargetEnd>), Failure> {
    let Watch { cancel, tick, gate } = watch;
    let stop = cancel.child_token();
    let _stops_when_dropped = stop.clone().drop_guard();
    let waiter = Waiter {
        runtime: Handle::current(),
        stop: stop.clone(),
    };
    let meter = Meter::new(tick);

    let (queues, uploads) = begin_uploads(targets, limits.stall_timeout, &stop);
    let fan_out = FanOut::new(queues, limits.part_growth, meter.clone(), waiter.clone());
    let stream = Stream::start(source, stages, fan_out, meter, &waiter);

    // They end when the last part is through, or when no storage is left; a source that still waits is of no use then.
    let landings = join_all(uploads.into_iter().map(Landing::of)).await;
    stop.cancel();
    let streamed = stream.end().await;

    let decided = match whole(streamed, &landings, &cancel) {
        Ok(streamed) => ask(&cancel, gate).await.map(|()| streamed),
        Err(failure) => Err(failure),
    };
    match decided {
        Ok(streamed) => {
            let size = streamed.stored.bytes;
            let ends = join_all(landings.into_iter().map(|l| l.commit(size, limits))).await;
            somebody_holds_it(&ends)?;
            Ok((streamed, ends))
        }
        Err(failure) => {
            join_all(landings.into_iter().map(Landing::abort)).await;
            Err(failure)
        }
    }
}

type Uploading = (Target, JoinHandle<Result<Arrived, Failure>>);

/// One task for each storage, so that none waits for another.
fn begin_uploads(
    targets: Vec<Target>,
    stall_timeout: Duration,
    stop: &CancellationToken,
) -> (Vec<mpsc::Sender<Part>>, Vec<Uploading>) {
    targets
        .into_iter()
        .map(|target| {
            let (queue, parts) = mpsc::channel(MOST_PARTS);
            let upload = transfer(target.clone(), parts, stall_timeout, stop.clone());
            (queue, (target, tokio::spawn(upload)))
        })
        .unzip()
}

/// A storage after the last part.
struct Landing {
    target: Target,
    arrived: Result<Arrived, Failure>,
}

impl Landing {
    async fn of((target, upload): Uploading) -> Self {
        let panicked = |_| Err(PipelineError::StagePanicked { stage: "upload" }.into());
        Self {
            target,
            arrived: upload.await.unwrap_or_else(panicked),
        }
    }

    async fn commit(self, stored_bytes: u64, limits: Limits) -> TargetEnd {
        let Self { target, arrived } = self;
        let result = match arrived {
            Ok(arrived) => commit(&target, arrived, stored_bytes, limits.commit_timeout).await,
            Err(failure) => Err(failure),
        };
        TargetEnd {
            storage: target.storage.name().clone(),
            result,
        }
    }

    async fn abort(self) {
        if let Ok(arrived) = self.arrived {
            abort(&self.target.storage, arrived).await;
        }
    }

    fn loss(&self) -> Option<(&StorageName, &Failure)> {
        let failure = self.arrived.as_ref().err()?;
        Some((self.target.storage.name(), failure))
    }
}

/// Whether everything has come through, to one storage at least.
fn whole(
    streamed: Result<Streamed, Halt>,
    landings: &[Landing],
    cancel: &CancellationToken,
) -> Result<Streamed, Failure> {
    // A source that was killed on the same order fails too; the order is the cause.
    if cancel.is_cancelled() {
        return Err(Failure::cancelled());
    }
    match streamed {
        Ok(streamed) if landings.iter().any(|landing| landing.arrived.is_ok()) => Ok(streamed),
        Ok(_) | Err(Halt::Gone | Halt::Stopped) => {
            Err(none_left(landings.iter().filter_map(Landing::loss)))
        }
        Err(Halt::Failed(failure)) => Err(failure),
    }
}

/// The commit gate: whether what has arrived may become visible.
async fn ask(cancel: &CancellationToken, gate: Gate) -> Result<(), Failure> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(Failure::cancelled()),
        open = gate() => open,
    }
}

fn somebody_holds_it(ends: &[TargetEnd]) -> Result<(), Failure> {
    if ends.iter().any(|end| end.result.is_ok()) {
        return Ok(());
    }
    let losses = ends
        .iter()
        .filter_map(|end| Some((&end.storage, end.result.as_ref().err()?)));
    Err(none_left(losses))
}

/// One storage's own failure; of several, one that names them all. Worth another try if it is for any of them.
fn none_left<'a>(losses: impl Iterator<Item = (&'a StorageName, &'a Failure)>) -> Failure {
    let losses: Vec<_> = losses.collect();
    if let [(_, failure)] = losses[..] {
        return failure.clone();
    }
    let transient = losses
        .iter()
        .any(|(_, failure)| failure.fault == Fault::Transient);
    let detail: Vec<_> = losses
        .iter()
        .map(|(name, failure)| format!("{name}: {failure}"))
        .collect();
    PipelineError::NoStorageLeft {
        detail: detail.join("; "),
        fault: if transient {
            Fault::Transient
        } else {
            Fault::Permanent
        },
    }
    .into()
}

#[cfg(test)]
mod tests;
