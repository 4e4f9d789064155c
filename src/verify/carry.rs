//! Moving the bytes of a copy as they lie there: read through and compared, or on to other storages under the same name.
//!
//! Nothing appears anywhere before the last byte came, the hash was the manifest's and the lease still ran.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use super::{VerifyError, case::Case};
use crate::{
    crypto::Keyring,
    execution::{Lease, Leg, unless_stalled},
    fault::{Failure, Fault},
    pipeline::{
        self, CompressionSpec, Expected, Feed, Input, Limits, Message, PartGrowth, Recipe, Seal,
        Target, TargetEnd, Watch,
    },
    storage::{PartLimits, Storage},
};

/// How bytes are moved.
pub(super) struct Carrier<'a> {
    pub lease: &'a Arc<Lease>,
    pub leg: &'a Leg,
    /// A storage that gives or takes nothing for so long has failed.
    pub patience: Duration,
}

impl Carrier<'_> {
    /// Every byte of the data object is what the manifest says, whatever is in it.
    pub(super) async fn read_through(&self, case: &Case, storage: &Storage) -> Result<(), Failure> {
        let (input, expected) = (object(storage, case), opaque(case));
        let keyless = Keyring::new(None, Vec::new());
        let reading = unless_stalled(self.leg.watch(), self.patience, |watch| {
            pipeline::check(&input, &expected, &keyless, watch)
        });
        match reading.await {
            Some(read) => read.map(drop),
            None => Err(stalled(storage, self.patience)),
        }
    }

    /// Takes away what would be in the stream's way: uploads of a repair that died, and, where the store can't replace an
    /// object in one step, the bad object itself.
    pub(super) async fn prepare(&self, case: &Case, to: &Storage) -> Result<(), Failure> {
        let folder = &case.artifact.folder;
        let cleared = async { Ok(to.clear_unfinished(folder).await?) };
        self.within(to, cleared).await?;
        if to.capabilities().replaces_whole {
            return Ok(());
        }
        self.lease.check().await?;
        let deleted = async { Ok(to.delete(&case.manifest.data_key()).await?) };
        self.within(to, deleted).await
    }

    /// One stream from `from` to all of `to`: how it ended at each of them. An error is the stream's own.
    pub(super) async fn stream(
        &self,
        case: &Case,
        from: &Storage,
        to: &[&Storage],
    ) -> Result<Vec<TargetEnd>, Failure> {
        let bytes = case.manifest.envelope.bytes;
        let keyless = Keyring::new(None, Vec::new());
        let opening = pipeline::open(object(from, case), opaque(case), keyless, self.leg.watch());
        let feed = timeout(self.patience, opening).await;
        let feed = feed.map_err(|_| stalled(from, self.patience))??;
        let stores = to.iter().map(|storage| storage.capabilities().parts);
        let stores = stores.fold(PartLimits::default(), PartLimits::and);
        let recipe = Recipe {
            compression: CompressionSpec::None,
            seal: Seal::Off,
            limits: Limits {
                stall_timeout: self.patience,
                part_growth: PartGrowth::for_stores(stores, Some(bytes)),
                ..Limits::default()
            },
        };
        let targets = to.iter().map(|storage| Target {
            storage: storage.replacing(),
            key: case.manifest.data_key(),
        });
        let feed = impatient(feed, from.clone(), self.patience);
        let written = pipeline::write(feed, recipe, targets.collect(), self.silent_watch()).await?;
        Ok(written.ends)
    }

    /// Stops with the lease and asks it before anything appears. The reader tells the progress.
    fn silent_watch(&self) -> Watch {
        let gatekeeper = Arc::clone(self.lease);
        let gate = move || -> futures::future::BoxFuture<'static, _> {
            Box::pin(async move { gatekeeper.check().await })
        };
        Watch::new(self.lease.cancelled().clone(), Arc::new(|_| {})).with_gate(Box::new(gate))
    }

    pub(super) async fn within<T>(
        &self,
        storage: &Storage,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let done = timeout(self.patience, work).await;
        done.unwrap_or_else(|_| Err(stalled(storage, self.patience)))
    }

    /// A failure that says something about a storage. An order to stop is nobody's failure, and ends the work.
    pub(super) fn blamed(&self, failure: Failure) -> Result<Failure, Failure> {
        self.lease.stopped()?;
        match failure.fault {
            Fault::LeaseLost | Fault::Cancelled => Err(failure),
            Fault::Transient | Fault::Permanent => Ok(failure),
        }
    }
}

fn object(storage: &Storage, case: &Case) -> Input {
    Input::Object {
        storage: storage.clone(),
        key: case.manifest.data_key(),
        sidecar: None,
    }
}

fn opaque(case: &Case) -> Expected {
    Expected::opaque(case.manifest.envelope.bytes, case.manifest.stored_sha256)
}

fn stalled(storage: &Storage, patience: Duration) -> Failure {
    let stalled = VerifyError::Stalled {
        storage: storage.name().clone(),
        seconds: patience.as_secs(),
    };
    stalled.into()
}

/// A source that gives nothing for so long has failed, instead of being waited for.
fn impatient(mut feed: Feed, from: Storage, patience: Duration) -> Feed {
    let (sender, guarded) = pipeline::feed();
    tokio::spawn(async move {
        loop {
            let message = match timeout(patience, feed.next()).await {
                Ok(message) => message,
                Err(_) => Message::Fail(stalled(&from, patience)),
            };
            let is_last = !matches!(message, Message::Data(_));
            if sender.send(message).await.is_err() || is_last {
                return;
            }
        }
    });
    guarded
}
