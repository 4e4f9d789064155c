//! What can go wrong with Google Drive, and what that is for `object_store`.
//!
//! No error holds an address, a body or a message of Google's: the address of an upload session is a secret, and a message
//! may repeat what was sent. What remains is the status and Google's own word for the reason.

use std::{error::Error, io, time::Duration};

use reqwest::{
    Response,
    header::{HeaderMap, RETRY_AFTER},
};
use serde::Deserialize;

pub(super) const STORE: &str = "GoogleDrive";

/// Google's words for "not now", with a 403 that looks like "never".
const RATE_REASONS: [&str; 2] = ["rateLimitExceeded", "userRateLimitExceeded"];

/// Google's words for a place that takes no more: bytes, or items.
const FULL_REASONS: [&str; 5] = [
    "storageQuotaExceeded",
    "quotaExceeded",
    "teamDriveFileLimitExceeded",
    "numChildrenInNonRootLimitExceeded",
    "activeItemCreationLimitExceeded",
];

/// Limits of a day: they pass, but not while a request waits.
const DAILY_REASONS: [&str; 3] = [
    "dailyLimitExceeded",
    "downloadQuotaExceeded",
    "uploadLimitExceeded",
];

/// A request to Google Drive failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriveError {
    #[error("google drive answered {status} ({reason})")]
    Refused {
        status: u16,
        reason: String,
        retry_after: Option<Duration>,
    },
    #[error("google gave no access token: {status} ({reason})")]
    NoToken {
        status: u16,
        reason: String,
        retry_after: Option<Duration>,
    },
    #[error("no answer from google drive: {what}")]
    Unanswered { kind: io::ErrorKind, what: String },
    /// All was answered, and nothing came of it.
    #[error("google drive confirms no more of the upload")]
    Stuck,
    #[error("google drive's answer can't be right: {0}")]
    Nonsense(&'static str),
    #[error("google drive has no folder {folder}, or this account may not see it")]
    NoRoot { folder: String },
    #[error("a folder on the way was removed from google drive meanwhile")]
    Gone,
    #[error("google drive holds {path} more than once: {}", ids.join(", "))]
    Ambiguous { path: String, ids: Vec<String> },
    #[error("google drive already holds a file of this name")]
    Exists,
    #[error("google drive no longer knows the upload")]
    SessionOver,
    #[error("an earlier part of the upload failed, or it has ended")]
    Ended,
    #[error("google drive stored other bytes than were sent: md5 {stored} instead of {sent}")]
    Altered { sent: String, stored: String },
    #[error("{0}")]
    BadConfig(&'static str),
}

impl DriveError {
    /// The error within one of `object_store`'s, if Google Drive was its cause.
    pub fn of(error: &object_store::Error) -> Option<&Self> {
        let wrapped = error.source()?.downcast_ref::<io::Error>()?;
        wrapped.get_ref()?.downcast_ref()
    }

    /// The status that Google answered.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } | Self::NoToken { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Google's word for why it refused.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Refused { reason, .. } | Self::NoToken { reason, .. } => Some(reason),
            _ => None,
        }
    }

    /// Whether asking again in a moment may help.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Refused { status, reason, .. } => {
                passes(*status) || (*status == 403 && RATE_REASONS.contains(&reason.as_str()))
            }
            Self::NoToken { status, .. } => passes(*status),
            Self::Unanswered { .. } | Self::Stuck => true,
            _ => false,
        }
    }

    /// Whether what the request was about isn't there.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Gone) || self.status() == Some(404)
    }

    /// How long Google asks to be left alone.
    pub(super) fn retry_after(&self) -> Duration {
        match self {
            Self::Refused { retry_after, .. } | Self::NoToken { retry_after, .. } => {
                retry_after.unwrap_or_default()
            }
            _ => Duration::ZERO,
        }
    }

    /// A refusal, told from its body. `as_error` makes it one of Drive or of the token service.
    pub(super) async fn refusal(
        response: Response,
        as_error: fn(u16, String, Option<Duration>) -> Self,
    ) -> Self {
        let status = response.status();
        let retry_after = retry_after(response.headers());
        let body = response.bytes().await.unwrap_or_default();
        as_error(status.as_u16(), reason_in(&body), retry_after)
    }

    pub(super) fn refused(status: u16, reason: String, retry_after: Option<Duration>) -> Self {
        Self::Refused {
            status,
            reason,
            retry_after,
        }
    }

    pub(super) fn no_token(status: u16, reason: String, retry_after: Option<Duration>) -> Self {
        Self::NoToken {
            status,
            reason,
            retry_after,
        }
    }

    pub(super) fn timed_out() -> Self {
        Self::Unanswered {
            kind: io::ErrorKind::TimedOut,
            what: "timed out".to_owned(),
        }
    }

    pub(super) fn cut() -> Self {
        Self::Unanswered {
            kind: io::ErrorKind::ConnectionAborted,
            what: "the connection was cut".to_owned(),
        }
    }

    /// The operating system's word that comes closest: it is what `StorageError` goes by.
    fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Unanswered { kind, .. } => *kind,
            Self::NoRoot { .. } | Self::Gone => io::ErrorKind::NotFound,
            Self::Exists => io::ErrorKind::AlreadyExists,
            Self::Altered { .. } | Self::Nonsense(_) => io::ErrorKind::InvalidData,
            Self::BadConfig(_) => io::ErrorKind::InvalidInput,
            passing if passing.is_transient() => io::ErrorKind::Other,
            Self::NoToken { .. } | Self::Refused { status: 401, .. } => {
                io::ErrorKind::PermissionDenied
            }
            Self::Refused {
                status: 403,
                reason,
                ..
            } => match reason.as_str() {
                full if FULL_REASONS.contains(&full) => io::ErrorKind::QuotaExceeded,
                daily if DAILY_REASONS.contains(&daily) => io::ErrorKind::Other,
                _ => io::ErrorKind::PermissionDenied,
            },
            _ => io::ErrorKind::Other,
        }
    }

    pub(super) fn into_store(self, path: &object_store::path::Path) -> object_store::Error {
        let path = path.to_string();
        let (kind, status) = (self.kind(), self.status());
        let no_token = matches!(self, Self::NoToken { .. });
        let source = Box::new(io::Error::new(kind, self));
        match kind {
            io::ErrorKind::PermissionDenied if no_token || status == Some(401) => {
                object_store::Error::Unauthenticated { path, source }
            }
            io::ErrorKind::PermissionDenied => {
                object_store::Error::PermissionDenied { path, source }
            }
            io::ErrorKind::AlreadyExists => object_store::Error::AlreadyExists { path, source },
            _ if status == Some(404) => object_store::Error::NotFound { path, source },
            _ => object_store::Error::Generic {
                store: STORE,
                source,
            },
        }
    }
}

impl From<reqwest::Error> for DriveError {
    /// The error's own text holds the address; that of its innermost cause doesn't.
    fn from(error: reqwest::Error) -> Self {
        let kind = match () {
            () if error.is_timeout() => io::ErrorKind::TimedOut,
            () if error.is_connect() => io::ErrorKind::NotConnected,
            () => io::ErrorKind::ConnectionAborted,
        };
        let causes = std::iter::successors(error.source(), |cause| (*cause).source());
        let what = causes.last().map_or(kind.to_string(), ToString::to_string);
        Self::Unanswered { kind, what }
    }
}

fn passes(status: u16) -> bool {
    matches!(status, 408 | 429 | 500..=599)
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Google's word for the reason, from either form of its error bodies.
fn reason_in(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Body {
        error: Detail,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Detail {
        OfTheTokenService(String),
        OfDrive {
            #[serde(default)]
            errors: Vec<Reason>,
            /// The word of newer answers, for a whole class of reasons.
            status: Option<String>,
        },
    }
    #[derive(Deserialize)]
    struct Reason {
        reason: String,
    }
    let told = match serde_json::from_slice::<Body>(body) {
        Ok(Body {
            error: Detail::OfTheTokenService(word),
        }) => Some(word),
        Ok(Body {
            error: Detail::OfDrive { errors, status },
        }) => errors
            .into_iter()
            .next()
            .map(|first| first.reason)
            .or(status),
        Err(_) => None,
    };
    // A word is short and plain; what isn't might be anything.
    told.filter(|word| {
        (1..=64).contains(&word.len())
            && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    })
    .unwrap_or_else(|| "without a reason".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_a_word_of_googles_and_never_a_sentence() {
        for (body, expected) in [
            (
                r#"{"error":{"code":403,"errors":[{"reason":"storageQuotaExceeded"}]}}"#,
                "storageQuotaExceeded",
            ),
            (
                r#"{"error":{"code":403,"status":"PERMISSION_DENIED"}}"#,
                "PERMISSION_DENIED",
            ),
            (
                r#"{"error":"invalid_grant","error_description":"hunter2"}"#,
                "invalid_grant",
            ),
            (
                r#"{"error":"the token hunter2 is bad"}"#,
                "without a reason",
            ),
            ("<html>hunter2</html>", "without a reason"),
            ("", "without a reason"),
        ] {
            assert_eq!(reason_in(body.as_bytes()), expected, "{body}");
        }
    }
}
