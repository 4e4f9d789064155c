//! Keys as people give them, and their public names.
//!
//! A key is 64 hex digits (a raw key) or anything else (a passphrase). Its text is kept exactly as given: a space or a
//! newline more makes another passphrase. Neighbours: `keyring` derives from it, `slot` wraps with what it derives.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    error::KeyError,
    secret::{Secret, hkdf_id},
};

/// The longest passphrase, in bytes of UTF-8.
pub const PASSPHRASE_MAX: usize = 1024;

/// One configured key: a raw key of 32 bytes, or a passphrase. Wiped when dropped, masked when printed.
#[derive(Clone)]
pub struct KeyMaterial {
    text: Zeroizing<String>,
    raw: Option<Secret>,
}

impl KeyMaterial {
    /// Exactly 64 hex digits are a raw key, everything else is a passphrase of 1 to 1024 bytes, untrimmed.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        if text.is_empty() {
            return Err(KeyError::Empty);
        }
        if text.len() > PASSPHRASE_MAX {
            return Err(KeyError::TooLong { bytes: text.len() });
        }
        Ok(Self {
            text: Zeroizing::new(text.to_owned()),
            raw: Secret::from_hex(text),
        })
    }

    /// The same for the content of a key file: one trailing LF or CRLF, which editors add, is dropped first.
    pub fn parse_file(content: &str) -> Result<Self, KeyError> {
        Self::parse(without_newline(content).unwrap_or(content))
    }

    pub fn is_passphrase(&self) -> bool {
        self.raw.is_none()
    }

    pub(super) fn raw(&self) -> Option<&Secret> {
        self.raw.as_ref()
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

/// The text without its one trailing LF or CRLF, if it has one.
pub(super) fn without_newline(text: &str) -> Option<&str> {
    let text = text.strip_suffix('\n')?;
    Some(text.strip_suffix('\r').unwrap_or(text))
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_passphrase() {
            "KeyMaterial(passphrase, masked)"
        } else {
            "KeyMaterial(raw key, masked)"
        })
    }
}

/// The public name of a key: 16 bytes derived from it, safe to show, 32 hex digits as text (docs/formats/envelope-v2.md).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId(pub [u8; 16]);

impl KeyId {
    pub(super) fn of(master: &Secret) -> Self {
        Self(hkdf_id(master, b"kbk2/key-id"))
    }
}

/// The text is no key id.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a key id (32 hex digits were expected)")]
pub struct NotAKeyId(String);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

impl FromStr for KeyId {
    type Err = NotAKeyId;

    fn from_str(text: &str) -> Result<Self, NotAKeyId> {
        let mut id = [0; 16];
        hex::decode_to_slice(text, &mut id).map_err(|_| NotAKeyId(text.to_owned()))?;
        Ok(Self(id))
    }
}

impl TryFrom<String> for KeyId {
    type Error = NotAKeyId;

    fn try_from(text: String) -> Result<Self, NotAKeyId> {
        text.parse()
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGITS: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    #[test]
    fn sixty_four_hex_digits_are_a_raw_key_and_anything_else_is_a_passphrase() {
        assert!(!KeyMaterial::parse(DIGITS).unwrap().is_passphrase());
        assert!(
            KeyMaterial::parse(&format!("{DIGITS}\n"))
                .unwrap()
                .is_passphrase()
        );
        assert!(KeyMaterial::parse(&DIGITS[2..]).unwrap().is_passphrase());
    }

    #[test]
    fn a_passphrase_is_not_trimmed_and_has_1_to_1024_bytes() {
        assert_eq!(
            KeyMaterial::parse("  spaces  ").unwrap().text(),
            "  spaces  "
        );
        assert_eq!(KeyMaterial::parse("").unwrap_err(), KeyError::Empty);
        assert!(KeyMaterial::parse(&"é".repeat(512)).is_ok());
        assert_eq!(
            KeyMaterial::parse(&"x".repeat(1025)).unwrap_err(),
            KeyError::TooLong { bytes: 1025 }
        );
    }

    #[test]
    fn a_key_file_loses_exactly_one_newline() {
        let text = |content| KeyMaterial::parse_file(content).unwrap().text().to_owned();
        assert_eq!(text("word"), "word");
        assert_eq!(text("word\n"), "word");
        assert_eq!(text("word\r\n"), "word");
        assert_eq!(text("word\n\n"), "word\n");
        assert_eq!(text("word\r"), "word\r");
        assert!(
            !KeyMaterial::parse_file(&format!("{DIGITS}\r\n"))
                .unwrap()
                .is_passphrase()
        );
        assert_eq!(KeyMaterial::parse_file("\n").unwrap_err(), KeyError::Empty);
    }

    #[test]
    fn a_key_is_masked_when_printed() {
        let printed = format!("{:?}", KeyMaterial::parse(DIGITS).unwrap());
        assert_eq!(printed, "KeyMaterial(raw key, masked)");
        let printed = format!("{:?}", KeyMaterial::parse("hunter2").unwrap());
        assert_eq!(printed, "KeyMaterial(passphrase, masked)");
    }

    #[test]
    fn the_key_id_is_the_one_of_the_format_document() {
        let key = KeyMaterial::parse(DIGITS).unwrap();
        assert_eq!(
            KeyId::of(key.raw().unwrap()).to_string(),
            "de81084388c151fae06b71e123bc8c9a"
        );
    }
}
