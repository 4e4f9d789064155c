//! A rule in words: what it means, and what Kanbu's page shows of it.
//!
//! The words come from the values that a rule names and not from how it is written, so they can't say more than is true.

use std::collections::BTreeSet;

use super::field::{Field, MONTHS, Unit, WEEKDAYS};

/// More times of day than this are told by their hours and minutes instead.
const MOST_TIMES: usize = 6;

/// `at 02:00, on Monday to Friday, in March`.
pub(super) fn full(fields: &[Field; 6]) -> String {
    let [second, minute, hour, day, month, weekday] = fields;
    let mut text = time(second, minute, hour);
    if let Some(days) = days(day, weekday) {
        text.push_str(", ");
        text.push_str(&days);
    }
    if !month.any {
        text.push_str(", in ");
        text.push_str(&ranges(&month.values, |value| {
            capital(MONTHS[usize::from(value) - 1])
        }));
    }
    text
}

fn time(second: &Field, minute: &Field, hour: &Field) -> String {
    if let Some(times) = times(second, minute, hour) {
        return format!("at {times}");
    }
    let on_the_minute = second.only() == Some(0);
    let full_hour = on_the_minute && minute.only() == Some(0);
    let mut parts = Vec::new();
    if !on_the_minute {
        parts.push(rhythm(Unit::Second, second));
    }
    // "Every second" of every minute needs no minutes, "every minute" no hours.
    if !(parts.len() == 1 && second.any && minute.any) {
        if !full_hour {
            parts.push(rhythm(Unit::Minute, minute));
        } else if hour.any {
            return "at every full hour".to_owned();
        }
    }
    if !hour.any {
        parts.push(hours(hour, full_hour));
    }
    parts.join(", ")
}

/// A few times of day, one by one.
fn times(second: &Field, minute: &Field, hour: &Field) -> Option<String> {
    let count = hour.values.len() * minute.values.len();
    let second = second.only()?;
    (count <= MOST_TIMES).then_some(())?;
    let times: Vec<_> = hour
        .values
        .iter()
        .flat_map(|hour| minute.values.iter().map(move |minute| (hour, minute)))
        .map(|(hour, minute)| match second {
            0 => format!("{hour:02}:{minute:02}"),
            second => format!("{hour:02}:{minute:02}:{second:02}"),
        })
        .collect();
    Some(listed(&times))
}

/// Seconds or minutes: every one, every so many, or which.
fn rhythm(unit: Unit, field: &Field) -> String {
    let name = unit.name();
    if field.any {
        return format!("every {name}");
    }
    match pace(&field.values, 60) {
        Some(pace) => format!("every {pace} {name}s"),
        None => format!(
            "at {name} {}",
            ranges(&field.values, |value| value.to_string())
        ),
    }
}

fn hours(hour: &Field, full_hour: bool) -> String {
    if full_hour && let Some(pace) = pace(&hour.values, 24) {
        return format!("every {pace} hours from 00:00");
    }
    let hours = ranges(&hour.values, |value| format!("{value:02}:00"));
    format!("in the hour from {hours}")
}

/// The distance of values that come round in the same rhythm for ever: from 0, and dividing the whole.
fn pace(values: &BTreeSet<u8>, whole: u8) -> Option<u8> {
    let count = u8::try_from(values.len()).ok().filter(|count| *count > 1)?;
    let pace = whole / count;
    let even = values
        .iter()
        .zip(0_u8..)
        .all(|(value, index)| *value == index * pace);
    (even && pace > 1 && whole.is_multiple_of(count)).then_some(pace)
}

fn days(day: &Field, weekday: &Field) -> Option<String> {
    match (day.any, weekday.any) {
        (true, true) => None,
        (false, true) => Some(format!("on {}", of_month(day))),
        (true, false) => Some(format!("on {}", of_week(weekday))),
        // Classic cron: either is enough.
        (false, false) => Some(format!("on {} or on {}", of_month(day), of_week(weekday))),
    }
}

fn of_month(day: &Field) -> String {
    let plain: Vec<_> = runs(&day.values)
        .into_iter()
        .map(|(first, last)| run(first, last, |day| format!("the {}", ordinal(day))))
        .collect();
    let last = day.last.then(|| "the last day".to_owned());
    let parts: Vec<_> = plain.into_iter().chain(last).collect();
    format!("{} of the month", listed(&parts))
}

fn of_week(weekday: &Field) -> String {
    let name = |day: u8| capital(WEEKDAYS[usize::from(day)]);
    let plain = runs(&weekday.values)
        .into_iter()
        .map(|(first, last)| run(first, last, name));
    let nth = weekday
        .nth_weekdays
        .iter()
        .map(|(day, nth)| format!("the {} {} of the month", ordinal(*nth), name(*day)));
    let last = weekday
        .last_weekdays
        .iter()
        .map(|day| format!("the last {} of the month", name(*day)));
    let parts: Vec<_> = plain.chain(nth).chain(last).collect();
    listed(&parts)
}

fn ranges(values: &BTreeSet<u8>, name: impl Fn(u8) -> String) -> String {
    let parts: Vec<_> = runs(values)
        .into_iter()
        .map(|(first, last)| run(first, last, &name))
        .collect();
    listed(&parts)
}

fn run(first: u8, last: u8, name: impl Fn(u8) -> String) -> String {
    match last - first {
        0 => name(first),
        1 => format!("{} and {}", name(first), name(last)),
        _ => format!("{} to {}", name(first), name(last)),
    }
}

/// Neighbours together, as first and last.
fn runs(values: &BTreeSet<u8>) -> Vec<(u8, u8)> {
    let mut runs: Vec<(u8, u8)> = Vec::new();
    for value in values {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *value => *last = *value,
            _ => runs.push((*value, *value)),
        }
    }
    runs
}

fn listed(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [only] => only.clone(),
        [all @ .., last] => format!("{} and {last}", all.join(", ")),
    }
}

fn ordinal(number: u8) -> String {
    let suffix = match (number % 10, number / 10) {
        (1, 0 | 2 | 3) => "st",
        (2, 0 | 2) => "nd",
        (3, 0 | 2) => "rd",
        _ => "th",
    };
    format!("{number}{suffix}")
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// Kanbu's three sentences, for rules of just these shapes; where Kanbu's own hits are wrong, and for all else, the text.
pub(super) fn as_kanbu(text: &str) -> String {
    let parts: Vec<_> = text.split(' ').collect();
    let [minute, hour, day, "*", weekday] = parts[..] else {
        return text.to_owned();
    };
    let number = |text: &str, most: u8| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u8>()
            .ok()
            .filter(|number| digits && *number <= most)
    };
    let (Some(minute), Some(hour)) = (number(minute, 59), number(hour, 23)) else {
        return text.to_owned();
    };
    match (day, weekday) {
        ("*", "*") if minute == 0 => format!("Daily at {hour:02}:00"),
        ("*", "0") => format!("Weekly on Sunday at {hour:02}:{minute:02}"),
        ("1", "*") => format!("Monthly on the 1st at {hour:02}:{minute:02}"),
        _ => text.to_owned(),
    }
}
