//! The newest of the ticks in a span of time, however long it is and however many there are.

use chrono::{DateTime, Utc};

use super::Plan;

/// More late ticks than this are neither made up for nor recorded one by one.
pub(super) const MOST: usize = 1000;

/// Some ticks, oldest first.
pub(super) struct Newest {
    pub(super) ticks: Vec<DateTime<Utc>>,
    /// Whether there were more before them.
    pub(super) more: bool,
}

impl Newest {
    /// The newest ticks after `from` and before `to`, at most [`MOST`].
    ///
    /// Rules are only asked forwards. Of too long a span the end is looked for that has some and not too many; as ticks are
    /// a second apart there is one, and halving finds it.
    pub(super) fn of(plan: &Plan, from: DateTime<Utc>, to: DateTime<Utc>) -> Self {
        let within = |from| {
            let ticks = plan.ticks_after(from).take_while(|tick| *tick < to);
            ticks.take(MOST + 1).collect::<Vec<_>>()
        };
        let ticks = within(from);
        if ticks.len() <= MOST {
            return Self { ticks, more: false };
        }
        let (mut many, mut none) = (from, to);
        loop {
            let middle = many + (none - many) / 2;
            let ticks = within(middle);
            match ticks.len() {
                0 => none = middle,
                1..=MOST => return Self { ticks, more: true },
                _ => many = middle,
            }
        }
    }
}
