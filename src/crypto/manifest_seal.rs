//! The seal that binds a manifest to its file, and what the manifest claims of the file.
//!
//! The stored bytes count, so no canonical JSON is needed: the seal is an HMAC over the manifest with the seal's own 64
//! digits set to zero. The key comes from the data key and survives re-wraps.

use std::fmt;

use subtle::ConstantTimeEq;

use super::{
    error::EnvelopeError,
    secret::{Secret, hmac},
};

/// Seals and checks the manifest of one file.
#[derive(Clone)]
pub struct ManifestKey(Secret);

const MEMBER: &[u8] = br#""seal""#;
const OPENING: &[u8] = br#""seal":""#;
const DIGITS: usize = 64;

impl ManifestKey {
    /// The 64 hex digits to put in place of the 64 zeros that `manifest` has in its seal.
    pub fn seal(&self, manifest: &[u8]) -> String {
        hex::encode(hmac(&self.0, &[manifest]))
    }
}

impl From<Secret> for ManifestKey {
    fn from(key: Secret) -> Self {
        Self(key)
    }
}

impl fmt::Debug for ManifestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ManifestKey(..)")
    }
}

/// Accepts the manifest only if it has exactly one seal and that seal was made with this key over these very bytes.
pub fn verify_seal(manifest: &[u8], key: &ManifestKey) -> Result<(), EnvelopeError> {
    let (before, seal, after) = split(manifest).ok_or(EnvelopeError::ManifestSeal)?;
    let expected = hmac(&key.0, &[before, &[b'0'; DIGITS], after]);
    if expected.ct_eq(&seal).into() {
        Ok(())
    } else {
        Err(EnvelopeError::ManifestSeal)
    }
}

/// What stands before the digits, the seal they spell, and what comes after.
fn split(manifest: &[u8]) -> Option<(&[u8], [u8; 32], &[u8])> {
    let mut members = manifest
        .windows(MEMBER.len())
        .enumerate()
        .filter(|(_, window)| *window == MEMBER)
        .map(|(at, _)| at);
    let at = members.next().filter(|_| members.next().is_none())?;
    let (before, rest) = manifest.split_at_checked(at + OPENING.len())?;
    let (digits, after) = rest.split_at_checked(DIGITS)?;
    let is_seal = before.ends_with(OPENING)
        && after.starts_with(b"\"")
        && digits
            .iter()
            .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    let mut seal = [0; 32];
    hex::decode_to_slice(digits, &mut seal).ok()?;
    is_seal.then_some((before, seal, after))
}

/// What a manifest claims of its file. What it doesn't say isn't compared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Claim {
    pub stored_bytes: Option<u64>,
    pub payload_bytes: Option<u64>,
    pub payload_sha256: Option<[u8; 32]>,
}

impl Claim {
    /// Lengths first: a wrong length explains a wrong digest.
    pub fn check(
        &self,
        stored_bytes: u64,
        payload_bytes: u64,
        payload_sha256: &[u8; 32],
    ) -> Result<(), EnvelopeError> {
        same_length("the file", self.stored_bytes, stored_bytes)?;
        same_length("the payload", self.payload_bytes, payload_bytes)?;
        match self.payload_sha256 {
            Some(expected) if expected != *payload_sha256 => Err(EnvelopeError::DigestMismatch {
                expected: hex::encode(expected),
                found: hex::encode(payload_sha256),
            }),
            Some(_) | None => Ok(()),
        }
    }
}

fn same_length(what: &'static str, expected: Option<u64>, found: u64) -> Result<(), EnvelopeError> {
    match expected {
        Some(expected) if expected != found => Err(EnvelopeError::LengthMismatch {
            what,
            expected,
            found,
        }),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ManifestKey {
        ManifestKey::from(Secret::zero())
    }

    fn sealed(text: &str) -> String {
        let zeros = "0".repeat(DIGITS);
        assert_eq!(text.matches(&zeros).count(), 1);
        text.replace(&zeros, &key().seal(text.as_bytes()))
    }

    #[test]
    fn a_sealed_manifest_verifies_and_any_other_byte_breaks_it() {
        let manifest = sealed(&format!(r#"{{"object":"x","seal":"{}"}}"#, "0".repeat(64)));
        assert_eq!(verify_seal(manifest.as_bytes(), &key()), Ok(()));
        for at in 0..manifest.len() {
            let mut changed = manifest.clone().into_bytes();
            changed[at] ^= 1;
            assert_eq!(
                verify_seal(&changed, &key()),
                Err(EnvelopeError::ManifestSeal),
                "byte {at} does not count"
            );
        }
    }

    #[test]
    fn a_manifest_has_exactly_one_seal_of_64_lower_case_digits() {
        let good = sealed(&format!(r#"{{"seal":"{}"}}"#, "0".repeat(64)));
        for bad in [
            "{}".to_owned(),
            r#"{"seal":"00"}"#.to_owned(),
            good.to_uppercase().replace("SEAL", "seal"),
            good.replace("\"seal\":", "\"seal\": "),
            format!("{good}{good}"),
            good.replace('{', r#"{"x":{"seal":1},"#),
            good[..good.len() - 2].to_owned(),
            good[..20].to_owned(),
        ] {
            assert_eq!(
                verify_seal(bad.as_bytes(), &key()),
                Err(EnvelopeError::ManifestSeal),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_claim_compares_only_what_it_says() {
        assert_eq!(Claim::default().check(1, 2, &[3; 32]), Ok(()));
        let claim = Claim {
            stored_bytes: Some(1),
            payload_bytes: Some(2),
            payload_sha256: Some([3; 32]),
        };
        assert_eq!(claim.check(1, 2, &[3; 32]), Ok(()));
        assert_eq!(
            claim.check(9, 2, &[3; 32]).unwrap_err().name(),
            "LengthMismatch"
        );
        assert_eq!(
            claim.check(1, 9, &[3; 32]).unwrap_err().name(),
            "LengthMismatch"
        );
        assert_eq!(
            claim.check(1, 2, &[9; 32]).unwrap_err().name(),
            "DigestMismatch"
        );
    }
}
