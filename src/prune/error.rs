//! Why nothing was pruned.

use std::borrow::Cow;

use crate::{
    fault::{Classified, Fault},
    id::ArtifactId,
    storage::StorageName,
};

/// A prune was stopped before anything went.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PruneError {
    #[error("backup {0} is to be what is left, and no storage shows it")]
    SurvivorMissing(ArtifactId),
    #[error("storage {0} is not configured")]
    UnknownStorage(StorageName),
}

impl Classified for PruneError {
    fn fault(&self) -> Fault {
        match self {
            Self::SurvivorMissing(_) | Self::UnknownStorage(_) => Fault::Permanent,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::SurvivorMissing(_) => "prune.survivor_missing",
            Self::UnknownStorage(_) => "prune.unknown_storage",
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::SurvivorMissing(id) => Some(
                format!(
                    "`kanbu-backup verify {}` tells what became of it",
                    id.short()
                )
                .into(),
            ),
            Self::UnknownStorage(_) => {
                Some("configure it again, or let it go with `kanbu-backup storage rm`".into())
            }
        }
    }
}
