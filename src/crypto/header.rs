//! The header of envelope v2: 4096 bytes at fixed offsets (docs/formats/envelope-v2.md).
//!
//! A [`Header`] exists only once its core was checked; its slots can be had only by checking all the rest. So no key is
//! derived for a malformed header. What it says is authentic only after `unlock`.

use std::fmt;

use subtle::ConstantTimeEq;

use super::{
    data_key::DataKey,
    error::EnvelopeError,
    key::KeyId,
    layout::{array_at, u16_at, u32_at},
    metadata::Metadata,
    slot::{SLOT_BYTES, Slot, SlotKind},
};

/// Every header has this many bytes.
pub const HEADER_BYTES: usize = 4096;

pub(super) const MAGIC: [u8; 8] = *b"\x89KBK2\r\n\x1a";
/// Magic, versions, suite, chunk exponent, lengths, flags, file salt: never changes after the file is made.
pub(super) const CORE_BYTES: usize = 48;
/// The core and the commitment.
pub(super) const IDENTITY_BYTES: usize = 80;
pub(super) const SALT_AT: usize = 16;
pub(super) const METADATA_MAX: usize = MAC_AT - METADATA_AT;
pub(super) const GENERATION_AT: usize = 84;

const EXPONENT_AT: usize = 11;
const SLOT_COUNT_AT: usize = 80;
const METADATA_LENGTH_AT: usize = 82;
const RESERVED_AT: usize = 88;
const SLOTS_AT: usize = 128;
const SLOTS_MAX: usize = 8;
const METADATA_AT: usize = SLOTS_AT + SLOTS_MAX * SLOT_BYTES;
const MAC_AT: usize = 4064;

const MAJOR: u8 = 2;
const MINOR: u8 = 0;
const SUITE: u8 = 1;
const EXPONENT_MIN: u8 = 16;
const EXPONENT_MAX: u8 = 24;

/// Chunks of 64 KiB, unless a writer is told otherwise.
pub(super) const DEFAULT_EXPONENT: u8 = EXPONENT_MIN;

/// Whether a file is envelope v2: its content decides, not its name.
pub fn is_kbk2(first: &[u8]) -> bool {
    first.starts_with(&MAGIC)
}

/// A header whose core is well formed.
#[derive(Clone)]
pub(super) struct Header(Box<[u8; HEADER_BYTES]>);

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Header(generation {})", self.generation())
    }
}

impl Header {
    /// The header at the beginning of these bytes: all of a short file, or at least 4096 bytes of a longer one.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if !is_kbk2(bytes) {
            return Err(EnvelopeError::NotKbk2);
        }
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(EnvelopeError::Truncated("inside the header"));
        };
        if (header[8], header[9]) != (MAJOR, MINOR) {
            return Err(EnvelopeError::UnsupportedVersion {
                major: header[8],
                minor: header[9],
            });
        }
        if header[10] != SUITE {
            return Err(EnvelopeError::UnsupportedSuite(header[10]));
        }
        let exponent = header[EXPONENT_AT];
        if !(EXPONENT_MIN..=EXPONENT_MAX).contains(&exponent) {
            return Err(EnvelopeError::ChunkSize(exponent));
        }
        if usize::from(u16_at(header, 12)) != HEADER_BYTES {
            return Err(EnvelopeError::bad_header("it gives another header length"));
        }
        let flags = u16_at(header, 14);
        if flags != 0 {
            return Err(EnvelopeError::UnknownFlags(flags));
        }
        Ok(Self(Box::new(*header)))
    }

    /// A re-wrapped header of the same file. `None` if it is another file's.
    pub(super) fn rewrapped(&self, sidecar: &[u8; HEADER_BYTES]) -> Option<Self> {
        (sidecar[..IDENTITY_BYTES] == *self.identity()).then(|| Self(Box::new(*sidecar)))
    }

    pub(super) fn core(&self) -> [u8; CORE_BYTES] {
        array_at(&self.0[..], 0)
    }

    pub(super) fn commitment(&self) -> [u8; 32] {
        array_at(&self.0[..], CORE_BYTES)
    }

    pub(super) fn identity(&self) -> &[u8] {
        &self.0[..IDENTITY_BYTES]
    }

    pub(super) fn chunk_exponent(&self) -> u8 {
        self.0[EXPONENT_AT]
    }

    pub(super) fn generation(&self) -> u32 {
        u32_at(&self.0[..], GENERATION_AT)
    }

    /// The metadata as stored. May claim more than there is room for until [`Header::slots`] has looked at it.
    pub(super) fn metadata(&self) -> &[u8] {
        let length = usize::from(u16_at(&self.0[..], METADATA_LENGTH_AT)).min(METADATA_MAX);
        &self.0[METADATA_AT..METADATA_AT + length]
    }

    pub(super) fn bytes(&self) -> &[u8; HEADER_BYTES] {
        &self.0
    }

    /// Checks everything outside the core, and yields the used slots.
    pub(super) fn slots(&self) -> Result<Vec<Slot>, EnvelopeError> {
        let flaw = |what: &'static str| Err(EnvelopeError::bad_header(what));
        let count = usize::from(u16_at(&self.0[..], SLOT_COUNT_AT));
        if !(1..=SLOTS_MAX).contains(&count) {
            return flaw("the slot count is not 1 to 8");
        }
        let length = usize::from(u16_at(&self.0[..], METADATA_LENGTH_AT));
        if length > METADATA_MAX {
            return flaw("the metadata is longer than its room");
        }
        if self.generation() == 0 {
            return flaw("generation 0");
        }
        let unused = SLOTS_AT + count * SLOT_BYTES..METADATA_AT;
        let padding = METADATA_AT + length..MAC_AT;
        for range in [RESERVED_AT..SLOTS_AT, unused, padding] {
            if self.0[range].iter().any(|byte| *byte != 0) {
                return flaw("reserved bytes are not zero");
            }
        }
        (0..count)
            .map(|index| Slot::parse(index, array_at(&self.0[..], SLOTS_AT + index * SLOT_BYTES)))
            .collect()
    }

    /// Whether the header's MAC was made with this data key over these very bytes.
    pub(super) fn is_authentic(&self, data_key: &DataKey) -> bool {
        let expected = data_key.header_mac(&self.core(), &self.0[..MAC_AT]);
        expected.ct_eq(&self.0[MAC_AT..]).into()
    }

    /// Puts a header together. The parts are checked by the same rules that a reader applies.
    pub(super) fn assemble(
        identity: &[u8; IDENTITY_BYTES],
        data_key: &DataKey,
        slots: &[[u8; SLOT_BYTES]],
        metadata: &[u8],
        generation: u32,
    ) -> Result<Self, EnvelopeError> {
        if metadata.len() > METADATA_MAX {
            return Err(EnvelopeError::Metadata("it is longer than 2912 bytes"));
        }
        if !(1..=SLOTS_MAX).contains(&slots.len()) {
            return Err(EnvelopeError::bad_header("the slot count is not 1 to 8"));
        }
        let mut header = Box::new([0; HEADER_BYTES]);
        header[..IDENTITY_BYTES].copy_from_slice(identity);
        put_length(&mut header, SLOT_COUNT_AT, slots.len());
        put_length(&mut header, METADATA_LENGTH_AT, metadata.len());
        header[GENERATION_AT..RESERVED_AT].copy_from_slice(&generation.to_be_bytes());
        header[SLOTS_AT..SLOTS_AT + slots.len() * SLOT_BYTES].copy_from_slice(slots.as_flattened());
        header[METADATA_AT..METADATA_AT + metadata.len()].copy_from_slice(metadata);
        let mac = data_key.header_mac(&array_at(&identity[..], 0), &header[..MAC_AT]);
        header[MAC_AT..].copy_from_slice(&mac);
        let header = Self(header);
        header.slots()?;
        Ok(header)
    }
}

/// Lengths within a header fit in two bytes; `assemble` has checked them.
fn put_length(header: &mut [u8; HEADER_BYTES], at: usize, length: usize) {
    let bytes = length.to_be_bytes();
    header[at..at + 2].copy_from_slice(&bytes[bytes.len() - 2..]);
}

/// The identity of a new file: its core and the commitment to its data key.
pub(super) fn new_identity(
    chunk_exponent: u8,
    file_salt: &[u8; 32],
    data_key: &DataKey,
) -> [u8; IDENTITY_BYTES] {
    let mut core = [0; CORE_BYTES];
    core[..8].copy_from_slice(&MAGIC);
    core[8..EXPONENT_AT].copy_from_slice(&[MAJOR, MINOR, SUITE]);
    core[EXPONENT_AT] = chunk_exponent;
    core[12..14].copy_from_slice(&HEADER_BYTES.to_be_bytes()[6..]);
    core[SALT_AT..].copy_from_slice(file_salt);
    let mut identity = [0; IDENTITY_BYTES];
    identity[..CORE_BYTES].copy_from_slice(&core);
    identity[CORE_BYTES..].copy_from_slice(&data_key.commitment(&core));
    identity
}

/// What a header says to somebody without a key. Well formed, not authenticated: a hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderInfo {
    /// Major and minor.
    pub version: (u8, u8),
    pub suite: u8,
    pub chunk_exponent: u8,
    pub generation: u32,
    pub slots: Vec<SlotInfo>,
    pub metadata_unverified: Option<Metadata>,
}

/// For which key a slot was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotInfo {
    pub kind: SlotKind,
    pub key_id: KeyId,
    /// 0 for a raw key.
    pub iterations: u32,
}

/// Looks at a header (inline or sidecar) without any key.
pub fn inspect(header: &[u8]) -> Result<HeaderInfo, EnvelopeError> {
    let header = Header::parse(header)?;
    let slots = header.slots()?;
    Ok(HeaderInfo {
        version: (MAJOR, MINOR),
        suite: SUITE,
        chunk_exponent: header.chunk_exponent(),
        generation: header.generation(),
        slots: slots
            .iter()
            .map(|slot| SlotInfo {
                kind: slot.kind,
                key_id: slot.key_id,
                iterations: slot.iterations,
            })
            .collect(),
        metadata_unverified: Metadata::parse(header.metadata()).ok().flatten(),
    })
}
