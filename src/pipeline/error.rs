//! What can go wrong in the stream itself. Faults of the source, of keys and of storages pass through as they are.

use std::{borrow::Cow, io, path::PathBuf};

use crate::{
    fault::{Classified, Fault},
    storage::StorageName,
};

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    #[error("the {stage} stage panicked")]
    StagePanicked { stage: &'static str },
    #[error("could not compress")]
    Compress(#[source] io::Error),
    #[error("{giver} gave {given} bytes, but {taker} took {taken}")]
    CountsDisagree {
        giver: &'static str,
        given: u64,
        taker: &'static str,
        taken: u64,
    },
    #[error("storage {storage} moved nothing for {seconds} s")]
    Stalled { storage: StorageName, seconds: u64 },
    #[error(
        "storage {storage} held up the backup at less than {percent} % of the primary's rate over {seconds} s: too slow"
    )]
    TooSlow {
        storage: StorageName,
        percent: u32,
        seconds: u64,
    },
    #[error("no storage was named to write to")]
    NoStorage,
    #[error("no storage could take the data: {detail}")]
    NoStorageLeft { detail: String, fault: Fault },
    #[error("fewer than {least} storages could take the data: {detail}")]
    TooFewStorages {
        least: usize,
        detail: String,
        fault: Fault,
    },
    #[error("could not decompress the {format} data")]
    Undecodable {
        format: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the {format} data ends in the middle")]
    CompressedTruncated { format: &'static str },
    #[error("the SHA-256 of the stored bytes is not the recorded one")]
    StoredDigestMismatch,
    #[error("could not read {}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl Classified for PipelineError {
    fn fault(&self) -> Fault {
        match self {
            Self::StagePanicked { .. }
            | Self::Compress(_)
            | Self::CountsDisagree { .. }
            | Self::Stalled { .. }
            | Self::TooSlow { .. } => Fault::Transient,
            Self::NoStorageLeft { fault, .. } | Self::TooFewStorages { fault, .. } => *fault,
            Self::NoStorage
            | Self::Undecodable { .. }
            | Self::CompressedTruncated { .. }
            | Self::StoredDigestMismatch => Fault::Permanent,
            Self::File { source, .. } => match source.kind() {
                io::ErrorKind::NotFound
                | io::ErrorKind::PermissionDenied
                | io::ErrorKind::IsADirectory => Fault::Permanent,
                _ => Fault::Transient,
            },
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::StagePanicked { .. } => "pipeline.stage_panicked",
            Self::Compress(_) => "pipeline.compress",
            Self::CountsDisagree { .. } => "pipeline.counts_disagree",
            Self::Stalled { .. } => "pipeline.stalled",
            Self::TooSlow { .. } => "pipeline.too_slow",
            Self::NoStorage => "pipeline.no_storage",
            Self::NoStorageLeft { .. } => "pipeline.no_storage_left",
            Self::TooFewStorages { .. } => "pipeline.too_few_storages",
            Self::Undecodable { .. } => "pipeline.undecodable",
            Self::CompressedTruncated { .. } => "pipeline.compressed_truncated",
            Self::StoredDigestMismatch => "pipeline.stored_digest_mismatch",
            Self::File { .. } => "pipeline.file",
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::StagePanicked { .. } | Self::CountsDisagree { .. } => {
                "this is a defect of the program: report it with the log; nothing was stored"
            }
            Self::Stalled { .. } => {
                "check that the storage answers, and raise the stall timeout if it is merely slow"
            }
            Self::TooSlow { .. } => {
                "nothing is lost: its copy is made afterwards; if it always is so slow, give it live = false"
            }
            Self::NoStorage => "configure at least one storage",
            Self::NoStorageLeft { .. } | Self::TooFewStorages { .. } => {
                "look at each storage's own error"
            }
            Self::Undecodable { .. } | Self::CompressedTruncated { .. } => {
                "the data is damaged, or was not compressed this way: try another copy"
            }
            Self::StoredDigestMismatch => "this copy is not what was written: use another one",
            Self::Compress(_) | Self::File { .. } => return None,
        };
        Some(Cow::Borrowed(hint))
    }
}
