//! Which ticks of a schedule are due, and what is to become of each: a pure function of the rule and two times.
//!
//! Times are the database's. Its clock may jump: what was looked at lies behind `last`, or, when the clock was put back,
//! behind `now`; the rows of ticks keep one from being made twice. However far it jumps ahead, the work is bounded.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{CatchUp, Cron, Draft, late::Newest, rule::GRACE, zone};
use crate::id::ScheduleId;

/// What decides about a schedule's ticks.
#[derive(Clone, Debug)]
pub struct Plan {
    pub id: ScheduleId,
    pub cron: Cron,
    pub zone: Tz,
    pub catch_up: CatchUp,
    pub catch_up_limit: u16,
    pub jitter: Duration,
    pub pause: Option<Pause>,
}

/// A time without ticks. What falls into it isn't made up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// `None`: until somebody ends it.
    pub until: Option<DateTime<Utc>>,
}

/// What one look finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Oldest first.
    pub ticks: Vec<Tick>,
    pub missed: Option<Missed>,
    /// The next one after `now`.
    pub next: Option<DateTime<Utc>>,
}

/// One instant of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    pub at: DateTime<Utc>,
    pub deed: Deed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// In time: a job, unless that of an earlier tick is open and the schedule skips then.
    Make,
    /// Late: a job of its own.
    MakeUp,
    /// Late: nothing but its row.
    Skip,
}

/// Ticks of which nobody took notice in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Missed {
    pub count: usize,
    /// There were more than were counted.
    pub more: bool,
    pub first: DateTime<Utc>,
    pub last: DateTime<Utc>,
    pub made_up: usize,
}

impl Plan {
    /// Of a schedule that isn't stored.
    pub fn of(draft: &Draft) -> Self {
        Self {
            id: ScheduleId::new(),
            cron: draft.cron.clone(),
            zone: draft.zone,
            catch_up: draft.catch_up,
            catch_up_limit: draft.catch_up_limit,
            jitter: draft.jitter,
            pause: None,
        }
    }

    /// The ticks after that time, pauses aside.
    pub fn ticks_after(&self, after: DateTime<Utc>) -> impl Iterator<Item = DateTime<Utc>> {
        let first = zone::next(&self.cron, self.zone, after);
        std::iter::successors(first, |tick| zone::next(&self.cron, self.zone, *tick))
    }

    /// What has come due since `last`, up to `now`.
    pub fn due(&self, last: DateTime<Utc>, now: DateTime<Utc>) -> Due {
        let paused_until = match self.pause {
            Some(Pause { until: None }) => return Due::nothing(None),
            Some(Pause { until: Some(until) }) if until > now => {
                return Due::nothing(self.ticks_after(until).next());
            }
            Some(Pause { until }) => until,
            None => None,
        };
        let from = last.max(paused_until.unwrap_or(last)).min(now);
        let in_time = (now - GRACE).max(from);
        let late = Newest::of(self, from, now - GRACE);
        let mut punctual: Vec<_> = Vec::new();
        let mut next = None;
        for tick in self.ticks_after(in_time - TimeDelta::microseconds(1)) {
            if tick > now {
                next = Some(tick);
                break;
            }
            if tick > from {
                punctual.push(tick);
            }
        }
        let (mut ticks, missed) = self.late(&late, punctual.is_empty());
        ticks.extend(punctual.into_iter().map(|at| Tick {
            at,
            deed: Deed::Make,
        }));
        Due {
            ticks,
            missed,
            next,
        }
    }

    fn late(&self, late: &Newest, nothing_in_time: bool) -> (Vec<Tick>, Option<Missed>) {
        let made_up = match self.catch_up {
            CatchUp::None => 0,
            CatchUp::Latest => usize::from(nothing_in_time),
            CatchUp::All => self.catch_up_limit.into(),
        };
        let skipped = late.ticks.len().saturating_sub(made_up);
        let ticks = late.ticks.iter().enumerate().map(|(index, at)| Tick {
            at: *at,
            deed: if index < skipped {
                Deed::Skip
            } else {
                Deed::MakeUp
            },
        });
        let missed = late.ticks.first().zip(late.ticks.last());
        let missed = missed.map(|(first, last)| Missed {
            count: late.ticks.len(),
            more: late.more,
            first: *first,
            last: *last,
            made_up: late.ticks.len() - skipped,
        });
        (ticks.collect(), missed)
    }

    /// When the job of a tick may begin: the same for all who ask.
    pub fn run_at(&self, tick: DateTime<Utc>) -> DateTime<Utc> {
        let mut hash = Sha256::new();
        hash.update(self.id.as_uuid().as_bytes());
        hash.update(tick.timestamp().to_be_bytes());
        let [a, b, c, d, ..]: [u8; 32] = hash.finalize().into();
        let part = u64::from(u32::from_be_bytes([a, b, c, d]));
        // An hour in microseconds times 2³² fits.
        let micros = u64::try_from(self.jitter.as_micros()).unwrap_or_default();
        let delay = micros.saturating_mul(part) >> 32;
        tick + TimeDelta::microseconds(i64::try_from(delay).unwrap_or_default())
    }
}

impl Due {
    fn nothing(next: Option<DateTime<Utc>>) -> Self {
        Self {
            ticks: Vec::new(),
            missed: None,
            next,
        }
    }
}

#[cfg(test)]
mod tests;
