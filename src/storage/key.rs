//! Object keys: `{environment}/{database|source}/{YYYY-MM-DDTHH-MM-SSZ}_{execution id}/…`, relative to a storage's prefix.
//!
//! The execution id makes every folder one execution's own: nothing is ever overwritten, and a worker that wakes up late
//! can't touch another's objects. A folder without a manifest is debris.

use std::{fmt, str::FromStr};

use chrono::{DateTime, NaiveDateTime, SubsecRound, Utc};
use serde::{Deserialize, Serialize};

use super::Environment;
use crate::id::ExecutionId;

const STAMP: &str = "%Y-%m-%dT%H-%M-%SZ";

/// Where probes write.
pub(super) const PROBES: &str = "kanbu-backup-probe";

/// The folder of one execution.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Folder {
    environment: Environment,
    /// `database` or `source`.
    class: FolderClass,
    /// To the second.
    stamp: DateTime<Utc>,
    execution: ExecutionId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum FolderClass {
    Database,
    Source,
}

impl FolderClass {
    fn as_str(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Source => "source",
        }
    }
}

/// The path is not that of a backup's folder.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a backup folder (environment/database|source/stamp_execution)")]
pub struct BadFolder(String);

impl Folder {
    pub fn of_database(
        environment: Environment,
        stamp: DateTime<Utc>,
        execution: ExecutionId,
    ) -> Self {
        Self {
            environment,
            class: FolderClass::Database,
            stamp: stamp.trunc_subsecs(0),
            execution,
        }
    }

    pub fn of_source(
        environment: Environment,
        stamp: DateTime<Utc>,
        execution: ExecutionId,
    ) -> Self {
        Self {
            environment,
            class: FolderClass::Source,
            stamp: stamp.trunc_subsecs(0),
            execution,
        }
    }

    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    pub fn execution(&self) -> ExecutionId {
        self.execution
    }

    /// When the execution that owns this folder began, to the second.
    pub fn stamp(&self) -> DateTime<Utc> {
        self.stamp
    }

    /// The same instant as it stands in names.
    pub fn stamp_text(&self) -> String {
        self.stamp.format(STAMP).to_string()
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            environment,
            class,
            execution,
            ..
        } = self;
        write!(
            f,
            "{environment}/{}/{}_{execution}",
            class.as_str(),
            self.stamp_text()
        )
    }
}

impl FromStr for Folder {
    type Err = BadFolder;

    fn from_str(text: &str) -> Result<Self, BadFolder> {
        parse(text).ok_or_else(|| BadFolder(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Folder> {
    let mut parts = text.split('/');
    let environment = parts.next()?.parse().ok()?;
    let class = match parts.next()? {
        "database" => FolderClass::Database,
        "source" => FolderClass::Source,
        _ => return None,
    };
    let (stamp, execution) = parts.next()?.split_once('_')?;
    if parts.next().is_some() {
        return None;
    }
    let stamp = NaiveDateTime::parse_from_str(stamp, STAMP).ok()?.and_utc();
    Some(Folder {
        environment,
        class,
        stamp,
        execution: execution.parse().ok()?,
    })
}

impl TryFrom<String> for Folder {
    type Error = BadFolder;

    fn try_from(text: String) -> Result<Self, BadFolder> {
        text.parse()
    }
}

impl From<Folder> for String {
    fn from(folder: Folder) -> Self {
        folder.to_string()
    }
}

/// Everything we ever put on a storage. There is no other way to a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ObjectKey {
    /// The backup's bytes; the name tells their form: `dump.kbk`, `archive.kbk`, `dump.pgc.zst`, `dump.sql.gz.enc` ….
    Data { folder: Folder, name: &'static str },
    /// `manifest.json`: written last, and what makes the rest a backup.
    Manifest { folder: Folder },
    /// `{data}.khdr`: a newer header of an encrypted object.
    Sidecar { folder: Folder, name: &'static str },
    /// The write, read and delete probe of `doctor` and `storage test`.
    Probe { nonce: ExecutionId },
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data { folder, name } => write!(f, "{folder}/{name}"),
            Self::Manifest { folder } => write!(f, "{folder}/manifest.json"),
            Self::Sidecar { folder, name } => write!(f, "{folder}/{name}.khdr"),
            Self::Probe { nonce } => write!(f, "{PROBES}/{nonce}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_read_back_from_its_path() {
        let text = "prod/database/2026-01-18T10-30-00Z_01890a5d-ac96-774b-bcce-b302099a8057";
        let folder: Folder = text.parse().unwrap();
        assert_eq!(folder.to_string(), text);
        let manifest = ObjectKey::Manifest { folder };
        assert_eq!(manifest.to_string(), format!("{text}/manifest.json"));
    }

    #[test]
    fn a_path_that_is_no_folder_of_ours_is_refused() {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        for text in [
            String::new(),
            "prod/database".to_owned(),
            format!("../database/2026-01-18T10-30-00Z_{id}"),
            format!("prod/tables/2026-01-18T10-30-00Z_{id}"),
            format!("prod/source/2026-01-18T10-30-00Z_{id}/x"),
            format!("prod/source/2026-13-18T10-30-00Z_{id}"),
        ] {
            assert!(text.parse::<Folder>().is_err(), "{text:?} was accepted");
        }
    }
}
