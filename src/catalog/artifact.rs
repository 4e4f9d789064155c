//! One backup: an immutable object and what is known of it.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::BackupOrigin;
use crate::{
    crypto::KeyId,
    id::{ArtifactId, ExecutionId, JobId},
    job::Subject,
    storage::Folder,
};

/// What a backup is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArtifactKind {
    Database,
    Source,
}

/// What the decompressed bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Content {
    /// `pg_dump` custom format, itself uncompressed.
    #[serde(rename = "pg_dump-custom")]
    PgDumpCustom,
    #[serde(rename = "sql")]
    Sql,
    #[serde(rename = "tar")]
    Tar,
}

/// How the content was compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    Zstd,
    Gzip,
    None,
}

/// The rung of the proof ladder that a backup has reached. `Stored` is the lowest that is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// No good copy is left. Not a rung: what a backup falls to.
    Lost,
    /// It was restored in a test, and that failed. No rung either.
    Failed,
    Stored,
    Replicated,
    Checked,
    Proven,
}

macro_rules! words {
    ($type:ty { $($variant:ident => $word:literal),* $(,)? }) => {
        impl $type {
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word used in SQL, JSON, file metadata and lists.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            /// The value of a word read from a row or a file.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == word)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

pub(super) use words;

words!(ArtifactKind { Database => "database", Source => "source" });
words!(Content { PgDumpCustom => "pg_dump-custom", Sql => "sql", Tar => "tar" });
words!(Compression { Zstd => "zstd", Gzip => "gzip", None => "none" });
words!(Proof { Lost => "lost", Failed => "failed", Stored => "stored", Replicated => "replicated", Checked => "checked", Proven => "proven" });

/// A backup that is about to enter the catalog. Everything in it stands in the manifest too.
#[derive(Clone, Debug)]
pub struct NewArtifact {
    pub id: ArtifactId,
    pub kind: ArtifactKind,
    pub subject: Subject,
    /// Where it lies on every storage.
    pub folder: Folder,
    pub execution: ExecutionId,
    pub job: JobId,
    pub label: Option<String>,
    pub pinned: bool,
    /// Start of the execution: the instant the backup stands for.
    pub created_at: DateTime<Utc>,
    pub origin: BackupOrigin,
    /// The backup that its content alarm holds.
    pub holds: Option<ArtifactId>,
    pub content: Content,
    pub compression: Compression,
    /// `None`: not encrypted.
    pub key_id: Option<KeyId>,
    /// Bytes read from the source.
    pub content_bytes: u64,
    /// Compressed, not yet encrypted.
    pub payload_bytes: u64,
    pub payload_sha256: [u8; 32],
    /// What lies on the storage, envelope included.
    pub stored_bytes: u64,
    pub stored_sha256: [u8; 32],
    /// The manifest's exact bytes, as stored.
    pub manifest: String,
}
