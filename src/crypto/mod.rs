//! Byte formats, keys and their ids. Every version stays readable for ever.
//!
//! No file names, no environment, no IO: bytes are pushed in and come out. Envelope v2 is ours (`sealer`, `opener`,
//! docs/formats/envelope-v2.md), envelope v1 is Kanbu's (`legacy`, docs/formats/envelope-v1.md). Keys come from `config`;
//! `pipeline` drives the writers and readers.

mod chunk;
mod data_key;
mod error;
mod header;
mod key;
mod keyring;
mod layout;
mod legacy;
mod manifest_seal;
mod metadata;
mod opener;
mod sealer;
mod secret;
mod sidecar;
mod slot;
mod unlock;

pub use self::{
    error::{EnvelopeError, KeyError},
    header::{HEADER_BYTES, HeaderInfo, SlotInfo, inspect, is_kbk2},
    key::{KeyId, KeyMaterial, NotAKeyId, PASSPHRASE_MAX},
    keyring::{KeyForm, Keyring},
    legacy::{LegacyCheck, LegacyOpener, LegacySealer, LegacyTicket},
    manifest_seal::{Claim, ManifestKey, verify_seal},
    metadata::Metadata,
    opener::{OpenOptions, Opened, Opener},
    sealer::{SealSummary, Sealer},
    sidecar::{NewSlot, SidecarUse, rewrap},
    slot::SlotKind,
};

#[cfg(test)]
mod tests;
