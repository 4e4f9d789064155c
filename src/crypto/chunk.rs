//! Sealed chunks: the unit of the payload. Its place and whether it is the last one are in the nonce, so chunks can be
//! neither moved nor cut off unnoticed.

use aes_gcm::{
    Aes256Gcm, Nonce, Tag,
    aead::{AeadInOut, KeyInit, consts::U12},
};

use super::{error::EnvelopeError, secret::Secret};

pub(super) const TAG_BYTES: usize = 16;

/// The longest payload: at this size GCM's counting term under one key is about 2^-41.
pub(super) const PAYLOAD_MAX: u64 = 1 << 48;

/// Whether a chunk is the last one of its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Middle,
    Final,
}

impl Place {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Middle => Self::Final,
            Self::Final => Self::Middle,
        }
    }
}

/// AES-256-GCM under the payload key of one file.
#[derive(Debug)]
pub(super) struct ChunkCipher(Aes256Gcm);

impl ChunkCipher {
    pub(super) fn new(key: &Secret) -> Self {
        Self(Aes256Gcm::new(key.bytes().into()))
    }

    /// Appends the sealed chunk to `out`, encrypting it there.
    pub(super) fn seal(
        &self,
        index: u64,
        place: Place,
        chunk: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), EnvelopeError> {
        let start = out.len();
        out.extend_from_slice(chunk);
        let tag = self
            .0
            .encrypt_inout_detached(&nonce(index, place), &[], (&mut out[start..]).into())
            .map_err(|_| EnvelopeError::TooLarge)?;
        out.extend_from_slice(&tag);
        Ok(())
    }

    /// Appends the opened chunk to `out` and says so; leaves `out` as it was if the tag doesn't fit.
    pub(super) fn open(&self, index: u64, place: Place, stored: &[u8], out: &mut Vec<u8>) -> bool {
        let Some((ciphertext, tag)) = stored.split_last_chunk::<TAG_BYTES>() else {
            return false;
        };
        let start = out.len();
        out.extend_from_slice(ciphertext);
        let opened = self
            .0
            .decrypt_inout_detached(
                &nonce(index, place),
                &[],
                (&mut out[start..]).into(),
                &Tag::from(*tag),
            )
            .is_ok();
        if !opened {
            out.truncate(start);
        }
        opened
    }
}

fn nonce(index: u64, place: Place) -> Nonce<U12> {
    let mut nonce = [0; 12];
    nonce[3..11].copy_from_slice(&index.to_be_bytes());
    nonce[11] = match place {
        Place::Middle => 0,
        Place::Final => 1,
    };
    nonce.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nonce_is_the_place_of_the_chunk_and_its_finality() {
        assert_eq!(
            hex::encode(nonce(0x0102_0304_0506_0708, Place::Middle)),
            "000000010203040506070800"
        );
        assert_eq!(
            hex::encode(nonce(0, Place::Final)),
            "000000000000000000000001"
        );
    }

    #[test]
    fn a_chunk_opens_only_in_its_own_place() {
        let cipher = ChunkCipher::new(&Secret::zero());
        let (mut sealed, mut out) = (Vec::new(), b"before".to_vec());
        cipher
            .seal(3, Place::Middle, b"chunk", &mut sealed)
            .unwrap();
        assert!(!cipher.open(2, Place::Middle, &sealed, &mut out));
        assert!(!cipher.open(3, Place::Final, &sealed, &mut out));
        assert!(!cipher.open(3, Place::Middle, &sealed[..15], &mut out));
        assert_eq!(out, b"before");
        assert!(cipher.open(3, Place::Middle, &sealed, &mut out));
        assert_eq!(out, b"beforechunk");
    }
}
