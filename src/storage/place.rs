//! A storage as it is configured: its name, what it is for, where it is.

use std::{fmt, path::PathBuf};

use super::StorageName;

/// What a storage is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Sets the pace of a backup, and is read from first.
    Primary,
    Replica,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Where a storage is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A directory of its own on this machine, or mounted on it.
    Local { directory: PathBuf },
}

/// A storage as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageConfig {
    pub name: StorageName,
    pub role: Role,
    pub place: Place,
}
