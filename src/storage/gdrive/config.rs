//! A Google Drive storage as it is configured: its folder, its credentials, its patience.

use std::time::Duration;

use url::{Host, Url};

use super::{Credentials, DriveError};

const API: &str = "https://www.googleapis.com/";
const TOKENS: &str = "https://oauth2.googleapis.com/token";

/// What a Google Drive storage needs to know.
#[derive(Clone, Debug)]
pub struct DriveConfig {
    /// The id of the folder below which everything lies, as its address in a browser ends; `root` is My Drive itself.
    pub folder: String,
    pub credentials: Credentials,
    pub deletion: Deletion,
    pub patience: Patience,
    /// Where the API is.
    pub api: Url,
    /// Where a refresh token is exchanged. A service account brings its own.
    pub token_url: Url,
}

/// What becomes of a deleted object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deletion {
    #[default]
    Permanent,
    /// Google keeps it for 30 days, and counts its bytes. On a shared drive a content manager may do no more.
    Trash,
}

/// How long an answer may take, and how often a request is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// An answer to a request without a body, or the next bytes of one that is being read.
    pub answer_within: Duration,
    /// Bytes in a second below which an upload has stalled: a request with a body may take that much longer.
    pub least_rate: u64,
    /// Repetitions of a request that brought nothing forward.
    pub retries: u32,
    /// Before the first repetition; doubled before each one after it.
    pub first_pause: Duration,
    pub longest_pause: Duration,
}

impl DriveConfig {
    pub fn new(folder: impl Into<String>, credentials: Credentials) -> Result<Self, DriveError> {
        let bad = |_| DriveError::BadConfig("the address of google's API is no URL");
        Ok(Self {
            folder: folder.into(),
            credentials,
            deletion: Deletion::default(),
            patience: Patience::default(),
            api: API.parse().map_err(bad)?,
            token_url: TOKENS.parse().map_err(bad)?,
        })
    }

    pub(super) fn check(&self) -> Result<(), DriveError> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if self.folder.is_empty() || !self.folder.bytes().all(plain) {
            return Err(DriveError::BadConfig(
                "a google drive folder is named by its id: the last part of its address in a browser",
            ));
        }
        if !keeps_secrets(&self.api) || !keeps_secrets(&self.token_url) {
            return Err(DriveError::BadConfig(
                "tokens travel to google's addresses: they must begin with https://",
            ));
        }
        Ok(())
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            answer_within: Duration::from_mins(1),
            least_rate: 64 * 1024,
            retries: 8,
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(32),
        }
    }
}

impl Patience {
    /// How long the answer to a request with a body of `bytes` may take.
    pub(super) fn limit(&self, bytes: u64) -> Duration {
        self.answer_within + Duration::from_secs(bytes / self.least_rate.max(1))
    }
}

/// Whether nobody on the way can read what is sent there: by https, or without leaving this machine.
pub(super) fn keeps_secrets(url: &Url) -> bool {
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && loopback)
}
