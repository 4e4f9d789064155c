//! What can go wrong with schedules.

use std::borrow::Cow;

use super::CronFlaw;
use crate::{
    control::ControlError,
    fault::{Classified, Fault},
    queue::QueueError,
};

/// A wish about schedules was refused, or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    #[error("the rule {text:?} can't be used")]
    Rule { text: String, source: CronFlaw },
    #[error("{0}")]
    Invalid(String),
    #[error("{0:?} is not a time zone of the control database")]
    UnknownZone(String),
    #[error("there is no schedule {0}")]
    NotFound(String),
    #[error("{text:?} is short for {count} schedules")]
    Ambiguous { text: String, count: usize },
    #[error("there is a schedule {0:?} already")]
    NameTaken(String),
    #[error("somebody else has changed the schedule {0} meanwhile")]
    Changed(String),
    #[error("a row of a schedule has {value:?} as {column}")]
    Undecodable { column: &'static str, value: String },
    #[error(transparent)]
    Queue(QueueError),
}

impl ScheduleError {
    pub fn rule(text: &str, source: CronFlaw) -> Self {
        Self::Rule {
            text: text.to_owned(),
            source,
        }
    }
}

impl From<sqlx::Error> for ScheduleError {
    fn from(error: sqlx::Error) -> Self {
        Self::Queue(error.into())
    }
}

impl From<ControlError> for ScheduleError {
    fn from(error: ControlError) -> Self {
        Self::Queue(error.into())
    }
}

impl Classified for ScheduleError {
    fn fault(&self) -> Fault {
        match self {
            Self::Queue(error) => error.fault(),
            Self::Rule { .. }
            | Self::Invalid(_)
            | Self::UnknownZone(_)
            | Self::NotFound(_)
            | Self::Ambiguous { .. }
            | Self::NameTaken(_)
            | Self::Changed(_)
            | Self::Undecodable { .. } => Fault::Permanent,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Rule { .. } => "usage.cron",
            Self::Invalid(_) => "usage.schedule",
            Self::UnknownZone(_) => "usage.time_zone",
            Self::NotFound(_) => "schedule.not_found",
            Self::Ambiguous { .. } => "schedule.ambiguous",
            Self::NameTaken(_) => "refused.exists",
            Self::Changed(_) => "refused.changed",
            Self::Undecodable { .. } => "schedule.undecodable",
            Self::Queue(error) => error.code(),
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        let hint = match self {
            Self::Queue(error) => return error.hint(),
            Self::Rule { .. } => {
                "docs/schedules.md has the dialect; try it with `kanbu-backup schedule explain`"
            }
            Self::UnknownZone(_) => "write an IANA name like Europe/Amsterdam",
            Self::NotFound(_) => "`kanbu-backup schedule list` tells their names",
            Self::Ambiguous { .. } => "give more of the id's last digits, or the name",
            Self::NameTaken(_) => "choose another name, or edit that one",
            Self::Changed(_) => {
                "look at it again with `kanbu-backup schedule show`, then repeat the change"
            }
            Self::Undecodable { .. } => "the row was written by a newer version, or by hand",
            Self::Invalid(_) => return None,
        };
        Some(Cow::Borrowed(hint))
    }
}
