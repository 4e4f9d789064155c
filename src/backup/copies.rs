//! The copies of one backup while it is being made: one for each storage, the primary first.
//!
//! A copy counts once its bytes have come back with the hash that left us, and exists once its manifest is there. Whether
//! there are enough of them is the policy's to say.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::join_all;
use tokio::time::timeout;

use super::{BackupError, Deps, warnings};
use crate::{
    catalog::{CopyState, NewCopy},
    crypto::Keyring,
    execution::{Lease, Phase, Total, Warning, unless_stalled},
    fault::{Failure, Fault},
    pipeline::{self, Expected, Input, PipelineError, Read, TargetEnd},
    storage::{ObjectKey, Policy, Standing, Storage, Verdict},
};

/// What became of the backup on one storage.
#[derive(Clone, Debug)]
pub(super) enum Fate {
    Held,
    Lost(Failure),
    /// It wasn't in the stream, and gets its copy afterwards.
    Later,
}

impl From<Result<(), Failure>> for Fate {
    fn from(result: Result<(), Failure>) -> Self {
        result.map_or_else(Self::Lost, |()| Self::Held)
    }
}

#[derive(Debug)]
pub(super) struct Attempt {
    pub storage: Storage,
    pub fate: Fate,
}

impl Attempt {
    fn is_held(&self) -> bool {
        matches!(self.fate, Fate::Held)
    }

    fn loss(&self) -> Option<&Failure> {
        match &self.fate {
            Fate::Lost(failure) => Some(failure),
            Fate::Held | Fate::Later => None,
        }
    }

    fn standing(&self) -> Standing {
        match self.fate {
            Fate::Held => Standing::Held,
            Fate::Lost(_) => Standing::Lost,
            Fate::Later => Standing::Later,
        }
    }
}

/// The backup on every storage.
#[derive(Debug)]
pub(super) struct Copies(Vec<Attempt>);

impl Copies {
    pub(super) fn new(attempts: Vec<Attempt>) -> Self {
        Self(attempts)
    }

    /// What the streams left. A storage that was in none gets its copy later.
    pub(super) fn of_ends(deps: &Deps, ends: &[TargetEnd]) -> Self {
        let attempt = |storage: &Storage| {
            let end = ends.iter().find(|end| end.storage == *storage.name());
            Attempt {
                storage: storage.clone(),
                fate: end.map_or(Fate::Later, |end| end.result.clone().into()),
            }
        };
        Self(deps.storages.iter().map(attempt).collect())
    }

    /// Reads every copy again, side by side. One that isn't what was written has failed.
    pub(super) async fn read_back(
        &mut self,
        key: &ObjectKey,
        expected: &Expected,
        patience: Duration,
        lease: &Arc<Lease>,
    ) {
        let written = self.0.iter_mut().filter(|attempt| attempt.is_held());
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
            let through = read.through(&attempt.storage, &input, leg.watch()).await;
            attempt.fate = through.map(drop).into();
        });
        join_all(reading).await;
    }

    /// Writes the manifest beside every good copy, with which it exists.
    pub(super) async fn put_manifests(&mut self, key: &ObjectKey, text: &str, patience: Duration) {
        let good = self.0.iter_mut().filter(|attempt| attempt.is_held());
        let putting = good.map(async |attempt| {
            let storage = &attempt.storage;
            let put = storage.put_new(key, Bytes::from(text.to_owned()));
            let done: Result<(), Failure> = match timeout(patience, put).await {
                Ok(put) => put.map_err(Failure::from),
                Err(_) => Err(stalled(storage, patience).into()),
            };
            attempt.fate = done.into();
        });
        join_all(putting).await;
    }

    fn standings(&self) -> Vec<Standing> {
        self.0.iter().map(Attempt::standing).collect()
    }

    /// Why the policy can't be met any more, if it can't: the first storage's reason, which tells the others', too.
    pub(super) fn refusal(&self, policy: Policy) -> Option<Failure> {
        if policy.verdict(&self.standings()) != Verdict::Failed {
            return None;
        }
        let mut losses = self
            .0
            .iter()
            .filter_map(|attempt| Some((attempt.storage.name(), attempt.loss()?)));
        let Some((name, first)) = losses.next() else {
            return Some(BackupError::NoStorage.into());
        };
        let others: Vec<_> = losses.collect();
        if others.is_empty() && self.0.len() == 1 {
            return Some(first.clone());
        }
        // Worth another try if it is for any of them.
        let is_transient = others
            .iter()
            .any(|(_, reason)| reason.fault == Fault::Transient);
        let others = others
            .iter()
            .map(|(other, reason)| format!("; {other}: {reason}"));
        let asked = match policy {
            Policy::Quorum(_) => format!("{policy} is not met: "),
            Policy::AllOrDegraded | Policy::PrimaryThenReplicate | Policy::Any => String::new(),
        };
        Some(Failure {
            fault: if is_transient {
                Fault::Transient
            } else {
                first.fault
            },
            message: format!("{asked}{name}: {first}{}", others.collect::<String>()),
            ..first.clone()
        })
    }

    /// The storages on which no copy came about, though one should have.
    pub(super) fn lost(&self) -> impl Iterator<Item = &Storage> {
        let lost = self.0.iter().filter(|attempt| attempt.loss().is_some());
        lost.map(|attempt| &attempt.storage)
    }

    /// Those of them that gave an answer.
    pub(super) fn lost_aloud(&self) -> impl Iterator<Item = &Storage> {
        let is_silent = |failure: &Failure| SILENT.contains(&failure.code.as_ref());
        self.0
            .iter()
            .filter(move |attempt| attempt.loss().is_some_and(|loss| !is_silent(loss)))
            .map(|attempt| &attempt.storage)
    }

    pub(super) fn log(&self, lease: &Lease) {
        for Attempt { storage, fate } in &self.0 {
            let name = storage.name();
            lease.log(match fate {
                Fate::Held => format!("{name}: stored, read back, manifest written"),
                Fate::Lost(failure) => format!("{name}: no copy: {failure}"),
                Fate::Later => format!("{name}: gets its copy afterwards"),
            });
        }
    }

    /// The copies as they came out, and what is to be said of them. One that is missing degrades the backup where the
    /// policy asks for it.
    pub(super) fn settled(self, policy: Policy, warnings: &mut Vec<Warning>) -> Vec<NewCopy> {
        // Not even met only where an earlier execution's backup is adopted: that is no success.
        let degrades = policy.verdict(&self.standings()) != Verdict::Succeeded;
        let settle = |Attempt { storage, fate }| {
            let name = storage.name().clone();
            let (state, error) = match fate {
                Fate::Held => (CopyState::Stored, None),
                Fate::Lost(failure) => (CopyState::Missing, Some(failure.to_string())),
                Fate::Later => (CopyState::Pending, None),
            };
            if let Some(reason) = &error {
                warnings.push(warnings::no_copy(&name, reason, degrades));
            }
            NewCopy {
                storage: name,
                state,
                error,
                checked_at: None,
            }
        };
        self.0.into_iter().map(settle).collect()
    }
}

/// Failures of a storage that gave no answer.
const SILENT: [&str; 2] = ["pipeline.stalled", "storage.unreachable"];

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
