//! Size and SHA-256 of what passes by.

use sha2::{Digest, Sha256};

use super::stage::{Halt, Sink, size};

/// Counts and hashes.
#[derive(Clone, Default)]
pub(super) struct Tally {
    sha256: Sha256,
    bytes: u64,
}

/// The result of a [`Tally`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tallied {
    pub(super) bytes: u64,
    pub(super) sha256: [u8; 32],
}

impl Tally {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.bytes += size(bytes);
    }

    pub(super) fn finish(self) -> Tallied {
        Tallied {
            bytes: self.bytes,
            sha256: self.sha256.finalize().into(),
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
