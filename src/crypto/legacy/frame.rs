//! Cuts a v1 file that comes in pieces of any size into vector, ciphertext and tag.
//!
//! The tag is the last 16 bytes, and where the end is nobody knows before it comes: the last 16 bytes seen are held back.

use super::BLOCK;
use crate::crypto::error::EnvelopeError;

#[derive(Debug, Default)]
pub(super) struct Frame {
    iv: Held,
    tail: Held,
    bytes: u64,
}

/// Up to 16 bytes.
#[derive(Debug, Default)]
struct Held {
    bytes: [u8; BLOCK],
    filled: usize,
}

impl Held {
    /// Takes what there is room for, and yields the rest.
    fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (taken, rest) = bytes.split_at(bytes.len().min(BLOCK - self.filled));
        self.bytes[self.filled..self.filled + taken.len()].copy_from_slice(taken);
        self.filled += taken.len();
        rest
    }

    fn all(&self) -> Option<[u8; BLOCK]> {
        (self.filled == BLOCK).then_some(self.bytes)
    }
}

/// Ciphertext that is certainly no tag: first what had been held back, then what just came.
#[derive(Debug)]
pub(super) struct Ciphertext<'a> {
    held: [u8; BLOCK],
    held_bytes: usize,
    new: &'a [u8],
}

impl Ciphertext<'_> {
    pub(super) fn pieces(&self) -> [&[u8]; 2] {
        [&self.held[..self.held_bytes], self.new]
    }

    pub(super) fn bytes(&self) -> u64 {
        (self.held_bytes + self.new.len()) as u64
    }
}

impl Frame {
    pub(super) fn push<'a>(&mut self, bytes: &'a [u8]) -> Ciphertext<'a> {
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        let rest = self.iv.fill(bytes);
        let released = (self.tail.filled + rest.len()).saturating_sub(BLOCK);
        let held_bytes = released.min(self.tail.filled);
        let held = self.tail.bytes;
        let (new, tail) = rest.split_at(released - held_bytes);
        self.tail.bytes.copy_within(held_bytes.., 0);
        self.tail.filled -= held_bytes;
        self.tail.fill(tail);
        Ciphertext {
            held,
            held_bytes,
            new,
        }
    }

    /// The vector, once it has come.
    pub(super) fn iv(&self) -> Option<[u8; BLOCK]> {
        self.iv.all()
    }

    /// Vector and tag of a file that ended here.
    pub(super) fn finish(self) -> Result<([u8; BLOCK], [u8; BLOCK]), EnvelopeError> {
        self.iv
            .all()
            .zip(self.tail.all())
            .ok_or(EnvelopeError::LegacyTooShort { bytes: self.bytes })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_file_is_cut_the_same_however_it_arrives(
            file in prop::collection::vec(any::<u8>(), 32..200),
            sizes in prop::collection::vec(0_usize..40, 1..50),
        ) {
            let mut frame = Frame::default();
            let mut ciphertext = Vec::new();
            let mut rest = &file[..];
            for size in sizes.into_iter().chain([file.len()]) {
                let (now, later) = rest.split_at(size.min(rest.len()));
                rest = later;
                let cut = frame.push(now);
                prop_assert_eq!(cut.bytes(), cut.pieces().concat().len() as u64);
                ciphertext.extend(cut.pieces().concat());
            }
            let (iv, tag) = frame.finish().unwrap();
            prop_assert_eq!([&iv[..], &ciphertext, &tag].concat(), file);
        }
    }
}
