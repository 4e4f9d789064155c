//! What a reader refuses and a writer cannot do, under the names of the format documents.
//!
//! The names are stable: they appear in API problems, logs, metrics and exit messages. No variant carries a secret.

use std::borrow::Cow;

use super::key::KeyId;
use crate::fault::{Classified, Fault};

/// The text given as a key can't be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    #[error("the key is empty")]
    Empty,
    #[error("a passphrase of {bytes} bytes is longer than the {max} a file format allows", max = super::key::PASSPHRASE_MAX)]
    TooLong { bytes: usize },
}

impl Classified for KeyError {
    fn fault(&self) -> Fault {
        match self {
            Self::Empty | Self::TooLong { .. } => Fault::Permanent,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Empty | Self::TooLong { .. } => "key.malformed",
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Empty | Self::TooLong { .. } => Some(Cow::Borrowed(
                "give 64 hex digits (a raw key) or a passphrase of 1 to 1024 bytes",
            )),
        }
    }
}

/// An encrypted file is refused, or can't be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    #[error("the file does not begin with the magic bytes of KBK2")]
    NotKbk2,
    #[error("format version {major}.{minor} is not known")]
    UnsupportedVersion { major: u8, minor: u8 },
    #[error("cipher suite {0} is not known")]
    UnsupportedSuite(u8),
    #[error("chunk exponent {0} is outside 16 to 24")]
    ChunkSize(u8),
    #[error("unknown header flags {0:#06x}")]
    UnknownFlags(u16),
    #[error("the header is malformed: {0}")]
    BadHeader(Cow<'static, str>),
    #[error("key slot {slot} asks for {iterations} iterations, outside 100000 to 10000000")]
    KdfCost { slot: usize, iterations: u32 },
    #[error("the given key is malformed")]
    KeyMaterial(#[from] KeyError),
    #[error("no key at hand fits; the file was sealed for {}", list(.in_file))]
    NoMatchingKey { in_file: Vec<KeyId> },
    #[error("the key fits, but its slot is damaged")]
    SlotAuth,
    #[error("the data key does not belong to this file")]
    Commitment,
    #[error("the header was changed or damaged")]
    HeaderAuth,
    #[error("the sidecar header has {bytes} bytes instead of 4096")]
    SidecarInvalid { bytes: usize },
    #[error("the sidecar header belongs to another file")]
    SidecarMismatch,
    #[error("the header has generation {found}, but {expected} has been seen")]
    HeaderRollback { found: u32, expected: u32 },
    #[error("the metadata is unusable: {0}")]
    Metadata(&'static str),
    #[error("the file is cut off {0}")]
    Truncated(&'static str),
    #[error("there are bytes after the final chunk {chunk}")]
    TrailingData { chunk: u64 },
    #[error("chunk {chunk} is final but empty")]
    EmptyFinalChunk { chunk: u64 },
    #[error("chunk {chunk} is damaged or out of place")]
    ChunkAuth { chunk: u64 },
    #[error("the payload is longer than 2^48 bytes")]
    TooLarge,
    #[error("the manifest's seal does not fit this file")]
    ManifestSeal,
    #[error("{what} has {found} bytes, the manifest says {expected}")]
    LengthMismatch {
        what: &'static str,
        expected: u64,
        found: u64,
    },
    #[error("the payload's SHA-256 is {found}, the manifest says {expected}")]
    DigestMismatch { expected: String, found: String },
    #[error("a legacy encrypted file has at least 32 bytes, this one has {bytes}")]
    LegacyTooShort { bytes: u64 },
    #[error("a legacy encrypted file holds at most 2^36 - 32 bytes")]
    LegacyTooLarge,
    #[error("the key is wrong or the file is damaged")]
    LegacyAuth,
    #[error("the file changed between its check and its decryption")]
    SourceChanged,
    #[error("no encryption key is configured")]
    NoKey,
    #[error("the system gave no random bytes: {0}")]
    Randomness(getrandom::Error),
}

fn list(ids: &[KeyId]) -> String {
    let ids: Vec<String> = ids.iter().map(KeyId::to_string).collect();
    ids.join(", ")
}

impl EnvelopeError {
    pub(super) fn bad_header(flaw: impl Into<Cow<'static, str>>) -> Self {
        Self::BadHeader(flaw.into())
    }

    /// The name in the format documents.
    pub fn name(&self) -> &'static str {
        self.words().0
    }

    /// Name and code.
    fn words(&self) -> (&'static str, &'static str) {
        match self {
            Self::NotKbk2 => ("NotKbk2", "envelope.not_kbk2"),
            Self::UnsupportedVersion { .. } => {
                ("UnsupportedVersion", "envelope.unsupported_version")
            }
            Self::UnsupportedSuite(_) => ("UnsupportedSuite", "envelope.unsupported_suite"),
            Self::ChunkSize(_) => ("ChunkSize", "envelope.chunk_size"),
            Self::UnknownFlags(_) => ("UnknownFlags", "envelope.unknown_flags"),
            Self::BadHeader(_) => ("BadHeader", "envelope.bad_header"),
            Self::KdfCost { .. } => ("KdfCost", "envelope.kdf_cost"),
            Self::KeyMaterial(_) => ("KeyMaterial", "key.malformed"),
            Self::NoMatchingKey { .. } => ("NoMatchingKey", "key.no_match"),
            Self::SlotAuth => ("SlotAuth", "envelope.slot_auth"),
            Self::Commitment => ("Commitment", "envelope.commitment"),
            Self::HeaderAuth => ("HeaderAuth", "envelope.header_auth"),
            Self::SidecarInvalid { .. } => ("SidecarInvalid", "envelope.sidecar_invalid"),
            Self::SidecarMismatch => ("SidecarMismatch", "envelope.sidecar_mismatch"),
            Self::HeaderRollback { .. } => ("HeaderRollback", "envelope.header_rollback"),
            Self::Metadata(_) => ("Metadata", "envelope.metadata"),
            Self::Truncated(_) => ("Truncated", "envelope.truncated"),
            Self::TrailingData { .. } => ("TrailingData", "envelope.trailing_data"),
            Self::EmptyFinalChunk { .. } => ("EmptyFinalChunk", "envelope.empty_final_chunk"),
            Self::ChunkAuth { .. } => ("ChunkAuth", "envelope.chunk_auth"),
            Self::TooLarge => ("TooLarge", "envelope.too_large"),
            Self::ManifestSeal => ("ManifestSeal", "envelope.manifest_seal"),
            Self::LengthMismatch { .. } => ("LengthMismatch", "envelope.length_mismatch"),
            Self::DigestMismatch { .. } => ("DigestMismatch", "envelope.digest_mismatch"),
            Self::LegacyTooShort { .. } => ("LegacyTooShort", "envelope.legacy_too_short"),
            Self::LegacyTooLarge => ("LegacyTooLarge", "envelope.legacy_too_large"),
            Self::LegacyAuth => ("LegacyAuth", "envelope.legacy_auth"),
            Self::SourceChanged => ("SourceChanged", "envelope.source_changed"),
            Self::NoKey => ("NoKey", "key.none"),
            Self::Randomness(_) => ("Randomness", "envelope.randomness"),
        }
    }
}

impl Classified for EnvelopeError {
    fn fault(&self) -> Fault {
        match self {
            Self::Randomness(_) => Fault::Transient,
            Self::NotKbk2
            | Self::UnsupportedVersion { .. }
            | Self::UnsupportedSuite(_)
            | Self::ChunkSize(_)
            | Self::UnknownFlags(_)
            | Self::BadHeader(_)
            | Self::KdfCost { .. }
            | Self::KeyMaterial(_)
            | Self::NoMatchingKey { .. }
            | Self::SlotAuth
            | Self::Commitment
            | Self::HeaderAuth
            | Self::SidecarInvalid { .. }
            | Self::SidecarMismatch
            | Self::HeaderRollback { .. }
            | Self::Metadata(_)
            | Self::Truncated(_)
            | Self::TrailingData { .. }
            | Self::EmptyFinalChunk { .. }
            | Self::ChunkAuth { .. }
            | Self::TooLarge
            | Self::ManifestSeal
            | Self::LengthMismatch { .. }
            | Self::DigestMismatch { .. }
            | Self::LegacyTooShort { .. }
            | Self::LegacyTooLarge
            | Self::LegacyAuth
            | Self::SourceChanged
            | Self::NoKey => Fault::Permanent,
        }
    }

    fn code(&self) -> &'static str {
        self.words().1
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let text = match self {
            Self::NotKbk2 => {
                "the file is not encrypted, is another format, or its beginning is damaged"
            }
            Self::UnsupportedVersion { .. } | Self::UnsupportedSuite(_) | Self::UnknownFlags(_) => {
                "the file was written by a newer release, or its header is damaged; use the newer release or another copy"
            }
            Self::KeyMaterial(error) => return error.hint(),
            Self::NoMatchingKey { .. } => {
                "configure the key whose id is listed; old keys stay needed as long as their backups exist"
            }
            Self::ChunkSize(_)
            | Self::BadHeader(_)
            | Self::KdfCost { .. }
            | Self::SlotAuth
            | Self::Commitment
            | Self::HeaderAuth
            | Self::Metadata(_) => {
                "take another copy of this backup; a good sidecar header repairs a damaged one"
            }
            Self::SidecarInvalid { .. } | Self::SidecarMismatch => {
                "restore the sidecar (.khdr) from another copy, or set it aside on purpose"
            }
            Self::HeaderRollback { .. } => {
                "somebody removed or replaced the newest sidecar header; take it from another copy"
            }
            Self::Truncated(_)
            | Self::TrailingData { .. }
            | Self::EmptyFinalChunk { .. }
            | Self::ChunkAuth { .. }
            | Self::ManifestSeal
            | Self::LengthMismatch { .. }
            | Self::DigestMismatch { .. }
            | Self::LegacyTooShort { .. } => "this copy is not intact; take another one",
            Self::TooLarge => "split what is backed up into smaller subjects",
            Self::LegacyTooLarge => "use the native format, which has no such limit",
            Self::LegacyAuth => {
                "the legacy format cannot tell which; try the other keys, then another copy"
            }
            Self::SourceChanged => {
                "nothing decrypted from it may be kept; run again when nobody writes to the file"
            }
            Self::NoKey => "set BACKUP_ENCRYPTION_KEY or its _FILE form",
            Self::Randomness(_) => return None,
        };
        Some(Cow::Borrowed(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the format documents say of an error: its name and code in a row of a table.
    fn row(error: &EnvelopeError) -> String {
        format!("| `{}` | `{}` |", error.name(), error.code())
    }

    #[test]
    fn the_format_documents_list_every_refusal_under_its_name_and_code() {
        let v2 = include_str!("../../docs/formats/envelope-v2.md");
        for error in [
            EnvelopeError::NotKbk2,
            EnvelopeError::UnsupportedVersion { major: 3, minor: 0 },
            EnvelopeError::UnsupportedSuite(2),
            EnvelopeError::ChunkSize(15),
            EnvelopeError::UnknownFlags(1),
            EnvelopeError::bad_header("flaw"),
            EnvelopeError::KdfCost {
                slot: 0,
                iterations: 1,
            },
            EnvelopeError::KeyMaterial(KeyError::Empty),
            EnvelopeError::NoMatchingKey {
                in_file: Vec::new(),
            },
            EnvelopeError::SlotAuth,
            EnvelopeError::Commitment,
            EnvelopeError::HeaderAuth,
            EnvelopeError::SidecarInvalid { bytes: 1 },
            EnvelopeError::SidecarMismatch,
            EnvelopeError::HeaderRollback {
                found: 1,
                expected: 2,
            },
            EnvelopeError::Metadata("flaw"),
            EnvelopeError::Truncated("here"),
            EnvelopeError::TrailingData { chunk: 0 },
            EnvelopeError::EmptyFinalChunk { chunk: 1 },
            EnvelopeError::ChunkAuth { chunk: 0 },
            EnvelopeError::TooLarge,
            EnvelopeError::ManifestSeal,
            EnvelopeError::LengthMismatch {
                what: "the file",
                expected: 1,
                found: 2,
            },
            EnvelopeError::DigestMismatch {
                expected: String::new(),
                found: String::new(),
            },
        ] {
            assert!(v2.contains(&row(&error)), "no row {}", row(&error));
        }
        let v1 = include_str!("../../docs/formats/envelope-v1.md");
        for error in [
            EnvelopeError::LegacyTooShort { bytes: 1 },
            EnvelopeError::LegacyTooLarge,
            EnvelopeError::LegacyAuth,
            EnvelopeError::SourceChanged,
            EnvelopeError::NoKey,
        ] {
            assert!(v1.contains(&row(&error)), "no row {}", row(&error));
        }
    }
}
