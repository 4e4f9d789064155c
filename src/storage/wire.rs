//! The way to stores behind HTTP: time-outs that fit what is sent, refusals told by their meaning, TLS by ring.
//!
//! `object_store` signs, retries and parses; every one of its requests passes through here. It knows one time-out for a
//! whole request, which is either too short for a large part on a slow line or too long for a hung server. Here a request
//! may take [`Pace::base`] and what its body takes at [`Pace::slowest`], and an answer's body may pause for
//! [`Pace::base`].

use std::{
    error::Error,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use object_store::{
    BackoffConfig, ClientOptions, RetryConfig,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
        HttpResponseBody, HttpService, ReqwestConnector,
    },
};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

/// How patient a store's requests are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// For a connection to be made.
    pub connect: Duration,
    /// For any request, and for the pauses within an answer.
    pub base: Duration,
    /// Bytes in a second: the line on which a request's body still has the time it needs.
    pub slowest: u32,
    pub retries: usize,
    /// After which no further try is made.
    pub retry_for: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            base: Duration::from_mins(1),
            slowest: 64 * 1024,
            retries: 10,
            retry_for: Duration::from_mins(3),
        }
    }
}

impl Pace {
    /// What a request with a body of so many bytes may take.
    pub(super) fn limit(self, bytes: usize) -> Duration {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.base + Duration::from_secs(1) * bytes / self.slowest.max(1)
    }

    pub(super) fn retry(self) -> RetryConfig {
        RetryConfig {
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(100),
                max_backoff: Duration::from_secs(15),
                base: 2.0,
            },
            max_retries: self.retries,
            retry_timeout: self.retry_for,
        }
    }

    pub(super) fn options(self, plain: bool) -> ClientOptions {
        ClientOptions::new()
            .with_allow_http(plain)
            .with_connect_timeout(self.connect)
            .with_timeout_disabled()
            .with_read_timeout_disabled()
    }
}

/// What a refusal means where its status alone doesn't say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Full,
    Denied,
    NoPlace,
}

/// An answer that no retry would change.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) meaning: Meaning,
    text: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Refusal {}

/// Error codes of S3, its look-alikes, Google's XML interface and Azure.
const MEANINGS: &[(&str, Meaning)] = &[
    ("NoSuchBucket", Meaning::NoPlace),
    ("ContainerNotFound", Meaning::NoPlace),
    ("PermanentRedirect", Meaning::NoPlace),
    ("AuthorizationHeaderMalformed", Meaning::NoPlace),
    ("ExpiredToken", Meaning::Denied),
    ("InvalidToken", Meaning::Denied),
    ("InvalidAccessKeyId", Meaning::Denied),
    ("QuotaExceeded", Meaning::Full),
    ("StorageFull", Meaning::Full),
    ("XMinioStorageFull", Meaning::Full),
    ("XMinioAdminBucketQuotaExceeded", Meaning::Full),
    ("InsufficientStorage", Meaning::Full),
];

fn meaning(status: StatusCode, body: &str) -> Option<Meaning> {
    let code = element(body, "Code").unwrap_or_default();
    let known = MEANINGS.iter().find(|(known, _)| *known == code);
    match (known, status) {
        (Some((_, meaning)), _) => Some(*meaning),
        (None, StatusCode::INSUFFICIENT_STORAGE) => Some(Meaning::Full),
        (None, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Some(Meaning::Denied),
        (None, _) => None,
    }
}

/// The text of an XML element without attributes; error documents have no more than that.
fn element<'a>(document: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = document.split_once(&format!("<{name}>"))?;
    rest.split_once("</").map(|(text, _)| text.trim())
}

/// An error's text as one short line: the status, and what the document that a store sends says in two of its elements.
pub(super) fn in_short(text: &str) -> String {
    const MOST: usize = 300;
    let text = text
        .split_once(" status code: ")
        .map_or(text, |(_, rest)| rest);
    let (before, document) = text.split_once('<').unwrap_or((text, ""));
    let first_line = before.lines().next().unwrap_or_default();
    let mut short = first_line.trim().trim_end_matches(':').to_owned();
    let document = format!("<{document}");
    for said in ["Code", "Message"]
        .into_iter()
        .filter_map(|name| element(&document, name))
    {
        if !short.is_empty() {
            short.push_str(": ");
        }
        short.push_str(said.lines().next().unwrap_or_default());
    }
    short.chars().take(MOST).collect()
}

/// Makes clients that keep the pace.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) pace: Pace,
}

impl HttpConnector for Wire {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        // The process has one cryptography for TLS; whoever was first with the same one is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(HttpClient::new(Paced {
            inner: ReqwestConnector::default().connect(options)?,
            pace: self.pace,
        }))
    }
}

#[derive(Debug)]
struct Paced {
    inner: HttpClient,
    pace: Pace,
}

#[async_trait]
impl HttpService for Paced {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let limit = self.pace.limit(request.body().content_length());
        let answer = match timeout(limit, self.inner.execute(request)).await {
            Ok(answer) => answer?,
            Err(late) => return Err(HttpError::new(HttpErrorKind::Timeout, late)),
        };
        let (parts, body) = answer.into_parts();
        let body = HttpResponseBody::new(Steady::new(body, self.pace.base));
        if !parts.status.is_client_error() && !parts.status.is_server_error() {
            return Ok(HttpResponse::from_parts(parts, body));
        }
        let bytes = body.bytes().await?;
        let text = String::from_utf8_lossy(&bytes);
        match meaning(parts.status, &text) {
            Some(meaning) => {
                let text = format!("{}: {}", parts.status, in_short(&text));
                let refusal = Refusal { meaning, text };
                Err(HttpError::new(HttpErrorKind::Unknown, refusal))
            }
            None => Ok(HttpResponse::from_parts(parts, bytes.into())),
        }
    }
}

/// A body that may not pause for too long.
struct Steady {
    body: HttpResponseBody,
    pause: Duration,
    alarm: Pin<Box<Sleep>>,
}

impl Steady {
    fn new(body: HttpResponseBody, pause: Duration) -> Self {
        let alarm = Box::pin(sleep_until(Instant::now() + pause));
        Self { body, pause, alarm }
    }
}

impl Body for Steady {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            let next = Instant::now() + self.pause;
            self.alarm.as_mut().reset(next);
            return Poll::Ready(frame);
        }
        match self.alarm.as_mut().poll(context) {
            Poll::Ready(()) => {
                let silent = std::io::Error::from(std::io::ErrorKind::TimedOut);
                Poll::Ready(Some(Err(HttpError::new(HttpErrorKind::Timeout, silent))))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// One more client for requests that `object_store` doesn't make.
pub(super) fn client(pace: Pace, plain: bool) -> object_store::Result<Arc<HttpClient>> {
    Ok(Arc::new(Wire { pace }.connect(&pace.options(plain))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_may_take_longer_the_more_it_sends() {
        let pace = Pace::default();
        assert_eq!(pace.limit(0), Duration::from_mins(1));
        assert_eq!(pace.limit(5 << 20), Duration::from_secs(60 + 80));
        assert_eq!(pace.limit(16 << 20), Duration::from_secs(60 + 256));
    }

    #[test]
    fn a_refusal_is_told_by_its_code() {
        let body = "<?xml version=\"1.0\"?>\n<Error><Code>NoSuchBucket</Code><Message>gone\nx</Message></Error>";
        assert_eq!(meaning(StatusCode::NOT_FOUND, body), Some(Meaning::NoPlace));
        assert_eq!(in_short(body), "NoSuchBucket: gone");
        let key = body.replace("NoSuchBucket", "NoSuchKey");
        assert_eq!(meaning(StatusCode::NOT_FOUND, &key), None);
        assert_eq!(
            meaning(StatusCode::INSUFFICIENT_STORAGE, ""),
            Some(Meaning::Full)
        );
        assert_eq!(meaning(StatusCode::FORBIDDEN, &key), Some(Meaning::Denied));
        let whole = format!(
            "Error performing GET url - Server returned non-2xx status code: 404 Not Found: {body}"
        );
        assert_eq!(in_short(&whole), "404 Not Found: NoSuchBucket: gone");
        assert_eq!(in_short("one\ntwo"), "one");
    }
}
