//! Why a backup or one of its copies can't be looked at or mended, apart from the faults of the mechanisms; and what a look
//! may find that no mechanism sees.

use std::{borrow::Cow, io, path::PathBuf};

use crate::{
    bytes::ByteSize,
    fault::{Classified, Fault},
    id::ArtifactId,
    storage::StorageName,
};

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    #[error("there is no backup {0}")]
    NotFound(ArtifactId),
    #[error("storage {0} is not configured here")]
    NotConfigured(StorageName),
    #[error("storage {storage} gave nothing for {seconds} s")]
    Stalled { storage: StorageName, seconds: u64 },
    #[error("{found} bytes are stored instead of {expected}")]
    Length { expected: u64, found: u64 },
    #[error("the manifest is not the one that was written")]
    ManifestChanged,
    /// As it was found when every byte was read.
    #[error("{0}")]
    KnownDamage(String),
    #[error("no good copy of it could be read")]
    NoGoodCopy,
    #[error("storage {0} did not give back what it took")]
    NotTaken(StorageName),
    #[error(
        "a test restore takes no repair, sample or age, and nothing else takes checks or is kept"
    )]
    Options,
    #[error("the restored backup is not what its manifest says: {0}")]
    Differs(String),
    #[error("the restored backup is not as it is to be: {0}")]
    Untrue(String),
    #[error("{needed} are needed in {}, and {free} are free", .directory.display())]
    NoRoom {
        directory: PathBuf,
        needed: ByteSize,
        free: ByteSize,
    },
    #[error("no place to restore to in a test: {0}")]
    NoPlace(String),
    #[error("could not use {}", .0.display())]
    Scratch(PathBuf, #[source] io::Error),
    #[error("the catalogue's own text of the manifest bears a wrong seal")]
    CatalogueChanged,
}

impl Classified for VerifyError {
    fn fault(&self) -> Fault {
        match self {
            Self::Stalled { .. } | Self::NotTaken(_) | Self::NoRoom { .. } | Self::Scratch(..) => {
                Fault::Transient
            }
            Self::NotFound(_)
            | Self::NotConfigured(_)
            | Self::Length { .. }
            | Self::ManifestChanged
            | Self::KnownDamage(_)
            | Self::NoGoodCopy
            | Self::Options
            | Self::Differs(_)
            | Self::Untrue(_)
            | Self::NoPlace(_)
            | Self::CatalogueChanged => Fault::Permanent,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "backup.not_found",
            Self::NotConfigured(_) => "storage.not_configured",
            Self::Stalled { .. } => "storage.stalled",
            Self::Length { .. } => "integrity.length",
            Self::ManifestChanged => "manifest.changed",
            Self::KnownDamage(_) => "copy.damaged",
            Self::NoGoodCopy => "storage.no_copy",
            Self::NotTaken(_) => "storage.not_taken",
            Self::CatalogueChanged => "catalog.changed",
            Self::Options => "usage.options",
            Self::Differs(_) => "proof.differs",
            Self::Untrue(_) => "proof.untrue",
            Self::NoRoom { .. } => "scratch.no_room",
            Self::NoPlace(_) => "scratch.no_place",
            Self::Scratch(..) => "scratch.files",
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::NotFound(_) => "`kanbu-backup list` shows what there is",
            Self::NotConfigured(_) => "a storage that holds copies must stay configured",
            Self::NotTaken(_) => "look at that storage: it loses or changes what it confirms",
            Self::Stalled { .. } => "check that the storage answers, then verify again",
            Self::Length { .. } | Self::ManifestChanged | Self::KnownDamage(_) => {
                "`kanbu-backup verify ID --repair` makes it anew from another copy"
            }
            Self::NoGoodCopy => "bring a good copy back to one of its storages, then verify again",
            Self::Options => "leave out what belongs to another level of verification",
            Self::Differs(_) => {
                "`kanbu-backup show ID` has every difference; make a new backup and restore that in a test"
            }
            Self::Untrue(_) => "`kanbu-backup show ID` has every check that isn't true",
            Self::NoRoom { .. } => {
                "make room there, or choose another KANBU_BACKUP_STATE_DIR or KANBU_BACKUP_PROVE_ON"
            }
            Self::NoPlace(_) => {
                "install PostgreSQL's server of the dump's version, or set DATABASE_URL and KANBU_BACKUP_PROVE_ON=server"
            }
            Self::Scratch(..) => "look at KANBU_BACKUP_STATE_DIR: test restores happen in it",
            Self::CatalogueChanged => {
                "somebody changed the control database: restore it, or rebuild the catalogue"
            }
        };
        Some(Cow::Borrowed(hint))
    }
}
