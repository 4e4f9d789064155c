//! The keys a process has: one to write with, all of them to read with, and what was derived from them.
//!
//! Deriving from a passphrase takes tenths of a second by design, so each master key is derived once per (salt,
//! iterations) and kept. Whatever may derive one belongs on a thread that may block.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use super::{
    error::EnvelopeError,
    key::{KeyId, KeyMaterial, without_newline},
    secret::{Secret, pbkdf2, random},
    slot::{DEFAULT_ITERATIONS, SlotKind, Wrap},
};

/// The one salt of every legacy file ever written.
const LEGACY_SALT: &[u8] = b"kanbu-backup-encryption-salt-v1";
const LEGACY_ITERATIONS: u32 = 100_000;

/// All keys at hand. Cheap to clone; clones share what was derived.
#[derive(Clone)]
pub struct Keyring {
    /// The active key first, if there is one.
    keys: Arc<[KeyMaterial]>,
    has_active: bool,
    salt: Arc<OnceLock<[u8; 16]>>,
    masters: Arc<Mutex<HashMap<Derivation, Arc<OnceLock<Secret>>>>>,
}

/// What a master key was derived from.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Derivation {
    V2 {
        key: usize,
        salt: [u8; 16],
        iterations: u32,
    },
    Legacy {
        key: usize,
        form: KeyForm,
    },
}

/// How the text of a key fitted a legacy file. Kanbu never trimmed, so a stray newline in its settings is part of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyForm {
    AsGiven,
    NewlineAdded,
    NewlineRemoved,
}

impl KeyForm {
    pub(super) const ALL: [Self; 3] = [Self::AsGiven, Self::NewlineAdded, Self::NewlineRemoved];

    /// What to tell the operator when the key fitted only in this form.
    pub fn note(self) -> Option<&'static str> {
        match self {
            Self::AsGiven => None,
            Self::NewlineAdded => {
                Some("the file opens only with a newline added to the configured key")
            }
            Self::NewlineRemoved => {
                Some("the file opens only without the trailing newline of the configured key")
            }
        }
    }

    fn of(self, text: &str) -> Option<String> {
        match self {
            Self::AsGiven => Some(text.to_owned()),
            Self::NewlineAdded => Some(format!("{text}\n")),
            Self::NewlineRemoved => without_newline(text)
                .filter(|text| !text.is_empty())
                .map(str::to_owned),
        }
    }
}

impl Keyring {
    /// Derives nothing yet.
    pub fn new(active: Option<KeyMaterial>, others: Vec<KeyMaterial>) -> Self {
        Self {
            has_active: active.is_some(),
            keys: active.into_iter().chain(others).collect(),
            salt: Arc::default(),
            masters: Arc::default(),
        }
    }

    /// Wraps for the active passphrase under this salt, so that its key id stays the same from process to process.
    #[must_use]
    pub fn with_passphrase_salt(mut self, salt: [u8; 16]) -> Self {
        self.salt = Arc::new(OnceLock::from(salt));
        self
    }

    /// The salt that new files of the active passphrase carry: not secret, worth keeping. Random unless it was given.
    pub fn passphrase_salt(&self) -> Result<[u8; 16], EnvelopeError> {
        if let Some(salt) = self.salt.get() {
            return Ok(*salt);
        }
        let drawn = random()?;
        Ok(*self.salt.get_or_init(|| drawn))
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub fn has_active(&self) -> bool {
        self.has_active
    }

    /// The public name of the key that new files are sealed with. May derive it: call it where blocking is allowed.
    pub fn active_key_id(&self) -> Result<Option<KeyId>, EnvelopeError> {
        if !self.has_active {
            return Ok(None);
        }
        Ok(Some(self.wrap()?.key_id()))
    }

    /// A fresh wrap for the active key: a new salt each time, because each key-encrypting key may be used only once.
    pub(super) fn wrap(&self) -> Result<Wrap, EnvelopeError> {
        let active = self.active()?;
        let kek_salt = random()?;
        if let Some(raw) = active.raw() {
            return Ok(Wrap::raw(raw.clone(), kek_salt));
        }
        let salt = self.passphrase_salt()?;
        let master = self.passphrase_master(0, salt, DEFAULT_ITERATIONS);
        Ok(Wrap::passphrase(master, salt, DEFAULT_ITERATIONS, kek_salt))
    }

    /// The master keys that a slot of this kind could belong to, derived one by one as they are asked for.
    pub(super) fn masters(
        &self,
        kind: SlotKind,
        salt: [u8; 16],
        iterations: u32,
    ) -> impl Iterator<Item = Secret> {
        self.keys
            .iter()
            .enumerate()
            .filter_map(move |(index, key)| match (kind, key.raw()) {
                (SlotKind::Raw, Some(raw)) => Some(raw.clone()),
                (SlotKind::Passphrase, None) => {
                    Some(self.passphrase_master(index, salt, iterations))
                }
                (SlotKind::Raw, None) | (SlotKind::Passphrase, Some(_)) => None,
            })
    }

    /// The key that legacy files are written with.
    pub(super) fn legacy_active(&self) -> Result<Secret, EnvelopeError> {
        self.active()?;
        self.legacy_key(0, KeyForm::AsGiven)
            .ok_or(EnvelopeError::NoKey)
    }

    /// Every key a legacy file could have been written with; the keys as given come first.
    pub(super) fn legacy_keys(&self) -> Vec<(KeyForm, Secret)> {
        let forms = KeyForm::ALL.into_iter();
        forms
            .flat_map(|form| (0..self.keys.len()).map(move |key| (form, key)))
            .filter_map(|(form, key)| Some((form, self.legacy_key(key, form)?)))
            .collect()
    }

    fn legacy_key(&self, key: usize, form: KeyForm) -> Option<Secret> {
        let text = zeroize::Zeroizing::new(form.of(self.keys.get(key)?.text())?);
        Some(Secret::from_hex(&text).unwrap_or_else(|| {
            self.derived(Derivation::Legacy { key, form }, || {
                pbkdf2(text.as_bytes(), LEGACY_SALT, LEGACY_ITERATIONS)
            })
        }))
    }

    fn active(&self) -> Result<&KeyMaterial, EnvelopeError> {
        self.keys
            .first()
            .filter(|_| self.has_active)
            .ok_or(EnvelopeError::NoKey)
    }

    fn passphrase_master(&self, key: usize, salt: [u8; 16], iterations: u32) -> Secret {
        let derivation = Derivation::V2 {
            key,
            salt,
            iterations,
        };
        self.derived(derivation, || {
            pbkdf2(self.keys[key].text().as_bytes(), &salt, iterations)
        })
    }

    /// The map is locked only to find the cell: a slow derivation holds up those who want the same key, nobody else.
    fn derived(&self, derivation: Derivation, derive: impl FnOnce() -> Secret) -> Secret {
        let cell = Arc::clone(
            self.masters
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(derivation)
                .or_default(),
        );
        cell.get_or_init(derive).clone()
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring")
            .field("keys", &self.keys.len())
            .field("has_active", &self.has_active)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> KeyMaterial {
        KeyMaterial::parse(text).unwrap()
    }

    #[test]
    fn a_keyring_without_an_active_key_reads_and_does_not_write() {
        let ring = Keyring::new(None, vec![key("old")]);
        assert!(!ring.is_empty() && !ring.has_active());
        assert_eq!(ring.active_key_id().unwrap(), None);
        assert_eq!(ring.wrap().unwrap_err(), EnvelopeError::NoKey);
        assert_eq!(ring.legacy_active().unwrap_err(), EnvelopeError::NoKey);
        assert!(Keyring::new(None, Vec::new()).is_empty());
    }

    #[test]
    fn a_passphrase_has_the_same_id_in_the_next_process_if_its_salt_was_kept() {
        let first = Keyring::new(Some(key("correct horse")), Vec::new());
        let id = first.active_key_id().unwrap();
        let salt = first.passphrase_salt().unwrap();
        let next = Keyring::new(Some(key("correct horse")), Vec::new()).with_passphrase_salt(salt);
        assert_eq!(next.active_key_id().unwrap(), id);
        let forgetful = Keyring::new(Some(key("correct horse")), Vec::new());
        assert_ne!(forgetful.active_key_id().unwrap(), id);
    }

    #[test]
    fn a_master_is_derived_once_and_shared_by_clones() {
        let ring = Keyring::new(Some(key("word")), Vec::new());
        let first = ring.passphrase_master(0, [1; 16], 1000);
        let derivation = Derivation::V2 {
            key: 0,
            salt: [1; 16],
            iterations: 1000,
        };
        let again = ring
            .clone()
            .derived(derivation, || panic!("derived a second time"));
        assert_eq!(first.bytes(), again.bytes());
    }

    #[test]
    fn legacy_keys_are_tried_as_given_before_any_newline_is_added_or_removed() {
        let ring = Keyring::new(Some(key("one\n")), vec![key("two")]);
        let forms: Vec<KeyForm> = ring.legacy_keys().iter().map(|(form, _)| *form).collect();
        assert_eq!(
            forms,
            [
                KeyForm::AsGiven,
                KeyForm::AsGiven,
                KeyForm::NewlineAdded,
                KeyForm::NewlineAdded,
                KeyForm::NewlineRemoved
            ]
        );
    }

    #[test]
    fn a_raw_key_with_a_newline_is_a_passphrase_for_kanbu_and_its_bytes_without() {
        let digits = "0f".repeat(32);
        let ring = Keyring::new(Some(key(&format!("{digits}\n"))), Vec::new());
        let keys = ring.legacy_keys();
        let (form, stripped) = keys.last().unwrap();
        assert_eq!(
            (*form, stripped.bytes()),
            (KeyForm::NewlineRemoved, &[0x0f; 32])
        );
        assert_ne!(keys[0].1.bytes(), &[0x0f; 32]);
    }
}
