//! Periods of the calendar, in the zone of a schedule.

use std::fmt;

use chrono::{DateTime, Datelike, NaiveDate, Offset, Timelike, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

/// What a policy counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    Hour,
    Day,
    /// ISO, Monday to Sunday: the one over New Year is one.
    Week,
    Month,
    Year,
}

impl Period {
    /// From the shortest to the longest.
    pub const ALL: [Self; 5] = [Self::Hour, Self::Day, Self::Week, Self::Month, Self::Year];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    /// The same for two instants exactly if they lie in the same period. An hour that summer time repeats is two.
    pub(super) fn key(self, at: &Local) -> Key {
        let date = at.date;
        let (year, part) = match self {
            Self::Hour => return Key(date.num_days_from_ce(), at.hour, at.offset_seconds),
            Self::Day => return Key(date.num_days_from_ce(), 0, 0),
            Self::Week => (date.iso_week().year(), date.iso_week().week()),
            Self::Month => (date.year(), date.month()),
            Self::Year => (date.year(), 0),
        };
        Key(year, part, 0)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One period among those of its sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(i32, u32, i32);

/// An instant as a clock on the wall shows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Local {
    pub(super) date: NaiveDate,
    hour: u32,
    offset_seconds: i32,
}

impl Local {
    pub(super) fn of(at: DateTime<Utc>, zone: Tz) -> Self {
        let local = at.with_timezone(&zone);
        Self {
            date: local.date_naive(),
            hour: local.hour(),
            offset_seconds: local.offset().fix().local_minus_utc(),
        }
    }

    /// Whole calendar days from this one to `later`, however long they were.
    pub(super) fn days_until(&self, later: &Self) -> i64 {
        (later.date - self.date).num_days()
    }
}
