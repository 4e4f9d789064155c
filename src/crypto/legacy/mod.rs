//! Envelope v1, the legacy format of Kanbu: one AES-256-GCM message over the whole file (docs/formats/envelope-v1.md).
//!
//! Whole-message interfaces would hold the file in memory, so GCM is put together here from its parts. Writing takes one
//! pass, reading two: no plaintext leaves before the tag over all of it was good. Three steps, three types: `LegacySealer`;
//! `LegacyCheck`, which yields a [`LegacyTicket`]; `LegacyOpener`, which can't be had without one.

mod check;
mod frame;
mod message;
mod opener;
mod sealer;

pub use self::{
    check::{LegacyCheck, LegacyTicket},
    opener::LegacyOpener,
    sealer::LegacySealer,
};

/// Initialisation vector, and tag: both have 16 bytes.
const BLOCK: usize = 16;

/// The most that GCM may encrypt under one initialisation vector: 64 GiB less 32 bytes.
const PAYLOAD_MAX: u64 = (1 << 36) - 32;

#[cfg(test)]
mod tests;
