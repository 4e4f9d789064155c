//! Requests to Google: with a token, within their time, and again when that can help.
//!
//! A token goes to the API's own origin alone. Redirects aren't followed: they would carry it elsewhere, and an upload
//! session answers 308 for reasons of its own.

use std::{fmt, time::Duration};

use bytes::Bytes;
use futures::stream;
use reqwest::{
    Body, Method, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue},
    redirect,
};
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use url::Url;

use super::{
    DriveConfig, DriveError, Patience,
    pauses::Pauses,
    token::{Bearer, Tokens},
};

const CONNECT_WITHIN: Duration = Duration::from_secs(20);

/// A request that can be made more than once.
#[derive(Clone)]
pub(super) struct Request {
    method: Method,
    url: Url,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Vec<Bytes>,
}

impl Request {
    pub(super) fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn body(mut self, body: Vec<Bytes>) -> Self {
        self.body = body;
        self
    }

    pub(super) fn json(self, json: &serde_json::Value) -> Self {
        let json_type = HeaderValue::from_static("application/json; charset=UTF-8");
        self.header(CONTENT_TYPE, json_type)
            .body(vec![json.to_string().into()])
    }

    fn length(&self) -> u64 {
        self.body.iter().map(|bytes| bytes.len() as u64).sum()
    }
}

impl fmt::Debug for Request {
    /// Without the address: that of an upload session is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({}, {} bytes)", self.method, self.length())
    }
}

/// Speaks to Google.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    tokens: Tokens,
    api: Url,
    patience: Patience,
}

impl Client {
    pub(super) fn new(config: &DriveConfig) -> Result<Self, DriveError> {
        config.check()?;
        // Whoever came first has chosen the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut http = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_WITHIN)
            // An upload fills its connection; sharing one would only make it wait for the others.
            .http1_only();
        if config.api.scheme() == "http" {
            http = http.no_proxy();
        }
        let http = http.build().map_err(|_| {
            DriveError::BadConfig("no certificates to trust were found on this machine")
        })?;
        Ok(Self {
            http,
            tokens: Tokens::new(config.credentials.clone(), config.token_url.clone()),
            api: config.api.clone(),
            patience: config.patience,
        })
    }

    /// An address of the API. Everything is asked of shared drives too.
    pub(super) fn url(&self, path: &str, query: &[(&str, &str)]) -> Result<Url, DriveError> {
        let bad = |_| DriveError::BadConfig("the address of google's API is no base");
        let mut url = self.api.join(path).map_err(bad)?;
        url.query_pairs_mut()
            .append_pair("supportsAllDrives", "true")
            .extend_pairs(query);
        Ok(url)
    }

    pub(super) fn pauses(&self) -> Pauses {
        Pauses::new(&self.patience)
    }

    pub(super) fn pauses_for_rivals(&self) -> Pauses {
        Pauses::for_rivals(&self.patience)
    }

    /// A request that may be repeated, and what it answers.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        request: &Request,
    ) -> Result<T, DriveError> {
        let mut pauses = self.pauses();
        loop {
            match self.ask_once(request).await {
                Err(error) if pauses.pause(&error).await => {}
                done => return done,
            }
        }
    }

    /// A request of which the answer doesn't matter, as long as it is one.
    pub(super) async fn tell(&self, request: &Request) -> Result<Response, DriveError> {
        let mut pauses = self.pauses();
        loop {
            match self.send(request).await {
                Err(error) if pauses.pause(&error).await => {}
                done => return done,
            }
        }
    }

    pub(super) async fn ask_once<T: DeserializeOwned>(
        &self,
        request: &Request,
    ) -> Result<T, DriveError> {
        self.read(self.send(request).await?).await
    }

    /// The JSON of an answer.
    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        response: Response,
    ) -> Result<T, DriveError> {
        let body = self.in_time(response.bytes()).await?;
        serde_json::from_slice(&body)
            .map_err(|_| DriveError::Nonsense("its JSON is not what was asked for"))
    }

    /// Waits for the next piece of an answer.
    pub(super) async fn in_time<T>(
        &self,
        piece: impl Future<Output = reqwest::Result<T>>,
    ) -> Result<T, DriveError> {
        let piece = timeout(self.patience.answer_within, piece).await;
        Ok(piece.map_err(|_| DriveError::timed_out())??)
    }

    /// Makes a request once; twice, if the token turns out to be no longer good. A session's 308 is an answer too.
    pub(super) async fn send(&self, request: &Request) -> Result<Response, DriveError> {
        let bearer = self.bearer(request).await?;
        let mut response = self.attempt(request, bearer.as_ref()).await?;
        if let Some(bearer) = bearer
            && response.status() == StatusCode::UNAUTHORIZED
        {
            self.tokens.forget(&bearer).await;
            let bearer = self.bearer(request).await?;
            response = self.attempt(request, bearer.as_ref()).await?;
        }
        let status = response.status();
        if status.is_success() || status == StatusCode::PERMANENT_REDIRECT {
            return Ok(response);
        }
        let refusal = DriveError::refusal(response, DriveError::refused);
        let refusal = timeout(self.patience.answer_within, refusal).await;
        Err(refusal.unwrap_or_else(|_| DriveError::timed_out()))
    }

    async fn bearer(&self, request: &Request) -> Result<Option<Bearer>, DriveError> {
        if request.url.origin() != self.api.origin() {
            return Ok(None);
        }
        let within = self.patience.answer_within;
        Ok(Some(self.tokens.current(&self.http, within).await?))
    }

    async fn attempt(
        &self,
        request: &Request,
        bearer: Option<&Bearer>,
    ) -> Result<Response, DriveError> {
        let mut built = self
            .http
            .request(request.method.clone(), request.url.clone());
        for (name, value) in &request.headers {
            built = built.header(name, value);
        }
        if let Some(bearer) = bearer {
            built = built.header(AUTHORIZATION, bearer);
        }
        let bytes = request.length();
        if request.method != Method::GET {
            built = built.header(CONTENT_LENGTH, bytes);
        }
        if bytes > 0 {
            let pieces = request.body.clone().into_iter();
            let pieces = pieces.map(Ok::<_, std::convert::Infallible>);
            built = built.body(Body::wrap_stream(stream::iter(pieces)));
        }
        let answer = timeout(self.patience.limit(bytes), built.send()).await;
        Ok(answer.map_err(|_| DriveError::timed_out())??)
    }
}
