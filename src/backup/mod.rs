//! The use case Backup: one stream from the source to every storage, read back before it counts, the manifest last.
//!
//! [`plan`] decides without side effects; [`perform`] carries it out under a lease. What it made enters the catalog in the
//! transaction that ends the execution, which belongs to `queue`. Never claims, renews, or writes SQL on `job`.

mod adopt;
mod alarms;
mod clear;
mod copies;
mod error;
mod globals;
mod perform;
mod plan;
mod recipe;
mod source;
mod store;
mod stream;
mod warnings;
mod wishes;

pub use self::{
    error::BackupError,
    perform::perform,
    plan::{Format, Plan, plan},
    source::{DatabaseSource, Sources, TreeSource},
    wishes::{chosen, conclude},
};

use std::{sync::Arc, time::Duration};

use crate::{
    clock::Clock,
    control::ControlDb,
    crypto::Keyring,
    pipeline::Slowness,
    retention,
    storage::{Environment, Policy, Storage},
};

/// How content is watched.
#[derive(Clone, Copy, Debug)]
pub struct ContentTerms {
    /// How long rows are counted while a dump runs; tables that are not counted by then are estimated.
    pub count_budget: Duration,
    /// A table that lost more than so many percent of its rows is told; 0 tells none.
    pub shrunk_percent: u64,
    /// A dump that is smaller than so many percent of what is usual is told; 0 tells none.
    pub small_percent: u64,
}

impl Default for ContentTerms {
    fn default() -> Self {
        Self {
            count_budget: Duration::from_mins(1),
            shrunk_percent: 50,
            small_percent: 50,
        }
    }
}

/// What a backup needs besides its request.
#[derive(Clone, Debug)]
pub struct Deps {
    pub environment: Environment,
    /// The primary first.
    pub storages: Vec<Storage>,
    /// What they must achieve together.
    pub policy: Policy,
    pub keyring: Keyring,
    pub format: Format,
    /// zstd's level, 1 to 19.
    pub zstd_level: i32,
    /// Compression threads besides the one that feeds them.
    pub zstd_workers: u32,
    /// A storage that finishes nothing for this long is dropped from the run.
    pub stall_timeout: Duration,
    /// When a replica is too slow to wait for.
    pub slowness: Slowness,
    pub sources: Sources,
    pub content: ContentTerms,
    /// What keeps backups that no schedule made.
    pub manual: retention::Policy,
    /// For the executions and backups that came before.
    pub history: ControlDb,
    pub clock: Arc<dyn Clock>,
}
