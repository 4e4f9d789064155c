//! What is due, on a clock that the tests set.

use chrono::Timelike;
use chrono_tz::Europe::Amsterdam;
use proptest::prelude::*;

use super::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn plan(cron: &str, catch_up: CatchUp) -> Plan {
    Plan {
        id: ScheduleId::new(),
        cron: cron.parse().unwrap(),
        zone: Tz::UTC,
        catch_up,
        catch_up_limit: 24,
        jitter: Duration::ZERO,
        pause: None,
    }
}

/// What is due, as `hour:minute deed`.
fn told(due: &Due) -> Vec<String> {
    let tick = |tick: &Tick| format!("{} {:?}", tick.at.format("%H:%M"), tick.deed);
    due.ticks.iter().map(tick).collect()
}

#[test]
fn a_tick_within_a_minute_is_in_time_whatever_is_caught_up() {
    for catch_up in CatchUp::ALL {
        let due = plan("0 2 * * *", *catch_up)
            .due(at("2026-06-10T01:00:00Z"), at("2026-06-10T02:01:00Z"));
        assert_eq!(told(&due), ["02:00 Make"], "{catch_up:?}");
        assert_eq!(due.missed, None);
        assert_eq!(due.next, Some(at("2026-06-11T02:00:00Z")));
    }
}

#[test]
fn nothing_is_due_twice() {
    let plan = plan("0 2 * * *", CatchUp::All);
    let due = plan.due(at("2026-06-10T02:00:00Z"), at("2026-06-10T02:00:30Z"));
    assert_eq!(due.ticks, []);
    assert_eq!(due.next, Some(at("2026-06-11T02:00:00Z")));
}

#[test]
fn after_downtime_none_the_latest_or_all_are_made_up_for() {
    let (last, now) = (at("2026-06-10T00:30:00Z"), at("2026-06-10T03:30:00Z"));
    for (catch_up, ticks, made_up) in [
        (CatchUp::None, ["01:00 Skip", "02:00 Skip", "03:00 Skip"], 0),
        (
            CatchUp::Latest,
            ["01:00 Skip", "02:00 Skip", "03:00 MakeUp"],
            1,
        ),
        (
            CatchUp::All,
            ["01:00 MakeUp", "02:00 MakeUp", "03:00 MakeUp"],
            3,
        ),
    ] {
        let due = plan("0 * * * *", catch_up).due(last, now);
        assert_eq!(told(&due), ticks);
        let missed = Missed {
            count: 3,
            more: false,
            first: at("2026-06-10T01:00:00Z"),
            last: at("2026-06-10T03:00:00Z"),
            made_up,
        };
        assert_eq!(due.missed, Some(missed));
    }
}

#[test]
fn a_tick_in_time_makes_up_for_the_latest_late_one() {
    let due = plan("0 * * * *", CatchUp::Latest)
        .due(at("2026-06-10T00:30:00Z"), at("2026-06-10T03:00:10Z"));
    assert_eq!(told(&due), ["01:00 Skip", "02:00 Skip", "03:00 Make"]);
}

#[test]
fn no_more_than_the_limit_is_made_up_for_and_those_are_the_newest() {
    let few = Plan {
        catch_up_limit: 2,
        ..plan("0 * * * *", CatchUp::All)
    };
    let due = few.due(at("2026-06-10T00:30:00Z"), at("2026-06-10T03:30:00Z"));
    assert_eq!(told(&due), ["01:00 Skip", "02:00 MakeUp", "03:00 MakeUp"]);
}

#[test]
fn a_year_ahead_is_one_job_and_bounded_work() {
    let (last, now) = (at("2026-06-10T00:00:00Z"), at("2027-06-10T00:30:00Z"));
    let daily = plan("0 2 * * *", CatchUp::Latest).due(last, now);
    assert_eq!(daily.ticks.len(), 365);
    assert_eq!(
        daily
            .ticks
            .iter()
            .filter(|tick| tick.deed != Deed::Skip)
            .count(),
        1
    );
    assert_eq!(daily.ticks[364].at, at("2027-06-09T02:00:00Z"));

    // Thirty million late ticks, of which the newest are looked at.
    let missed = plan("* * * * * *", CatchUp::None)
        .due(last, now)
        .missed
        .unwrap();
    assert!(
        missed.more && (1..=1000).contains(&missed.count),
        "{missed:?}"
    );
    assert_eq!(missed.last, now - TimeDelta::seconds(61));

    // All of them on days that lie far back.
    let seldom = plan("* * * 1-20 7 *", CatchUp::Latest).due(last, now);
    let newest = seldom.ticks.last().unwrap();
    assert_eq!(
        (newest.at, newest.deed),
        (at("2026-07-20T23:59:59Z"), Deed::MakeUp)
    );
}

#[test]
fn a_clock_that_was_put_back_makes_nothing_and_goes_on_from_there() {
    let plan = plan("0 2 * * *", CatchUp::All);
    let due = plan.due(at("2027-06-10T00:00:00Z"), at("2026-06-10T00:00:00Z"));
    assert_eq!((due.ticks, due.missed), (Vec::new(), None));
    assert_eq!(due.next, Some(at("2026-06-10T02:00:00Z")));
}

#[test]
fn a_pause_has_no_ticks_and_what_falls_into_it_is_not_made_up_for() {
    let until = at("2026-06-10T02:30:00Z");
    let paused = |until| Plan {
        pause: Some(Pause { until }),
        ..plan("0 * * * *", CatchUp::All)
    };
    let last = at("2026-06-10T00:30:00Z");
    let during = paused(Some(until)).due(last, at("2026-06-10T01:30:00Z"));
    assert_eq!(
        (during.ticks.len(), during.next),
        (0, Some(at("2026-06-10T03:00:00Z")))
    );
    let after = paused(Some(until)).due(last, at("2026-06-10T03:30:00Z"));
    assert_eq!(told(&after), ["03:00 MakeUp"]);
    let endless = paused(None).due(last, at("2026-06-10T03:30:00Z"));
    assert_eq!((endless.ticks.len(), endless.next), (0, None));
}

#[test]
fn jitter_is_the_same_for_all_who_ask_and_differs_from_tick_to_tick() {
    let shaken = Plan {
        jitter: Duration::from_mins(10),
        ..plan("0 2 * * *", CatchUp::Latest)
    };
    let ticks: Vec<_> = shaken
        .ticks_after(at("2026-06-10T00:00:00Z"))
        .take(100)
        .collect();
    let delays: Vec<_> = ticks
        .iter()
        .map(|tick| shaken.run_at(*tick) - tick)
        .collect();
    assert!(
        delays
            .iter()
            .all(|delay| *delay >= TimeDelta::zero() && *delay < TimeDelta::minutes(10))
    );
    assert!(
        delays.iter().max().unwrap() > &TimeDelta::minutes(8),
        "{delays:?}"
    );
    assert!(
        delays.iter().min().unwrap() < &TimeDelta::minutes(2),
        "{delays:?}"
    );
    let again: Vec<_> = ticks
        .iter()
        .map(|tick| shaken.clone().run_at(*tick) - tick)
        .collect();
    assert_eq!(delays, again);
}

#[test]
fn a_fixed_hour_fires_once_when_the_clocks_change() {
    let nightly = Plan {
        zone: Amsterdam,
        ..plan("30 2 * * *", CatchUp::Latest)
    };
    let spring: Vec<_> = nightly
        .ticks_after(at("2026-03-28T12:00:00Z"))
        .take(2)
        .collect();
    assert_eq!(
        spring,
        [at("2026-03-29T01:00:00Z"), at("2026-03-30T00:30:00Z")]
    );
    let autumn: Vec<_> = nightly
        .ticks_after(at("2026-10-24T12:00:00Z"))
        .take(2)
        .collect();
    assert_eq!(
        autumn,
        [at("2026-10-25T00:30:00Z"), at("2026-10-26T01:30:00Z")]
    );
}

#[test]
fn a_wildcard_in_the_hour_follows_the_time_that_elapses() {
    let hourly = Plan {
        zone: Amsterdam,
        ..plan("0 * * * *", CatchUp::Latest)
    };
    for start in ["2026-03-28T20:00:00Z", "2026-10-24T20:00:00Z"] {
        let ticks: Vec<_> = hourly.ticks_after(at(start)).take(12).collect();
        for pair in ticks.windows(2) {
            assert_eq!(pair[1] - pair[0], TimeDelta::hours(1));
            assert_eq!(pair[0].minute(), 0);
        }
    }
}

proptest! {
    // Each of them asks a rule for thousands of ticks.
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// However looks fall, every tick is in exactly one of them.
    #[test]
    fn looks_at_any_times_find_every_tick_once(
        steps in prop::collection::vec(0_i64..100_000_000, 1..40),
        cron in prop::sample::select(&["* * * * * *", "*/7 * * * * *", "* * * * *", "5,50 */2 * * *"][..]),
    ) {
        let plan = Plan { zone: Amsterdam, ..plan(cron, CatchUp::All) };
        let start = at("2026-10-25T00:59:30.25Z");
        let mut last = start;
        let mut found = Vec::new();
        for step in steps {
            let now = last + TimeDelta::microseconds(step);
            found.extend(plan.due(last, now).ticks.into_iter().map(|tick| tick.at));
            last = now;
        }
        let all: Vec<_> = plan.ticks_after(start).take_while(|tick| *tick <= last).collect();
        prop_assert_eq!(found, all);
    }
}
