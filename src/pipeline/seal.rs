//! The envelope as a stage of the stream.

use super::stage::{Halt, Sink, Stage, StageSummary, Through};
use crate::crypto::{EnvelopeError, KeyId, LegacySealer, ManifestKey, SealSummary, Sealer};

/// Which envelope a backup gets.
#[derive(Debug)]
pub enum Seal {
    Off,
    V2(Box<Sealer>),
    /// Kanbu's format.
    V1(Box<LegacySealer>),
}

impl Seal {
    pub(super) fn key_id(&self) -> Option<KeyId> {
        match self {
            Self::V2(sealer) => Some(sealer.key_id()),
            Self::Off | Self::V1(_) => None,
        }
    }

    pub(super) fn manifest_key(&self) -> Option<ManifestKey> {
        match self {
            Self::V2(sealer) => Some(sealer.manifest_key()),
            Self::Off | Self::V1(_) => None,
        }
    }

    pub(super) fn into_stage(self) -> Box<dyn Stage> {
        let envelope = match self {
            Self::Off => return Box::<Through>::default(),
            Self::V2(sealer) => Envelope::V2(sealer),
            Self::V1(sealer) => Envelope::V1(sealer),
        };
        Box::new(SealStage {
            envelope,
            sealed: Vec::new(),
        })
    }
}

enum Envelope {
    V2(Box<Sealer>),
    V1(Box<LegacySealer>),
}

impl Envelope {
    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), EnvelopeError> {
        match self {
            Self::V2(sealer) => sealer.push(bytes, out),
            Self::V1(sealer) => sealer.push(bytes, out),
        }
    }

    fn finish(self, out: &mut Vec<u8>) -> Result<SealSummary, EnvelopeError> {
        match self {
            Self::V2(sealer) => sealer.finish(out),
            Self::V1(sealer) => sealer.finish(out),
        }
    }
}

struct SealStage {
    envelope: Envelope,
    sealed: Vec<u8>,
}

impl Stage for SealStage {
    fn push(&mut self, bytes: &[u8], sink: &mut dyn Sink) -> Result<(), Halt> {
        self.sealed.clear();
        self.envelope.push(bytes, &mut self.sealed)?;
        sink.accept(&self.sealed)
    }

    fn finish(mut self: Box<Self>, sink: &mut dyn Sink) -> Result<StageSummary, Halt> {
        self.sealed.clear();
        let summary = self.envelope.finish(&mut self.sealed)?;
        sink.accept(&self.sealed)?;
        Ok(StageSummary {
            taken: summary.payload_bytes,
            given: summary.stored_bytes,
        })
    }
}
