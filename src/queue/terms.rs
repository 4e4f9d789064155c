//! The times a worker lives by: everything about a lease follows from its length, so that it can't contradict itself.

use std::{collections::BTreeMap, time::Duration};

use crate::job::Kind;

/// How long a renewal may at least take, however short the lease.
const SHORTEST_ANSWER: Duration = Duration::from_millis(500);
const LONGEST_REAP_INTERVAL: Duration = Duration::from_secs(5);

/// How old the progress in an execution's row may be.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// A lease's length `L` and what follows from it.
///
/// An outage shorter than ¾ L never costs a job, wherever it begins: 7/8 L − L/20 − L/30 − L/60 > ¾ L. (From ten seconds
/// on; in shorter leases an answer is given relatively more time.) Time counts from before a request is sent, which is
/// never later than the database's clock reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTerms {
    lease: Duration,
}

impl LeaseTerms {
    /// Leases of this length; less than a second is taken as a second.
    pub fn new(lease: Duration) -> Self {
        Self {
            lease: lease.max(Duration::from_secs(1)),
        }
    }

    pub fn lease(self) -> Duration {
        self.lease
    }

    /// Progress rides along, and people look at it: a long lease is renewed as often as that needs.
    pub fn renew_every(self) -> Duration {
        (self.lease / 20).min(PROGRESS_EVERY)
    }

    /// After a renewal that failed.
    pub fn renew_again_after(self) -> Duration {
        self.lease / 60
    }

    /// A renewal that isn't answered by then has failed.
    pub fn renew_within(self) -> Duration {
        (self.lease / 30).max(SHORTEST_ANSWER)
    }

    /// Without a renewal for so long, the worker stops itself: before anybody else may take over.
    pub fn fence_after(self) -> Duration {
        self.lease * 7 / 8
    }

    /// How often a worker looks for the leases of others that have run out.
    pub fn reap_every(self) -> Duration {
        (self.lease / 12).min(LONGEST_REAP_INTERVAL)
    }
}

impl Default for LeaseTerms {
    fn default() -> Self {
        Self::new(Duration::from_mins(1))
    }
}

/// How long a handler may take, and how long it may take to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    deadlines: BTreeMap<Kind, Duration>,
    /// From being told to stop until it is aborted.
    pub clean_up: Duration,
    /// An execution past its deadline by so much isn't renewed any more: its handler ignores being stopped.
    pub overtime: Duration,
}

impl Limits {
    /// The longest a job of this kind may take.
    pub fn deadline(&self, kind: Kind) -> Duration {
        self.deadlines
            .get(&kind)
            .copied()
            .unwrap_or_else(|| default_deadline(kind))
    }

    #[must_use]
    pub fn with_deadline(mut self, kind: Kind, deadline: Duration) -> Self {
        self.deadlines.insert(kind, deadline);
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            deadlines: BTreeMap::new(),
            clean_up: Duration::from_secs(10),
            overtime: Duration::from_mins(1),
        }
    }
}

fn default_deadline(kind: Kind) -> Duration {
    match kind {
        Kind::Backup | Kind::Verify => Duration::from_hours(12),
        Kind::Restore => Duration::from_hours(24),
        Kind::Prune => Duration::from_hours(2),
        Kind::Notify => Duration::from_mins(1),
    }
}

/// Most jobs claimed at once: long ones singly, so that none waits in one worker while another is free.
pub(super) fn batch(kind: Kind, slots: usize) -> usize {
    match kind {
        Kind::Notify => slots,
        Kind::Backup | Kind::Restore | Kind::Prune | Kind::Verify => 1,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_outage_shorter_than_three_quarters_of_a_lease_costs_no_job(seconds in 10_u64..10_000) {
            let terms = LeaseTerms::new(Duration::from_secs(seconds));
            let spent = terms.renew_every() + terms.renew_within() + terms.renew_again_after();
            prop_assert!(terms.fence_after() > terms.lease() * 3 / 4 + spent);
        }
    }
}
