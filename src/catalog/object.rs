//! The names of data objects: one for each form that a backup can have.
//!
//! The name tells a stranger what to do (`dump.sql.gz.enc`: decrypt, gunzip, psql), and is computed from the manifest's
//! words, so that the two can't disagree. What is sealed with envelope v2 says the rest in its own header.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    ArtifactKind,
    artifact::{Compression, Content, words},
};

/// The container a backup's payload lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EnvelopeFormat {
    /// Envelope v2, sealed chunk by chunk.
    #[serde(rename = "kbk2")]
    Kbk2,
    /// Envelope v1, Kanbu's.
    #[serde(rename = "kanbu-v1")]
    KanbuV1,
    /// Not encrypted: the payload itself.
    #[serde(rename = "none")]
    None,
}

words!(EnvelopeFormat { Kbk2 => "kbk2", KanbuV1 => "kanbu-v1", None => "none" });

/// The name of the data object in its folder.
pub fn object_name(
    content: Content,
    compression: Compression,
    envelope: EnvelopeFormat,
) -> &'static str {
    use Compression::{Gzip, None as Plain, Zstd};
    use Content::{PgDumpCustom, Sql, Tar};

    match (envelope, content, compression) {
        (EnvelopeFormat::Kbk2, PgDumpCustom | Sql, _) => "dump.kbk",
        (EnvelopeFormat::Kbk2, Tar, _) => "archive.kbk",
        (EnvelopeFormat::KanbuV1, PgDumpCustom, Zstd) => "dump.pgc.zst.enc",
        (EnvelopeFormat::KanbuV1, PgDumpCustom, Gzip) => "dump.pgc.gz.enc",
        (EnvelopeFormat::KanbuV1, PgDumpCustom, Plain) => "dump.pgc.enc",
        (EnvelopeFormat::KanbuV1, Sql, Zstd) => "dump.sql.zst.enc",
        (EnvelopeFormat::KanbuV1, Sql, Gzip) => "dump.sql.gz.enc",
        (EnvelopeFormat::KanbuV1, Sql, Plain) => "dump.sql.enc",
        (EnvelopeFormat::KanbuV1, Tar, Zstd) => "archive.tar.zst.enc",
        (EnvelopeFormat::KanbuV1, Tar, Gzip) => "archive.tar.gz.enc",
        (EnvelopeFormat::KanbuV1, Tar, Plain) => "archive.tar.enc",
        (EnvelopeFormat::None, PgDumpCustom, Zstd) => "dump.pgc.zst",
        (EnvelopeFormat::None, PgDumpCustom, Gzip) => "dump.pgc.gz",
        (EnvelopeFormat::None, PgDumpCustom, Plain) => "dump.pgc",
        (EnvelopeFormat::None, Sql, Zstd) => "dump.sql.zst",
        (EnvelopeFormat::None, Sql, Gzip) => "dump.sql.gz",
        (EnvelopeFormat::None, Sql, Plain) => "dump.sql",
        (EnvelopeFormat::None, Tar, Zstd) => "archive.tar.zst",
        (EnvelopeFormat::None, Tar, Gzip) => "archive.tar.gz",
        (EnvelopeFormat::None, Tar, Plain) => "archive.tar",
    }
}

impl Content {
    /// What a backup of this content is of.
    pub fn kind(self) -> ArtifactKind {
        match self {
            Self::PgDumpCustom | Self::Sql => ArtifactKind::Database,
            Self::Tar => ArtifactKind::Source,
        }
    }
}
