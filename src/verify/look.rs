//! One look at one copy.

use std::time::Duration;

use super::VerifyError;
use crate::{
    catalog::{self, CopyState, Manifest},
    crypto::Keyring,
    execution::{Lease, Leg, unless_stalled},
    fault::{Failure, Fault},
    pipeline::{self, Input},
    storage::Storage,
};

/// A copy, and what it must be.
pub(super) struct Copy<'a> {
    pub storage: &'a Storage,
    pub manifest: &'a Manifest,
    /// The manifest's exact text, as the catalog has it.
    pub text: &'a str,
}

/// How a copy is read.
pub(super) struct Reader<'a> {
    pub keyring: &'a Keyring,
    pub leg: &'a Leg,
    pub lease: &'a Lease,
    /// A storage that gives nothing for so long can't be looked at.
    pub patience: Duration,
}

impl Copy<'_> {
    /// The objects are there and have their size.
    pub(super) async fn glance(&self) -> Result<(), Failure> {
        let expected = self.manifest.envelope.bytes;
        self.storage.head(&self.manifest.manifest_key()).await?;
        let found = self.storage.head(&self.manifest.data_key()).await?.bytes;
        if found == expected {
            Ok(())
        } else {
            Err(VerifyError::Length { expected, found }.into())
        }
    }

    /// Every byte is what was written, and the manifest beside it is the one that was written with it.
    pub(super) async fn read(&self, reader: &Reader<'_>) -> Result<(), Failure> {
        let (storage, manifest) = (self.storage, self.manifest);
        let stored = storage
            .read_small(&manifest.manifest_key(), catalog::MAX_MANIFEST_BYTES)
            .await?;
        if stored != self.text.as_bytes() {
            return Err(VerifyError::ManifestChanged.into());
        }
        let input = Input::Object {
            storage: storage.clone(),
            key: manifest.data_key(),
            sidecar: manifest.sidecar_key(),
        };
        let expected = manifest.expected();
        let read = unless_stalled(reader.leg.watch(), reader.patience, |watch| {
            pipeline::check(&input, &expected, reader.keyring, watch)
        });
        let read = read.await.ok_or_else(|| VerifyError::Stalled {
            storage: storage.name().clone(),
            seconds: reader.patience.as_secs(),
        })??;
        match read.opened {
            Some(opened) => opened
                .manifest_key
                .map_or(Ok(()), |key| catalog::check_seal(&stored, &key))?,
            None => reader.lease.log(format!(
                "{}: hash of the stored bytes only, no key opens it",
                manifest.artifact.short()
            )),
        }
        Ok(())
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
