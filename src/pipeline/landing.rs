//! The storages of a run from their first part to their last, and what each came to.
//!
//! A storage that drops out keeps nobody waiting: what it was sent is taken back beside the run, which at its end waits only
//! a moment more for that.

use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::{sync::mpsc, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    Limits, PipelineError, Target, TargetEnd,
    pace::{Gauge, Runner},
    parts::{MOST_PARTS, Part},
    target::{Arrived, Dropped, abort, commit, transfer},
};
use crate::{
    fault::{Failure, Fault},
    storage::{Role, StorageName},
};

/// How long a run that is done waits for storages that dropped out of it. They go on being cleared after that.
const LINGER: Duration = Duration::from_millis(400);

/// The uploads of a run.
pub(super) struct Uploads {
    pub(super) queues: Vec<mpsc::Sender<Part>>,
    pub(super) runners: Vec<Runner>,
    pub(super) flying: Vec<Uploading>,
}

pub(super) type Uploading = (Target, JoinHandle<Result<Arrived, Dropped>>);

impl Uploads {
    /// One task for each storage, so that none waits for another.
    pub(super) fn begin(targets: Vec<Target>, limits: Limits, stop: &CancellationToken) -> Self {
        let mut uploads = Self {
            queues: Vec::new(),
            runners: Vec::new(),
            flying: Vec::new(),
        };
        for target in targets {
            let (queue, parts) = mpsc::channel(MOST_PARTS);
            let runner = Runner {
                is_primary: target.storage.role() == Role::Primary,
                gauge: Gauge::default(),
                too_slow: CancellationToken::new(),
            };
            let upload = transfer(
                target.clone(),
                parts,
                runner.clone(),
                limits,
                stop.child_token(),
            );
            uploads.queues.push(queue);
            uploads.runners.push(runner);
            uploads.flying.push((target, tokio::spawn(upload)));
        }
        uploads
    }
}

/// Waits until every upload has its last part or has failed. Stops all of them as soon as fewer than `least` are left.
pub(super) async fn land(
    flying: Vec<Uploading>,
    least: usize,
    stop: &CancellationToken,
) -> Vec<Landing> {
    let mut left = flying.len();
    let mut flying: FuturesUnordered<_> = flying
        .into_iter()
        .enumerate()
        .map(async |(index, uploading)| (index, Landing::of(uploading).await))
        .collect();
    let mut landings = Vec::with_capacity(left);
    while let Some((index, landing)) = flying.next().await {
        if landing.arrived.is_err() {
            left -= 1;
            if left < least {
                stop.cancel();
            }
        }
        landings.push((index, landing));
    }
    landings.sort_by_key(|(index, _)| *index);
    landings.into_iter().map(|(_, landing)| landing).collect()
}

/// A storage after the last part.
pub(super) struct Landing {
    target: Target,
    arrived: Result<Arrived, Dropped>,
}

impl Landing {
    async fn of((target, upload): Uploading) -> Self {
        let panicked = |_| {
            Err(Dropped::at_once(PipelineError::StagePanicked {
                stage: "upload",
            }))
        };
        Self {
            target,
            arrived: upload.await.unwrap_or_else(panicked),
        }
    }

    pub(super) fn has_arrived(&self) -> bool {
        self.arrived.is_ok()
    }

    pub(super) async fn commit(self, stored_bytes: u64, limits: Limits) -> Landed {
        let Self { target, arrived } = self;
        let (result, parting) = match arrived {
            Ok(arrived) => {
                let done = commit(&target, arrived, stored_bytes, limits.commit_timeout).await;
                (done, None)
            }
            Err(Dropped { failure, parting }) => (Err(failure), parting),
        };
        Landed {
            target,
            result,
            parting,
        }
    }

    /// Takes back what was sent, whatever it came to.
    pub(super) async fn abort(self) -> TargetEnd {
        let Self { target, arrived } = self;
        let failure = match arrived {
            Ok(arrived) => {
                abort(&target.storage, arrived).await;
                Failure::cancelled()
            }
            Err(Dropped { failure, parting }) => {
                joined(parting).await;
                failure
            }
        };
        TargetEnd {
            storage: target.storage.name().clone(),
            result: Err(failure),
        }
    }
}

/// A storage after its upload was completed, or lost.
pub(super) struct Landed {
    target: Target,
    result: Result<(), Failure>,
    parting: Option<JoinHandle<()>>,
}

impl Landed {
    pub(super) fn is_there(&self) -> bool {
        self.result.is_ok()
    }

    fn into_end(self) -> TargetEnd {
        TargetEnd {
            storage: self.target.storage.name().clone(),
            result: self.result,
        }
    }

    /// The end of a run that came to something.
    pub(super) async fn keep(mut self) -> TargetEnd {
        let parting = self.parting.take();
        if timeout(LINGER, joined(parting)).await.is_err() {
            tracing::info!(
                storage.name = %self.target.storage.name(),
                "a storage that dropped out is still being cleared"
            );
        }
        self.into_end()
    }

    /// The end of a run that came to nothing: an object that appeared here is removed.
    pub(super) async fn withdraw(mut self) -> TargetEnd {
        joined(self.parting.take()).await;
        let Target { storage, key } = &self.target;
        if self.is_there()
            && let Err(error) = storage.delete(key).await
        {
            tracing::warn!(
                storage.name = %storage.name(), %error,
                "an object that too few others hold could not be removed"
            );
        }
        self.into_end()
    }
}

async fn joined(parting: Option<JoinHandle<()>>) {
    if let Some(parting) = parting {
        // It only logs what it can't do.
        let _done = parting.await;
    }
}

/// Of a single storage its own failure; of several, one that names them. Worth another try if it is for any of them.
pub(super) fn too_few(ends: &[TargetEnd], least: usize) -> Failure {
    let losses: Vec<(&StorageName, &Failure)> = ends
        .iter()
        .filter_map(|end| Some((&end.storage, end.result.as_ref().err()?)))
        // What was stopped because of the others is no reason.
        .filter(|(_, failure)| failure.fault != Fault::Cancelled)
        .collect();
    if let ([_], [(_, failure)]) = (ends, &losses[..]) {
        return (*failure).clone();
    }
    let is_transient = |(_, failure): &(&StorageName, &Failure)| failure.fault == Fault::Transient;
    let fault = if losses.iter().any(is_transient) {
        Fault::Transient
    } else {
        Fault::Permanent
    };
    let detail: Vec<String> = losses
        .iter()
        .map(|(name, failure)| format!("{name}: {failure}"))
        .collect();
    let detail = detail.join("; ");
    if least > 1 {
        PipelineError::TooFewStorages {
            least,
            detail,
            fault,
        }
    } else {
        PipelineError::NoStorageLeft { detail, fault }
    }
    .into()
}
