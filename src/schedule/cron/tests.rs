//! The dialect, line by line of the table in docs/schedules.md, and everything that Kanbu's own tests say of rules.

use chrono::{DateTime, Timelike, Utc};
use chrono_tz::{Europe::Amsterdam, Tz};
use proptest::prelude::*;

use super::{super::zone, *};

fn rule(text: &str) -> Cron {
    text.parse()
        .unwrap_or_else(|flaw| panic!("{text:?}: {flaw}"))
}

fn flaw(text: &str) -> String {
    match text.parse::<Cron>() {
        Ok(cron) => panic!("{text:?} was taken as: {}", cron.describe()),
        Err(flaw) => flaw.to_string(),
    }
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// The next `count` local times in Amsterdam.
fn next(text: &str, after: &str, count: usize) -> Vec<String> {
    let cron = rule(text);
    let first = zone::next(&cron, Amsterdam, at(after));
    std::iter::successors(first, |tick| zone::next(&cron, Amsterdam, *tick))
        .take(count)
        .map(|tick| tick.with_timezone(&Amsterdam).format("%F %T").to_string())
        .collect()
}

#[test]
fn what_kanbus_tests_call_valid_is_taken() {
    for text in [
        "0 2 * * *",
        "*/15 * * * *",
        "0 0 * * 0",
        "0 0 1 * *",
        "30 4 * * 1-5",
    ] {
        assert_eq!(rule(text).text(), text);
    }
}

#[test]
fn what_kanbus_tests_call_invalid_is_refused_with_a_sentence() {
    for (text, sentence) in [
        ("60 * * * *", "minute 60 is not within 0 and 59"),
        ("0 25 * * *", "hour 25 is not within 0 and 23"),
        ("0 0 32 * *", "day of the month 32 is not within 1 and 31"),
        ("0 0 * 13 *", "month 13 is not within 1 and 12"),
    ] {
        assert_eq!(flaw(text), sentence);
    }
}

#[test]
fn the_next_run_of_daily_and_hourly_rules_is_ahead_and_on_the_full_hour() {
    let now = at("2026-06-10T12:34:56.789Z");
    for text in ["0 2 * * *", "0 * * * *"] {
        let next = zone::next(&rule(text), Amsterdam, now).unwrap();
        assert!(next > now, "{text}");
        assert_eq!((next.minute(), next.second()), (0, 0), "{text}");
    }
}

#[test]
fn kanbus_three_sentences_are_kept_and_all_else_returned_as_it_is() {
    for (text, sentence) in [
        ("0 2 * * *", "Daily at 02:00"),
        ("0 14 * * *", "Daily at 14:00"),
        ("0 0 * * *", "Daily at 00:00"),
        ("30 2 * * 0", "Weekly on Sunday at 02:30"),
        ("0 9 * * 0", "Weekly on Sunday at 09:00"),
        ("0 3 1 * *", "Monthly on the 1st at 03:00"),
        ("30 12 1 * *", "Monthly on the 1st at 12:30"),
    ] {
        assert_eq!(kanbu_description(text), sentence);
    }
    for raw in [
        "*/15 * * * *",
        "*/5 * * * *",
        "30 4 * * 1-5",
        "invalid",
        "",
        "0 */6 * * *",
        "0 2,14 * * *",
        "0 0 1 1 *",
        "0 25 * * *",
        "+0 2 * * *",
        "0  2 * * *",
    ] {
        assert_eq!(kanbu_description(raw), raw);
    }
}

#[test]
fn fields_are_five_or_six_and_nothing_else() {
    assert_eq!(
        flaw("0 2 * *"),
        "a rule has 5 fields, or 6 with the seconds first, not 4"
    );
    assert_eq!(
        flaw("0 0 2 * * * 2027"),
        "a rule has 5 fields, or 6 with the seconds first, not 7"
    );
    assert_eq!(flaw("  "), "a rule has 1 to 255 bytes, not 0");
    assert_eq!(
        next("*/20 * * * * *", "2026-06-10T10:00:00Z", 3),
        [
            "2026-06-10 12:00:20",
            "2026-06-10 12:00:40",
            "2026-06-10 12:01:00"
        ]
    );
}

#[test]
fn the_words_are_those_of_the_table_and_no_others() {
    for (word, text) in [
        ("@hourly", "0 * * * *"),
        ("@Daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@ANNUALLY", "0 0 1 1 *"),
    ] {
        assert_eq!(rule(word), rule(text), "{word}");
    }
    for word in ["@reboot", "@minutely", "@weekdays", "@", "@daily 1"] {
        assert!(flaw(word).starts_with(word), "{}", flaw(word));
    }
}

#[test]
fn names_are_read_in_both_lengths_and_any_case() {
    assert_eq!(
        rule("0 2 * JAN,december Mon-FRIDAY"),
        rule("0 2 * 1,12 1-5")
    );
    assert_eq!(rule("0 2 * * fri-sun"), rule("0 2 * * 5-7"));
    for text in [
        "0 2 * janu *",
        "0 2 * * weekday",
        "0 feb * * *",
        "0 2 * * ja",
    ] {
        assert!(flaw(text).contains("means nothing as a"), "{}", flaw(text));
    }
}

#[test]
fn sunday_is_0_and_7_and_a_range_to_it_has_friday_saturday_and_sunday() {
    assert_eq!(rule("0 2 * * 7"), rule("0 2 * * 0"));
    // 2026-06-12 is a Friday.
    assert_eq!(
        next("0 2 * * 5-7", "2026-06-10T00:00:00Z", 4),
        [
            "2026-06-12 02:00:00",
            "2026-06-13 02:00:00",
            "2026-06-14 02:00:00",
            "2026-06-19 02:00:00"
        ]
    );
}

#[test]
fn a_step_with_a_start_goes_on_to_the_end() {
    assert_eq!(rule("5/15 * * * *"), rule("5,20,35,50 * * * *"));
    assert_eq!(rule("8-18/5 * * * *"), rule("8,13,18 * * * *"));
    for text in ["*/0 * * * *", "*/60 * * * *", "*/-1 * * * *", "*/ * * * *"] {
        assert!(flaw(text).starts_with("the step of"), "{}", flaw(text));
    }
}

#[test]
fn a_day_is_named_by_its_number_or_by_its_weekday() {
    // 2026-06-15 is a Monday.
    assert_eq!(
        next("0 2 10,15 * 1", "2026-06-07T00:00:00Z", 4),
        [
            "2026-06-08 02:00:00",
            "2026-06-10 02:00:00",
            "2026-06-15 02:00:00",
            "2026-06-22 02:00:00"
        ]
    );
    assert_eq!(rule("0 2 ? * 1"), rule("0 2 * * 1"));
}

#[test]
fn the_last_day_and_the_nth_and_last_weekday_are_found() {
    assert_eq!(
        next("0 2 L 2 *", "2026-01-01T00:00:00Z", 3),
        [
            "2026-02-28 02:00:00",
            "2027-02-28 02:00:00",
            "2028-02-29 02:00:00"
        ]
    );
    assert_eq!(
        next("0 2 * * 5L", "2026-06-01T00:00:00Z", 2),
        ["2026-06-26 02:00:00", "2026-07-31 02:00:00"]
    );
    assert_eq!(rule("0 2 * * friL"), rule("0 2 * * 5L"));
    assert_eq!(
        next("0 2 * * 1#2", "2026-06-01T00:00:00Z", 2),
        ["2026-06-08 02:00:00", "2026-07-13 02:00:00"]
    );
    assert_eq!(rule("0 2 * * sun#1"), rule("0 2 * * 7#1"));
}

#[test]
fn what_the_dialect_has_not_is_refused() {
    for text in [
        "H 2 * * *",
        "0 2 15W * *",
        "0 2 LW * *",
        "0 2 L-3 * *",
        "0 2 * * L",
        "0 2 * * 1#6",
        "0 2 * * +1",
        "? 2 * * *",
        "0 2 1#2 * *",
        "0 2 1,,3 * *",
        "0 2 , * *",
        "0 2 1- * *",
        "0 2 ?,1 * *",
        "0 2 *,L-1 * *",
        "1.5 2 * * *",
        "٣ 2 * * *",
    ] {
        assert!(
            flaw(text).contains("means nothing as a"),
            "{text}: {}",
            flaw(text)
        );
    }
    assert_eq!(
        flaw("0 22-2 * * *"),
        "the hour range \"22-2\" runs backwards; write its two parts with a comma"
    );
}

#[test]
fn a_rule_that_never_fires_is_refused_and_29_february_is_waited_for() {
    assert_eq!(flaw("0 0 30 2 *"), "no day is ever named by it");
    assert_eq!(flaw("0 0 31 4,6,9,11 *"), "no day is ever named by it");
    assert_eq!(
        next("0 0 29 2 *", "2026-01-01T00:00:00Z", 2),
        ["2028-02-29 00:00:00", "2032-02-29 00:00:00"]
    );
    // The eight years around 2100.
    assert_eq!(
        next("0 0 29 2 *", "2096-03-01T00:00:00Z", 1),
        ["2104-02-29 00:00:00"]
    );
}

#[test]
fn the_words_of_a_rule_say_what_it_means() {
    for (text, words) in [
        ("0 2 * * *", "at 02:00"),
        ("30 0 2 * * *", "at 02:00:30"),
        ("0 2,14 * * *", "at 02:00 and 14:00"),
        ("0 */6 * * *", "at 00:00, 06:00, 12:00 and 18:00"),
        ("0 * * * *", "at every full hour"),
        ("*/15 * * * *", "every 15 minutes"),
        (
            "*/7 * * * *",
            "at minute 0, 7, 14, 21, 28, 35, 42, 49 and 56",
        ),
        ("* * * * *", "every minute"),
        ("* * * * * *", "every second"),
        ("*/10 * * * * *", "every 10 seconds, every minute"),
        ("5 * * * * *", "at second 5, every minute"),
        (
            "*/10 9-17 * * 1-5",
            "every 10 minutes, in the hour from 09:00 to 17:00, on Monday to Friday",
        ),
        (
            "*/5 */6 * * *",
            "every 5 minutes, in the hour from 00:00, 06:00, 12:00 and 18:00",
        ),
        ("0 */2 * * *", "every 2 hours from 00:00"),
        (
            "15 */2 * * *",
            "at minute 15, in the hour from 00:00, 02:00",
        ),
        ("0 3 1 * *", "at 03:00, on the 1st of the month"),
        (
            "0 3 1-7,22 * *",
            "at 03:00, on the 1st to the 7th and the 22nd of the month",
        ),
        ("0 3 L * *", "at 03:00, on the last day of the month"),
        (
            "0 3 * * 1#2,5L",
            "at 03:00, on the 2nd Monday of the month and the last Friday of the month",
        ),
        (
            "0 3 13 * fri",
            "at 03:00, on the 13th of the month or on Friday",
        ),
        ("0 3 * 3-5,12 *", "at 03:00, in March to May and December"),
    ] {
        let described = rule(text).describe();
        assert!(described.starts_with(words), "{text}: {described}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_a_rule_panic(text in "\\PC{0,40}|[-0-9*/,?LW#@HhA-Za-z ]{0,30}") {
        let _ = text.parse::<Cron>();
        let _ = kanbu_description(&text);
    }

    #[test]
    fn a_rule_is_the_same_after_its_text_was_stored(text in dialect()) {
        if let Ok(cron) = text.parse::<Cron>() {
            prop_assert_eq!(&cron.to_string().parse::<Cron>().unwrap(), &cron);
            prop_assert_eq!(&text.to_ascii_uppercase().parse::<Cron>().unwrap(), &cron);
            prop_assert!(!cron.describe().is_empty());
        }
    }

    #[test]
    fn ticks_go_forward_in_every_zone(text in dialect(), zone in zones(), seconds in 1_700_000_000_i64..2_000_000_000) {
        if let Ok(cron) = text.parse::<Cron>() {
            let mut after = DateTime::from_timestamp(seconds, 0).unwrap();
            for _ in 0..20 {
                let Some(next) = zone::next(&cron, zone, after) else { break };
                prop_assert!(next > after, "{} came after {}", next, after);
                after = next;
            }
        }
    }
}

fn zones() -> impl Strategy<Value = Tz> {
    prop::sample::select(&chrono_tz::TZ_VARIANTS[..])
}

/// Texts that are rules more often than not.
fn dialect() -> impl Strategy<Value = String> {
    fn field(low: u8, high: u8, words: &'static [&'static str]) -> impl Strategy<Value = String> {
        let item = prop_oneof![
            4 => Just("*".to_owned()),
            3 => (low..=high).prop_map(|value| value.to_string()),
            1 => (low..=high, low..=high).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
            1 => (1..=high).prop_map(|step| format!("*/{step}")),
            1 => (low..=high, 1..=high).prop_map(|(from, step)| format!("{from}/{step}")),
            1 => prop::sample::select(words).prop_map(str::to_owned),
        ];
        prop::collection::vec(item, 1..3).prop_map(|items| items.join(","))
    }
    let day = field(1, 31, &["L", "?"]);
    let month = field(1, 12, &["Jan", "december"]);
    let weekday = field(0, 7, &["mon", "5L", "Tue#2", "?", "fri-sun"]);
    (
        prop::option::of(field(0, 59, &["0"])),
        field(0, 59, &["0"]),
        field(0, 23, &["0"]),
        day,
        month,
        weekday,
    )
        .prop_map(|(second, minute, hour, day, month, weekday)| {
            let second = second.map(|second| second + " ").unwrap_or_default();
            format!("{second}{minute} {hour} {day} {month} {weekday}")
        })
}
