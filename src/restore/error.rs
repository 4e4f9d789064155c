//! What can be wrong with a request for a restore, apart from the faults of the mechanisms.

use std::{borrow::Cow, path::PathBuf};

use crate::{
    fault::{Classified, Fault},
    id::ArtifactId,
    job::BadSubject,
};

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    #[error("there is no backup {0}")]
    NotFound(ArtifactId),
    #[error("backup {artifact} has no good copy on {}", .storage.as_deref().unwrap_or("any configured storage"))]
    NoCopy {
        artifact: ArtifactId,
        storage: Option<String>,
    },
    #[error("storage {0} is not configured here")]
    NotConfigured(String),
    #[error("a rollback restores nothing")]
    NothingRestored,
    #[error("a source archive can't be restored into a database")]
    ArchiveIntoDatabase,
    #[error("a database dump can't be restored into a directory")]
    DumpIntoDirectory,
    #[error("{0:?} can't be the name of a database: 1 to 63 bytes without control characters")]
    BadDatabaseName(String),
    #[error("{} is not an absolute path", .0.display())]
    RelativePath(PathBuf),
    #[error("no key at hand opens {0}")]
    NoKey(String),
    #[error("no server to restore into is configured: a restore needs DATABASE_URL")]
    NoTarget,
    #[error("a plain dump names its owners in its text, so it can't be restored without them")]
    PlainOwners,
    #[error("only a dump in the native format can be restored in part, or by several sessions")]
    OnlyWhole,
    #[error("a part of a backup can't take a live database's place")]
    PartReplaces,
    #[error(transparent)]
    NotATable(#[from] crate::pg::restore::NotATable),
    #[error("the list of what to restore can't be made")]
    List(#[source] std::io::Error),
    #[error("{} holds neither a backup nor a manifest", .0.display())]
    NotABackup(PathBuf),
    #[error("what {} contains can't be told", .0.display())]
    UnknownContent(PathBuf),
    #[error("nobody confirmed that {0} gives way; nothing was changed")]
    NotConfirmed(String),
    #[error("{asked} is not the live database here, which is {live}")]
    NotLive { asked: String, live: String },
    #[error("there is no live database {0}")]
    NoLive(String),
    #[error("the restored database {name} differs from the one that was backed up: {}", listed(.differences))]
    Differs {
        name: String,
        differences: Vec<String>,
    },
    #[error("no table is in the restored database, which was to replace a live one")]
    NothingToReplaceWith,
    #[error("no restore that replaced a database has an id with the end {0:?}")]
    NoReplacement(String),
    #[error("{text:?} is short for several restores: {}", .matches.join(", "))]
    SeveralReplacements { text: String, matches: Vec<String> },
    #[error("the replacement by restore {restore} is {state}, and can't be rolled back")]
    NotReplaced { restore: String, state: String },
    #[error("the live database changed its identity while the restore was running")]
    LiveChanged,
    #[error("neither the old nor the new database has the name {0} any more")]
    Stranger(String),
    #[error("a reason must be given for doing without the safety backup")]
    NoReason,
    #[error("{0}")]
    Forbidden(String),
    #[error(transparent)]
    NotASubject(#[from] BadSubject),
    #[error("the server has {free} bytes free, and the database had {needed}")]
    NoRoom { free: u64, needed: u64 },
}

/// Most differences that an error names.
const NAMED: usize = 12;

fn listed(differences: &[String]) -> String {
    let rest = differences.len().saturating_sub(NAMED);
    let named = differences.iter().take(NAMED).cloned();
    let more = (rest > 0).then(|| format!("and {rest} more"));
    named.chain(more).collect::<Vec<_>>().join("; ")
}

impl Classified for RestoreError {
    fn fault(&self) -> Fault {
        Fault::Permanent
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NotFound(_) | Self::NotABackup(_) => "backup.not_found",
            Self::NotConfirmed(_) => "usage.not_confirmed",
            Self::NotLive { .. } => "usage.not_live",
            Self::NoLive(_) => "database.missing",
            Self::Differs { .. } => "restore.differs",
            Self::NothingToReplaceWith => "restore.no_tables",
            Self::NoReplacement(_) => "restore.not_found",
            Self::SeveralReplacements { .. } => "restore.ambiguous",
            Self::NotReplaced { .. } => "refused.not_replaced",
            Self::LiveChanged => "refused.live_changed",
            Self::Stranger(_) => "restore.stranger",
            Self::NoReason => "usage.reason",
            Self::Forbidden(_) => "database.permission",
            Self::NotASubject(_) => "subject.invalid",
            Self::NoRoom { .. } => "database.full",
            Self::NoCopy { .. } => "storage.no_copy",
            Self::NotConfigured(_) => "storage.not_configured",
            Self::NothingRestored
            | Self::ArchiveIntoDatabase
            | Self::DumpIntoDirectory
            | Self::PartReplaces => "usage.wrong_destination",
            Self::BadDatabaseName(_) => "usage.database_name",
            Self::RelativePath(_) => "usage.relative_path",
            Self::NoKey(_) => "key.none_fits",
            Self::NoTarget => "config.no_database",
            Self::PlainOwners => "restore.plain_owners",
            Self::OnlyWhole => "restore.only_whole",
            Self::NotATable(_) => "usage.table_name",
            Self::List(_) => "restore.list",
            Self::UnknownContent(_) => "integrity.unknown_content",
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::NotFound(_) => Some("`kanbu-backup list` shows what there is".into()),
            Self::NoCopy { .. } => Some("`kanbu-backup show ID` says how each copy stands".into()),
            Self::ArchiveIntoDatabase => Some("name an empty directory with --into".into()),
            Self::DumpIntoDirectory => {
                Some("name a new database with --into, or use `get --decrypt`".into())
            }
            Self::RelativePath(_) => {
                Some("the worker may run elsewhere: give the whole path".into())
            }
            Self::NoKey(_) => Some(
                "set BACKUP_ENCRYPTION_KEY to the key that it was made with; `show` names it"
                    .into(),
            ),
            Self::NoTarget => Some(
                "a dump can be taken through Docker, but it is loaded over a connection: set DATABASE_URL"
                    .into(),
            ),
            Self::PlainOwners => {
                Some("create the roles that the dump names, and restore with owners".into())
            }
            Self::OnlyWhole => Some("restore all of it into a new database, by one session".into()),
            Self::PartReplaces => {
                Some("restore it into a database of its own with --into, and copy from there".into())
            }
            Self::NotConfigured(_) => Some("name a storage of `doctor`'s list, or none".into()),
            Self::UnknownContent(_) => Some("use `kanbu-backup inspect` on the file".into()),
            Self::NotConfirmed(what) => Some(format!("to go on, add --confirm {what}").into()),
            Self::NotLive { .. } => {
                Some("a restore replaces the database that DATABASE_URL names, and no other".into())
            }
            Self::Differs { .. } => Some(
                "the live database is as it was; --keep leaves a database that differs to be looked at"
                    .into(),
            ),
            Self::NothingToReplaceWith => {
                Some("restore it beside the live database with --into and look at it".into())
            }
            Self::NoReplacement(_) => Some("`kanbu-backup job list --kind restore` shows them".into()),
            Self::Stranger(_) => {
                Some("somebody renamed databases by hand: see the runbook of killed restores".into())
            }
            Self::NoReason => Some("say why with --reason".into()),
            Self::NoRoom { .. } => Some("make room on the server's disk".into()),
            Self::BadDatabaseName(_)
            | Self::NothingRestored
            | Self::NotABackup(_)
            | Self::NoLive(_)
            | Self::SeveralReplacements { .. }
            | Self::NotReplaced { .. }
            | Self::LiveChanged
            | Self::NotASubject(_)
            | Self::NotATable(_)
            | Self::List(_)
            | Self::Forbidden(_) => None,
        }
    }
}
