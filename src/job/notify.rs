//! The payload of a Notify job.

use serde::{Deserialize, Serialize};

use super::Subject;
use crate::id::EventId;

/// Tell of an event: every channel that wants it, each by a job of its own, or the one that is named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notify {
    pub subject: Subject,
    pub event: EventId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
}
