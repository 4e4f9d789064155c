//! Size, SHA-256 and first bytes of what passes by.

use sha2::{Digest, Sha256};

use super::{
    decompress::MAGIC_BYTES,
    stage::{Halt, Sink, size},
};

/// Counts and hashes.
#[derive(Clone, Default)]
pub(super) struct Tally {
    sha256: Sha256,
    bytes: u64,
    first: [u8; MAGIC_BYTES],
}

/// The result of a [`Tally`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tallied {
    pub(super) bytes: u64,
    pub(super) sha256: [u8; 32],
    /// Zeros where there were fewer.
    pub(super) first: [u8; MAGIC_BYTES],
}

impl Tally {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        let seen = usize::try_from(self.bytes).unwrap_or(MAGIC_BYTES);
        for (place, byte) in self.first.iter_mut().skip(seen).zip(bytes) {
            *place = *byte;
        }
        self.bytes += size(bytes);
    }

    pub(super) fn finish(self) -> Tallied {
        Tallied {
            bytes: self.bytes,
            sha256: self.sha256.finalize().into(),
            first: self.first,
        }
    }
}

/// A sink that tallies what it hands on.
pub(super) struct Tallying<'a> {
    pub(super) tally: &'a mut Tally,
    pub(super) next: &'a mut dyn Sink,
}

impl Sink for Tallying<'_> {
    fn accept(&mut self, bytes: &[u8]) -> Result<(), Halt> {
        self.tally.add(bytes);
        self.next.accept(bytes)
    }
}
