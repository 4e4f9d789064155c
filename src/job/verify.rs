//! The payload of a Verify job.

use serde::{Deserialize, Serialize};

use super::Subject;
use crate::id::ArtifactId;

/// Look at the copies of a subject's backups again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    pub subject: Subject,
    /// Only this backup; otherwise every one of the subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<ArtifactId>,
    #[serde(default)]
    pub level: VerifyLevel,
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
}

/// The text names no level.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a level of verification (quick, checked)")]
pub struct UnknownLevel(String);

impl TryFrom<String> for VerifyLevel {
    type Error = UnknownLevel;

    fn try_from(text: String) -> Result<Self, UnknownLevel> {
        match text.as_str() {
            "quick" => Ok(Self::Quick),
            "checked" => Ok(Self::Checked),
            _ => Err(UnknownLevel(text)),
        }
    }
}
