//! Why a message didn't arrive.

use std::{borrow::Cow, time::Duration};

use crate::{
    catalog::CatalogError,
    control::ControlError,
    fault::{Classified, Failure, Fault},
    id::EventId,
};

/// What can go wrong between an event and its receiver. Hosts are named, addresses with their tokens are not.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotifyError {
    #[error("event {0} is not known any more")]
    EventGone(EventId),
    #[error("there is no channel {0:?} in the settings of this worker")]
    UnknownChannel(String),
    #[error("{host} is no address on the internet, and this channel may reach no other")]
    PrivateAddress { host: String },
    #[error("{host} could not be reached: {reason}")]
    Unreachable { host: String, reason: String },
    #[error("{host} did not answer within {} s", limit.as_secs())]
    TimedOut { host: String, limit: Duration },
    #[error("{host} answered {status}{}", after_colon(said))]
    Refused {
        host: String,
        status: u16,
        /// The beginning of its answer, without what is secret.
        said: String,
        retry_after: Option<Duration>,
    },
    #[error("{host} answered {status} and leads elsewhere: {reason}")]
    Redirected {
        host: String,
        status: u16,
        reason: &'static str,
    },
    #[error("the mail server {host} refused: {reason}")]
    Mail {
        host: String,
        reason: String,
        is_permanent: bool,
    },
    #[error("{0}")]
    Unsuitable(&'static str),
    #[error("Kanbu's database could not be written: {}", .0.message)]
    Kanbu(Failure),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

fn after_colon(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(": {text}")
    }
}

/// Whether the same request may be answered otherwise later.
fn may_pass(status: u16) -> bool {
    matches!(status, 408 | 425 | 429) || status >= 500
}

impl NotifyError {
    /// What the receiver's HTTP server answered.
    pub fn http_status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } | Self::Redirected { status, .. } => Some(*status),
            _ => None,
        }
    }
}

impl Classified for NotifyError {
    fn fault(&self) -> Fault {
        match self {
            Self::Refused { status, .. } if may_pass(*status) => Fault::Transient,
            Self::Mail {
                is_permanent: false,
                ..
            }
            | Self::Unreachable { .. }
            | Self::TimedOut { .. } => Fault::Transient,
            Self::EventGone(_)
            | Self::UnknownChannel(_)
            | Self::PrivateAddress { .. }
            | Self::Redirected { .. }
            | Self::Unsuitable(_)
            | Self::Refused { .. }
            | Self::Mail { .. } => Fault::Permanent,
            Self::Kanbu(failure) => failure.fault,
            Self::Control(error) => error.fault(),
            Self::Catalog(error) => error.fault(),
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::EventGone(_) => "notify.event_gone",
            Self::UnknownChannel(_) => "notify.unknown_channel",
            Self::PrivateAddress { .. } => "notify.private_address",
            Self::Unreachable { .. } => "notify.unreachable",
            Self::TimedOut { .. } => "notify.timed_out",
            Self::Refused { .. } => "notify.refused",
            Self::Redirected { .. } => "notify.redirected",
            Self::Mail { .. } => "notify.mail_refused",
            Self::Unsuitable(_) => "notify.unsuitable",
            Self::Kanbu(_) => "notify.kanbu_database",
            Self::Control(error) => error.code(),
            Self::Catalog(error) => error.code(),
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::EventGone(_) => "events are forgotten with the history",
            Self::UnknownChannel(_) => {
                "give every worker that executes notify jobs the same channels, or let the job rest"
            }
            Self::PrivateAddress { .. } => {
                "if the receiver is meant to be within your network, set allow_private = true for its channel"
            }
            Self::Redirected { .. } => "name the address that it leads to in the channel's url",
            Self::Refused { status, .. } if !may_pass(*status) => {
                "look at the channel's url and secrets; `kanbu-backup notify test` tries them"
            }
            Self::Control(error) => return error.hint(),
            Self::Catalog(error) => return error.hint(),
            _ => return None,
        };
        Some(hint.into())
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
