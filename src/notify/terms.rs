//! Channels as the settings describe them: plain data, which wiring makes receivers of.

use std::{collections::BTreeMap, path::PathBuf};

use url::Url;

use super::{hidden::Hidden, names, template::Template};
use crate::execution::event::{EventView, Severity};

/// One channel.
#[derive(Clone, Debug)]
pub struct ChannelConfig {
    pub name: String,
    pub wants: Wants,
    pub means: Means,
}

/// Which events a channel is told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wants {
    pub on: On,
    /// Subjects, perhaps with a `*` at the end; empty: all.
    pub subjects: Vec<String>,
    /// Names or ids of schedules; empty: all, and what no schedule asked for.
    pub schedules: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum On {
    /// What is not there that should be.
    Failure,
    /// The same, and what is less than it should be.
    Warning,
    /// Everything but beginnings.
    All,
    Named(Vec<String>),
}

/// How a channel is told.
#[derive(Clone, Debug)]
pub enum Means {
    Webhook(WebhookTerms),
    /// The webhook in Kanbu's own settings, under its switches.
    KanbuWebhook {
        allow_private: bool,
    },
    /// Rows in Kanbu's own table of notifications, under its switches.
    Kanbu,
    Email(Box<EmailTerms>),
    Slack(HookTerms),
    Discord(HookTerms),
    Template(Box<TemplateTerms>),
    Heartbeat(HeartbeatTerms),
}

impl Means {
    /// The word in the settings.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Webhook(_) | Self::KanbuWebhook { .. } => "webhook",
            Self::Kanbu => "kanbu",
            Self::Email(_) => "email",
            Self::Slack(_) => "slack",
            Self::Discord(_) => "discord",
            Self::Template(_) => "template",
            Self::Heartbeat(_) => "heartbeat",
        }
    }

    /// Where it leads, as far as people may see it.
    pub fn place(&self) -> String {
        let host = |url: &Address| url.host().to_owned();
        match self {
            Self::Webhook(terms) => host(&terms.url),
            Self::KanbuWebhook { .. } | Self::Kanbu => "kanbu".to_owned(),
            Self::Email(terms) => format!("{} by {}", terms.to.join(", "), terms.host),
            Self::Slack(terms) | Self::Discord(terms) => host(&terms.url),
            Self::Template(terms) => host(&terms.url),
            Self::Heartbeat(terms) => match &terms.form {
                Heartbeats::Healthchecks(url) | Heartbeats::UptimeKuma(url) => host(url),
                Heartbeats::Free { success, .. } => host(success),
            },
        }
    }
}

/// A receiver's address, which may be all that one needs to write to it.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(Url);

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/***", self.host())
    }
}

/// The text is repeated nowhere: it may hold a token.
#[derive(Debug, thiserror::Error)]
#[error("an address begins with https:// or http:// and names a host")]
pub struct BadAddress;

impl std::str::FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let url = Url::parse(text.trim()).map_err(|_| BadAddress)?;
        let is_sound = matches!(url.scheme(), "http" | "https") && url.has_host();
        is_sound.then_some(Self(url)).ok_or(BadAddress)
    }
}

impl Address {
    pub fn url(&self) -> &Url {
        &self.0
    }

    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// What of it must not be repeated: the path and what follows, and each longer part of them.
    pub(crate) fn secrets(&self) -> Vec<Hidden> {
        const TOKEN_BYTES: usize = 8;
        let url = &self.0;
        let mut secrets = vec![Hidden::new(&url[url::Position::BeforePath..])];
        let parts = url
            .path()
            .split('/')
            .chain(url.query().into_iter().flat_map(|q| q.split(['&', '='])));
        let parts = parts.chain(url.password());
        secrets.extend(
            parts
                .filter(|part| part.len() >= TOKEN_BYTES)
                .map(Hidden::new),
        );
        secrets
    }
}

#[derive(Clone, Debug)]
pub struct WebhookTerms {
    pub url: Address,
    /// Signs what is sent.
    pub secret: Option<Hidden>,
    pub allow_private: bool,
}

/// A chat's incoming webhook.
#[derive(Clone, Debug)]
pub struct HookTerms {
    pub url: Address,
    pub allow_private: bool,
}

#[derive(Clone, Debug)]
pub struct EmailTerms {
    pub host: String,
    pub port: u16,
    pub tls: MailTls,
    /// User and password.
    pub login: Option<(String, Hidden)>,
    pub from: String,
    pub to: Vec<String>,
    /// More authorities to trust, as PEM.
    pub ca_file: Option<PathBuf>,
}

/// How a connection to a mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailTls {
    /// Asked for in plain text, and required.
    StartTls,
    /// From the first byte.
    Tls,
    /// Not at all.
    Off,
}

impl MailTls {
    pub const WORDS: &[&str] = &["starttls", "tls", "none"];

    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "starttls" => Some(Self::StartTls),
            "tls" => Some(Self::Tls),
            "none" => Some(Self::Off),
            _ => None,
        }
    }

    /// What is usual.
    pub fn port(self) -> u16 {
        match self {
            Self::StartTls => 587,
            Self::Tls => 465,
            Self::Off => 25,
        }
    }
}

#[derive(Clone, Debug)]
pub struct TemplateTerms {
    pub url: Address,
    pub method: TemplateMethod,
    pub content_type: String,
    pub headers: BTreeMap<String, Hidden>,
    pub body: Template,
    pub allow_private: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplateMethod {
    Post,
    Put,
    Patch,
}

#[derive(Clone, Debug)]
pub struct HeartbeatTerms {
    pub form: Heartbeats,
    /// Whether *degraded* is as good as success.
    pub degraded_is_success: bool,
    pub allow_private: bool,
}

/// How a monitor is pinged.
#[derive(Clone, Debug)]
pub enum Heartbeats {
    /// `<url>/start`, `<url>`, `<url>/fail`.
    Healthchecks(Address),
    /// `<url>?status=up`, `<url>?status=down`.
    UptimeKuma(Address),
    /// An address each.
    Free {
        start: Option<Address>,
        success: Address,
        failure: Option<Address>,
    },
}

impl Wants {
    /// Whether the channel is told of this event.
    pub fn takes(&self, event: &EventView) -> bool {
        let schedule = event
            .data
            .get("schedule_name")
            .and_then(|name| name.as_str());
        let id = event.schedule.map(|id| id.to_string());
        let is_of = |wanted: &String| {
            schedule == Some(wanted.as_str()) || id.as_deref() == Some(wanted.as_str())
        };
        self.takes_event(&event.name, event.severity)
            && self.takes_subject(&event.subject.to_string())
            && (self.schedules.is_empty() || self.schedules.iter().any(is_of))
    }

    pub(super) fn takes_event(&self, name: &str, severity: Severity) -> bool {
        match &self.on {
            On::Named(names) => names.iter().any(|wanted| wanted == name),
            On::All => !names::is_beginning(name),
            On::Warning => severity >= Severity::Warning,
            On::Failure => severity >= Severity::Error,
        }
    }

    pub(super) fn takes_subject(&self, subject: &str) -> bool {
        let fits = |wanted: &String| match wanted.strip_suffix('*') {
            Some(beginning) => subject.starts_with(beginning),
            None => subject == wanted,
        };
        self.subjects.is_empty() || self.subjects.iter().any(fits)
    }
}
