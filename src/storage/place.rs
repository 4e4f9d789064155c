//! A storage as it is configured: its name, what it is for, where it is.
//!
//! A place is told by a URL without secrets, and shown as one. What opens it comes apart from it.

use std::{fmt, path::PathBuf};

use super::{
    StorageName,
    bucket::{AzureContainer, Bucket, DriveFolder, Login, S3Bucket},
    credentials::{CredentialWord, Credentials},
    place_url,
    terms::Terms,
};

/// What a storage is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Sets the pace of a backup, and is read from first.
    Primary,
    Replica,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Where a storage is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A directory of its own on this machine.
    Local { directory: PathBuf },
    /// A directory in which something is mounted that may be away: only with its marker in it is it the storage.
    Mounted { directory: PathBuf },
    /// A bucket of S3, or of one of its many look-alikes.
    S3(S3Bucket),
    /// A bucket of Google Cloud Storage.
    Gcs(Bucket),
    /// A container of Azure Blob Storage.
    Azure(AzureContainer),
    /// A folder of Google Drive, by its id.
    GoogleDrive(DriveFolder),
}

/// The text doesn't say where a storage is. Never repeats what may be secret in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadPlace(pub(super) String);

impl Place {
    /// Every scheme of a URL that is a place.
    pub const SCHEMES: &[&str] = &["file", "mount", "s3", "gs", "az", "gdrive"];

    /// The place that a URL or an absolute path names, without credentials.
    pub fn parse(text: &str) -> Result<Self, BadPlace> {
        place_url::parse(text)
    }

    /// The scheme of its URL, which is what kind of store it is.
    pub fn scheme(&self) -> &'static str {
        match self {
            Self::Local { .. } => "file",
            Self::Mounted { .. } => "mount",
            Self::S3(_) => "s3",
            Self::Gcs(_) => "gs",
            Self::Azure(_) => "az",
            Self::GoogleDrive(_) => "gdrive",
        }
    }

    fn bucket(&self) -> Option<&Bucket> {
        match self {
            Self::Local { .. } | Self::Mounted { .. } => None,
            Self::S3(place) => Some(&place.bucket),
            Self::Azure(place) => Some(&place.bucket),
            Self::GoogleDrive(place) => Some(&place.bucket),
            Self::Gcs(bucket) => Some(bucket),
        }
    }

    fn bucket_mut(&mut self) -> Option<&mut Bucket> {
        match self {
            Self::Local { .. } | Self::Mounted { .. } => None,
            Self::S3(place) => Some(&mut place.bucket),
            Self::Azure(place) => Some(&mut place.bucket),
            Self::GoogleDrive(place) => Some(&mut place.bucket),
            Self::Gcs(bucket) => Some(bucket),
        }
    }

    /// The sets of words of which one must be given, unless its URL says otherwise.
    fn keys(&self) -> &'static [&'static [CredentialWord]] {
        use CredentialWord as Word;
        match self {
            Self::Local { .. } | Self::Mounted { .. } => &[],
            Self::S3(_) => &[&[Word::AccessKeyId, Word::SecretAccessKey]],
            Self::Gcs(_) => &[&[Word::ServiceAccountKey], &[Word::ApplicationCredentials]],
            Self::Azure(_) => &[
                &[Word::AccountKey],
                &[Word::SasToken],
                &[Word::TenantId, Word::ClientId, Word::ClientSecret],
            ],
            Self::GoogleDrive(_) => &[
                &[Word::ClientId, Word::ClientSecret, Word::RefreshToken],
                &[Word::ServiceAccountKey],
            ],
        }
    }

    /// Every word that such a place has a use for.
    pub fn credential_words(&self) -> Vec<CredentialWord> {
        let mut words = self.keys().concat();
        if matches!(self, Self::S3(_)) {
            words.push(CredentialWord::SessionToken);
        }
        words
    }

    /// How it is entered; directories need nothing.
    pub fn login(&self) -> Option<Login> {
        self.bucket().map(|bucket| bucket.login)
    }

    /// The same place with what opens it.
    pub fn with_credentials(mut self, credentials: Credentials) -> Result<Self, BadPlace> {
        let sets = self.keys();
        if self.login() == Some(Login::Keys) && !sets.iter().any(|set| credentials.has(set)) {
            let alternatives: Vec<String> = sets
                .iter()
                .map(|set| {
                    let words: Vec<&str> = set.iter().map(|word| word.as_str()).collect();
                    words.join(" and ")
                })
                .collect();
            let sentence = format!(
                "needs {}; or put login=role into its URL if this machine has a role",
                alternatives.join(", or ")
            );
            return Err(BadPlace(sentence));
        }
        if let Some(bucket) = self.bucket_mut() {
            bucket.credentials = credentials;
        }
        Ok(self)
    }

    /// Whether both are one place, whoever opens it.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

/// As a URL that is read back as the same place.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&place_url::format(self))
    }
}

/// A storage as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageConfig {
    pub name: StorageName,
    pub role: Role,
    pub place: Place,
    pub terms: Terms,
}
