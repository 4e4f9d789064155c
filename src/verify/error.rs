//! Why a backup or one of its copies can't be looked at or mended, apart from the faults of the mechanisms; and what a look
//! may find that no mechanism sees.

use std::borrow::Cow;

use crate::{
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
    #[error("the catalogue's own text of the manifest bears a wrong seal")]
    CatalogueChanged,
}

impl Classified for VerifyError {
    fn fault(&self) -> Fault {
        match self {
            Self::Stalled { .. } | Self::NotTaken(_) => Fault::Transient,
            Self::NotFound(_)
            | Self::NotConfigured(_)
            | Self::Length { .. }
            | Self::ManifestChanged
            | Self::KnownDamage(_)
            | Self::NoGoodCopy
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
            Self::CatalogueChanged => {
                "somebody changed the control database: restore it, or rebuild the catalogue"
            }
        };
        Some(Cow::Borrowed(hint))
    }
}
