//! The use case Verify: looks at copies again, says what was found, and mends it if that was asked for.
//!
//! A storage that can't be reached is a failure to look, never a finding about the copy. What was found is written to the
//! copies' rows as it is found: it stays true however the execution ends.
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

use std::time::Duration;

pub use self::{
    cadence::{Cadence, Scrub},
    error::VerifyError,
    perform::perform,
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
}
