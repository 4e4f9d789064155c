//! Access tokens: one at a time, renewed before it runs out and when Google refuses it. Never printed.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde::Deserialize;
use tokio::{sync::Mutex, time::Instant};
use url::Url;

use super::{Credentials, DriveError};
use crate::clock::{Clock, SystemClock};

/// A token is renewed this long before its end, so that none runs out on the way.
const MARGIN: Duration = Duration::from_mins(5);

/// The header that a request carries. Marked sensitive, so that no debug output of a request shows it.
pub(super) type Bearer = HeaderValue;

/// The token that holds now.
#[derive(Debug)]
pub(super) struct Tokens {
    credentials: Credentials,
    url: Url,
    held: Mutex<Option<Held>>,
}

#[derive(Debug)]
struct Held {
    bearer: Bearer,
    fresh_until: Instant,
}

impl Tokens {
    pub(super) fn new(credentials: Credentials, url: Url) -> Self {
        let url = credentials.token_url().cloned().unwrap_or(url);
        Self {
            credentials,
            url,
            held: Mutex::default(),
        }
    }

    /// A token that is good for a while. Whoever comes while one is fetched waits for that one.
    pub(super) async fn current(
        &self,
        http: &reqwest::Client,
        within: Duration,
    ) -> Result<Bearer, DriveError> {
        let mut held = self.held.lock().await;
        if let Some(held) = &*held
            && Instant::now() < held.fresh_until
        {
            return Ok(held.bearer.clone());
        }
        let fetched = tokio::time::timeout(within, self.fetch(http));
        let fetched = fetched.await.map_err(|_| DriveError::timed_out())??;
        Ok(held.insert(fetched).bearer.clone())
    }

    /// Google refused this token: it is not handed out again.
    pub(super) async fn forget(&self, refused: &Bearer) {
        let mut held = self.held.lock().await;
        if held.as_ref().is_some_and(|held| held.bearer == *refused) {
            *held = None;
        }
    }

    async fn fetch(&self, http: &reqwest::Client) -> Result<Held, DriveError> {
        #[derive(Deserialize)]
        struct Answer {
            access_token: String,
            expires_in: u64,
        }
        let form = self.credentials.grant(SystemClock.now())?;
        let response = http
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form.to_string())
            .send()
            .await?;
        if !response.status().is_success() {
            return Err(DriveError::refusal(response, DriveError::no_token).await);
        }
        let nonsense = DriveError::Nonsense("it is no access token");
        let Ok(answer) = serde_json::from_slice::<Answer>(&response.bytes().await?) else {
            return Err(nonsense);
        };
        let Ok(mut bearer) = HeaderValue::from_str(&format!("Bearer {}", answer.access_token))
        else {
            return Err(nonsense);
        };
        bearer.set_sensitive(true);
        let lifetime = Duration::from_secs(answer.expires_in);
        Ok(Held {
            bearer,
            fresh_until: Instant::now() + lifetime.saturating_sub(MARGIN).max(lifetime / 2),
        })
    }
}
