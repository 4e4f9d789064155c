//! The use case Import: files that others made become backups like any other, and stay where they are.
//!
//! [`find`] names the files of a directory, [`examine`] reads one to its end and says what it is, [`adopt`] copies it into
//! a storage, reads it back, writes its manifest last and enters it into the catalog. It has no job and no execution: the
//! files lie where the operator is, not where a worker runs (docs/decisions/0009). Kanbu's names are `kanbu`'s.

mod adopting;
mod blocks;
mod content;
mod error;
mod examine;
mod find;
mod stranded;

use std::{path::PathBuf, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};

pub use self::{
    adopting::{Adopted, adopt},
    error::ImportError,
    examine::{Examined, examine},
    find::{Files, find},
    stranded::Stranded,
};
use crate::{
    clock::Clock,
    control::ControlDb,
    crypto::Keyring,
    job::Subject,
    pg::tools::Toolset,
    storage::{Environment, Storage},
};

/// What an import works with.
#[derive(Clone, Debug)]
pub struct Deps {
    pub environment: Environment,
    /// Where the copies go.
    pub storage: Storage,
    pub keyring: Keyring,
    pub catalog: ControlDb,
    /// To read archives of `pg_dump` to their end.
    pub toolsets: Vec<Toolset>,
    /// A storage that moves nothing for so long has failed.
    pub patience: Duration,
    pub clock: Arc<dyn Clock>,
}

/// A file that somebody brought, and what is known of it apart from its bytes.
#[derive(Clone, Debug)]
pub struct Brought {
    pub path: PathBuf,
    /// What it is a backup of.
    pub subject: Option<Subject>,
    /// When it was begun, if its name tells.
    pub stamp: Option<DateTime<Utc>>,
    /// Its name is that of a file in envelope v1, which has no mark of its own.
    pub may_be_v1: bool,
}
