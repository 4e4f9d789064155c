//! The keys as text, of a form that `crypto` takes; what they mean is its affair.

use super::{reader::Reader, secret::Secret, settings};
use crate::crypto::{KeyError, KeyMaterial};

/// Keys for writing and for reading.
#[derive(Clone, Debug)]
pub struct EncryptionSettings {
    /// New backups are encrypted with it; without it they are not encrypted.
    pub key: Option<Secret>,
    /// For reading older backups.
    pub old_keys: Vec<Secret>,
}

pub(super) fn read(reader: &mut Reader<'_>) -> EncryptionSettings {
    let key = reader.explained(settings::ENCRYPTION_KEY, usable);
    let old_keys = reader.explained(settings::OLD_KEYS, |text| {
        // Not trimmed: a passphrase may begin or end with a space.
        let lines = text.lines().filter(|line| !line.is_empty());
        lines.map(usable).collect::<Result<Vec<Secret>, KeyError>>()
    });
    EncryptionSettings {
        key,
        old_keys: old_keys.unwrap_or_default(),
    }
}

fn usable(text: &str) -> Result<Secret, KeyError> {
    KeyMaterial::parse(text)?;
    Ok(Secret::from(text))
}
