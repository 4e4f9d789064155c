//! The use case Verify: looks at copies again and says what was found. Reads only; a storage that can't be reached is a
//! failure to look, never a finding about the copy.

mod perform;

pub use self::perform::perform;

use crate::{control::ControlDb, crypto::Keyring, storage::Storage};

/// What a verification needs besides its request.
#[derive(Clone, Debug)]
pub struct Deps {
    pub storages: Vec<Storage>,
    pub keyring: Keyring,
    pub catalog: ControlDb,
}
