//! The use case Notify: an event becomes a message to every channel that wants it, each carried by a job of its own.
//!
//! Invariant: what is told never changes what it tells of. An event is recorded in the transaction of the thing itself; the
//! rest happens in Notify jobs, on slots that no other work waits for, and nothing is told of those.
//!
//! From the top: `perform` (from event to channels, from channel to receiver), `terms` (channels as data), `names` and
//! `message` (what is told), `poster` (the way to receivers), and a file for each sort of them: `chat`, `email`, `post`,
//! `heartbeat`. What is Kanbu's own, its webhook and its notifications, implements [`Notifier`] in `kanbu`.

mod address;
pub mod chat;
mod email;
mod error;
mod fit;
mod heartbeat;
mod hidden;
mod message;
mod names;
mod perform;
mod post;
pub mod poster;
mod template;
mod terms;

use std::{fmt, sync::Arc};

use async_trait::async_trait;

pub use self::{
    chat::Chat,
    email::Email,
    error::NotifyError,
    heartbeat::Heartbeat,
    hidden::Hidden,
    message::{BackupFacts, FIELDS, Facts, Message, ScheduleName},
    names::{EVENTS, EventName, known},
    perform::{announce, perform},
    post::Post,
    template::{BadTemplate, Template},
    terms::{
        Address, BadAddress, ChannelConfig, EmailTerms, HeartbeatTerms, Heartbeats, HookTerms,
        MailTls, Means, On, TemplateMethod, TemplateTerms, Wants, WebhookTerms,
    },
};
use crate::control::ControlDb;

/// Somebody who can be told.
#[async_trait]
pub trait Notifier: fmt::Debug + Send + Sync {
    /// Tells it. May be called again with the same message, which bears the same id then.
    async fn deliver(&self, message: &Message) -> Result<Receipt, NotifyError>;
}

/// What became of a message that was no failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receipt {
    Delivered {
        http_status: Option<u16>,
        /// The beginning of the answer.
        said: String,
    },
    /// There was nothing to send, and why.
    Skipped(&'static str),
}

impl Receipt {
    pub(crate) fn answered(answer: poster::Answer) -> Self {
        Self::Delivered {
            http_status: Some(answer.status),
            said: answer.text,
        }
    }
}

/// A channel that is ready.
#[derive(Clone, Debug)]
pub struct Channel {
    pub name: String,
    pub kind: &'static str,
    pub wants: Wants,
    pub notifier: Arc<dyn Notifier>,
    /// When a message that comes late is worse than none.
    pub most_attempts: Option<i32>,
}

impl Channel {
    /// The channel of these settings, with whoever is told by it.
    pub fn new(config: &ChannelConfig, notifier: Arc<dyn Notifier>) -> Self {
        let is_heartbeat = matches!(config.means, Means::Heartbeat(_));
        Self {
            name: config.name.clone(),
            kind: config.means.kind(),
            wants: config.wants.clone(),
            notifier,
            most_attempts: is_heartbeat.then_some(heartbeat::MOST_ATTEMPTS),
        }
    }
}

/// What Notify jobs need besides their request.
#[derive(Clone, Debug)]
pub struct Deps {
    pub channels: Vec<Channel>,
    /// Which installation speaks.
    pub environment: String,
    pub control: ControlDb,
}
