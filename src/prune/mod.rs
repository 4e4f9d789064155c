//! The use case Prune: a stored plan, performed item by item.
//!
//! [`plans`] says what would go, without side effects; [`perform`] stores that, decides about every item once more in the
//! transaction that marks it, and deletes its copies on all storages. A run that dies is carried on by the next one; what
//! can't be deleted stays written down. Which backups go is said by `retention`, in rows it stands in `catalog`.

mod error;
mod look;
mod perform;
mod plan;
mod report;

use std::sync::Arc;

use chrono_tz::Tz;

pub use self::{
    error::PruneError,
    perform::perform,
    plan::{Planned, Wish, plans},
};
use crate::{
    clock::Clock,
    control::ControlDb,
    retention::Policy,
    storage::{Environment, Storage},
};

/// What keeps the backups that no schedule made.
#[derive(Clone, Debug)]
pub struct Terms {
    pub manual: Policy,
    /// Those that were made before a live database gave way.
    pub safety: Policy,
    /// Theirs; every schedule has its own.
    pub zone: Tz,
}

/// What a Prune job needs besides its request.
#[derive(Clone, Debug)]
pub struct Deps {
    pub environment: Environment,
    pub storages: Vec<Storage>,
    pub terms: Terms,
    pub catalog: ControlDb,
    pub clock: Arc<dyn Clock>,
}
