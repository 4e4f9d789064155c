//! One storage of a run: its upload, its own watchdog, its own end.
//!
//! A storage that fails or hangs is given up alone. An upload is completed only by [`commit`], after the run has decided;
//! every other way out of here aborts it and waits for that.

use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{PipelineError, parts::Part, stage::agree};
use crate::{
    fault::Failure,
    storage::{ObjectKey, Storage, StorageName, Upload},
};

const ABORT_TIMEOUT: Duration = Duration::from_secs(20);

/// Parts that one storage has in flight at most.
const IN_FLIGHT: usize = 2;

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

/// Uploads parts until their queue closes. Whether that was a good end, the run decides.
pub(super) async fn transfer(
    target: Target,
    mut parts: mpsc::Receiver<Part>,
    stall_timeout: Duration,
    stop: CancellationToken,
) -> Result<Arrived, Failure> {
    let storage = &target.storage;
    // Not interrupted by `stop`: an upload that begins while nobody waits for it would be left behind.
    let upload = match timeout(stall_timeout, storage.upload(&target.key)).await {
        Ok(upload) => upload?,
        Err(_) => return Err(stalled(storage, stall_timeout).into()),
    };
    let mut arrived = Arrived { upload, bytes: 0 };
    let taken = tokio::select! {
        biased;
        () = stop.cancelled() => Err(Failure::cancelled()),
        taken = take_all(&mut arrived, storage, &mut parts, stall_timeout) => taken,
    };
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
    abort(storage, arrived).await;
    Err(failure)
}

/// Fails when parts are in flight and none has finished for `stall_timeout`. A storage that has nothing to do is not hung,
/// however long the source takes.
async fn take_all(
    arrived: &mut Arrived,
    storage: &Storage,
    parts: &mut mpsc::Receiver<Part>,
    stall_timeout: Duration,
) -> Result<(), Failure> {
    let mut in_flight = FuturesUnordered::new();
    let mut deadline = Instant::now();
    let mut more = true;
    while more || !in_flight.is_empty() {
        tokio::select! {
            biased;
            finished = timeout_at(deadline, in_flight.next()), if !in_flight.is_empty() => {
                let finished: Option<Result<u64, Failure>> =
                    finished.map_err(|_| stalled(storage, stall_timeout))?;
                arrived.bytes += finished.transpose()?.unwrap_or(0);
                deadline = Instant::now() + stall_timeout;
            }
            part = parts.recv(), if more && in_flight.len() < IN_FLIGHT => match part {
                Some(part) => {
                    if in_flight.is_empty() {
                        deadline = Instant::now() + stall_timeout;
                    }
                    let sending = arrived.upload.put_part(part.bytes.clone());
                    in_flight.push(async move {
                        sending.await?;
                        Ok(part.bytes.len() as u64)
                    });
                }
                None => more = false,
            },
        }
    }
    Ok(())
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
