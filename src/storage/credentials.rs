//! What opens a storage: words and their secret texts, never part of a URL, never printed.

use std::{collections::BTreeMap, fmt};

use zeroize::Zeroizing;

macro_rules! words {
    ($($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)?) => {
        /// What a secret text is. A storage of its own takes it from `KANBU_BACKUP_STORAGE_<NAME>_<WORD>`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum CredentialWord {
            $($(#[$doc])* $variant),+
        }

        impl CredentialWord {
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// In the configuration file; in capitals, the end of a variable's name.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    };
}

words! {
    AccessKeyId = "access_key_id",
    SecretAccessKey = "secret_access_key",
    SessionToken = "session_token",
    AccountKey = "account_key",
    SasToken = "sas_token",
    TenantId = "tenant_id",
    ClientId = "client_id",
    ClientSecret = "client_secret",
    RefreshToken = "refresh_token",
    /// A service account's key: the JSON document itself.
    ServiceAccountKey = "service_account_key",
    /// The path of a JSON document with a login of Google's.
    ApplicationCredentials = "application_credentials",
}

/// The secrets of one storage.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    texts: BTreeMap<CredentialWord, Zeroizing<String>>,
    /// Variables by which a platform tells a process its role (`AWS_WEB_IDENTITY_TOKEN_FILE`), as they stand.
    surroundings: BTreeMap<String, Zeroizing<String>>,
}

impl Credentials {
    pub fn get(&self, word: CredentialWord) -> Option<&str> {
        self.texts.get(&word).map(|text| text.as_str())
    }

    #[must_use]
    pub fn with(mut self, word: CredentialWord, text: impl Into<String>) -> Self {
        self.texts.insert(word, Zeroizing::new(text.into()));
        self
    }

    #[must_use]
    pub fn with_surrounding(mut self, variable: &str, text: impl Into<String>) -> Self {
        let text = Zeroizing::new(text.into());
        self.surroundings.insert(variable.to_owned(), text);
        self
    }

    pub(super) fn surroundings(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.surroundings.iter();
        pairs.map(|(name, text)| (name.as_str(), text.as_str()))
    }

    pub(super) fn has(&self, words: &[CredentialWord]) -> bool {
        words.iter().all(|word| self.texts.contains_key(word))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.texts.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_show_what_they_are_and_not_what_they_say() {
        let credentials = Credentials::default()
            .with(CredentialWord::AccessKeyId, "hunter1")
            .with(CredentialWord::SecretAccessKey, "hunter2")
            .with_surrounding("AWS_CONTAINER_AUTHORIZATION_TOKEN", "hunter3");
        assert_eq!(format!("{credentials:?}"), "{AccessKeyId, SecretAccessKey}");
        assert!(credentials.has(&[CredentialWord::SecretAccessKey]));
        assert!(!credentials.has(&[CredentialWord::SasToken]));
    }
}
