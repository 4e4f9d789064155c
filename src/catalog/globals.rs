//! The globals of a cluster in a manifest (`source.globals`): in clear without passwords, or sealed.
//!
//! Invariant: a manifest never holds the hash of a password in clear.

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

use super::Manifest;
use crate::{
    crypto::{EnvelopeError, Keyring, Metadata, OpenOptions, Opener, Sealer},
    fault::{Classified, Fault},
};

/// The globals as a manifest keeps them: one of both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeptGlobals {
    /// SQL without passwords.
    Sql(String),
    /// An envelope (docs/formats/envelope-v2.md) around the SQL, in base64.
    Sealed(String),
}

/// The globals can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GlobalsError {
    #[error("the backup holds no roles and tablespaces")]
    None,
    #[error("the sealed globals are not in base64")]
    Encoding(#[source] base64::DecodeError),
    #[error("the globals are not text")]
    Text(#[source] std::string::FromUtf8Error),
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
}

impl Classified for GlobalsError {
    fn fault(&self) -> Fault {
        match self {
            Self::Envelope(error) => error.fault(),
            Self::None | Self::Encoding(_) | Self::Text(_) => Fault::Permanent,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::None => "globals.not_found",
            Self::Encoding(_) | Self::Text(_) => "manifest.globals",
            Self::Envelope(error) => error.code(),
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Envelope(error) => error.hint(),
            Self::None => Some("its warnings say why; `kanbu-backup show` prints them".into()),
            Self::Encoding(_) | Self::Text(_) => None,
        }
    }
}

impl KeptGlobals {
    /// What the manifest holds.
    pub fn of(manifest: &Manifest) -> Result<Self, GlobalsError> {
        Self::deserialize(&manifest.source["globals"]).map_err(|_| GlobalsError::None)
    }

    /// Seals the SQL with the active key. May derive it from a passphrase: call it where blocking is allowed.
    pub fn sealed(sql: &str, keyring: &Keyring) -> Result<Self, EnvelopeError> {
        let metadata = Metadata {
            content: Some("globals".to_owned()),
            ..Metadata::default()
        };
        let mut sealer = Sealer::new(keyring, &metadata)?;
        let mut bytes = Vec::new();
        sealer.push(sql.as_bytes(), &mut bytes)?;
        sealer.finish(&mut bytes)?;
        Ok(Self::Sealed(BASE64_STANDARD.encode(bytes)))
    }

    /// The SQL. May derive a key, too.
    pub fn open(&self, keyring: &Keyring) -> Result<String, GlobalsError> {
        let text = match self {
            Self::Sql(sql) => return Ok(sql.clone()),
            Self::Sealed(text) => text,
        };
        let bytes = BASE64_STANDARD
            .decode(text)
            .map_err(GlobalsError::Encoding)?;
        let mut opener = Opener::new(keyring, OpenOptions::default());
        let mut sql = Vec::new();
        opener.push(&bytes, &mut sql)?;
        opener.finish(&mut sql)?;
        String::from_utf8(sql).map_err(GlobalsError::Text)
    }
}
