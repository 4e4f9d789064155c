//! The writer of envelope v2: bytes are pushed in, the file's bytes come out. One pass, one chunk of memory, no IO.
//!
//! Only [`Sealer::finish`] makes a final chunk, and only an explicit end of data may call it: a sealer that is dropped
//! leaves a file that every reader refuses. Each sealer has a data key of its own; it can't be rewound.

use super::{
    chunk::{ChunkCipher, PAYLOAD_MAX, Place},
    data_key::DataKey,
    error::EnvelopeError,
    header::{DEFAULT_EXPONENT, Header, new_identity},
    key::KeyId,
    keyring::Keyring,
    layout::array_at,
    manifest_seal::ManifestKey,
    metadata::Metadata,
    secret::random,
    slot::Wrap,
};

/// Seals one payload.
#[derive(Debug)]
pub struct Sealer {
    /// Still to be written in front of everything else.
    header: Option<Header>,
    cipher: ChunkCipher,
    manifest_key: ManifestKey,
    key_id: KeyId,
    chunk_bytes: usize,
    /// The last chunk so far, kept back until it is known whether it is the final one.
    pending: Vec<u8>,
    index: u64,
    payload_bytes: u64,
    stored_bytes: u64,
}

/// What a finished file amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealSummary {
    /// Bytes pushed in.
    pub payload_bytes: u64,
    /// Bytes that came out.
    pub stored_bytes: u64,
}

/// All that makes one file differ from another. The random values must be new for every file.
pub(super) struct Recipe {
    pub(super) chunk_exponent: u8,
    pub(super) metadata: Vec<u8>,
    pub(super) data_key: DataKey,
    pub(super) file_salt: [u8; 32],
    pub(super) wraps: Vec<Wrap>,
}

impl Sealer {
    /// A new file for the active key. May derive it from a passphrase: call it where blocking is allowed.
    pub fn new(keyring: &Keyring, metadata: &Metadata) -> Result<Self, EnvelopeError> {
        Self::from_recipe(&Recipe {
            chunk_exponent: DEFAULT_EXPONENT,
            metadata: metadata.render()?,
            data_key: DataKey::random()?,
            file_salt: random()?,
            wraps: vec![keyring.wrap()?],
        })
    }

    pub(super) fn from_recipe(recipe: &Recipe) -> Result<Self, EnvelopeError> {
        let data_key = &recipe.data_key;
        let identity = new_identity(recipe.chunk_exponent, &recipe.file_salt, data_key);
        let slots: Vec<_> = recipe
            .wraps
            .iter()
            .map(|wrap| wrap.seal(&identity, data_key))
            .collect();
        let header = Header::assemble(&identity, data_key, &slots, &recipe.metadata, 1)?;
        let core = array_at(&identity, 0);
        let chunk_bytes = 1 << recipe.chunk_exponent;
        Ok(Self {
            header: Some(header),
            cipher: data_key.chunk_cipher(&core),
            manifest_key: data_key.manifest_key(&core),
            key_id: recipe.wraps.first().ok_or(EnvelopeError::NoKey)?.key_id(),
            chunk_bytes,
            pending: Vec::with_capacity(chunk_bytes),
            index: 0,
            payload_bytes: 0,
            stored_bytes: 0,
        })
    }

    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// Seals the manifest of this file.
    pub fn manifest_key(&self) -> ManifestKey {
        self.manifest_key.clone()
    }

    /// Takes payload, appends what is ready to be stored.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), EnvelopeError> {
        self.count(bytes)?;
        self.put_header(out);
        while !bytes.is_empty() {
            if self.pending.len() == self.chunk_bytes {
                self.seal_pending(Place::Middle, out)?;
            }
            // More than a chunk at hand: it can't be the final one, and needn't be copied to `pending` first.
            if self.pending.is_empty() && bytes.len() > self.chunk_bytes {
                let (chunk, rest) = bytes.split_at(self.chunk_bytes);
                self.seal(Place::Middle, chunk, out)?;
                bytes = rest;
            } else {
                let room = self.chunk_bytes - self.pending.len();
                let (taken, rest) = bytes.split_at(room.min(bytes.len()));
                self.pending.extend_from_slice(taken);
                bytes = rest;
            }
        }
        Ok(())
    }

    /// Ends the payload. Only for a source that said it is complete.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<SealSummary, EnvelopeError> {
        self.count(&[])?;
        self.put_header(out);
        self.seal_pending(Place::Final, out)?;
        Ok(SealSummary {
            payload_bytes: self.payload_bytes,
            stored_bytes: self.stored_bytes,
        })
    }

    fn count(&mut self, bytes: &[u8]) -> Result<(), EnvelopeError> {
        self.payload_bytes = self.payload_bytes.saturating_add(bytes.len() as u64);
        if self.payload_bytes > PAYLOAD_MAX {
            return Err(EnvelopeError::TooLarge);
        }
        Ok(())
    }

    fn put_header(&mut self, out: &mut Vec<u8>) {
        if let Some(header) = self.header.take() {
            out.extend_from_slice(header.bytes());
            self.stored_bytes += header.bytes().len() as u64;
        }
    }

    fn seal_pending(&mut self, place: Place, out: &mut Vec<u8>) -> Result<(), EnvelopeError> {
        let mut pending = std::mem::take(&mut self.pending);
        self.seal(place, &pending, out)?;
        pending.clear();
        self.pending = pending;
        Ok(())
    }

    fn seal(&mut self, place: Place, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), EnvelopeError> {
        let start = out.len();
        self.cipher.seal(self.index, place, chunk, out)?;
        self.index += 1;
        self.stored_bytes += (out.len() - start) as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{KeyMaterial, header::HEADER_BYTES};

    fn keyring() -> Keyring {
        Keyring::new(
            Some(KeyMaterial::parse(&"07".repeat(32)).unwrap()),
            Vec::new(),
        )
    }

    fn sealer() -> Sealer {
        Sealer::new(&keyring(), &Metadata::default()).unwrap()
    }

    #[test]
    fn nothing_can_be_sealed_without_an_active_key() {
        let keyring = Keyring::new(None, vec![KeyMaterial::parse("old").unwrap()]);
        let error = Sealer::new(&keyring, &Metadata::default()).unwrap_err();
        assert_eq!(error, EnvelopeError::NoKey);
    }

    #[test]
    fn the_header_comes_with_the_first_push_and_a_full_chunk_waits_for_its_successor() {
        let (mut sealer, mut out) = (sealer(), Vec::new());
        sealer.push(b"", &mut out).unwrap();
        assert_eq!(out.len(), HEADER_BYTES);
        sealer.push(&vec![0; 65536], &mut out).unwrap();
        assert_eq!(out.len(), HEADER_BYTES);
        sealer.push(&[0], &mut out).unwrap();
        assert_eq!(out.len(), HEADER_BYTES + 65552);
        let summary = sealer.finish(&mut out).unwrap();
        assert_eq!(summary.payload_bytes, 65537);
        assert_eq!(summary.stored_bytes, out.len() as u64);
    }

    #[test]
    fn two_files_of_the_same_bytes_have_nothing_secret_in_common() {
        let files = [(); 2].map(|()| {
            let mut out = Vec::new();
            sealer().finish(&mut out).unwrap();
            out
        });
        // File salt, KEK salt and wrapped key, and the final chunk.
        for range in [16..48, 168..248, 4096..4112] {
            assert_ne!(files[0][range.clone()], files[1][range]);
        }
    }

    #[test]
    fn a_payload_over_2_to_the_48_bytes_is_refused_and_stays_refused() {
        let (mut sealer, mut out) = (sealer(), Vec::new());
        sealer.payload_bytes = PAYLOAD_MAX - 1;
        sealer.push(&[0], &mut out).unwrap();
        assert_eq!(sealer.push(&[0], &mut out), Err(EnvelopeError::TooLarge));
        assert_eq!(sealer.finish(&mut out), Err(EnvelopeError::TooLarge));
    }

    #[test]
    fn metadata_longer_than_its_room_is_refused() {
        let metadata = Metadata {
            content: Some("x".repeat(3000)),
            ..Metadata::default()
        };
        let error = Sealer::new(&keyring(), &metadata).unwrap_err();
        assert_eq!(error.name(), "Metadata");
    }
}
