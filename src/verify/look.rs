//! One look at one copy: at its manifest and at its data, for either may be bad alone.

use std::time::Duration;

use bytes::Bytes;

use super::{
    VerifyError,
    case::{Data, Finding, Post},
};
use crate::{
    catalog::{self, CopyState, Manifest},
    crypto::Keyring,
    execution::{Lease, Leg, unless_stalled},
    fault::Failure,
    job::VerifyLevel,
    pipeline::{self, Input, Watch},
    storage::Storage,
};

/// A copy, and what it must be.
pub(super) struct Copy<'a> {
    pub storage: &'a Storage,
    pub manifest: &'a Manifest,
    /// The manifest's exact text, as the catalog has it.
    pub text: &'a str,
}

/// How copies are looked at.
pub(super) struct Looker<'a> {
    pub keyring: &'a Keyring,
    pub leg: &'a Leg,
    pub lease: &'a Lease,
    pub level: VerifyLevel,
    /// A storage that gives nothing for so long can't be looked at.
    pub patience: Duration,
}

/// What was seen, part by part.
#[derive(Debug)]
pub(super) struct Seen {
    pub manifest: Result<(), Failure>,
    pub data: Result<(), Failure>,
    /// Of the data object, if it could be seen.
    pub bytes: Option<u64>,
}

impl Looker<'_> {
    /// One look, which ends when the work is told to stop, and when the storage hangs.
    pub(super) async fn look(&self, copy: &Copy<'_>) -> Result<Seen, Failure> {
        let looking = unless_stalled(self.leg.watch(), self.patience, async |watch| {
            match self.level {
                VerifyLevel::Quick => copy.glance().await,
                VerifyLevel::Checked | VerifyLevel::Proven => self.read(copy, watch).await,
            }
        });
        let seen = tokio::select! {
            biased;
            () = self.lease.cancelled().cancelled() => return Err(Failure::cancelled()),
            seen = looking => seen,
        };
        // Told to stop in the middle of it: nothing was found out.
        self.lease.stopped()?;
        Ok(seen.unwrap_or_else(|| {
            let stalled = VerifyError::Stalled {
                storage: copy.storage.name().clone(),
                seconds: self.patience.as_secs(),
            };
            Seen::nothing(stalled.into())
        }))
    }

    /// Every byte is what was written, and the manifest beside it is the one that was written with it.
    async fn read(&self, copy: &Copy<'_>, watch: Watch) -> Seen {
        let stored = copy.read_manifest().await;
        if let Err(failure) = &stored
            && CopyState::told_by(failure).is_none()
        {
            return Seen::nothing(failure.clone());
        }
        let input = Input::Object {
            storage: copy.storage.clone(),
            key: copy.manifest.data_key(),
            sidecar: copy.manifest.sidecar_key(),
        };
        let expected = copy.manifest.expected();
        match pipeline::check(&input, &expected, self.keyring, watch).await {
            Ok(read) => Seen {
                manifest: stored.and_then(|stored| self.check_seal(copy, &stored, read.opened)),
                data: Ok(()),
                bytes: Some(read.stored_bytes),
            },
            Err(failure) => Seen {
                manifest: stored.map(drop),
                data: Err(failure),
                bytes: copy.size().await.ok(),
            },
        }
    }

    fn check_seal(
        &self,
        copy: &Copy<'_>,
        stored: &[u8],
        opened: Option<pipeline::Opened>,
    ) -> Result<(), Failure> {
        let Some(opened) = opened else {
            self.lease.log(format!(
                "{}: hash of the stored bytes only, no key opens it",
                copy.manifest.artifact.short()
            ));
            return Ok(());
        };
        match opened.manifest_key {
            Some(key) => Ok(catalog::check_seal(stored, &key)?),
            None => Ok(()),
        }
    }
}

impl Copy<'_> {
    /// The objects are there and have their size.
    async fn glance(&self) -> Seen {
        let manifest = self.storage.head(&self.manifest.manifest_key()).await;
        let expected = self.manifest.envelope.bytes;
        let size = self.size().await;
        Seen {
            manifest: manifest.map(drop).map_err(Failure::from),
            bytes: size.as_ref().ok().copied(),
            data: match size {
                Ok(found) if found == expected => Ok(()),
                Ok(found) => Err(VerifyError::Length { expected, found }.into()),
                Err(failure) => Err(failure),
            },
        }
    }

    /// The manifest, if it is the one that was written.
    pub(super) async fn read_manifest(&self) -> Result<Bytes, Failure> {
        let key = self.manifest.manifest_key();
        let stored = self.storage.read_small(&key, catalog::MAX_MANIFEST_BYTES);
        let stored = stored.await?;
        if stored == self.text.as_bytes() {
            Ok(stored)
        } else {
            Err(VerifyError::ManifestChanged.into())
        }
    }

    async fn size(&self) -> Result<u64, Failure> {
        Ok(self.storage.head(&self.manifest.data_key()).await?.bytes)
    }
}

impl Seen {
    /// The way there was the trouble.
    fn nothing(failure: Failure) -> Self {
        Self {
            manifest: Err(failure.clone()),
            data: Err(failure),
            bytes: None,
        }
    }

    /// What follows for the copy.
    pub(super) fn settle(self, post: &mut Post, level: VerifyLevel) {
        let Self {
            manifest,
            data,
            bytes,
        } = self;
        let mut failures = [manifest.err(), data.as_ref().err().cloned()];
        let verdicts = failures
            .each_ref()
            .map(|failure| failure.as_ref().map(CopyState::told_by));
        post.bytes = bytes;
        post.data = match (&data, level) {
            (Ok(()), VerifyLevel::Checked | VerifyLevel::Proven) => Data::Right,
            (Err(failure), _) if CopyState::told_by(failure).is_some() => Data::Wrong,
            (Ok(()), VerifyLevel::Quick) | (Err(_), _) => Data::Unread,
        };
        let blind = verdicts.iter().position(|verdict| *verdict == Some(None));
        if let Some(failure) = blind.and_then(|part| failures.get_mut(part)?.take()) {
            post.finding = Finding::Blind(failure);
            return;
        }
        let reason = failures.into_iter().flatten().next();
        match reason {
            None if post.state == CopyState::Damaged && level == VerifyLevel::Quick => {
                let reason = post.known_error.clone();
                let reason = reason.unwrap_or_else(|| "found damaged before".to_owned());
                post.finding = Finding::Bad(VerifyError::KnownDamage(reason).into());
            }
            None => {
                post.state = CopyState::Stored;
                post.finding = Finding::Good;
            }
            // That it isn't made yet is known.
            Some(_) if post.state == CopyState::Pending => {}
            Some(reason) => {
                let is_missing = verdicts.contains(&Some(Some(CopyState::Missing)));
                post.state = if is_missing {
                    CopyState::Missing
                } else {
                    CopyState::Damaged
                };
                post.finding = Finding::Bad(reason);
            }
        }
    }
}
