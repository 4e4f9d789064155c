//! The use case Restore: fills something new, and never touches what exists.
//!
//! The whole backup is read and checked before anything is created; a copy that turns out bad then gives way to another one,
//! and a failure afterwards removes what was half made. The same code serves the queue's jobs and the offline verb, which has only a file or a storage and a key.

mod database;
mod destination;
mod error;
mod origin;
mod perform;

pub use self::{
    destination::{DatabaseTarget, Destination},
    error::RestoreError,
    origin::Origin,
    perform::{perform, preflight},
};

use crate::{control::ControlDb, crypto::Keyring, storage::Storage};

/// What any restore needs: the server that gets the new database, and the keys.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    pub target: Option<&'a DatabaseTarget>,
    pub keyring: &'a Keyring,
    /// Where a copy that turns out bad is noted; none without a service.
    pub catalog: Option<&'a ControlDb>,
}

/// What a restore job needs besides its request.
#[derive(Clone, Debug)]
pub struct Deps {
    pub storages: Vec<Storage>,
    pub keyring: Keyring,
    /// The server that gets the new database; `None` where none is configured.
    pub target: Option<DatabaseTarget>,
    pub catalog: ControlDb,
}

impl Deps {
    pub fn parts(&self) -> Parts<'_> {
        Parts {
            target: self.target.as_ref(),
            keyring: &self.keyring,
            catalog: Some(&self.catalog),
        }
    }
}
