//! The payload of a Backup job.

use serde::{Deserialize, Serialize};

use super::{Subject, VerifyLevel};
use crate::id::ScheduleId;

/// Make one backup of a subject on every required storage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backup {
    /// `database:…` or `source:…`.
    pub subject: Subject,
    /// A note that people read in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Pinned backups are never pruned.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pin: bool,
    /// The schedule that it is made for, whose policy keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleId>,
    /// Only on these of the worker's storages; empty: on all of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub storages: Vec<String>,
    /// It is verified like this as soon as it is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<VerifyLevel>,
    /// How many seconds an execution may take, instead of what is usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
}

impl Backup {
    /// A backup of a subject, for nobody in particular.
    pub fn of(subject: Subject) -> Self {
        Self {
            subject,
            label: None,
            pin: false,
            schedule: None,
            storages: Vec::new(),
            verify: None,
            timeout: None,
        }
    }
}
