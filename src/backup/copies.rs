//! The copies of one backup while it is being made: one for each storage, the primary first.
//!
//! A copy counts once its bytes have come back with the hash that left us, and exists once its manifest is there. What
//! didn't become a copy is removed, as far as its storage still listens; the sweep is for what then is left.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::join_all;
use tokio::time::timeout;

use super::{BackupError, warnings};
use crate::{
    catalog::{CopyState, NewCopy},
    crypto::Keyring,
    execution::{Lease, Phase, Total, Warning, unless_stalled},
    fault::{Failure, Fault},
    pipeline::{self, Expected, Input, PipelineError, Read, TargetEnd},
    storage::{Folder, ObjectKey, Storage},
};

/// How long one storage may take to remove what is of no use. The worker waits for it after a cancel, too.
const CLEAR_TIMEOUT: Duration = Duration::from_secs(5);

/// What became of the backup on one storage.
#[derive(Debug)]
pub(super) struct Attempt {
    pub storage: Storage,
    pub result: Result<(), Failure>,
}

/// The backup on every storage.
#[derive(Debug)]
pub(super) struct Copies(Vec<Attempt>);

impl Copies {
    pub(super) fn new(attempts: Vec<Attempt>) -> Self {
        Self(attempts)
    }

    /// What a run left: `ends` has one end for each storage, in their order.
    pub(super) fn written(storages: &[Storage], ends: &[TargetEnd]) -> Self {
        let attempts = storages.iter().zip(ends).map(|(storage, end)| Attempt {
            storage: storage.clone(),
            result: end.result.clone(),
        });
        Self(attempts.collect())
    }

    /// Reads every copy again, side by side. One that isn't what was written has failed.
    pub(super) async fn read_back(
        &mut self,
        key: &ObjectKey,
        expected: &Expected,
        patience: Duration,
        lease: &Arc<Lease>,
    ) {
        let written = self.0.iter_mut().filter(|attempt| attempt.result.is_ok());
        let written: Vec<_> = written.collect();
        let bytes = expected.stored_bytes.unwrap_or(0) * written.len() as u64;
        let leg = lease.begin(Phase::ReadBack, Some(Total::Known(bytes)));
        let keyless = Keyring::new(None, Vec::new());
        let reading = written.into_iter().map(async |attempt| {
            let input = object(&attempt.storage, key);
            let read = Reading {
                expected,
                keyring: &keyless,
                patience,
            };
            attempt.result = read
                .through(&attempt.storage, &input, leg.watch())
                .await
                .map(drop);
        });
        join_all(reading).await;
    }

    /// Writes the manifest beside every good copy, with which it exists.
    pub(super) async fn put_manifests(&mut self, key: &ObjectKey, text: &str, patience: Duration) {
        let good = self.0.iter_mut().filter(|attempt| attempt.result.is_ok());
        let putting = good.map(async |attempt| {
            let storage = &attempt.storage;
            let put = storage.put_new(key, Bytes::from(text.to_owned()));
            attempt.result = match timeout(patience, put).await {
                Ok(put) => put.map_err(Failure::from),
                Err(_) => Err(stalled(storage, patience).into()),
            };
        });
        join_all(putting).await;
    }

    /// At least one storage must hold everything. Otherwise the run's failure is the primary's, and tells the others'.
    pub(super) fn require_one(&self) -> Result<(), Failure> {
        if self.0.iter().any(|attempt| attempt.result.is_ok()) {
            return Ok(());
        }
        let mut failures = self
            .0
            .iter()
            .filter_map(|attempt| Some((attempt.storage.name(), attempt.result.as_ref().err()?)));
        let (name, primary) = failures.next().ok_or(BackupError::NoStorage)?;
        let others: Vec<_> = failures.collect();
        if others.is_empty() {
            return Err(primary.clone());
        }
        // Worth another try if it is for any of them.
        let is_transient = others
            .iter()
            .any(|(_, reason)| reason.fault == Fault::Transient);
        let others = others
            .iter()
            .map(|(other, reason)| format!("; {other}: {reason}"));
        Err(Failure {
            fault: if is_transient {
                Fault::Transient
            } else {
                primary.fault
            },
            message: format!("{name}: {primary}{}", others.collect::<String>()),
            ..primary.clone()
        })
    }

    /// The storages on which no copy came about.
    pub(super) fn lost(&self) -> impl Iterator<Item = &Storage> {
        let lost = self.0.iter().filter(|attempt| attempt.result.is_err());
        lost.map(|attempt| &attempt.storage)
    }

    pub(super) fn log(&self, lease: &Lease) {
        for Attempt { storage, result } in &self.0 {
            lease.log(match result {
                Ok(()) => format!("{}: stored, read back, manifest written", storage.name()),
                Err(failure) => format!("{}: no copy: {failure}", storage.name()),
            });
        }
    }

    /// The copies as they came out. One that is missing degrades the backup.
    pub(super) fn settled(self, warnings: &mut Vec<Warning>) -> Vec<NewCopy> {
        let settle = |Attempt { storage, result }| {
            let error = result.err().map(|failure| failure.to_string());
            if let Some(reason) = &error {
                warnings.push(warnings::no_copy(storage.name(), reason));
            }
            NewCopy {
                storage: storage.name().clone(),
                state: match error {
                    None => CopyState::Stored,
                    Some(_) => CopyState::Missing,
                },
                error,
                checked_at: None,
            }
        };
        self.0.into_iter().map(settle).collect()
    }
}

fn object(storage: &Storage, key: &ObjectKey) -> Input {
    Input::Object {
        storage: storage.clone(),
        key: key.clone(),
        sidecar: None,
    }
}

/// A storage that was waited for in vain.
pub(super) fn stalled(storage: &Storage, patience: Duration) -> PipelineError {
    PipelineError::Stalled {
        storage: storage.name().clone(),
        seconds: patience.as_secs(),
    }
}

/// How a copy is read and what it is compared with.
pub(super) struct Reading<'a> {
    pub expected: &'a Expected,
    pub keyring: &'a Keyring,
    /// A storage that gives nothing for so long has failed.
    pub patience: Duration,
}

impl Reading<'_> {
    pub(super) async fn through(
        &self,
        storage: &Storage,
        input: &Input,
        watch: pipeline::Watch,
    ) -> Result<Read, Failure> {
        let read = unless_stalled(watch, self.patience, |watch| {
            pipeline::check(input, self.expected, self.keyring, watch)
        });
        match read.await {
            Some(read) => read,
            None => Err(stalled(storage, self.patience).into()),
        }
    }
}

/// Removes a folder that no backup came of from these storages, the best it can.
pub(super) async fn clear(
    folder: &Folder,
    storages: impl Iterator<Item = &Storage>,
    lease: &Lease,
) {
    let clearing = storages.map(async |storage| {
        let left = match timeout(CLEAR_TIMEOUT, storage.delete_folder(folder)).await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        lease.log(format!(
            "{}: {folder} could not be removed and is left to the sweep: {left}",
            storage.name()
        ));
    });
    join_all(clearing).await;
}
