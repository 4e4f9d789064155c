//! The use case Restore: fills something new, and what exists gives way only to what is known to be good.
//!
//! [`plan`] says what speaks for and against it. The whole backup is read and checked before anything is created; a copy that
//! turns out bad then gives way to another one, and a failure afterwards removes what was half made. What was loaded is
//! compared with what was backed up. Then it stays beside the live database, or takes its name ([`replace`]), until somebody
//! wants the old one back ([`rollback`]). The same code serves the queue's jobs and the offline verb, which has only a file
//! or a storage and a key, and makes new databases alone.

mod database;
mod destination;
mod error;
mod origin;
mod perform;
mod plan;
mod replace;
mod right;
mod rollback;
mod settle;
mod wanted;

pub use self::{
    destination::{DatabaseTarget, Destination},
    error::RestoreError,
    origin::Origin,
    perform::{perform, perform_and_keep, perform_unjudged, preflight},
    plan::{Check, Plan, Verdict, plan},
    replace::{Begun, Safety, begin, confirmation, record_safety, replace},
    rollback::{replacement, rollback},
    settle::{Tidied, tidy},
    wanted::Wanted,
};

use crate::{
    control::ControlDb,
    crypto::Keyring,
    job::Days,
    storage::{Environment, Storage},
};

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
    /// What is typed before the live database gives way begins with it.
    pub environment: Environment,
    /// How long a database that gave way is kept, unless the request says otherwise.
    pub keep_old: Days,
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
