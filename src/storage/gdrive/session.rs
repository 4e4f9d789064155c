//! Google's protocol of a resumable upload: a session, pieces in order, and a question where it stands.
//!
//! A session's address is all that is needed to write into it, so it is never printed. Until the last piece is confirmed
//! there is no file; a session that is left alone ends by itself after a week.

use std::{fmt, ops::Range};

use bytes::Bytes;
use reqwest::{
    Method, Response, StatusCode,
    header::{CONTENT_RANGE, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RANGE},
};
use serde_json::{Value, json};
use url::Url;

use super::{
    DriveError,
    client::{Client, Request},
    files::{FIELDS, File},
};

/// Pieces but the last are multiples of this.
pub(super) const GRAIN: u64 = 256 * 1024;

const OCTETS: &str = "application/octet-stream";
const UPLOAD_TYPE: HeaderName = HeaderName::from_static("x-upload-content-type");

/// What becomes of the bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target<'a> {
    New {
        parent: &'a str,
        name: &'a str,
    },
    /// New content for a file that keeps its id.
    Content {
        id: &'a str,
    },
}

/// Where a session stands.
#[derive(Debug)]
pub(super) enum Standing {
    /// It holds this many bytes and waits for more.
    Holds(u64),
    Done(Box<File>),
}

/// An upload session that Google has opened.
pub(super) struct Session {
    url: Url,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session(***)")
    }
}

impl Session {
    /// Opens a session. When an answer is lost another one is opened; the first holds nothing and ends by itself.
    pub(super) async fn open(client: &Client, target: Target<'_>) -> Result<Self, DriveError> {
        let (method, path, metadata) = match target {
            Target::New { parent, name } => (
                Method::POST,
                "upload/drive/v3/files".to_owned(),
                json!({ "name": name, "parents": [parent], "mimeType": OCTETS }),
            ),
            Target::Content { id } => (
                Method::PATCH,
                format!("upload/drive/v3/files/{id}"),
                Value::Object(serde_json::Map::new()),
            ),
        };
        let url = client.url(&path, &[("uploadType", "resumable"), ("fields", FIELDS)])?;
        let request = Request::new(method, url)
            .header(UPLOAD_TYPE, HeaderValue::from_static(OCTETS))
            .json(&metadata);
        let response = client.tell(&request).await?;
        let location = response.headers().get(LOCATION);
        let url = location
            .and_then(|location| location.to_str().ok())
            .and_then(|location| location.parse().ok())
            .ok_or(DriveError::Nonsense("an upload has no address"))?;
        Ok(Self { url })
    }

    /// Sends a piece once: `bytes` are what lies in `range`. `total` is told with the last piece.
    pub(super) async fn send(
        &self,
        client: &Client,
        range: Range<u64>,
        total: Option<u64>,
        bytes: Vec<Bytes>,
    ) -> Result<Standing, DriveError> {
        let total = total.map_or("*".to_owned(), |total| total.to_string());
        let content_range = if range.is_empty() {
            format!("bytes */{total}")
        } else {
            format!("bytes {}-{}/{total}", range.start, range.end - 1)
        };
        let content_range = HeaderValue::from_str(&content_range)
            .map_err(|_| DriveError::Nonsense("a range is no header"))?;
        let request = Request::new(Method::PUT, self.url.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static(OCTETS))
            .header(CONTENT_RANGE, content_range)
            .body(bytes);
        match client.send(&request).await {
            Ok(response) => standing(client, response).await,
            Err(error) if matches!(error.status(), Some(404 | 410)) => Err(DriveError::SessionOver),
            Err(error) => Err(error),
        }
    }

    /// Asks where the session stands, once.
    pub(super) async fn ask(
        &self,
        client: &Client,
        total: Option<u64>,
    ) -> Result<Standing, DriveError> {
        self.send(client, 0..0, total, Vec::new()).await
    }

    /// Ends the session if Google can be reached at once; otherwise it ends by itself.
    pub(super) async fn give_up(&self, client: &Client) {
        let request = Request::new(Method::DELETE, self.url.clone());
        if let Err(error) = client.send(&request).await {
            tracing::debug!(%error, "a failed upload to google drive is left to end by itself");
        }
    }

    /// Ends the session; nothing is left of it. One that has ended is fine.
    pub(super) async fn cancel(&self, client: &Client) -> Result<(), DriveError> {
        let request = Request::new(Method::DELETE, self.url.clone());
        match client.tell(&request).await {
            // 499 is how Google confirms that the client closed its request.
            Err(error) if !matches!(error.status(), Some(404 | 410 | 499)) => Err(error),
            _ => Ok(()),
        }
    }
}

async fn standing(client: &Client, response: Response) -> Result<Standing, DriveError> {
    if response.status() != StatusCode::PERMANENT_REDIRECT {
        return Ok(Standing::Done(Box::new(client.read(response).await?)));
    }
    let Some(range) = response.headers().get(RANGE) else {
        return Ok(Standing::Holds(0));
    };
    let last = range
        .to_str()
        .ok()
        .and_then(|range| range.strip_prefix("bytes=0-"))
        .and_then(|last| last.parse::<u64>().ok())
        .and_then(|last| last.checked_add(1))
        .ok_or(DriveError::Nonsense("an upload's range is no range"))?;
    Ok(Standing::Holds(last))
}
