//! Why a backup or one of its copies can't be looked at, apart from the faults of the mechanisms; and what a look may find
//! that no mechanism sees.

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
}

impl Classified for VerifyError {
    fn fault(&self) -> Fault {
        match self {
            Self::Stalled { .. } => Fault::Transient,
            Self::NotFound(_)
            | Self::NotConfigured(_)
            | Self::Length { .. }
            | Self::ManifestChanged => Fault::Permanent,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "backup.not_found",
            Self::NotConfigured(_) => "storage.not_configured",
            Self::Stalled { .. } => "storage.stalled",
            Self::Length { .. } => "integrity.length",
            Self::ManifestChanged => "manifest.changed",
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::NotFound(_) => "`kanbu-backup list` shows what there is",
            Self::NotConfigured(_) => "a storage that holds copies must stay configured",
            Self::Stalled { .. } => "check that the storage answers, then verify again",
            Self::Length { .. } | Self::ManifestChanged => {
                "this copy is not what was written: use another one"
            }
        };
        Some(Cow::Borrowed(hint))
    }
}
