//! Telling a receiver behind HTTP, without letting it lead us anywhere.
//!
//! A request goes to the addresses that its host has at that moment, and only to those on the internet unless the channel
//! says otherwise: the same look-up that is judged is connected to. Redirects stay with the host and keep what is sent. No
//! proxy is used: behind one, the address could not be judged. Of an answer little is read, and its secrets are masked.

use std::{error::Error, fmt, net::IpAddr, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
pub use reqwest::Method;
use reqwest::{
    Response,
    dns::{Addrs, Name, Resolve, Resolving},
    header::{LOCATION, RETRY_AFTER},
    redirect,
};
use tokio::time::timeout;
use url::{Host, Url};

use super::{address::is_public, error::NotifyError, hidden::Hidden};
use crate::{
    clock::{Clock, SystemClock},
    fault::{Failure, Fault, chain},
};

pub const USER_AGENT: &str = "Kanbu-Backup/1.0";

const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// For everything, redirects included: an execution of a Notify job may take a minute.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// For the text of an answer whose status is known.
const TEXT_WITHIN: Duration = Duration::from_secs(3);
const MOST_TEXT_BYTES: usize = 4096;
const MOST_SHOWN_CHARS: usize = 200;
const MOST_REDIRECTS: usize = 3;
/// A receiver may ask for patience, but not for silence.
const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(6);

/// A way to one channel's receiver.
pub struct Poster {
    http: reqwest::Client,
    allow_private: bool,
    secrets: Vec<Hidden>,
    within: Duration,
}

/// What is sent.
#[derive(Clone)]
pub struct Call {
    pub method: Method,
    pub url: Url,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// What a receiver that took the message said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub text: String,
}

impl fmt::Debug for Poster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poster")
            .field("allow_private", &self.allow_private)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Call {
    /// Without the address and what is sent there: both may hold tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Call({}, {} bytes)", self.method, self.body.len())
    }
}

impl Poster {
    /// `secrets` are masked in whatever the receiver says.
    pub fn new(allow_private: bool, secrets: Vec<Hidden>) -> Result<Self, Failure> {
        // Whoever came first has chosen the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_WITHIN)
            .no_proxy()
            // A connection is of use for one message; the next one comes hours later.
            .pool_max_idle_per_host(0)
            .dns_resolver(Arc::new(Guarded { allow_private }))
            .build()
            .map_err(|_| {
                let text = "no certificates to trust were found on this machine";
                Failure::new(Fault::Permanent, "notify.no_certificates", text)
            })?;
        Ok(Self {
            http,
            allow_private,
            secrets,
            within: ANSWER_WITHIN,
        })
    }

    /// The same with less patience.
    #[must_use]
    pub fn within(self, within: Duration) -> Self {
        Self { within, ..self }
    }

    /// Sends it. What isn't answered with success is an error.
    pub async fn send(&self, call: &Call) -> Result<Answer, NotifyError> {
        let host = shown(&call.url);
        timeout(self.within, self.follow(call))
            .await
            .unwrap_or(Err(NotifyError::TimedOut {
                host,
                limit: self.within,
            }))
    }

    async fn follow(&self, call: &Call) -> Result<Answer, NotifyError> {
        let mut url = call.url.clone();
        for _ in 0..=MOST_REDIRECTS {
            self.judge(&url)?;
            let response = self.once(&url, call).await?;
            match elsewhere(&url, call, &response)? {
                Some(next) => url = next,
                None => return self.read(&url, response).await,
            }
        }
        Err(NotifyError::Redirected {
            host: shown(&call.url),
            status: 308,
            reason: "there is no end to it",
        })
    }

    /// A host that is an address is never looked up, so that the resolver doesn't see it.
    fn judge(&self, url: &Url) -> Result<(), NotifyError> {
        let literal = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) | None => None,
        };
        match literal {
            Some(address) if !self.allow_private && !is_public(address) => {
                Err(NotifyError::PrivateAddress { host: shown(url) })
            }
            _ => Ok(()),
        }
    }

    async fn once(&self, url: &Url, call: &Call) -> Result<Response, NotifyError> {
        let mut request = self.http.request(call.method.clone(), url.clone());
        for (name, value) in &call.headers {
            request = request.header(name, value);
        }
        if call.method != Method::GET {
            request = request.body(call.body.clone());
        }
        request
            .send()
            .await
            .map_err(|error| self.reason(url, error))
    }

    fn reason(&self, url: &Url, error: reqwest::Error) -> NotifyError {
        let host = shown(url);
        if error.is_timeout() {
            return NotifyError::TimedOut {
                host,
                limit: CONNECT_WITHIN,
            };
        }
        let error = error.without_url();
        if is_forbidden(&error) {
            return NotifyError::PrivateAddress { host };
        }
        NotifyError::Unreachable {
            host,
            reason: self.masked(&innermost(&error)),
        }
    }

    async fn read(&self, url: &Url, response: Response) -> Result<Answer, NotifyError> {
        let status = response.status();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| retry_after(value.to_str().ok()?, SystemClock.now()));
        let text = self.masked(&beginning(response).await);
        let status_number = status.as_u16();
        if status.is_success() {
            return Ok(Answer {
                status: status_number,
                text,
            });
        }
        Err(NotifyError::Refused {
            host: shown(url),
            status: status_number,
            said: text,
            retry_after,
        })
    }

    fn masked(&self, text: &str) -> String {
        let masked = self
            .secrets
            .iter()
            .fold(text.to_owned(), |text, secret| secret.out_of(&text));
        masked.chars().take(MOST_SHOWN_CHARS).collect()
    }
}

/// Where the same request is to be made again; `None` if this was the answer.
fn elsewhere(url: &Url, call: &Call, response: &Response) -> Result<Option<Url>, NotifyError> {
    let status = response.status().as_u16();
    let location = response
        .headers()
        .get(LOCATION)
        .and_then(|location| location.to_str().ok());
    let Some(location) = location.filter(|_| response.status().is_redirection()) else {
        return Ok(None);
    };
    let refused = |reason| {
        let host = shown(url);
        Err(NotifyError::Redirected {
            host,
            status,
            reason,
        })
    };
    if !matches!(status, 307 | 308) && call.method != Method::GET {
        return refused("what is sent would get lost on the way");
    }
    let Ok(next) = url.join(location) else {
        return refused("its location is no address");
    };
    if next.host() != url.host() || next.port_or_known_default() != url.port_or_known_default() {
        return refused("it names another host");
    }
    if next.scheme() != url.scheme() {
        return refused("it names another scheme");
    }
    Ok(Some(next))
}

/// The host alone: path and query of a receiver's address are as good as its password.
fn shown(url: &Url) -> String {
    url.host_str().unwrap_or("the receiver").to_owned()
}

/// The first line of an answer's text, as far as it comes at once. A status says what became of the message; a text that
/// hangs or never ends changes nothing.
async fn beginning(mut response: Response) -> String {
    let mut bytes = Vec::new();
    let reading = async {
        while bytes.len() < MOST_TEXT_BYTES
            && let Ok(Some(chunk)) = response.chunk().await
        {
            let room = MOST_TEXT_BYTES - bytes.len();
            bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
    };
    timeout(TEXT_WITHIN, reading).await.ok();
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().find(|line| !line.trim().is_empty());
    line.unwrap_or_default()
        .trim()
        .chars()
        .filter(|c| !c.is_control())
        .collect()
}

/// Seconds, or a date.
fn retry_after(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    let wait = match text.trim().parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => (DateTime::parse_from_rfc2822(text.trim()).ok()?.to_utc() - now)
            .to_std()
            .unwrap_or_default(),
    };
    Some(wait.min(LONGEST_RETRY_AFTER))
}

/// Looks names up as everybody does, and gives out only what may be connected to.
struct Guarded {
    allow_private: bool,
}

/// A name that leads into the network around us.
#[derive(Debug, thiserror::Error)]
#[error("it has no address on the internet")]
struct Forbidden;

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let open: Vec<_> = found
                .filter(|address| allow_private || is_public(address.ip()))
                .collect();
            if open.is_empty() {
                return Err(Forbidden.into());
            }
            Ok(Box::new(open.into_iter()) as Addrs)
        })
    }
}

fn is_forbidden(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<Forbidden>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The last cause: those before it only say that something was tried.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let whole = chain(error);
    whole.rsplit(": ").next().unwrap_or(&whole).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_asks_for_patience_in_seconds_or_by_a_date_and_for_no_more_than_hours() {
        let now = "2026-11-23T12:00:00Z".parse().unwrap();
        let seconds = |text| retry_after(text, now).map(|wait| wait.as_secs());
        assert_eq!(seconds("120"), Some(120));
        assert_eq!(seconds("Mon, 23 Nov 2026 12:01:00 GMT"), Some(60));
        assert_eq!(seconds("Mon, 23 Nov 2026 11:00:00 GMT"), Some(0));
        assert_eq!(seconds("99999999"), Some(6 * 3600));
        assert_eq!(seconds("soon"), None);
    }
}
