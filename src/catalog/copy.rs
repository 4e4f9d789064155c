//! One artifact on one storage.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::artifact::words;
use crate::{
    fault::{Failure, Fault},
    id::ArtifactId,
    storage::StorageName,
};

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

impl CopyState {
    /// What a failed look says about the copy; `None` when it says something about the way there instead.
    pub fn told_by(failure: &Failure) -> Option<Self> {
        if failure.fault != Fault::Permanent {
            return None;
        }
        match failure.code.as_ref() {
            "storage.not_found" => Some(Self::Missing),
            // A manifest that grew beyond what we ever write.
            "storage.too_large" => Some(Self::Damaged),
            code => match code.split_once('.') {
                Some(("envelope" | "integrity" | "manifest" | "pipeline", _)) => {
                    Some(Self::Damaged)
                }
                _ => None,
            },
        }
    }

    /// It was there once, or should have been, and can't be restored from.
    pub fn is_bad(self) -> bool {
        matches!(self, Self::Missing | Self::Damaged)
    }
}

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
    /// Of the data object as it lies there; `None` if nobody could see it.
    pub bytes: Option<u64>,
    pub error: Option<String>,
    /// Every byte was read (otherwise only existence and size were looked at).
    pub full: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_speaks_of_the_copy_is_held_against_it() {
        let told = |fault, code| CopyState::told_by(&Failure::new(fault, code, "x"));
        for (code, state) in [
            ("storage.not_found", Some(CopyState::Missing)),
            ("storage.too_large", Some(CopyState::Damaged)),
            ("envelope.chunk_auth", Some(CopyState::Damaged)),
            ("integrity.length", Some(CopyState::Damaged)),
            ("manifest.changed", Some(CopyState::Damaged)),
            ("pipeline.stored_digest_mismatch", Some(CopyState::Damaged)),
            ("storage.denied", None),
            ("key.none", None),
        ] {
            assert_eq!(told(Fault::Permanent, code), state, "{code}");
            assert_eq!(told(Fault::Transient, code), None, "{code}");
        }
    }
}
