//! The use case Verify: looks at copies again and says what was found. Reads only; a storage that can't be reached is a
//! failure to look, never a finding about the copy.

mod error;
mod findings;
mod look;
mod perform;

use std::time::Duration;

pub use self::{error::VerifyError, perform::perform};

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
