//! The keys as text; what they mean is `crypto`'s affair.

use super::{reader::Reader, secret::Secret, settings};

/// Keys for writing and for reading.
#[derive(Clone, Debug)]
pub struct EncryptionSettings {
    /// New backups are encrypted with it; without it they are not encrypted.
    pub key: Option<Secret>,
    /// For reading older backups.
    pub old_keys: Vec<Secret>,
}

pub(super) fn read(reader: &mut Reader<'_>) -> EncryptionSettings {
    let key = reader.optional(settings::ENCRYPTION_KEY, |text| Some(Secret::from(text)));
    let old_keys = reader.optional(settings::OLD_KEYS, |text| {
        // Not trimmed: a passphrase may begin or end with a space.
        let lines = text.lines().filter(|line| !line.is_empty());
        Some(lines.map(Secret::from).collect())
    });
    EncryptionSettings {
        key,
        old_keys: old_keys.unwrap_or_default(),
    }
}
