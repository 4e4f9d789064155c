//! Opening a header with the keys at hand, in the order of checks that the format lays down.
//!
//! First shape, then keys, then commitment, MAC, generation and metadata. A slot that fails goes on to the next; a wrong
//! commitment or MAC ends the attempt.

use super::{
    data_key::DataKey, error::EnvelopeError, header::Header, key::KeyId, keyring::Keyring,
    metadata::Metadata,
};

/// A header that a key opened: all of it is authentic.
#[derive(Debug)]
pub(super) struct Unlocked {
    pub(super) header: Header,
    pub(super) data_key: DataKey,
    pub(super) key_id: KeyId,
    pub(super) metadata: Option<Metadata>,
}

/// Opens the header. May derive a key from a passphrase, which takes long.
pub(super) fn unlock(
    header: Header,
    keyring: &Keyring,
    minimum_generation: Option<u32>,
) -> Result<Unlocked, EnvelopeError> {
    let (key_id, data_key) = unwrap_data_key(&header, keyring)?;
    if !data_key.is_committed_by(&header.core(), &header.commitment()) {
        return Err(EnvelopeError::Commitment);
    }
    if !header.is_authentic(&data_key) {
        return Err(EnvelopeError::HeaderAuth);
    }
    let found = header.generation();
    if let Some(expected) = minimum_generation.filter(|expected| found < *expected) {
        return Err(EnvelopeError::HeaderRollback { found, expected });
    }
    let metadata = Metadata::parse(header.metadata())?;
    Ok(Unlocked {
        header,
        data_key,
        key_id,
        metadata,
    })
}

fn unwrap_data_key(header: &Header, keyring: &Keyring) -> Result<(KeyId, DataKey), EnvelopeError> {
    let slots = header.slots()?;
    let mut damaged = false;
    for slot in &slots {
        for master in keyring.masters(slot.kind, slot.passphrase_salt, slot.iterations) {
            if !slot.fits(&master) {
                continue;
            }
            if let Some(data_key) = slot.unwrap(&master, header.identity()) {
                return Ok((slot.key_id, data_key));
            }
            damaged = true;
        }
    }
    if damaged {
        return Err(EnvelopeError::SlotAuth);
    }
    Err(EnvelopeError::NoMatchingKey {
        in_file: slots.iter().map(|slot| slot.key_id).collect(),
    })
}
