//! Reading v1, pass two: decrypt, and authenticate again, for the bytes may have changed since pass one.

use subtle::ConstantTimeEq;

use super::{
    check::LegacyTicket,
    frame::Frame,
    message::{Authenticator, Keystream},
    sealer::BATCH_BYTES,
};
use crate::crypto::error::EnvelopeError;

/// Decrypts the file that a ticket was issued for. What it released counts only if [`LegacyOpener::finish`] says so.
#[derive(Debug)]
pub struct LegacyOpener {
    ticket: LegacyTicket,
    frame: Frame,
    keystream: Keystream,
    authenticator: Authenticator,
}

impl LegacyOpener {
    pub fn new(ticket: LegacyTicket) -> Self {
        Self {
            frame: Frame::default(),
            keystream: Keystream::new(&ticket.key, ticket.iv),
            authenticator: Authenticator::new(&ticket.key, ticket.iv),
            ticket,
        }
    }

    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), EnvelopeError> {
        for batch in bytes.chunks(BATCH_BYTES) {
            let ciphertext = self.frame.push(batch);
            if self.authenticator.bytes() + ciphertext.bytes() > self.ticket.payload_bytes {
                return Err(EnvelopeError::SourceChanged);
            }
            for piece in ciphertext.pieces() {
                self.authenticator.update(piece)?;
                let start = out.len();
                out.extend_from_slice(piece);
                self.keystream.apply(&mut out[start..])?;
            }
        }
        Ok(())
    }

    /// The end of the input. Yields the payload's length if every byte was the one that pass one saw.
    pub fn finish(self) -> Result<u64, EnvelopeError> {
        let ticket = self.ticket;
        let (iv, tag) = self
            .frame
            .finish()
            .map_err(|_| EnvelopeError::SourceChanged)?;
        let payload_bytes = self.authenticator.bytes();
        let same_ciphertext = self.authenticator.tag().ct_eq(&ticket.tag);
        if bool::from(same_ciphertext & tag.ct_eq(&ticket.tag) & iv.ct_eq(&ticket.iv)) {
            Ok(payload_bytes)
        } else {
            Err(EnvelopeError::SourceChanged)
        }
    }
}
