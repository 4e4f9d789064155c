//! A run: the source once, through the stages, to every storage at the same time; then all of it or nothing of it.
//!
//! Invariant: an upload is completed only when the source said that its data is complete, every stage ended well, their
//! counts agree, and the gate is open. On every other way each upload is aborted, and that is waited for. A run that is
//! certain to end at too few storages ends at once.

use std::time::Duration;

use futures::future::join_all;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{
    CompressionSpec, Feed, PartGrowth, PipelineError, Seal, Slowness, Target, TargetEnd, Watch,
    compress,
    landing::{Landed, Landing, Uploads, land, too_few},
    pace::{Gauge, drop_the_slow},
    parts::FanOut,
    stage::Halt,
    stream::{Stages, Stream, Streamed},
    watch::{Gate, Meter, Waiter},
};
use crate::{
    crypto::{KeyId, ManifestKey},
    fault::{Classified, Failure},
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
    pub slowness: Slowness,
    /// Storages that must have everything in the end, at least one. With fewer the run comes to nothing.
    pub least: usize,
    pub part_growth: PartGrowth,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            stall_timeout: Duration::from_mins(1),
            commit_timeout: Duration::from_mins(15),
            slowness: Slowness::default(),
            least: 1,
            part_growth: PartGrowth::default(),
        }
    }
}

/// A run that ended well at enough storages.
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

/// Why a run came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Unwritten {
    /// Too few storages could take the data; the source, the stages and whoever watches are well.
    #[error("{failure}")]
    Storages {
        failure: Failure,
        /// One for each target, in their order; none of them has anything.
        ends: Vec<TargetEnd>,
    },
    #[error("{0}")]
    Run(Failure),
}

impl<E: Classified> From<E> for Unwritten {
    fn from(error: E) -> Self {
        Self::Run(error.into())
    }
}

impl From<Unwritten> for Failure {
    fn from(unwritten: Unwritten) -> Self {
        match unwritten {
            Unwritten::Storages { failure, .. } | Unwritten::Run(failure) => failure,
        }
    }
}

/// Runs a source to its end. To stop it, cancel the watch and wait: dropping the future gives the uploads up too, but
/// nobody then waits until they are gone.
pub async fn write(
    source: Feed,
    recipe: Recipe,
    targets: Vec<Target>,
    watch: Watch,
) -> Result<Written, Unwritten> {
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
) -> Result<(Streamed, Vec<TargetEnd>), Unwritten> {
    let Watch { cancel, tick, gate } = watch;
    let stop = cancel.child_token();
    let _stops_when_dropped = stop.clone().drop_guard();
    let waiter = Waiter {
        runtime: Handle::current(),
        stop: stop.clone(),
    };
    let (meter, waits) = (Meter::new(tick), Gauge::default());

    let uploads = Uploads::begin(targets, limits, &stop);
    let fan_out = FanOut::new(
        uploads.queues,
        limits.part_growth,
        meter.clone(),
        waits.clone(),
        waiter.clone(),
    );
    let stream = Stream::start(source, stages, fan_out, meter, &waiter);

    // They end when the last part is through, or when too few storages are left; a source that still waits is of no use
    // then.
    let landings = tokio::select! {
        landings = land(uploads.flying, limits.least, &stop) => landings,
        never = drop_the_slow(uploads.runners, waits, limits.slowness) => match never {},
    };
    stop.cancel();
    let streamed = stream.end().await;

    let decided = match whole(streamed, &landings, limits.least, &cancel) {
        Ok(streamed) => ask(&cancel, gate)
            .await
            .map(|()| streamed)
            .map_err(Obstacle::Other),
        Err(obstacle) => Err(obstacle),
    };
    match decided {
        Ok(streamed) => {
            let size = streamed.stored.bytes;
            let landed = join_all(landings.into_iter().map(|l| l.commit(size, limits))).await;
            settle(landed, limits.least)
                .await
                .map(|ends| (streamed, ends))
        }
        Err(obstacle) => {
            let ends = join_all(landings.into_iter().map(Landing::abort)).await;
            Err(obstacle.with(ends, limits.least))
        }
    }
}

/// What keeps a run from its end.
enum Obstacle {
    TooFewStorages,
    Other(Failure),
}

impl Obstacle {
    fn with(self, ends: Vec<TargetEnd>, least: usize) -> Unwritten {
        match self {
            Self::TooFewStorages => Unwritten::Storages {
                failure: too_few(&ends, least),
                ends,
            },
            Self::Other(failure) => Unwritten::Run(failure),
        }
    }
}

/// Whether everything has come through, to enough storages.
fn whole(
    streamed: Result<Streamed, Halt>,
    landings: &[Landing],
    least: usize,
    cancel: &CancellationToken,
) -> Result<Streamed, Obstacle> {
    // A source that was killed on the same order fails too; the order is the cause.
    if cancel.is_cancelled() {
        return Err(Obstacle::Other(Failure::cancelled()));
    }
    let arrived = landings.iter().filter(|landing| landing.has_arrived());
    match streamed {
        Ok(streamed) if arrived.count() >= least => Ok(streamed),
        Ok(_) | Err(Halt::Gone | Halt::Stopped) => Err(Obstacle::TooFewStorages),
        Err(Halt::Failed(failure)) => Err(Obstacle::Other(failure)),
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

/// After the completions: enough storages hold it, or none may.
async fn settle(landed: Vec<Landed>, least: usize) -> Result<Vec<TargetEnd>, Unwritten> {
    let there = landed.iter().filter(|landed| landed.is_there());
    if there.count() >= least {
        return Ok(join_all(landed.into_iter().map(Landed::keep)).await);
    }
    let ends = join_all(landed.into_iter().map(Landed::withdraw)).await;
    Err(Obstacle::TooFewStorages.with(ends, least))
}

#[cfg(test)]
mod tests;
