//! Writing v1: vector, ciphertext, tag, in one pass.

use super::{
    BLOCK,
    message::{Authenticator, Keystream},
};
use crate::crypto::{
    error::EnvelopeError,
    keyring::Keyring,
    sealer::SealSummary,
    secret::{Secret, random},
};

/// Bytes that are encrypted and then authenticated while they are still in the fast caches.
pub(super) const BATCH_BYTES: usize = 64 * 1024;

/// Seals one payload in Kanbu's format.
#[derive(Debug)]
pub struct LegacySealer {
    /// Still to be written in front of everything else.
    iv: Option<[u8; BLOCK]>,
    keystream: Keystream,
    authenticator: Authenticator,
}

impl LegacySealer {
    /// May derive a key from a passphrase: call it where blocking is allowed.
    pub fn new(keyring: &Keyring) -> Result<Self, EnvelopeError> {
        Ok(Self::with_iv(&keyring.legacy_active()?, random()?))
    }

    /// The vector must be new for every file.
    pub(super) fn with_iv(key: &Secret, iv: [u8; BLOCK]) -> Self {
        Self {
            iv: Some(iv),
            keystream: Keystream::new(key, iv),
            authenticator: Authenticator::new(key, iv),
        }
    }

    /// Takes payload, appends what is to be stored. The first byte over the format's limit is an error.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), EnvelopeError> {
        self.put_iv(out);
        for batch in bytes.chunks(BATCH_BYTES) {
            let start = out.len();
            out.extend_from_slice(batch);
            self.keystream.apply(&mut out[start..])?;
            self.authenticator.update(&out[start..])?;
        }
        Ok(())
    }

    /// Ends the payload. Only for a source that said it is complete.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<SealSummary, EnvelopeError> {
        self.put_iv(out);
        let payload_bytes = self.authenticator.bytes();
        self.authenticator.update(&[])?;
        out.extend_from_slice(&self.authenticator.tag());
        Ok(SealSummary {
            payload_bytes,
            stored_bytes: payload_bytes + 2 * BLOCK as u64,
        })
    }

    fn put_iv(&mut self, out: &mut Vec<u8>) {
        if let Some(iv) = self.iv.take() {
            out.extend_from_slice(&iv);
        }
    }
}
