//! How far an execution is: written to its row with the renewal, at most once a second.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The part of the work that is going on. A phase never returns to an earlier one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    #[default]
    Connect,
    Dump,
    Archive,
    ReadBack,
    Check,
    Load,
    Unpack,
    Compare,
    Swap,
    Record,
}

impl Phase {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Dump => "dump",
            Self::Archive => "archive",
            Self::ReadBack => "read_back",
            Self::Check => "check",
            Self::Load => "load",
            Self::Unpack => "unpack",
            Self::Compare => "compare",
            Self::Swap => "swap",
            Self::Record => "record",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.as_str().replace('_', " "))
    }
}

/// The contents of `execution.progress`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub phase: Phase,
    /// Bytes read from the source (or the storage) in this phase.
    pub done_bytes: u64,
    /// The end of the bar; `None` when unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<u64>,
    /// `total_bytes` is a guess (the last backup's size, the database's size) and shown as "about".
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub total_is_estimate: bool,
    /// Bytes written to each storage so far.
    #[serde(default)]
    pub stored_bytes: u64,
    /// Bytes a second over the last few seconds.
    #[serde(default)]
    pub rate_bps: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
