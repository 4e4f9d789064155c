//! The data key: drawn for one file, derived from nothing, and everything that is derived from it.
//!
//! GCM does not commit to its key; the commitment does, so that no slot can lead to a second data key for the same file.

use std::fmt;

use subtle::ConstantTimeEq;

use super::{
    chunk::ChunkCipher,
    error::EnvelopeError,
    header::{CORE_BYTES, SALT_AT},
    manifest_seal::ManifestKey,
    secret::{Secret, hkdf, hmac},
};

/// Seals one payload, ever.
pub(super) struct DataKey(Secret);

impl DataKey {
    pub(super) fn random() -> Result<Self, EnvelopeError> {
        Secret::random().map(Self)
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        self.0.bytes()
    }

    pub(super) fn commitment(&self, core: &[u8; CORE_BYTES]) -> [u8; 32] {
        *self.derive(core, b"kbk2/commit").bytes()
    }

    pub(super) fn header_mac(&self, core: &[u8; CORE_BYTES], header: &[u8]) -> [u8; 32] {
        hmac(&self.derive(core, b"kbk2/header-mac"), &[header])
    }

    pub(super) fn chunk_cipher(&self, core: &[u8; CORE_BYTES]) -> ChunkCipher {
        ChunkCipher::new(&self.derive(core, b"kbk2/payload"))
    }

    pub(super) fn manifest_key(&self, core: &[u8; CORE_BYTES]) -> ManifestKey {
        ManifestKey::from(self.derive(core, b"kbk2/manifest"))
    }

    pub(super) fn is_committed_by(&self, core: &[u8; CORE_BYTES], commitment: &[u8; 32]) -> bool {
        self.commitment(core).ct_eq(commitment).into()
    }

    fn derive(&self, core: &[u8; CORE_BYTES], label: &[u8]) -> Secret {
        hkdf(&self.0, Some(&core[SALT_AT..]), &[label, core])
    }
}

impl From<Secret> for DataKey {
    fn from(key: Secret) -> Self {
        Self(key)
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(..)")
    }
}
