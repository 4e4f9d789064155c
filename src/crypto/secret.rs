//! Secret bytes and the ways one is made from another: HKDF, HMAC and PBKDF2, all over SHA-256.
//!
//! A [`Secret`] is wiped when dropped, never printed, and never compared except in constant time.

use std::fmt;

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::error::EnvelopeError;

/// Key bytes.
#[derive(Clone)]
pub(super) struct Secret(Zeroizing<[u8; 32]>);

impl Secret {
    pub(super) fn zero() -> Self {
        Self(Zeroizing::new([0; 32]))
    }

    pub(super) fn random() -> Result<Self, EnvelopeError> {
        let mut secret = Self::zero();
        getrandom::fill(secret.bytes_mut()).map_err(EnvelopeError::Randomness)?;
        Ok(secret)
    }

    /// 32 bytes from exactly 64 hex digits, in either case.
    pub(super) fn from_hex(text: &str) -> Option<Self> {
        let mut secret = Self::zero();
        hex::decode_to_slice(text, secret.bytes_mut()).ok()?;
        Some(secret)
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8; 32] {
        &mut self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Random bytes that are not secret: salts and initialisation vectors.
pub(super) fn random<const N: usize>() -> Result<[u8; N], EnvelopeError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(EnvelopeError::Randomness)?;
    Ok(bytes)
}

/// HKDF-SHA256 with an output of 32 bytes. `None` as salt stands for 32 zero bytes.
pub(super) fn hkdf(ikm: &Secret, salt: Option<&[u8]>, info: &[&[u8]]) -> Secret {
    let mut out = Secret::zero();
    expand(ikm, salt, info, out.bytes_mut());
    out
}

/// The first 16 bytes of HKDF-SHA256: the public name of a key.
pub(super) fn hkdf_id(ikm: &Secret, info: &[u8]) -> [u8; 16] {
    let mut out = [0; 16];
    expand(ikm, None, &[info], &mut out);
    out
}

#[expect(
    clippy::expect_used,
    reason = "HKDF-SHA256 yields up to 8160 bytes; 32 are asked for"
)]
fn expand(ikm: &Secret, salt: Option<&[u8]>, info: &[&[u8]], out: &mut [u8]) {
    Hkdf::<Sha256>::new(salt, ikm.bytes())
        .expand_multi_info(info, out)
        .expect("at most 32 bytes");
}

/// HMAC-SHA256 over the parts, one after another.
#[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
pub(super) fn hmac(key: &Secret, parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.bytes()).expect("any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// PBKDF2-HMAC-SHA256. Slow on purpose: blocks for tenths of a second.
pub(super) fn pbkdf2(passphrase: &[u8], salt: &[u8], iterations: u32) -> Secret {
    let mut out = Secret::zero();
    pbkdf2::pbkdf2_hmac::<Sha256>(passphrase, salt, iterations, out.bytes_mut());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret::zero()), "Secret(..)");
    }

    #[test]
    fn sixty_four_hex_digits_of_either_case_are_bytes_and_nothing_else_is() {
        let digits = "aB".repeat(32);
        assert_eq!(Secret::from_hex(&digits).unwrap().bytes(), &[0xab; 32]);
        assert!(Secret::from_hex(&digits[1..]).is_none());
        assert!(Secret::from_hex(&format!("{digits}\n")).is_none());
        assert!(Secret::from_hex(&"zz".repeat(32)).is_none());
    }
}
