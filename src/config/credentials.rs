//! Credentials of storages: those for all storages of a kind, and above them those of one storage alone.
//!
//! `KANBU_BACKUP_STORAGE_<NAME>_<WORD>`, the same with `_FILE`, and the words in a storage's own table belong to that
//! storage; the providers' usual variables to every storage of their kind.

use super::{Env, file::Entries, reader::Reader, setting::Setting, settings};
use crate::storage::{CredentialWord as Word, Credentials, Login, Place, StorageName};

/// The variables by which platforms tell a process its role. They are nobody's settings: what sets them knows why.
const SURROUNDINGS: &[&str] = &[
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AZURE_AUTHORITY_HOST",
    "AZURE_CLIENT_ID",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_TENANT_ID",
];

/// What a setting holds, for which kind of place.
const SHARED: &[(&str, Word, &Setting)] = &[
    ("s3", Word::AccessKeyId, settings::S3_KEY_ID),
    ("s3", Word::SecretAccessKey, settings::S3_SECRET),
    ("s3", Word::SessionToken, settings::S3_TOKEN),
    ("gs", Word::ServiceAccountKey, settings::GOOGLE_KEY),
    (
        "gs",
        Word::ApplicationCredentials,
        settings::GOOGLE_CREDENTIALS,
    ),
    ("gdrive", Word::ClientId, settings::DRIVE_CLIENT_ID),
    ("gdrive", Word::ClientSecret, settings::DRIVE_CLIENT_SECRET),
    ("gdrive", Word::RefreshToken, settings::DRIVE_TOKEN),
    ("gdrive", Word::ServiceAccountKey, settings::GOOGLE_KEY),
    ("az", Word::AccountKey, settings::AZURE_KEY),
    ("az", Word::SasToken, settings::AZURE_SAS),
    ("az", Word::TenantId, settings::AZURE_TENANT),
    ("az", Word::ClientId, settings::AZURE_CLIENT_ID),
    ("az", Word::ClientSecret, settings::AZURE_CLIENT_SECRET),
];

/// Everything that all storages of a kind share.
pub(super) struct Purse {
    shared: Vec<(&'static str, Word, String)>,
    surroundings: Credentials,
    region: Option<String>,
}

impl Purse {
    pub(super) fn read(reader: &mut Reader<'_>, env: &Env) -> Self {
        let mut texts: Vec<(&str, Option<String>)> = Vec::new();
        let mut shared = Vec::new();
        for (kind, word, setting) in SHARED {
            let known = texts.iter().find(|(name, _)| *name == setting.name);
            let text = if let Some((_, text)) = known {
                text.clone()
            } else {
                let text = reader.optional(setting, |text| Some(text.to_owned()));
                texts.push((setting.name, text.clone()));
                text
            };
            shared.extend(text.map(|text| (*kind, *word, text)));
        }
        let surroundings = SURROUNDINGS
            .iter()
            .filter_map(|name| Some((name, env.get(name).filter(|text| !text.is_empty())?)))
            .fold(Credentials::default(), |all, (name, text)| {
                all.with_surrounding(name, text)
            });
        Self {
            shared,
            surroundings,
            region: reader.optional(settings::S3_REGION, |text| Some(text.to_owned())),
        }
    }

    /// The credentials of a storage, and its place with what the surroundings know of it.
    pub(super) fn take(
        &self,
        reader: &mut Reader<'_>,
        name: &StorageName,
        mut place: Place,
        entries: &mut Entries,
    ) -> (Place, Credentials) {
        if let Place::S3(bucket) = &mut place
            && bucket.region.is_none()
        {
            bucket.region.clone_from(&self.region);
        }
        let own: Vec<(Word, String)> = place
            .credential_words()
            .into_iter()
            .filter_map(|word| {
                let variable = variable(name, word.as_str());
                let text = reader.secret_of(&variable, entries, word.as_str())?;
                Some((word, text.to_string()))
            })
            .collect();
        let credentials = match place.login() {
            Some(Login::Role) => self.surroundings.clone(),
            _ if own.is_empty() => self.shared_by(&place),
            // All or nothing: half of one login and half of another would enter nowhere.
            _ => own
                .into_iter()
                .fold(Credentials::default(), |all, (word, text)| {
                    all.with(word, text)
                }),
        };
        (place, credentials)
    }

    fn shared_by(&self, place: &Place) -> Credentials {
        let of_kind = self
            .shared
            .iter()
            .filter(|(kind, _, _)| *kind == place.scheme());
        of_kind.fold(Credentials::default(), |all, (_, word, text)| {
            all.with(*word, text.as_str())
        })
    }
}

/// The variable with a word of one storage alone.
pub(super) fn variable(name: &StorageName, word: &str) -> String {
    let name: String = name
        .as_str()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        })
        .collect();
    format!("KANBU_BACKUP_STORAGE_{name}_{}", word.to_ascii_uppercase())
}
