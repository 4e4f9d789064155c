//! A job's way through `job.payload`: one JSON object per kind with a version beside it, refused when it can't be read.
//!
//! The same is refused when it is enqueued, by the SQL function `payload_flaw`, so that every language meets one rule.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{Job, Kind};

/// The version of every payload this release writes, and the newest it reads.
pub const PAYLOAD_VERSION: i32 = 1;

/// A stored payload that no handler of this release can be given.
#[derive(Debug, thiserror::Error)]
#[error("the payload of this {kind} job can't be read")]
pub struct Undecodable {
    pub kind: Kind,
    #[source]
    reason: serde_json::Error,
}

impl Job {
    /// The JSON object of `job.payload`.
    pub fn payload(&self) -> Value {
        match self {
            Self::Backup(payload) => object(payload),
            Self::Restore(payload) => object(payload),
            Self::Prune(payload) => object(payload),
            Self::Verify(payload) => object(payload),
            Self::Notify(payload) => object(payload),
        }
    }

    /// Reads a stored payload back.
    pub fn from_payload(kind: Kind, payload: Value) -> Result<Self, Undecodable> {
        match kind {
            Kind::Backup => typed(kind, payload).map(Self::Backup),
            Kind::Restore => typed(kind, payload).map(Self::Restore),
            Kind::Prune => typed(kind, payload).map(Self::Prune),
            Kind::Verify => typed(kind, payload).map(Self::Verify),
            Kind::Notify => typed(kind, payload).map(Self::Notify),
        }
    }
}

#[expect(
    clippy::expect_used,
    reason = "structs of strings, ids and flags always serialise"
)]
fn object(payload: &impl Serialize) -> Value {
    serde_json::to_value(payload).expect("a payload is plain data")
}

fn typed<T: DeserializeOwned>(kind: Kind, payload: Value) -> Result<T, Undecodable> {
    // A struct could be read from an array too, which nobody means and the database doesn't store.
    serde_json::from_value::<Map<String, Value>>(payload)
        .and_then(|members| serde_json::from_value(Value::Object(members)))
        .map_err(|reason| Undecodable { kind, reason })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::job::{Backup, Subject};

    #[test]
    fn a_backup_payload_keeps_its_shape() {
        let subject: Subject = "database:kanbu".parse().unwrap();
        let job = Job::Backup(Backup {
            label: Some("before import".into()),
            ..Backup::of(subject)
        });
        let payload = job.payload();
        assert_eq!(
            payload,
            json!({"subject": "database:kanbu", "label": "before import"})
        );
        assert_eq!(Job::from_payload(Kind::Backup, payload).unwrap(), job);
    }

    #[test]
    fn an_unknown_member_is_refused_and_the_kind_is_named() {
        let payload = json!({"subject": "database:kanbu", "lable": "typo"});
        let error = Job::from_payload(Kind::Backup, payload).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the payload of this backup job can't be read"
        );
    }
}
