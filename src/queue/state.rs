//! The words of rows: how a job stands and where it came from, how a worker stands.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::QueueError;

macro_rules! words {
    ($type:ident, $column:literal, { $($variant:ident => $word:literal),* $(,)? }) => {
        impl $type {
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word used in SQL, JSON and lists.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $type {
            type Err = QueueError;

            fn from_str(word: &str) -> Result<Self, QueueError> {
                Self::ALL
                    .iter()
                    .copied()
                    .find(|value| value.as_str() == word)
                    .ok_or_else(|| QueueError::Undecodable { column: $column, value: word.to_owned() })
            }
        }
    };
}

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waiting for its time, its subject or a worker.
    Queued,
    /// Has exactly one open execution.
    Running,
    Succeeded,
    /// Out of attempts, or not worth another: kept, shown, retried by hand.
    Dead,
    Cancelled,
}

words!(JobState, "state", {
    Queued => "queued", Running => "running", Succeeded => "succeeded", Dead => "dead", Cancelled => "cancelled",
});

impl JobState {
    /// Whether the job may still be worked on.
    pub fn is_open(self) -> bool {
        match self {
            Self::Queued | Self::Running => true,
            Self::Succeeded | Self::Dead | Self::Cancelled => false,
        }
    }
}

/// Who asked for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    Api,
    Cron,
    /// Another job's success.
    FollowUp,
    Operator,
}

words!(Origin, "origin", {
    Api => "api", Cron => "cron", FollowUp => "follow_up", Operator => "operator",
});

/// How a worker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    Working,
    /// Asked to go; it claims no more and finishes what it has begun.
    Draining,
    /// Going because its process was told to.
    Stopping,
    /// Gone in good order.
    Gone,
    /// Not heard of for half a minute: dead, frozen, or without the database.
    Silent,
}

words!(WorkerState, "state", {
    Working => "working", Draining => "draining", Stopping => "stopping", Gone => "gone", Silent => "silent",
});
