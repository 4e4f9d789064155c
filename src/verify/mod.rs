//! The use case Verify: looks at copies again, says what was found, and mends it if that was asked for.
//!
//! A storage that can't be reached is a failure to look, never a finding about the copy. What was found is written to the
//! copies' rows as it is found: it stays true however the execution ends.
//!
//! At the level *proven* it restores a backup instead, where that harms nobody, and compares: `prove`.
//!
//! From the top: `perform` (one backup after the other), `plan` (which of them), `case` (what is known of one), `look`,
//! `mend`, `carry` (the way of the bytes), `findings` (what becomes of it all), `cadence` (the rounds that come by themselves).

mod cadence;
mod carry;
mod case;
mod error;
mod findings;
mod look;
mod mend;
mod perform;
mod plan;
mod prove;

use std::time::Duration;

pub use self::{
    cadence::{Cadence, Due, ProofCadence},
    error::VerifyError,
    perform::perform,
    prove::{MAX_CHECKS_BYTES, ProofTerms, Unsplit, statements, sweep},
};

use crate::{control::ControlDb, crypto::Keyring, storage::Storage};

/// What a verification needs besides its request.
#[derive(Clone, Debug)]
pub struct Deps {
    pub storages: Vec<Storage>,
    pub keyring: Keyring,
    /// A storage that gives nothing for this long can't be looked at.
    pub stall_timeout: Duration,
    pub catalog: ControlDb,
    pub proof: ProofTerms,
}
