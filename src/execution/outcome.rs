//! How an execution ends, and what its end brings about in the same transaction.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    catalog::{NewArtifact, NewCopy, NewProof},
    fault::Failure,
    job::Job,
};

/// How an execution ended. Failing and being cancelled come with a `Failure` instead of effects, but for work that was done
/// and found a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Succeeded,
    /// Safe on at least one storage, but a requirement is unmet. Never shown as success.
    Degraded,
    Failed,
    Cancelled,
}

impl Outcome {
    pub const ALL: [Self; 4] = [
        Self::Succeeded,
        Self::Degraded,
        Self::Failed,
        Self::Cancelled,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Something an operator should know although the work was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// A stable word, dotted like an error's code.
    pub code: String,
    /// One sentence.
    pub text: String,
    /// Whether it makes the outcome *degraded*; otherwise it is only said.
    pub degrades: bool,
}

/// What becomes true together with the end of an execution, or not at all.
#[derive(Clone, Debug, Default)]
pub struct Effects {
    /// The backup that was made (or adopted), with its copies.
    pub artifact: Option<(NewArtifact, Vec<NewCopy>)>,
    /// The test restore that was made, good or bad.
    pub proof: Option<NewProof>,
    /// The work was done, and what it found is the failure that the execution ends with. What else is here holds all the same.
    pub failed: Option<Failure>,
    pub follow_ups: Vec<Job>,
    pub warnings: Vec<Warning>,
    /// What the handler reports: `execution.result`, one JSON object or null.
    pub result: serde_json::Value,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

impl Effects {
    /// *Failed* by what was found, else *degraded* as soon as one warning degrades.
    pub fn outcome(&self) -> Outcome {
        if self.failed.is_some() {
            Outcome::Failed
        } else if self.warnings.iter().any(|w| w.degrades) {
            Outcome::Degraded
        } else {
            Outcome::Succeeded
        }
    }
}
