//! Identifiers: newtypes over UUIDv7, so that a job's id can't be taken for an execution's.
//!
//! Made here, in Rust, before the row exists: a claim names its execution ids in advance, and every object path carries
//! one. UUIDv7 begins with the time, hence the short form people see is the *end*, which is random.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The text is not a UUID.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not an id (a UUID was expected)")]
pub struct NotAnId(String);

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id, ordered by time of creation.
            #[must_use]
            #[allow(clippy::new_without_default, reason = "a default id would hide that each one is new")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// The UUID itself, for SQL parameters.
            pub fn as_uuid(self) -> Uuid {
                self.0
            }

            /// The last eight hex digits: what lists show and verbs accept.
            pub fn short(self) -> String {
                let digits = self.0.simple().to_string();
                digits[24..].to_owned()
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                Uuid::parse_str(text).map(Self).map_err(|_| NotAnId(text.to_owned()))
            }
        }
    };
}

id! {
    /// A request: one row of `job`.
    JobId
}
id! {
    /// One attempt at a job by one worker: one row of `execution`, and part of every object path.
    ExecutionId
}
impl ExecutionId {
    /// When the id was made, to the millisecond; none if another program made it otherwise.
    pub fn made_at(self) -> Option<DateTime<Utc>> {
        let (seconds, nanos) = self.0.get_timestamp()?.to_unix();
        DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanos)
    }
}

id! {
    /// An immutable backup object with its manifest: one row of `artifact`.
    ArtifactId
}
id! {
    /// One start of one worker process. A restart has a new one, even under the same name.
    WorkerId
}
id! {
    /// A stored decision about which backups go.
    PlanId
}
id! {
    /// A rule that makes jobs.
    ScheduleId
}
id! {
    /// Something worth telling: one row of `event`, and what receivers know a message again by.
    EventId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_form_is_the_random_end_of_the_id() {
        let id: JobId = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        assert_eq!(id.short(), "099a8057");
    }

    #[test]
    fn an_execution_id_tells_when_it_was_made() {
        let id: ExecutionId = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        let made_at = id.made_at().unwrap().to_rfc3339();
        assert_eq!(made_at, "2023-06-30T03:34:18.518+00:00");
        let random: ExecutionId = "5f0a5dac-9677-4b4c-8ceb-302099a80571".parse().unwrap();
        assert_eq!(random.made_at(), None);
    }

    #[test]
    fn a_text_that_is_no_uuid_is_named_in_the_error() {
        let error = "7f3a".parse::<JobId>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"7f3a\" is not an id (a UUID was expected)"
        );
    }
}
