//! The reader of envelope v2: the file's bytes are pushed in, the payload comes out. Constant memory, no IO.
//!
//! A chunk is released once its own tag is good, but the whole is *provisional* until [`Opener::finish`] says so: whoever
//! consumes the payload must be able to throw it away. After the first error an opener repeats that error for ever.

use super::{
    chunk::{ChunkCipher, PAYLOAD_MAX, Place, TAG_BYTES},
    error::EnvelopeError,
    header::{HEADER_BYTES, Header},
    key::KeyId,
    keyring::Keyring,
    manifest_seal::ManifestKey,
    metadata::Metadata,
    sidecar::{SidecarUse, effective_header},
    unlock::{Unlocked, unlock},
};

/// What a reader knows beside the file.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// The content of the file's sidecar header, if it has one and it isn't set aside on purpose.
    pub sidecar: Option<Vec<u8>>,
    /// The highest generation seen so far; an older header is refused.
    pub minimum_generation: Option<u32>,
}

/// A file that was authentic to its last byte.
#[derive(Debug)]
pub struct Opened {
    pub payload_bytes: u64,
    pub stored_bytes: u64,
    pub manifest_key: ManifestKey,
    pub metadata: Option<Metadata>,
    pub generation: u32,
    pub key_id: KeyId,
    pub sidecar: SidecarUse,
}

/// Opens one file.
#[derive(Debug)]
pub struct Opener {
    keyring: Keyring,
    options: OpenOptions,
    state: State,
}

#[derive(Debug)]
enum State {
    Header(Vec<u8>),
    Body(Box<Body>),
    Refused(EnvelopeError),
}

impl Opener {
    pub fn new(keyring: &Keyring, options: OpenOptions) -> Self {
        Self {
            keyring: keyring.clone(),
            options,
            state: State::Header(Vec::with_capacity(HEADER_BYTES)),
        }
    }

    /// Takes stored bytes, appends the payload of the chunks that opened. The push that completes the header may derive
    /// a key from a passphrase: call it where blocking is allowed.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), EnvelopeError> {
        let pushed = self.advance(bytes, out);
        if let Err(error) = &pushed {
            self.state = State::Refused(error.clone());
        }
        pushed
    }

    fn advance(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), EnvelopeError> {
        if let State::Header(header) = &mut self.state {
            let missing = HEADER_BYTES - header.len();
            let (taken, rest) = bytes.split_at(missing.min(bytes.len()));
            header.extend_from_slice(taken);
            if header.len() < HEADER_BYTES {
                return Ok(());
            }
            bytes = rest;
            let body = Body::open(header, &self.keyring, &self.options)?;
            self.state = State::Body(Box::new(body));
        }
        match &mut self.state {
            State::Body(body) => body.push(bytes, out),
            State::Refused(error) => Err(error.clone()),
            State::Header(_) => Ok(()),
        }
    }

    /// Checks the manifest before the payload is read. `None` until the header is open.
    pub fn manifest_key(&self) -> Option<ManifestKey> {
        match &self.state {
            State::Body(body) => Some(body.manifest_key()),
            State::Header(_) | State::Refused(_) => None,
        }
    }

    /// What the header says of the content. `None` until the header is open.
    pub fn metadata(&self) -> Option<&Metadata> {
        match &self.state {
            State::Body(body) => body.head.metadata.as_ref(),
            State::Header(_) | State::Refused(_) => None,
        }
    }

    /// The end of the input. Only now is what was released known to be the whole payload.
    pub fn finish(self, out: &mut Vec<u8>) -> Result<Opened, EnvelopeError> {
        match self.state {
            State::Body(body) => body.finish(out),
            State::Refused(error) => Err(error),
            // A header that is too short: `parse` tells a foreign file from one that was cut off.
            State::Header(header) => Err(Header::parse(&header)
                .err()
                .unwrap_or(EnvelopeError::Truncated("inside the header"))),
        }
    }
}

/// The state behind an open header.
#[derive(Debug)]
struct Body {
    head: Unlocked,
    sidecar: SidecarUse,
    cipher: ChunkCipher,
    stored_chunk_bytes: usize,
    /// The last stored chunk so far: whether it is the final one is known when more comes, or the end.
    pending: Vec<u8>,
    index: u64,
    payload_bytes: u64,
}

impl Body {
    fn open(
        header: &[u8],
        keyring: &Keyring,
        options: &OpenOptions,
    ) -> Result<Self, EnvelopeError> {
        let inline = Header::parse(header)?;
        let (header, sidecar) = effective_header(inline, options.sidecar.as_deref())?;
        let head = unlock(header, keyring, options.minimum_generation)?;
        let stored_chunk_bytes = (1 << head.header.chunk_exponent()) + TAG_BYTES;
        Ok(Self {
            cipher: head.data_key.chunk_cipher(&head.header.core()),
            head,
            sidecar,
            stored_chunk_bytes,
            pending: Vec::with_capacity(stored_chunk_bytes),
            index: 0,
            payload_bytes: 0,
        })
    }

    fn manifest_key(&self) -> ManifestKey {
        self.head.data_key.manifest_key(&self.head.header.core())
    }

    fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), EnvelopeError> {
        while !bytes.is_empty() {
            if self.pending.len() == self.stored_chunk_bytes {
                self.open_pending(Place::Middle, out)?;
            }
            if self.pending.is_empty() && bytes.len() > self.stored_chunk_bytes {
                let (chunk, rest) = bytes.split_at(self.stored_chunk_bytes);
                self.open_chunk(Place::Middle, chunk, out)?;
                bytes = rest;
            } else {
                let room = self.stored_chunk_bytes - self.pending.len();
                let (taken, rest) = bytes.split_at(room.min(bytes.len()));
                self.pending.extend_from_slice(taken);
                bytes = rest;
            }
        }
        Ok(())
    }

    fn finish(mut self, out: &mut Vec<u8>) -> Result<Opened, EnvelopeError> {
        if self.pending.len() < TAG_BYTES {
            return Err(EnvelopeError::Truncated("inside a chunk"));
        }
        if self.index > 0 && self.pending.len() == TAG_BYTES {
            return Err(EnvelopeError::EmptyFinalChunk { chunk: self.index });
        }
        self.open_pending(Place::Final, out)?;
        Ok(Opened {
            payload_bytes: self.payload_bytes,
            stored_bytes: HEADER_BYTES as u64 + self.payload_bytes + self.index * TAG_BYTES as u64,
            manifest_key: self.manifest_key(),
            generation: self.head.header.generation(),
            key_id: self.head.key_id,
            metadata: self.head.metadata,
            sidecar: self.sidecar,
        })
    }

    fn open_pending(&mut self, place: Place, out: &mut Vec<u8>) -> Result<(), EnvelopeError> {
        let mut pending = std::mem::take(&mut self.pending);
        self.open_chunk(place, &pending, out)?;
        pending.clear();
        self.pending = pending;
        Ok(())
    }

    fn open_chunk(
        &mut self,
        place: Place,
        stored: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), EnvelopeError> {
        let start = out.len();
        if !self.cipher.open(self.index, place, stored, out) {
            return Err(self.diagnosis(place, stored));
        }
        self.index += 1;
        self.payload_bytes += (out.len() - start) as u64;
        if self.payload_bytes > PAYLOAD_MAX {
            out.truncate(start);
            return Err(EnvelopeError::TooLarge);
        }
        Ok(())
    }

    /// A chunk that opens with the other final flag shows that the file was cut or extended, not damaged.
    fn diagnosis(&self, place: Place, stored: &[u8]) -> EnvelopeError {
        let chunk = self.index;
        let opens_otherwise = self
            .cipher
            .open(chunk, place.other(), stored, &mut Vec::new());
        match (opens_otherwise, place) {
            (false, _) => EnvelopeError::ChunkAuth { chunk },
            (true, Place::Final) => EnvelopeError::Truncated("before its final chunk"),
            (true, Place::Middle) => EnvelopeError::TrailingData { chunk },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{KeyMaterial, Sealer};

    fn keyring() -> Keyring {
        Keyring::new(
            Some(KeyMaterial::parse(&"07".repeat(32)).unwrap()),
            Vec::new(),
        )
    }

    fn file(payload: &[u8]) -> Vec<u8> {
        let mut sealer = Sealer::new(&keyring(), &Metadata::default()).unwrap();
        let mut out = Vec::new();
        sealer.push(payload, &mut out).unwrap();
        sealer.finish(&mut out).unwrap();
        out
    }

    #[test]
    fn an_error_is_repeated_until_the_opener_is_dropped() {
        let mut file = file(&vec![1; 200_000]);
        let half = file.len() / 2;
        file[HEADER_BYTES] ^= 1;
        let mut opener = Opener::new(&keyring(), OpenOptions::default());
        let mut out = Vec::new();
        let damaged = EnvelopeError::ChunkAuth { chunk: 0 };
        assert_eq!(opener.push(&file[..half], &mut out), Err(damaged.clone()));
        assert_eq!(opener.push(&file[half..], &mut out), Err(damaged.clone()));
        assert_eq!(opener.finish(&mut out).unwrap_err(), damaged);
        assert!(out.is_empty(), "bytes of a damaged chunk were released");
    }

    #[test]
    fn a_chunk_is_released_before_the_end_and_the_last_one_only_at_the_end() {
        let file = file(&vec![1; 65537]);
        let mut opener = Opener::new(&keyring(), OpenOptions::default());
        let mut out = Vec::new();
        assert!(opener.manifest_key().is_none());
        opener.push(&file, &mut out).unwrap();
        assert!(opener.manifest_key().is_some());
        assert_eq!(out.len(), 65536);
        let end = opener.finish(&mut out).unwrap();
        assert_eq!(out, vec![1; 65537]);
        assert_eq!(end.stored_bytes, file.len() as u64);
        assert_eq!(end.payload_bytes, 65537);
        assert_eq!((end.generation, end.sidecar), (1, SidecarUse::Absent));
    }

    #[test]
    fn a_payload_over_2_to_the_48_bytes_is_refused() {
        let file = file(&vec![1; 65537]);
        let mut opener = Opener::new(&keyring(), OpenOptions::default());
        let mut out = Vec::new();
        opener.push(&file[..HEADER_BYTES], &mut out).unwrap();
        let State::Body(body) = &mut opener.state else {
            panic!("the header did not open")
        };
        body.payload_bytes = PAYLOAD_MAX - 1;
        assert_eq!(
            opener.push(&file[HEADER_BYTES..], &mut out),
            Err(EnvelopeError::TooLarge)
        );
        assert!(out.is_empty());
    }
}
