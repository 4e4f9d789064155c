//! One storage of a run: its upload, its own watchdog, its own end.
//!
//! A storage that fails, hangs or is too slow is given up alone. An upload is completed only by [`commit`], after the run
//! has decided; every other way out of here aborts it.

use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    Limits, PipelineError, Slowness,
    pace::{Gauge, Runner},
    parts::Part,
    stage::agree,
};
use crate::{
    fault::Failure,
    storage::{ObjectKey, Storage, StorageName, Upload},
};

const ABORT_TIMEOUT: Duration = Duration::from_secs(20);

/// Where a run writes.
#[derive(Clone, Debug)]
pub struct Target {
    pub storage: Storage,
    pub key: ObjectKey,
}

/// How a run ended at one storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetEnd {
    pub storage: StorageName,
    pub result: Result<(), Failure>,
}

/// Everything was handed over; nothing is visible yet.
#[derive(Debug)]
pub(super) struct Arrived {
    upload: Upload,
    bytes: u64,
}

/// A storage that is out of the run. What it was sent is taken back in a task of its own, so that a storage that doesn't
/// answer keeps nobody waiting.
#[derive(Debug)]
pub(super) struct Dropped {
    pub(super) failure: Failure,
    pub(super) parting: Option<JoinHandle<()>>,
}

impl Dropped {
    /// Nothing was begun there.
    pub(super) fn at_once(failure: impl Into<Failure>) -> Self {
        Self {
            failure: failure.into(),
            parting: None,
        }
    }

    fn with(failure: Failure, parting: impl Future<Output = ()> + Send + 'static) -> Self {
        Self {
            failure,
            parting: Some(tokio::spawn(parting)),
        }
    }
}

/// Uploads parts until their queue closes. Whether that was a good end, the run decides.
pub(super) async fn transfer(
    target: Target,
    mut parts: mpsc::Receiver<Part>,
    runner: Runner,
    limits: Limits,
    stop: CancellationToken,
) -> Result<Arrived, Dropped> {
    let storage = target.storage.clone();
    runner.gauge.begin();
    let begun = begin(target, limits.stall_timeout, &stop).await;
    let upload = begun.inspect_err(|_| runner.gauge.end())?;
    runner.gauge.rest();
    let mut arrived = Arrived { upload, bytes: 0 };
    let taken = tokio::select! {
        biased;
        () = stop.cancelled() => Err(Failure::cancelled()),
        () = runner.too_slow.cancelled() => Err(too_slow(&storage, limits.slowness).into()),
        taken = take_all(&mut arrived, &mut parts, &runner.gauge, limits.stall_timeout) => match taken {
            Ok(Taken::All) => Ok(()),
            Ok(Taken::NoneFor(patience)) => Err(stalled(&storage, patience).into()),
            Err(failure) => Err(failure),
        },
    };
    runner.gauge.end();
    let Err(failure) = taken else {
        return Ok(arrived);
    };
    // Before anything that takes time: the other storages wait for the permits of the parts in this queue.
    drop(parts);
    if !stop.is_cancelled() {
        tracing::warn!(
            storage.name = %storage.name(), error.code = %failure.code, error = %failure,
            "a storage dropped out of the run"
        );
    }
    let parting = async move { abort(&storage, arrived).await };
    Err(Dropped::with(failure, parting))
}

/// An upload that begins when nobody waits for it any more is aborted as soon as it has begun.
async fn begin(
    target: Target,
    stall_timeout: Duration,
    stop: &CancellationToken,
) -> Result<Upload, Dropped> {
    let storage = target.storage.clone();
    let mut beginning = Box::pin(async move {
        target
            .storage
            .upload(&target.key)
            .await
            .map_err(Failure::from)
    });
    let failure = tokio::select! {
        biased;
        begun = timeout(stall_timeout, &mut beginning) => match begun {
            Ok(begun) => return begun.map_err(Dropped::at_once),
            Err(_) => stalled(&storage, stall_timeout).into(),
        },
        () = stop.cancelled() => Failure::cancelled(),
    };
    let parting = async move {
        if let Ok(Ok(upload)) = timeout(ABORT_TIMEOUT, beginning).await {
            abort(&storage, Arrived { upload, bytes: 0 }).await;
        }
    };
    Err(Dropped::with(failure, parting))
}

/// How the parts ended, unless one failed.
enum Taken {
    All,
    /// None has finished for so long.
    NoneFor(Duration),
}

/// Gives up when parts are in flight and none has finished for `stall_timeout`. A storage that has nothing to do is not
/// hung, however long the source takes, and neither is one whose own bandwidth limit holds its parts back.
async fn take_all(
    arrived: &mut Arrived,
    parts: &mut mpsc::Receiver<Part>,
    gauge: &Gauge,
    stall_timeout: Duration,
) -> Result<Taken, Failure> {
    let at_once = arrived.upload.parts_at_once();
    let mut in_flight = FuturesUnordered::new();
    let mut deadline = Instant::now();
    let mut more = true;
    while more || !in_flight.is_empty() {
        tokio::select! {
            biased;
            finished = timeout_at(deadline, in_flight.next()), if !in_flight.is_empty() => {
                let Ok(finished) = finished else {
                    let owed = arrived.upload.owes_since(in_flight.len());
                    match owed.map(|since| since + stall_timeout) {
                        Some(later) if later > deadline => deadline = later,
                        _ => return Ok(Taken::NoneFor(stall_timeout)),
                    }
                    continue;
                };
                let finished: Option<Result<u64, Failure>> = finished;
                arrived.bytes += finished.transpose()?.unwrap_or(0);
                if in_flight.is_empty() {
                    gauge.rest();
                }
                deadline = Instant::now() + stall_timeout;
            }
            part = parts.recv(), if more && in_flight.len() < at_once => match part {
                Some(Part { bytes, permit }) => {
                    if in_flight.is_empty() {
                        deadline = Instant::now() + stall_timeout;
                        gauge.begin();
                    }
                    let size = bytes.len() as u64;
                    let sending = arrived.upload.put_part(bytes);
                    in_flight.push(async move {
                        let sent = sending.await;
                        // Named, or it would not be taken along and be free at once.
                        drop(permit);
                        sent?;
                        Ok(size)
                    });
                }
                None => more = false,
            },
        }
    }
    Ok(Taken::All)
}

fn too_slow(storage: &Storage, slowness: Slowness) -> PipelineError {
    PipelineError::TooSlow {
        storage: storage.name().clone(),
        percent: slowness.percent,
        seconds: slowness.window.as_secs(),
    }
}

fn stalled(storage: &Storage, patience: Duration) -> PipelineError {
    PipelineError::Stalled {
        storage: storage.name().clone(),
        seconds: patience.as_secs(),
    }
}

/// Makes the object appear, if everything that was sealed has arrived.
pub(super) async fn commit(
    target: &Target,
    arrived: Arrived,
    stored_bytes: u64,
    patience: Duration,
) -> Result<(), Failure> {
    let storage = &target.storage;
    if let Err(error) = agree(("the sealer", stored_bytes), ("the storage", arrived.bytes)) {
        abort(storage, arrived).await;
        return Err(error.into());
    }
    let found = match timeout(patience, arrived.upload.complete()).await {
        Ok(result) => result?,
        Err(_) => return Err(stalled(storage, patience).into()),
    };
    let agreed = agree(("the sealer", stored_bytes), ("the storage", found));
    if agreed.is_err()
        && let Err(error) = storage.delete(&target.key).await
    {
        tracing::warn!(storage.name = %storage.name(), %error, "an object of the wrong size could not be removed");
    }
    Ok(agreed?)
}

/// Takes an upload back. What can't be taken back in time is left to the sweep.
pub(super) async fn abort(storage: &Storage, arrived: Arrived) {
    let outcome = match timeout(ABORT_TIMEOUT, arrived.upload.abort()).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in time".to_owned(),
    };
    tracing::warn!(storage.name = %storage.name(), error = outcome, "an unfinished upload could not be removed");
}
