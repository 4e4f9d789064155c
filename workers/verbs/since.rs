//! Times as people write them: a date, an RFC 3339 time, or an age.

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};

use super::VerbError;

/// Reads `2026-11-22` (midnight UTC), `2026-11-22T02:00:00Z` or `-2h` before `now`.
pub(super) fn since(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, VerbError> {
    age(text)
        .and_then(|age| now.checked_sub_signed(age))
        .or_else(|| {
            DateTime::parse_from_rfc3339(text)
                .ok()
                .map(|time| time.to_utc())
        })
        .or_else(|| {
            text.parse::<NaiveDate>()
                .ok()
                .map(|date| date.and_time(NaiveTime::MIN).and_utc())
        })
        .ok_or_else(|| VerbError::BadTime(text.to_owned()))
}

fn age(text: &str) -> Option<TimeDelta> {
    let text = text.strip_prefix('-')?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: i64 = digits.parse().ok()?;
    match unit {
        "m" => TimeDelta::try_minutes(count),
        "h" => TimeDelta::try_hours(count),
        "d" => TimeDelta::try_days(count),
        "w" => TimeDelta::try_weeks(count),
        _ => None,
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
}
