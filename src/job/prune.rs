//! The payload of a Prune job.

use serde::{Deserialize, Serialize};

use super::Subject;
use crate::id::ScheduleId;

/// Let go what the policies of a subject's backups don't keep, each policy for its own backups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prune {
    pub subject: Subject,
    /// Only what this schedule made; otherwise all backups of the subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleId>,
}

impl Prune {
    /// Of all backups of a subject.
    pub fn of(subject: Subject) -> Self {
        Self {
            subject,
            schedule: None,
        }
    }
}
