//! Times as people write them: a date, an RFC 3339 time, or so long ago or ahead.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};

use super::VerbError;

/// Reads `2026-11-22` (midnight UTC), `2026-11-22T02:00:00Z` or `-2h` before `now`.
pub(super) fn since(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, VerbError> {
    text.strip_prefix('-')
        .and_then(length)
        .and_then(|age| now.checked_sub_signed(age))
        .or_else(|| instant(text))
        .ok_or_else(|| VerbError::BadTime {
            text: text.to_owned(),
            example: "an age like -2h",
        })
}

/// Reads `2026-11-22` (midnight UTC), `2026-11-22T02:00:00Z` or `2h` after `now`; what is over is refused.
pub(super) fn ahead(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, VerbError> {
    let time = length(text.strip_prefix('+').unwrap_or(text))
        .and_then(|length| now.checked_add_signed(length))
        .or_else(|| instant(text))
        .ok_or_else(|| VerbError::BadTime {
            text: text.to_owned(),
            example: "from now on like 2h",
        })?;
    if time > now {
        Ok(time)
    } else {
        Err(VerbError::PastTime(text.to_owned()))
    }
}

/// Reads a length of time like `7d`, in seconds.
pub(super) fn seconds(text: &str) -> Result<u32, VerbError> {
    length(text)
        .and_then(|length| u32::try_from(length.num_seconds()).ok())
        .ok_or_else(|| VerbError::BadTime {
            text: text.to_owned(),
            example: "an age like 7d",
        })
}

/// Reads any of those times, over or to come.
pub(super) fn any(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, VerbError> {
    since(text, now).or_else(|_| ahead(text, now))
}

fn instant(text: &str) -> Option<DateTime<Utc>> {
    let date = || text.parse::<NaiveDate>().ok();
    DateTime::parse_from_rfc3339(text)
        .ok()
        .map(|time| time.to_utc())
        .or_else(|| Some(date()?.and_time(NaiveTime::MIN).and_utc()))
}

fn length(text: &str) -> Option<TimeDelta> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: u32 = digits.parse().ok()?;
    match unit {
        "m" => TimeDelta::try_minutes(count.into()),
        "h" => TimeDelta::try_hours(count.into()),
        "d" => TimeDelta::try_days(count.into()),
        "w" => TimeDelta::try_weeks(count.into()),
        _ => None,
    }
}

/// A time span for people: its largest unit is enough.
pub(super) fn span(seconds: f64) -> String {
    let seconds = Duration::try_from_secs_f64(seconds)
        .unwrap_or_default()
        .as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_times_and_ages_are_read() {
        let now: DateTime<Utc> = "2026-11-22T12:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("-2h", "2026-11-22T10:00:00Z"),
            ("-7d", "2026-11-15T12:00:00Z"),
            ("2026-11-20", "2026-11-20T00:00:00Z"),
            ("2026-11-20T03:00:00+01:00", "2026-11-20T02:00:00Z"),
        ] {
            assert_eq!(
                since(text, now).unwrap(),
                expected.parse::<DateTime<Utc>>().unwrap(),
                "{text}"
            );
        }
        for text in ["", "-", "2h", "-2y", "-h", "yesterday", "-9999999999999d"] {
            assert!(since(text, now).is_err(), "{text:?} was accepted");
        }
    }
    #[test]
    fn what_is_to_come_is_read_and_what_is_over_refused() {
        let now: DateTime<Utc> = "2026-11-22T12:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("2h", "2026-11-22T14:00:00Z"),
            ("+1d", "2026-11-23T12:00:00Z"),
            ("2026-11-24", "2026-11-24T00:00:00Z"),
        ] {
            let time = ahead(text, now).unwrap();
            assert_eq!(time, expected.parse::<DateTime<Utc>>().unwrap(), "{text}");
        }
        for text in ["2026-11-20", "0m"] {
            let error = ahead(text, now).unwrap_err();
            assert!(matches!(error, VerbError::PastTime(_)), "{text:?}: {error}");
        }
        for text in ["", "+", "-2h", "+-2h", "soon"] {
            assert!(ahead(text, now).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn a_span_is_told_in_its_largest_unit() {
        for (seconds, text) in [
            (0.4, "0 s"),
            (119.0, "119 s"),
            (600.0, "10 min"),
            (86_400.0, "24 h"),
            (1e6, "11 days"),
            (-1.0, "0 s"),
        ] {
            assert_eq!(span(seconds), text);
        }
    }
}
