//! Why a backup stays or goes, as data and in words.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Period;
use crate::id::ArtifactId;

/// Why a backup stays. The first two are the policy's and can be outdone by its limits; the others are protections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum KeepReason {
    /// One of the newest good ones; `of` is absent where every one is kept.
    Last {
        rank: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<u32>,
    },
    /// The newest good one of a period, among so many periods that are kept.
    Newest {
        period: Period,
        rank: u32,
        of: u32,
    },
    Pinned,
    /// A job that is queued or runs names it.
    InUse,
    /// The last good one before tables shrank, as long as nobody has acknowledged that.
    HeldByAlarm {
        alarm: ArtifactId,
    },
    /// Of its subject.
    NewestProven,
    /// Of its subject: the newest with a good copy.
    NewestStored,
    /// One of the newest proven ones of its subject that the policy wants.
    Proven {
        rank: u32,
        of: u32,
    },
    /// No newer backup of its subject is proven.
    NothingNewerProven,
    /// Nobody knows when it was made.
    UnknownInstant,
    /// It says that it was made later than now.
    InTheFuture,
    /// No rule keeps it, and nothing of its subject goes for now.
    Held {
        hold: HoldReason,
    },
    /// No rule keeps it, and the rule of the schedule that was imported would have: in the first cycle both must agree.
    FirstCycle,
}

/// Why nothing of a subject goes for now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "hold", rename_all = "snake_case")]
pub enum HoldReason {
    /// Tables had shrunk, and nobody has acknowledged it.
    Alarm { alarm: ArtifactId },
    /// The newest backup has no good copy, or failed its test restore.
    NewestIsBad { newest: ArtifactId },
    /// The schedule was imported, and somebody shall be able to look first.
    Imported { until: DateTime<Utc> },
}

/// Why a backup goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum ExpireReason {
    /// No rule of the policy keeps it.
    Unneeded {
        /// The kept backup of the shortest period that both lie in.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instead: Option<ArtifactId>,
    },
    /// It has no good copy, or failed its test restore, and so stands for nothing.
    Bad,
    TooOld {
        days: u32,
    },
    TooManyBytes {
        limit: u64,
    },
}

impl KeepReason {
    /// Whether no policy outdoes it.
    pub fn is_protection(&self) -> bool {
        match self {
            Self::Last { .. } | Self::Newest { .. } => false,
            Self::Pinned
            | Self::InUse
            | Self::HeldByAlarm { .. }
            | Self::NewestProven
            | Self::NewestStored
            | Self::Proven { .. }
            | Self::NothingNewerProven
            | Self::UnknownInstant
            | Self::InTheFuture
            | Self::Held { .. }
            | Self::FirstCycle => true,
        }
    }
}

impl fmt::Display for KeepReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Last { of: None, .. } => f.write_str("every one is kept"),
            Self::Last { rank, of: Some(of) } => write!(f, "number {rank} of the last {of}"),
            Self::Newest { period, rank, of } => {
                write!(f, "newest of its {period}, number {rank} of {of}")
            }
            Self::Pinned => f.write_str("pinned"),
            Self::InUse => f.write_str("a job uses it"),
            Self::HeldByAlarm { alarm } => {
                write!(f, "held by the content alarm of {}", alarm.short())
            }
            Self::NewestProven => f.write_str("newest proven"),
            Self::NewestStored => f.write_str("newest stored"),
            Self::Proven { rank, of } => write!(f, "number {rank} of {of} proven ones"),
            Self::NothingNewerProven => f.write_str("nothing newer is proven"),
            Self::UnknownInstant => f.write_str("nobody knows when it was made"),
            Self::InTheFuture => f.write_str("it was made in the future"),
            Self::Held { hold } => write!(f, "no rule keeps it, but {hold}"),
            Self::FirstCycle => f.write_str("no rule keeps it, but Kanbu's would have"),
        }
    }
}

impl fmt::Display for HoldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alarm { alarm } => write!(
                f,
                "nobody has acknowledged the content alarm of {}",
                alarm.short()
            ),
            Self::NewestIsBad { newest } => {
                write!(f, "the newest backup {} is bad", newest.short())
            }
            Self::Imported { until } => {
                write!(f, "its schedule was imported and is held until {until}")
            }
        }
    }
}

impl fmt::Display for ExpireReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unneeded { instead: None } => f.write_str("no rule keeps it"),
            Self::Unneeded {
                instead: Some(instead),
            } => write!(f, "no rule keeps it, {} stands for it", instead.short()),
            Self::Bad => f.write_str("it has no good copy, or failed its test restore"),
            Self::TooOld { days } => write!(f, "older than {days} days"),
            Self::TooManyBytes { limit } => {
                write!(f, "the oldest where all take more than {limit} bytes")
            }
        }
    }
}
