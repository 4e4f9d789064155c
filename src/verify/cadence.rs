//! When everything is read again by itself.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use crate::job::{Percent, Scope, Subject, Verify};

/// How often, and how much of it each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cadence {
    pub every: Duration,
    pub sample: Percent,
}

/// How often the newest backup of a subject is restored in a test, and what is asked there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofCadence {
    pub every: Duration,
    /// For databases.
    pub checks: Vec<String>,
}

/// What comes by itself for one subject in one period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The same for whoever asks in this period, so that it is one job however many ask.
    pub request_key: String,
    pub request: Verify,
}

impl Cadence {
    /// The scrub of the period that `now` lies in.
    pub fn due(&self, subject: &Subject, now: DateTime<Utc>) -> Due {
        let sample = (self.sample != Percent::ALL).then_some(self.sample);
        Due {
            request_key: key("scrub", self.every, subject, now),
            request: Verify {
                repair: true,
                sample,
                ..Verify::of(subject.clone())
            },
        }
    }
}

impl ProofCadence {
    /// The test restore of the period that `now` lies in.
    pub fn due(&self, subject: &Subject, now: DateTime<Utc>) -> Due {
        let checks = match subject.scope() {
            Scope::Database | Scope::Cluster => self.checks.clone(),
            Scope::Source | Scope::Directory => Vec::new(),
        };
        Due {
            request_key: key("proof", self.every, subject, now),
            request: Verify {
                checks,
                ..Verify::proof_of(subject.clone())
            },
        }
    }
}

/// Periods are counted from the epoch: workers needn't agree on a start.
fn key(what: &str, every: Duration, subject: &Subject, now: DateTime<Utc>) -> String {
    let every = i64::try_from(every.as_secs()).unwrap_or(i64::MAX).max(1);
    let period = now.timestamp().div_euclid(every);
    // A subject may be longer than a key.
    let digest = hex::encode(Sha256::digest(subject.to_string()));
    format!("{what}:{every}:{period}:{digest}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::VerifyLevel;

    #[test]
    fn a_period_has_one_key_and_the_next_one_another() {
        let cadence = Cadence {
            every: Duration::from_hours(24),
            sample: Percent::ALL,
        };
        let kanbu: Subject = "database:kanbu".parse().unwrap();
        let at = |text: &str| cadence.due(&kanbu, text.parse().unwrap()).request_key;
        assert_eq!(at("2026-11-22T00:00:00Z"), at("2026-11-22T23:59:59Z"));
        assert_ne!(at("2026-11-22T23:59:59Z"), at("2026-11-23T00:00:00Z"));
        let long: Subject = format!("database:{}", "x".repeat(1000)).parse().unwrap();
        let other = cadence.due(&long, DateTime::UNIX_EPOCH).request_key;
        assert!(other.len() < 255);
        assert_ne!(other, cadence.due(&kanbu, DateTime::UNIX_EPOCH).request_key);
    }

    #[test]
    fn a_test_restore_is_due_beside_a_scrub_and_only_databases_are_asked() {
        let every = Duration::from_hours(24);
        let cadence = ProofCadence {
            every,
            checks: vec!["select true".to_owned()],
        };
        let scrub = Cadence {
            every,
            sample: Percent::ALL,
        };
        let (now, kanbu) = (DateTime::UNIX_EPOCH, "database:kanbu".parse().unwrap());
        let due = cadence.due(&kanbu, now);
        assert_ne!(due.request_key, scrub.due(&kanbu, now).request_key);
        assert_eq!(due.request.level, VerifyLevel::Proven);
        assert_eq!(due.request.checks, cadence.checks);
        let tree = cadence.due(&"source:app".parse().unwrap(), now);
        assert!(tree.request.checks.is_empty());
    }
}
