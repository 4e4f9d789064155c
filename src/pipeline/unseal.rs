//! The envelope on the way back. Which one it is, the record says; without one the content, and for v1 the name.

use super::stage::{Halt, Sink, size};
use crate::crypto::{
    Keyring, LegacyOpener, LegacyTicket, ManifestKey, Metadata, OpenOptions, Opener, is_kbk2,
};

/// How an object is sealed, as far as is known beforehand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sealed {
    /// The magic bytes of v2 decide, then the name; the rest is taken for not encrypted.
    #[default]
    Unknown,
    None,
    V2,
    V1,
}

impl Sealed {
    /// What is named like v2 and doesn't begin so is damaged, not plain.
    pub(super) fn settle(self, first: &[u8], named: Self) -> Self {
        match self {
            Self::Unknown if is_kbk2(first) => Self::V2,
            Self::Unknown if named == Self::Unknown => Self::None,
            Self::Unknown => named,
            known @ (Self::None | Self::V2 | Self::V1) => known,
        }
    }
}

/// Takes stored bytes, gives the payload.
pub(super) struct Unsealer {
    envelope: Envelope,
    payload: Vec<u8>,
}

enum Envelope {
    None {
        bytes: u64,
    },
    V2(Box<Opener>),
    V1 {
        opener: Box<LegacyOpener>,
        bytes: u64,
    },
}

/// What the envelope itself says at its end.
#[derive(Debug, Default)]
pub(super) struct Unsealed {
    pub(super) stored_bytes: u64,
    pub(super) payload_bytes: u64,
    pub(super) manifest_key: Option<ManifestKey>,
    pub(super) metadata: Option<Metadata>,
    pub(super) generation: Option<u32>,
}

impl Unsealer {
    pub(super) fn none() -> Self {
        Self::of(Envelope::None { bytes: 0 })
    }

    pub(super) fn v2(keyring: &Keyring, options: OpenOptions) -> Self {
        Self::of(Envelope::V2(Box::new(Opener::new(keyring, options))))
    }

    /// A ticket is given for a file whose tag was right.
    pub(super) fn v1(ticket: LegacyTicket) -> Self {
        Self::of(Envelope::V1 {
            opener: Box::new(LegacyOpener::new(ticket)),
            bytes: 0,
        })
    }

    fn of(envelope: Envelope) -> Self {
        Self {
            envelope,
            payload: Vec::new(),
        }
    }

    /// Whether the payload differs from what is stored.
    pub(super) fn is_sealed(&self) -> bool {
        !matches!(self.envelope, Envelope::None { .. })
    }

    pub(super) fn push(&mut self, bytes: &[u8], sink: &mut dyn Sink) -> Result<(), Halt> {
        self.payload.clear();
        match &mut self.envelope {
            Envelope::None { bytes: count } => {
                *count += size(bytes);
                return sink.accept(bytes);
            }
            Envelope::V2(opener) => opener.push(bytes, &mut self.payload)?,
            Envelope::V1 {
                opener,
                bytes: count,
            } => {
                *count += size(bytes);
                opener.push(bytes, &mut self.payload)?;
            }
        }
        sink.accept(&self.payload)
    }

    pub(super) fn finish(mut self, sink: &mut dyn Sink) -> Result<Unsealed, Halt> {
        self.payload.clear();
        let unsealed = match self.envelope {
            Envelope::None { bytes } => Unsealed {
                stored_bytes: bytes,
                payload_bytes: bytes,
                ..Unsealed::default()
            },
            Envelope::V2(opener) => {
                let end = opener.finish(&mut self.payload)?;
                Unsealed {
                    stored_bytes: end.stored_bytes,
                    payload_bytes: end.payload_bytes,
                    manifest_key: Some(end.manifest_key),
                    metadata: end.metadata,
                    generation: Some(end.generation),
                }
            }
            Envelope::V1 { opener, bytes } => Unsealed {
                stored_bytes: bytes,
                payload_bytes: opener.finish()?,
                ..Unsealed::default()
            },
        };
        sink.accept(&self.payload)?;
        Ok(unsealed)
    }
}
