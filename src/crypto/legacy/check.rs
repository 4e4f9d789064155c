//! Reading v1, pass one: is the whole file authentic, and which key made it?
//!
//! The format names no key, so every key at hand is tried over the same pass, each also with and without a trailing
//! newline (Kanbu never trimmed its setting). Nothing is decrypted.

use subtle::ConstantTimeEq;

use super::{BLOCK, frame::Frame, message::Authenticator, sealer::BATCH_BYTES};
use crate::crypto::{
    error::EnvelopeError,
    keyring::{KeyForm, Keyring},
    secret::Secret,
};

/// Checks one file.
#[derive(Debug)]
pub struct LegacyCheck {
    frame: Frame,
    keys: Vec<(KeyForm, Secret)>,
    /// One per key, once the vector has come.
    authenticators: Vec<Authenticator>,
}

/// The right to decrypt a file: it was authentic to its last byte, with this key.
#[derive(Debug)]
pub struct LegacyTicket {
    pub(super) key: Secret,
    pub(super) iv: [u8; BLOCK],
    pub(super) tag: [u8; BLOCK],
    pub(super) payload_bytes: u64,
    form: KeyForm,
}

impl LegacyTicket {
    /// Which form of a configured key fitted: anything but [`KeyForm::AsGiven`] has a note for the operator.
    pub fn form(&self) -> KeyForm {
        self.form
    }

    pub fn payload_bytes(&self) -> u64 {
        self.payload_bytes
    }
}

impl LegacyCheck {
    /// May derive keys from passphrases: call it where blocking is allowed.
    pub fn new(keyring: &Keyring) -> Self {
        Self {
            frame: Frame::default(),
            keys: keyring.legacy_keys(),
            authenticators: Vec::new(),
        }
    }

    pub fn push(&mut self, bytes: &[u8]) -> Result<(), EnvelopeError> {
        for batch in bytes.chunks(BATCH_BYTES) {
            let ciphertext = self.frame.push(batch);
            if let Some(iv) = self.frame.iv() {
                begin(&mut self.authenticators, &self.keys, iv);
            }
            for authenticator in &mut self.authenticators {
                for piece in ciphertext.pieces() {
                    authenticator.update(piece)?;
                }
            }
        }
        Ok(())
    }

    /// The end of the input. [`EnvelopeError::LegacyAuth`] if no key at hand fits: wrong or damaged, nobody can tell.
    pub fn finish(mut self) -> Result<LegacyTicket, EnvelopeError> {
        let (iv, tag) = self.frame.finish()?;
        if self.keys.is_empty() {
            return Err(EnvelopeError::NoKey);
        }
        begin(&mut self.authenticators, &self.keys, iv);
        self.keys
            .into_iter()
            .zip(self.authenticators)
            .find_map(|((form, key), authenticator)| {
                let payload_bytes = authenticator.bytes();
                bool::from(authenticator.tag().ct_eq(&tag)).then_some(LegacyTicket {
                    key,
                    iv,
                    tag,
                    payload_bytes,
                    form,
                })
            })
            .ok_or(EnvelopeError::LegacyAuth)
    }
}

fn begin(authenticators: &mut Vec<Authenticator>, keys: &[(KeyForm, Secret)], iv: [u8; BLOCK]) {
    if authenticators.is_empty() {
        authenticators.extend(keys.iter().map(|(_, key)| Authenticator::new(key, iv)));
    }
}
