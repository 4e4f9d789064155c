//! Kanbu's webhook: its events, its body with the members in its order, its signature over exactly the bytes that are sent.
//!
//! Events that Kanbu doesn't know have other names and a body of their own. A second signature also covers the event's id
//! and the time of sending, so that whoever checks it can refuse what is sent again by somebody else.

use async_trait::async_trait;
use chrono::{DateTime, SecondsFormat, Utc};
use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use serde_json::Value;
use sha2::Sha256;

use crate::{
    clock::{Clock, SystemClock},
    execution::Outcome,
    fault::Failure,
    notify::{
        Hidden, Message, Notifier, NotifyError, Receipt, WebhookTerms,
        poster::{Call, Method, Poster},
    },
};

const SIGNATURE: &str = "X-Kanbu-Signature";
const TEST: &str = "X-Kanbu-Test";
const ID: &str = "X-Kanbu-Backup-Id";
const TIMESTAMP: &str = "X-Kanbu-Backup-Timestamp";
const SECOND_SIGNATURE: &str = "X-Kanbu-Backup-Signature";

/// A receiver of Kanbu's events.
#[derive(Debug)]
pub struct Webhook {
    terms: WebhookTerms,
    poster: Poster,
}

impl Webhook {
    pub fn new(terms: WebhookTerms) -> Result<Self, Failure> {
        let mut secrets = terms.url.secrets();
        secrets.extend(terms.secret.clone());
        Ok(Self {
            poster: Poster::new(terms.allow_private, secrets)?,
            terms,
        })
    }
}

#[async_trait]
impl Notifier for Webhook {
    async fn deliver(&self, message: &Message) -> Result<Receipt, NotifyError> {
        let body = body(message);
        let call = Call {
            method: Method::POST,
            url: self.terms.url.url().clone(),
            headers: headers(
                message,
                &body,
                self.terms.secret.as_ref(),
                SystemClock.now(),
            ),
            body,
        };
        Ok(Receipt::answered(self.poster.send(&call).await?))
    }
}

/// The headers of a body that is sent at this time.
pub fn headers(
    message: &Message,
    body: &[u8],
    secret: Option<&Hidden>,
    now: DateTime<Utc>,
) -> Vec<(String, String)> {
    let id = message.id.to_string();
    let timestamp = now.timestamp().to_string();
    let mut headers = vec![
        ("Content-Type", "application/json".to_owned()),
        (ID, id.clone()),
        (TIMESTAMP, timestamp.clone()),
    ];
    if let Some(secret) = secret {
        let stamp = format!("{id}.{timestamp}.");
        headers.push((SIGNATURE, signature(secret, &[body])));
        headers.push((
            SECOND_SIGNATURE,
            signature(secret, &[stamp.as_bytes(), body]),
        ));
    }
    if message.is_test {
        headers.push((TEST, "true".to_owned()));
    }
    headers
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

#[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
fn signature(secret: &Hidden, parts: &[&[u8]]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).expect("any key");
    for part in parts {
        mac.update(part);
    }
    format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
}

/// The exact bytes of the body.
pub fn body(message: &Message) -> Vec<u8> {
    let body = match message.event.as_str() {
        _ if message.is_test => json(&Of::new(message, Execution::sample())),
        "backup.completed" | "backup.degraded" | "backup.failed" => json(&WithSchedule {
            of: Of::new(message, Execution::backup(message)),
            schedule: schedule(message),
        }),
        "restore.completed" | "restore.degraded" | "restore.failed" => {
            json(&Of::new(message, Execution::restore(message)))
        }
        _ => json(&Other {
            event: &message.event,
            timestamp: timestamp(message.at),
            id: message.id.to_string(),
            severity: message.severity.as_str(),
            subject: message.subject.to_string(),
            title: message.title(),
            text: message.text(),
            data: message.data(),
            schedule: schedule(message),
        }),
    };
    body.into_bytes()
}

#[expect(
    clippy::expect_used,
    reason = "structs of texts and numbers always serialise"
)]
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data")
}

/// As JavaScript writes it.
fn timestamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[derive(Serialize)]
struct Of<'a> {
    event: &'a str,
    timestamp: String,
    execution: Execution,
}

impl<'a> Of<'a> {
    fn new(message: &'a Message, execution: Execution) -> Self {
        Self {
            event: &message.event,
            timestamp: timestamp(message.at),
            execution,
        }
    }
}

#[derive(Serialize)]
struct WithSchedule<'a> {
    #[serde(flatten)]
    of: Of<'a>,
    schedule: Option<Schedule>,
}

/// What Kanbu has no word for.
#[derive(Serialize)]
struct Other<'a> {
    event: &'a str,
    timestamp: String,
    id: String,
    severity: &'static str,
    subject: String,
    title: String,
    text: String,
    data: Value,
    schedule: Option<Schedule>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Execution {
    id: u32,
    #[serde(rename = "type")]
    kind: &'static str,
    trigger: &'static str,
    status: &'static str,
    filename: Option<String>,
    file_size: Option<u64>,
    duration_ms: Option<i64>,
    error_message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_encrypted: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checksum: Option<Value>,
}

#[derive(Serialize)]
struct Schedule {
    id: u32,
    name: String,
}

/// Kanbu's numbers are of rows in its own tables, and what has no row there is 0 to it.
const NO_ROW: u32 = 0;

fn schedule(message: &Message) -> Option<Schedule> {
    message.schedule.as_ref().map(|schedule| Schedule {
        id: NO_ROW,
        name: schedule.name.clone(),
    })
}

impl Execution {
    fn of(message: &Message, trigger: &'static str) -> Self {
        let failed = matches!(
            message.facts.outcome,
            Some(Outcome::Failed | Outcome::Cancelled)
        );
        Self {
            id: NO_ROW,
            kind: if message.is_source() {
                "SOURCE"
            } else {
                "DATABASE"
            },
            trigger,
            status: if failed { "FAILED" } else { "COMPLETED" },
            filename: message.backup.as_ref().map(|backup| backup.file.clone()),
            file_size: None,
            duration_ms: message.facts.duration_ms,
            error_message: match message.facts.outcome {
                Some(Outcome::Degraded) => Some(message.text()),
                _ => message.facts.error.clone(),
            },
            is_encrypted: None,
            checksum: None,
        }
    }

    fn backup(message: &Message) -> Self {
        let backup = message.backup.as_ref();
        Self {
            file_size: backup.map(|backup| backup.payload_bytes),
            is_encrypted: backup.map(|backup| backup.is_encrypted),
            // There, and null where there is no file.
            checksum: Some(
                backup.map_or(Value::Null, |backup| backup.payload_sha256.as_str().into()),
            ),
            ..Self::of(message, trigger(message.facts.origin.as_deref()))
        }
    }

    fn restore(message: &Message) -> Self {
        Self {
            kind: "DATABASE",
            ..Self::of(message, "MANUAL")
        }
    }

    fn sample() -> Self {
        Self {
            id: NO_ROW,
            kind: "DATABASE",
            trigger: "MANUAL",
            status: "COMPLETED",
            filename: Some("test_backup.sql".to_owned()),
            file_size: Some(1024),
            duration_ms: Some(1000),
            error_message: None,
            is_encrypted: None,
            checksum: None,
        }
    }
}

/// Kanbu's word for who asked.
fn trigger(origin: Option<&str>) -> &'static str {
    match origin {
        Some("cron") => "SCHEDULED",
        Some("api") => "EXTERNAL",
        _ => "MANUAL",
    }
}
