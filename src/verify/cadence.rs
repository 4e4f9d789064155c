//! When everything is read again by itself.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};

use crate::job::{Percent, Subject, Verify};

/// How often, and how much of it each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cadence {
    pub every: Duration,
    pub sample: Percent,
}

/// The scrub of one subject in one period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scrub {
    /// The same for whoever asks in this period, so that it is one job however many ask.
    pub request_key: String,
    pub request: Verify,
}

impl Cadence {
    /// The scrub of the period that `now` lies in. Periods are counted from the epoch: workers needn't agree on a start.
    pub fn due(&self, subject: &Subject, now: DateTime<Utc>) -> Scrub {
        let every = i64::try_from(self.every.as_secs())
            .unwrap_or(i64::MAX)
            .max(1);
        let period = now.timestamp().div_euclid(every);
        // A subject may be longer than a key.
        let digest = hex::encode(Sha256::digest(subject.to_string()));
        let sample = (self.sample != Percent::ALL).then_some(self.sample);
        Scrub {
            request_key: format!("scrub:{every}:{period}:{digest}"),
            request: Verify {
                repair: true,
                sample,
                ..Verify::of(subject.clone())
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
