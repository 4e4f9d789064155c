//! One artifact on one storage.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::artifact::words;
use crate::{id::ArtifactId, storage::StorageName};

/// How a copy stands, as far as was last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CopyState {
    /// Not made yet, and that was meant so: it is to be replicated from another one.
    Pending,
    /// Written and read back.
    Stored,
    /// The object or its manifest is not there.
    Missing,
    /// It is there and it isn't what was written.
    Damaged,
    /// Deletion was decided; objects may remain until it is performed.
    Deleting,
    Deleted,
}

words!(CopyState {
    Pending => "pending", Stored => "stored", Missing => "missing", Damaged => "damaged", Deleting => "deleting", Deleted => "deleted",
});

/// A copy that is about to enter the catalog.
#[derive(Clone, Debug)]
pub struct NewCopy {
    pub storage: StorageName,
    pub state: CopyState,
    /// Why it isn't stored.
    pub error: Option<String>,
    /// When every byte of it was last read and found right.
    pub checked_at: Option<DateTime<Utc>>,
}

/// What a look at an existing copy found.
#[derive(Clone, Debug)]
pub struct CopyCheck {
    pub artifact: ArtifactId,
    pub storage: StorageName,
    pub state: CopyState,
    pub error: Option<String>,
    /// Every byte was read (otherwise only existence and size were looked at).
    pub full: bool,
}
