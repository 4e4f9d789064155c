//! Pings for a monitor that raises the alarm when they stop coming: at the start, at success and at failure.
//!
//! A ping is of its moment. It is tried a few times and then let go: a late one would say that all is well when it no
//! longer is.

use std::time::Duration;

use async_trait::async_trait;
use url::Url;

use super::{
    Notifier, Receipt,
    error::NotifyError,
    message::Message,
    names::happened,
    poster::{Call, Method, Poster},
    terms::{HeartbeatTerms, Heartbeats},
};
use crate::fault::Failure;

const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The first one and three more.
pub(super) const MOST_ATTEMPTS: i32 = 4;

/// What a monitor is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beat {
    Start,
    Success,
    Failure,
}

#[derive(Debug)]
pub struct Heartbeat {
    terms: HeartbeatTerms,
    poster: Poster,
}

impl Heartbeat {
    pub fn new(terms: HeartbeatTerms) -> Result<Self, Failure> {
        let addresses = match &terms.form {
            Heartbeats::Healthchecks(url) | Heartbeats::UptimeKuma(url) => vec![url],
            Heartbeats::Free {
                start,
                success,
                failure,
            } => start.iter().chain([success]).chain(failure).collect(),
        };
        let secrets = addresses.iter().flat_map(|address| address.secrets());
        Ok(Self {
            poster: Poster::new(terms.allow_private, secrets.collect())?.within(ANSWER_WITHIN),
            terms,
        })
    }

    fn beat(&self, message: &Message) -> Option<Beat> {
        match happened(&message.event) {
            "started" => Some(Beat::Start),
            "completed" | "succeeded" => Some(Beat::Success),
            "degraded" if self.terms.degraded_is_success => Some(Beat::Success),
            "degraded" | "failed" => Some(Beat::Failure),
            _ => None,
        }
    }

    /// The request that says it, if the monitor can hear that.
    fn call(&self, beat: Beat, message: &Message) -> Option<Call> {
        let call = |url, body: String| Call {
            method: if body.is_empty() {
                Method::GET
            } else {
                Method::POST
            },
            url,
            headers: vec![(
                "content-type".to_owned(),
                "text/plain; charset=utf-8".to_owned(),
            )],
            body: body.into_bytes(),
        };
        match &self.terms.form {
            Heartbeats::Healthchecks(base) => {
                let mut url = with_suffix(base.url(), beat);
                if let Some(execution) = message.execution {
                    url.query_pairs_mut()
                        .append_pair("rid", &execution.to_string());
                }
                Some(call(url, message.title()))
            }
            Heartbeats::UptimeKuma(base) => {
                let status = match beat {
                    Beat::Start => return None,
                    Beat::Success => "up",
                    Beat::Failure => "down",
                };
                let mut url = base.url().clone();
                // What the address that Kuma shows has by itself.
                let kept: Vec<(String, String)> = url
                    .query_pairs()
                    .filter(|(name, _)| !matches!(name.as_ref(), "status" | "msg" | "ping"))
                    .map(|(name, value)| (name.into_owned(), value.into_owned()))
                    .collect();
                let ping = message.facts.duration_ms.unwrap_or_default().to_string();
                url.query_pairs_mut()
                    .clear()
                    .extend_pairs(kept)
                    .append_pair("status", status)
                    .append_pair("msg", &message.title())
                    .append_pair("ping", &ping);
                Some(call(url, String::new()))
            }
            Heartbeats::Free {
                start,
                success,
                failure,
            } => {
                let address = match beat {
                    Beat::Start => start.as_ref()?,
                    Beat::Success => success,
                    Beat::Failure => failure.as_ref()?,
                };
                Some(call(address.url().clone(), String::new()))
            }
        }
    }
}

fn with_suffix(base: &Url, beat: Beat) -> Url {
    let suffix = match beat {
        Beat::Start => "/start",
        Beat::Success => "",
        Beat::Failure => "/fail",
    };
    let mut url = base.clone();
    let path = format!("{}{suffix}", url.path().trim_end_matches('/'));
    url.set_path(&path);
    url
}

#[async_trait]
impl Notifier for Heartbeat {
    async fn deliver(&self, message: &Message) -> Result<Receipt, NotifyError> {
        let call = self.beat(message).and_then(|beat| self.call(beat, message));
        match call {
            Some(call) => Ok(Receipt::answered(self.poster.send(&call).await?)),
            None => Ok(Receipt::Skipped("the monitor has no ping for it")),
        }
    }
}
