//! One GCM message in progress, from AES, CTR and GHASH: constant memory at any length.
//!
//! The initialisation vector has 16 bytes, not 12, so the first counter block is a hash of it and its low 32 bits are
//! arbitrary: they may wrap within a small file, and must then wrap modulo 2^32 without carry.

use std::fmt;

use aes::{
    Aes256,
    cipher::{BlockCipherEncrypt, KeyInit, KeyIvInit, StreamCipher},
};
use ctr::Ctr32BE;
use ghash::{GHash, universal_hash::UniversalHash};

use super::{BLOCK, PAYLOAD_MAX};
use crate::crypto::{error::EnvelopeError, layout::array_at, secret::Secret};

/// Authenticates the ciphertext that passes by.
pub(super) struct Authenticator {
    ghash: GHash,
    mask: [u8; BLOCK],
    /// The beginning of a block whose end hasn't come yet.
    partial: [u8; BLOCK],
    filled: usize,
    bytes: u64,
}

impl Authenticator {
    pub(super) fn new(key: &Secret, iv: [u8; BLOCK]) -> Self {
        let aes = Aes256::new(key.bytes().into());
        let ghash = ghash(&aes);
        let mask = encrypt(&aes, first_counter_block(&ghash, iv));
        Self {
            ghash,
            mask,
            partial: [0; BLOCK],
            filled: 0,
            bytes: 0,
        }
    }

    /// Bytes so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn update(&mut self, mut ciphertext: &[u8]) -> Result<(), EnvelopeError> {
        self.bytes = self.bytes.saturating_add(ciphertext.len() as u64);
        if self.bytes > PAYLOAD_MAX {
            return Err(EnvelopeError::LegacyTooLarge);
        }
        if self.filled > 0 {
            let (taken, rest) =
                ciphertext.split_at(ciphertext.len().min(self.partial.len() - self.filled));
            self.partial[self.filled..self.filled + taken.len()].copy_from_slice(taken);
            self.filled += taken.len();
            ciphertext = rest;
            if self.filled < BLOCK {
                return Ok(());
            }
            self.ghash.update(&[self.partial.into()]);
        }
        let (blocks, rest) = ghash::Block::slice_as_chunks(ciphertext);
        self.ghash.update(blocks);
        self.partial[..rest.len()].copy_from_slice(rest);
        self.filled = rest.len();
        Ok(())
    }

    /// The tag over everything that passed.
    pub(super) fn tag(mut self) -> [u8; BLOCK] {
        self.ghash.update_padded(&self.partial[..self.filled]);
        let mut lengths = [0; BLOCK];
        lengths[8..].copy_from_slice(&(self.bytes * 8).to_be_bytes());
        self.ghash.update(&[lengths.into()]);
        let mut tag: [u8; BLOCK] = self.ghash.finalize().into();
        for (byte, mask) in tag.iter_mut().zip(self.mask) {
            *byte ^= mask;
        }
        tag
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authenticator({} bytes)", self.bytes)
    }
}

/// Encrypts and decrypts: the same thing in counter mode.
pub(super) struct Keystream(Ctr32BE<Aes256>);

impl Keystream {
    pub(super) fn new(key: &Secret, iv: [u8; BLOCK]) -> Self {
        let aes = Aes256::new(key.bytes().into());
        let mut counter = first_counter_block(&ghash(&aes), iv);
        let low = u32::from_be_bytes(array_at(&counter, 12)).wrapping_add(1);
        counter[12..].copy_from_slice(&low.to_be_bytes());
        Self(Ctr32BE::new(key.bytes().into(), &counter.into()))
    }

    pub(super) fn apply(&mut self, bytes: &mut [u8]) -> Result<(), EnvelopeError> {
        self.0
            .try_apply_keystream(bytes)
            .map_err(|_| EnvelopeError::LegacyTooLarge)
    }
}

impl fmt::Debug for Keystream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keystream(..)")
    }
}

fn ghash(aes: &Aes256) -> GHash {
    GHash::new(&encrypt(aes, [0; BLOCK]).into())
}

fn encrypt(aes: &Aes256, block: [u8; BLOCK]) -> [u8; BLOCK] {
    let mut block = block.into();
    aes.encrypt_block(&mut block);
    block.into()
}

/// J0 of the GCM specification for a vector of 128 bits.
fn first_counter_block(ghash: &GHash, iv: [u8; BLOCK]) -> [u8; BLOCK] {
    let mut ghash = ghash.clone();
    let mut length = [0; BLOCK];
    length[15] = 128;
    ghash.update(&[iv.into(), length.into()]);
    ghash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_counter_block_is_a_hash_of_the_vector() {
        let key = Secret::from_hex(&hex::encode((0..32).collect::<Vec<u8>>())).unwrap();
        let aes = Aes256::new(key.bytes().into());
        let file =
            include_bytes!("../../../tests/vectors/envelope-v1/counter-wraps-ffffffff-100.enc");
        let block = first_counter_block(&ghash(&aes), array_at(file, 0));
        assert_eq!(hex::encode(block), "b1814ff06cced5290b3e790dffffffff");
    }

    #[test]
    fn the_first_byte_over_the_limit_is_refused() {
        let mut authenticator = Authenticator::new(&Secret::zero(), [0; BLOCK]);
        authenticator.bytes = PAYLOAD_MAX - 1;
        assert_eq!(authenticator.update(&[0]), Ok(()));
        assert_eq!(
            authenticator.update(&[0]),
            Err(EnvelopeError::LegacyTooLarge)
        );
    }

    #[test]
    fn the_keystream_reaches_to_the_limit_of_the_format() {
        use aes::cipher::StreamCipherSeek;
        let mut keystream = Keystream::new(&Secret::zero(), [0; BLOCK]);
        keystream.0.seek(PAYLOAD_MAX - 100);
        let mut last = [0; 100];
        assert_eq!(keystream.apply(&mut last), Ok(()));
        assert_ne!(last, [0; 100]);
    }
}
