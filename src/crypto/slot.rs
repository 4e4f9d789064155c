//! Key slots: how the data key is wrapped for one key, and unwrapped again.
//!
//! Everything a slot says is authenticated together with the file's identity, so a slot can be carried over to a new
//! header byte for byte but never to another file. A [`Slot`] exists only after its bytes passed every check.

use aes_gcm::{
    Aes256Gcm, Nonce,
    aead::{AeadInOut, KeyInit},
};
use subtle::ConstantTimeEq;

use super::{
    data_key::DataKey,
    error::EnvelopeError,
    key::KeyId,
    layout::{array_at, u32_at},
    secret::{Secret, hkdf},
};

pub(super) const SLOT_BYTES: usize = 128;

/// What a new wrap for a passphrase costs whoever guesses.
pub(super) const DEFAULT_ITERATIONS: u32 = 600_000;
const ITERATIONS_MIN: u32 = 100_000;
const ITERATIONS_MAX: u32 = 10_000_000;

/// Bytes of a slot that come before the wrapped key, and are authenticated with it.
const SAID_BYTES: usize = 72;
const WRAPPED_BYTES: usize = 48;
const WRAP_GCM: u8 = 1;

/// What kind of key a slot was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotKind {
    Raw,
    Passphrase,
}

impl SlotKind {
    fn byte(self) -> u8 {
        match self {
            Self::Raw => 1,
            Self::Passphrase => 2,
        }
    }
}

/// A used slot whose bytes are well formed. Nothing in it is authenticated yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) kind: SlotKind,
    pub(super) iterations: u32,
    pub(super) key_id: KeyId,
    pub(super) passphrase_salt: [u8; 16],
    kek_salt: [u8; 32],
    bytes: [u8; SLOT_BYTES],
}

impl Slot {
    pub(super) fn parse(index: usize, bytes: [u8; SLOT_BYTES]) -> Result<Self, EnvelopeError> {
        let flaw = |what| Err(EnvelopeError::bad_header(format!("slot {index}: {what}")));
        let kind = match bytes[0] {
            1 => SlotKind::Raw,
            2 => SlotKind::Passphrase,
            _ => return flaw("unknown type"),
        };
        if bytes[1] != WRAP_GCM {
            return flaw("unknown wrap");
        }
        if bytes[2..4] != [0; 2] || bytes[120..] != [0; 8] {
            return flaw("reserved bytes are not zero");
        }
        let slot = Self {
            kind,
            iterations: u32_at(&bytes, 4),
            key_id: KeyId(array_at(&bytes, 8)),
            passphrase_salt: array_at(&bytes, 24),
            kek_salt: array_at(&bytes, 40),
            bytes,
        };
        match kind {
            SlotKind::Raw if slot.iterations != 0 || slot.passphrase_salt != [0; 16] => {
                flaw("a raw key with passphrase fields")
            }
            SlotKind::Passphrase
                if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&slot.iterations) =>
            {
                Err(EnvelopeError::KdfCost {
                    slot: index,
                    iterations: slot.iterations,
                })
            }
            SlotKind::Raw | SlotKind::Passphrase => Ok(slot),
        }
    }

    pub(super) fn bytes(&self) -> &[u8; SLOT_BYTES] {
        &self.bytes
    }

    pub(super) fn fits(&self, master: &Secret) -> bool {
        KeyId::of(master).0.ct_eq(&self.key_id.0).into()
    }

    /// The data key, if this master made the wrap for a file of this identity.
    pub(super) fn unwrap(&self, master: &Secret, identity: &[u8]) -> Option<DataKey> {
        let (said, rest) = self.bytes.split_at(SAID_BYTES);
        let (ciphertext, tag) = rest[..WRAPPED_BYTES].split_at(32);
        let mut key = Secret::zero();
        key.bytes_mut().copy_from_slice(ciphertext);
        kek(master, &self.kek_salt)
            .decrypt_inout_detached(
                &Nonce::default(),
                &[identity, said].concat(),
                key.bytes_mut().as_mut_slice().into(),
                tag.try_into().ok()?,
            )
            .ok()?;
        Some(DataKey::from(key))
    }
}

/// A wrap about to be made. Its KEK salt must never have been used before: the nonce is fixed.
#[derive(Debug)]
pub(super) struct Wrap {
    kind: SlotKind,
    master: Secret,
    iterations: u32,
    passphrase_salt: [u8; 16],
    kek_salt: [u8; 32],
}

impl Wrap {
    pub(super) fn raw(master: Secret, kek_salt: [u8; 32]) -> Self {
        Self {
            kind: SlotKind::Raw,
            master,
            iterations: 0,
            passphrase_salt: [0; 16],
            kek_salt,
        }
    }

    pub(super) fn passphrase(
        master: Secret,
        passphrase_salt: [u8; 16],
        iterations: u32,
        kek_salt: [u8; 32],
    ) -> Self {
        Self {
            kind: SlotKind::Passphrase,
            master,
            iterations,
            passphrase_salt,
            kek_salt,
        }
    }

    pub(super) fn key_id(&self) -> KeyId {
        KeyId::of(&self.master)
    }

    /// The slot's bytes for this data key in a file of this identity.
    #[expect(clippy::expect_used, reason = "32 bytes are within every limit of GCM")]
    pub(super) fn seal(&self, identity: &[u8], data_key: &DataKey) -> [u8; SLOT_BYTES] {
        let mut slot = [0; SLOT_BYTES];
        slot[0] = self.kind.byte();
        slot[1] = WRAP_GCM;
        slot[4..8].copy_from_slice(&self.iterations.to_be_bytes());
        slot[8..24].copy_from_slice(&self.key_id().0);
        slot[24..40].copy_from_slice(&self.passphrase_salt);
        slot[40..SAID_BYTES].copy_from_slice(&self.kek_salt);
        let (said, rest) = slot.split_at_mut(SAID_BYTES);
        let (wrapped, tag) = rest[..WRAPPED_BYTES].split_at_mut(32);
        wrapped.copy_from_slice(data_key.bytes());
        let made = kek(&self.master, &self.kek_salt)
            .encrypt_inout_detached(
                &Nonce::default(),
                &[identity, said].concat(),
                wrapped.into(),
            )
            .expect("short enough");
        tag.copy_from_slice(&made);
        slot
    }
}

fn kek(master: &Secret, salt: &[u8; 32]) -> Aes256Gcm {
    let kek = hkdf(master, Some(salt), &[b"kbk2/kek"]);
    Aes256Gcm::new(kek.bytes().into())
}
