//! What a manifest promises, in the words of the stream that will be held to it.

use super::{Compression, EnvelopeFormat, Manifest};
use crate::pipeline::{self, Expected, Sealed};

impl Manifest {
    /// Everything that a copy of this backup must be.
    pub fn expected(&self) -> Expected {
        Expected {
            stored_bytes: Some(self.envelope.bytes),
            stored_sha256: Some(self.stored_sha256),
            payload_bytes: Some(self.envelope.payload_bytes),
            payload_sha256: Some(self.envelope.payload_sha256),
            compression: Some(self.compression.into()),
            sealed: match self.envelope.format {
                EnvelopeFormat::Kbk2 => Sealed::V2,
                EnvelopeFormat::KanbuV1 => Sealed::V1,
                EnvelopeFormat::None => Sealed::None,
            },
            minimum_generation: self.envelope.generation,
        }
    }
}

impl From<Compression> for pipeline::Compression {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::Zstd => Self::Zstd,
            Compression::Gzip => Self::Gzip,
            Compression::None => Self::None,
        }
    }
}
