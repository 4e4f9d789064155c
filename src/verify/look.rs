//! One look at one copy.

use std::time::Duration;

use super::VerifyError;
use crate::{
    catalog::{self, CopyState, Manifest},
    crypto::Keyring,
    execution::{Lease, Leg, unless_stalled},
    fault::{Failure, Fault},
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
    /// A storage that gives nothing for so long can't be looked at.
    pub patience: Duration,
}

impl Looker<'_> {
    /// One look, which ends when the work is told to stop, and when the storage hangs.
    pub(super) async fn look(&self, copy: &Copy<'_>, level: VerifyLevel) -> Result<(), Failure> {
        let looking = unless_stalled(self.leg.watch(), self.patience, async |watch| match level {
            VerifyLevel::Quick => copy.glance().await,
            VerifyLevel::Checked => self.read(copy, watch).await,
        });
        let seen = tokio::select! {
            biased;
            () = self.lease.cancelled().cancelled() => return Err(Failure::cancelled()),
            seen = looking => seen,
        };
        seen.ok_or_else(|| VerifyError::Stalled {
            storage: copy.storage.name().clone(),
            seconds: self.patience.as_secs(),
        })?
    }

    /// Every byte is what was written, and the manifest beside it is the one that was written with it.
    async fn read(&self, copy: &Copy<'_>, watch: Watch) -> Result<(), Failure> {
        let (storage, manifest) = (copy.storage, copy.manifest);
        let stored = storage
            .read_small(&manifest.manifest_key(), catalog::MAX_MANIFEST_BYTES)
            .await?;
        if stored != copy.text.as_bytes() {
            return Err(VerifyError::ManifestChanged.into());
        }
        let input = Input::Object {
            storage: storage.clone(),
            key: manifest.data_key(),
            sidecar: manifest.sidecar_key(),
        };
        let read = pipeline::check(&input, &manifest.expected(), self.keyring, watch).await?;
        match read.opened {
            Some(opened) => opened
                .manifest_key
                .map_or(Ok(()), |key| catalog::check_seal(&stored, &key))?,
            None => self.lease.log(format!(
                "{}: hash of the stored bytes only, no key opens it",
                manifest.artifact.short()
            )),
        }
        Ok(())
    }
}

impl Copy<'_> {
    /// The objects are there and have their size.
    async fn glance(&self) -> Result<(), Failure> {
        let expected = self.manifest.envelope.bytes;
        self.storage.head(&self.manifest.manifest_key()).await?;
        let found = self.storage.head(&self.manifest.data_key()).await?.bytes;
        if found == expected {
            Ok(())
        } else {
            Err(VerifyError::Length { expected, found }.into())
        }
    }
}

/// What a failed look says about the copy; `None` when it says something about the way there instead.
pub(super) fn verdict(failure: &Failure) -> Option<CopyState> {
    if failure.fault != Fault::Permanent {
        return None;
    }
    match failure.code.as_ref() {
        "storage.not_found" => Some(CopyState::Missing),
        // A manifest that grew beyond what we ever write.
        "storage.too_large" => Some(CopyState::Damaged),
        code => match code.split_once('.') {
            Some(("envelope" | "integrity" | "manifest" | "pipeline", _)) => {
                Some(CopyState::Damaged)
            }
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_speaks_of_the_copy_is_held_against_it() {
        let failed = |fault, code| verdict(&Failure::new(fault, code, "x"));
        for (code, state) in [
            ("storage.not_found", Some(CopyState::Missing)),
            ("storage.too_large", Some(CopyState::Damaged)),
            ("envelope.chunk_auth", Some(CopyState::Damaged)),
            ("integrity.length", Some(CopyState::Damaged)),
            ("manifest.changed", Some(CopyState::Damaged)),
            ("pipeline.stored_digest_mismatch", Some(CopyState::Damaged)),
            ("storage.denied", None),
            ("key.none", None),
        ] {
            assert_eq!(failed(Fault::Permanent, code), state, "{code}");
            assert_eq!(failed(Fault::Transient, code), None, "{code}");
        }
    }
}
