//! Ten years of ticks against another implementation: Python's cronsim, and the standard library's zones.
//!
//! The reference applies our rule about changing clocks to whole sets of local times (tests/support/cron/reference.py says
//! what of it is cronsim's own and what isn't); the product goes from tick to tick.

use std::{fs, path::Path, time::Duration};

use chrono::{DateTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use kanbu_backup::{
    pg::process::Program,
    schedule::{Draft, Plan},
};
use serde_json::json;

const ZONES: [&str; 5] = [
    "Europe/Amsterdam",
    "America/New_York",
    "Australia/Lord_Howe",
    "Africa/Cairo",
    "Asia/Kathmandu",
];

/// Rules for the whole time: fixed hours, lists, ranges, days of all sorts, and hours that float.
const RULES: [&str; 17] = [
    "30 2 * * *",
    "0 0 * * *",
    "15 1-3 * * *",
    "5,10,50 2,3 * * *",
    "0 2,14 * * mon-fri",
    "30 1 * * 0",
    "0 3 1 * *",
    "0 12 L * *",
    "0 4 * * 5L",
    "0 4 * * 1#2",
    "0 5 13 * 5",
    "0 0 29 2 *",
    "45 23 31 12 *",
    "10 2 1-7 3,10,11 7",
    "0 * * * *",
    "30 */2 * * *",
    "0 1-23/2 * * *",
];

/// Rules for the days around every change of the clocks.
const DENSE: [&str; 5] = [
    "* * * * *",
    "*/15 2 * * *",
    "*/20 */5 1-3 * * *",
    "17,47 */5 * * * *",
    "* 0-3 * * *",
];

/// Rules that cronsim sees as we do, zones included.
const ALIKE: [&str; 4] = [
    "30 2 * * *",
    "0 0 * * *",
    "0 2,14 * * mon-fri",
    "*/30 * * * *",
];

fn year(year: i32) -> DateTime<Utc> {
    Utc.with_ymd_and_hms(year, 1, 1, 0, 0, 0).unwrap()
}

#[derive(Clone, Debug)]
struct Case {
    rule: &'static str,
    zone: Tz,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    own: bool,
}

impl Case {
    fn decade(rule: &'static str, zone: Tz, own: bool) -> Self {
        Self {
            rule,
            zone,
            from: year(2024),
            to: year(2034),
            own,
        }
    }

    fn ticks(&self) -> Vec<i64> {
        let subject = "database:any".parse().unwrap();
        let draft = Draft::of("any", subject, self.rule.parse().unwrap(), self.zone);
        let ticks = Plan::of(&draft);
        let ticks = ticks.ticks_after(self.from);
        ticks
            .take_while(|tick| *tick <= self.to)
            .map(|tick| tick.timestamp())
            .collect()
    }

    fn asked(&self) -> serde_json::Value {
        json!({
            "rule": self.rule, "zone": self.zone.name(), "own": self.own,
            "from": self.from.timestamp(), "to": self.to.timestamp(),
        })
    }
}

/// The days around every change of a zone's clocks in ten years.
fn changes(zone: Tz) -> Vec<(DateTime<Utc>, DateTime<Utc>)> {
    let offset = |at: DateTime<Utc>| at.with_timezone(&zone).offset().fix();
    let hours = std::iter::successors(Some(year(2024)), |at| Some(*at + TimeDelta::hours(1)));
    hours
        .take_while(|at| *at < year(2034))
        .filter(|at| offset(*at) != offset(*at + TimeDelta::hours(1)))
        .map(|at| (at - TimeDelta::hours(20), at + TimeDelta::hours(20)))
        .collect()
}

/// Compares all cases; answers how many ticks there were.
async fn compare(cases: Vec<Case>) -> usize {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tools = root.join("target/test-tools");
    let python = tools.join("cron/bin/python");
    assert!(
        python.exists(),
        "the other implementation is not installed: run tests/support/cron-reference"
    );
    let directory = tempfile::tempdir_in(tools).unwrap();
    let asked: Vec<_> = cases.iter().map(Case::asked).collect();
    let file = directory.path().join("cases.json");
    fs::write(&file, serde_json::to_vec(&asked).unwrap()).unwrap();
    let reference = Program::new(&python)
        .arg(root.join("tests/support/cron/reference.py"))
        .arg(&file)
        // The zones of the package and not the machine's.
        .env("PYTHONTZPATH", "");
    let answer = reference.run(512 << 20, Duration::from_mins(8));
    let ours = tokio::task::spawn_blocking({
        let cases = cases.clone();
        move || cases.iter().map(Case::ticks).collect::<Vec<_>>()
    });
    let (answer, ours) = (answer.await.unwrap(), ours.await.unwrap());
    let answer = String::from_utf8(answer).unwrap();
    assert_eq!(answer.lines().count(), cases.len());
    let mut count = 0;
    for ((case, ours), line) in cases.iter().zip(&ours).zip(answer.lines()) {
        let theirs: Vec<i64> = serde_json::from_str(line).unwrap();
        let differs = ours
            .iter()
            .zip(&theirs)
            .find(|(ours, theirs)| ours != theirs);
        let local = |seconds: &i64| {
            DateTime::from_timestamp(*seconds, 0)
                .unwrap()
                .with_timezone(&case.zone)
        };
        if let Some((ours, theirs)) = differs {
            panic!(
                "{case:?}: the product says {}, the reference {}",
                local(ours),
                local(theirs)
            );
        }
        assert_eq!(ours.len(), theirs.len(), "{case:?}");
        count += ours.len();
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_years_of_ticks_are_those_of_another_implementation_in_five_zones() {
    let mut cases = Vec::new();
    for zone in ZONES {
        let zone: Tz = zone.parse().unwrap();
        cases.extend(RULES.map(|rule| Case::decade(rule, zone, false)));
    }
    let count = compare(cases).await;
    println!("{count} ticks are the same");
    assert!(count > 1_000_000, "{count}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_days_of_every_change_of_the_clocks_have_the_ticks_of_another_implementation() {
    let mut cases = Vec::new();
    let mut days = 0;
    for zone in ZONES {
        let zone: Tz = zone.parse().unwrap();
        for (from, to) in changes(zone) {
            days += 1;
            cases.extend(DENSE.map(|rule| Case {
                from,
                to,
                ..Case::decade(rule, zone, false)
            }));
        }
    }
    // Twice a year in four of the zones; Kathmandu never changes.
    assert_eq!(days, 80);
    let count = compare(cases).await;
    println!("{count} ticks around {days} changes are the same");
    assert!(count > 250_000, "{count}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_cronsim_has_our_rule_its_own_zones_agree() {
    let mut cases = Vec::new();
    for zone in ["Europe/Amsterdam", "America/New_York", "Asia/Kathmandu"] {
        let zone: Tz = zone.parse().unwrap();
        cases.extend(ALIKE.map(|rule| Case {
            to: year(2026),
            ..Case::decade(rule, zone, true)
        }));
    }
    let count = compare(cases).await;
    assert!(count > 100_000, "{count}");
}
