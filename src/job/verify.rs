//! The payload of a Verify job.

use serde::{Deserialize, Serialize};

use super::Subject;
use crate::id::{ArtifactId, ScheduleId};

/// Look at the copies of a subject's backups again, and mend them if that was asked for; or restore one of them in a test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    pub subject: Subject,
    /// Only this backup; otherwise every one of the subject, and for a proof the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<ArtifactId>,
    #[serde(default)]
    pub level: VerifyLevel,
    /// Make missing and damaged copies anew from a good one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repair: bool,
    /// Only so many of the backups, those that were looked at longest ago; a copy known to be bad is always looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Percent>,
    /// Only copies that nobody has looked at like this for so many seconds; a copy known to be bad is always looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub older_than: Option<u32>,
    /// For a proof: SQL that must each return true where the backup was restored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<String>,
    /// For a proof on the protected server: leave the scratch database there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep: bool,
    /// The schedule that it is made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleId>,
    /// How many seconds an execution may take, instead of what is usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
}

impl Verify {
    /// Reads every copy of every backup of a subject, and changes nothing.
    pub fn of(subject: Subject) -> Self {
        Self {
            subject,
            artifact: None,
            level: VerifyLevel::Checked,
            repair: false,
            sample: None,
            older_than: None,
            checks: Vec::new(),
            keep: false,
            schedule: None,
            timeout: None,
        }
    }

    /// Restores the newest backup of a subject in a test.
    pub fn proof_of(subject: Subject) -> Self {
        Self {
            level: VerifyLevel::Proven,
            ..Self::of(subject)
        }
    }
}

/// A part of a whole, from 1 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Percent(u8);

impl Percent {
    pub const ALL: Self = Self(100);

    /// So many of `count` things, and at least one of them if there is any.
    pub fn of(self, count: usize) -> usize {
        count.saturating_mul(self.0.into()).div_ceil(100)
    }
}

/// No part of a whole.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not a percentage from 1 to 100")]
pub struct NotAPercent(u8);

impl TryFrom<u8> for Percent {
    type Error = NotAPercent;

    fn try_from(number: u8) -> Result<Self, NotAPercent> {
        match number {
            1..=100 => Ok(Self(number)),
            _ => Err(NotAPercent(number)),
        }
    }
}

impl From<Percent> for u8 {
    fn from(percent: Percent) -> Self {
        percent.0
    }
}

/// How closely a copy is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum VerifyLevel {
    /// The object and its manifest exist and have the recorded size. Earns nothing, finds what is gone.
    Quick,
    /// Every byte is read again: size, tag of every chunk, hash. Earns *checked*.
    #[default]
    Checked,
    /// The backup is restored where it harms nobody, and compared with what its manifest expects. Earns *proven*.
    Proven,
}

impl VerifyLevel {
    pub const ALL: [Self; 3] = [Self::Quick, Self::Checked, Self::Proven];

    /// The word of SQL, CLI and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Checked => "checked",
            Self::Proven => "proven",
        }
    }
}

/// The text names no level.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a level of verification (quick, checked, proven)")]
pub struct UnknownLevel(String);

impl TryFrom<String> for VerifyLevel {
    type Error = UnknownLevel;

    fn try_from(text: String) -> Result<Self, UnknownLevel> {
        let level = Self::ALL.into_iter().find(|level| level.as_str() == text);
        level.ok_or(UnknownLevel(text))
    }
}
