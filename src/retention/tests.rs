//! Every promise of docs/retention.md, for histories and policies that nobody thought of; and the quirks of Kanbu's rule
//! (R1 to R18 of its contract), each by name.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use chrono::{DateTime, Datelike, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::id::ArtifactId;

const AMSTERDAM: Tz = chrono_tz::Europe::Amsterdam;
const ZONES: [Tz; 4] = [
    AMSTERDAM,
    chrono_tz::UTC,
    chrono_tz::America::New_York,
    chrono_tz::Australia::Lord_Howe,
];

fn id(number: usize) -> ArtifactId {
    Uuid::from_u128(0x0189_0a5d_ac96_774b_bcce_b302_0000_0000 + number as u128).into()
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// A good backup of the schedule itself that nothing is the matter with.
fn good(number: usize, at: DateTime<Utc>) -> Candidate {
    Candidate {
        id: id(number),
        at: Some(at),
        bytes: 1,
        condition: Condition::Good,
        is_own: true,
        pinned: false,
        in_use: false,
        held_by: None,
        raised_alarm: false,
    }
}

fn proven(number: usize, at: DateTime<Utc>) -> Candidate {
    Candidate {
        condition: Condition::Proven,
        ..good(number, at)
    }
}

/// One after the other, all proven, so that nothing but the policy matters.
fn series(from: &str, every: TimeDelta, count: i32) -> Vec<Candidate> {
    let from = at(from);
    let instants = (0..count).map(|number| from + every * number);
    (0..).zip(instants).map(|(n, at)| proven(n, at)).collect()
}

fn none() -> Policy {
    Policy {
        keep_last: 0,
        ..Policy::of_kanbu(30, 0, 0, 0)
    }
}

fn kept(plan: &Plan) -> BTreeSet<ArtifactId> {
    plan.kept.iter().map(|kept| kept.id).collect()
}

fn reasons(plan: &Plan, id: ArtifactId) -> &[KeepReason] {
    let kept = plan.kept.iter().find(|kept| kept.id == id);
    kept.map_or(&[], |kept| &kept.reasons)
}

fn instants(candidates: &[Candidate], plan: &Plan) -> Vec<String> {
    let kept = kept(plan);
    let of = candidates.iter().filter(|c| kept.contains(&c.id));
    of.map(|c| c.at.unwrap().format("%F %R").to_string())
        .collect()
}

fn left(candidates: &[Candidate], plan: &Plan) -> Vec<Candidate> {
    let gone = |c: &&Candidate| plan.expires(c.id).is_none();
    candidates.iter().filter(gone).cloned().collect()
}

/// The rule performed after each of the backups, as a scheduler does.
fn performed_each_time(
    all: &[Candidate],
    mut go: impl FnMut(&[Candidate], DateTime<Utc>) -> HashSet<ArtifactId>,
) -> Vec<Candidate> {
    let mut there: Vec<Candidate> = Vec::new();
    for candidate in all {
        there.push(candidate.clone());
        let gone = go(&there, candidate.at.unwrap() + TimeDelta::minutes(1));
        there.retain(|c| !gone.contains(&c.id));
    }
    there
}

mod quirks {
    use super::*;

    #[test]
    fn r1_an_hourly_schedule_keeps_one_of_each_day_and_not_the_last_hours() {
        let hourly = series("2026-03-01T00:30:00Z", TimeDelta::hours(1), 24 * 20);
        let policy = Policy {
            keep_daily: 7,
            ..none()
        };
        let plan = plan(&hourly, &policy, chrono_tz::UTC, at("2026-03-20T23:45:00Z"));
        let days: Vec<String> = (14..=20).map(|d| format!("2026-03-{d} 23:30")).collect();
        assert_eq!(instants(&hourly, &plan), days);

        let kanbu = KanbuRule {
            retention_days: 30,
            keep_daily: 7,
            keep_weekly: 4,
            keep_monthly: 3,
        };
        let old = performed_each_time(&hourly, |there, now| kanbu.deletes(there, now));
        let newest = hourly.last().unwrap().at.unwrap();
        let of_last_day = old
            .iter()
            .filter(|c| newest - c.at.unwrap() < TimeDelta::hours(10));
        assert!(of_last_day.count() >= 7, "Kanbu's rule kept {old:?}");
    }

    #[test]
    fn r2_a_closed_period_never_changes_its_representative() {
        let daily = series("2026-01-01T02:00:00Z", TimeDelta::days(1), 200);
        let policy = Policy {
            keep_weekly: 60,
            keep_monthly: 12,
            daily_max_age_days: None,
            ..none()
        };
        let newest_of_january = daily[30].id;
        for now in [at("2026-02-01T03:00:00Z"), at("2026-07-01T03:00:00Z")] {
            let there: Vec<_> = daily
                .iter()
                .filter(|c| c.at.unwrap() < now)
                .cloned()
                .collect();
            let plan = plan(&there, &policy, AMSTERDAM, now);
            let of_month = reasons(&plan, newest_of_january).iter().any(|reason| {
                matches!(
                    reason,
                    KeepReason::Newest {
                        period: Period::Month,
                        ..
                    }
                )
            });
            assert!(of_month, "{now}: {plan:?}");
        }
    }

    #[test]
    fn r3_buckets_are_independent_and_one_backup_may_be_in_several() {
        let daily = series("2026-01-01T02:00:00Z", TimeDelta::days(1), 120);
        let plan = plan(
            &daily,
            &Policy::default(),
            AMSTERDAM,
            at("2026-04-30T02:30:00Z"),
        );
        let expected = [
            "2026-02-28 02:00", // month
            "2026-03-31 02:00", // month
            "2026-04-12 02:00", // week
            "2026-04-19 02:00", // week
            "2026-04-24 02:00",
            "2026-04-25 02:00",
            "2026-04-26 02:00", // day and week
            "2026-04-27 02:00",
            "2026-04-28 02:00",
            "2026-04-29 02:00",
            "2026-04-30 02:00", // last, day, week, month
        ];
        assert_eq!(instants(&daily, &plan), expected);
        assert_eq!(reasons(&plan, daily[115].id).len(), 2);
        let newest = reasons(&plan, daily[119].id);
        assert_eq!(
            newest
                .iter()
                .filter(|reason| !reason.is_protection())
                .count(),
            4
        );

        let kanbu = KanbuRule {
            retention_days: 30,
            keep_daily: 7,
            keep_weekly: 4,
            keep_monthly: 3,
        };
        let old = performed_each_time(&daily, |there, now| kanbu.deletes(there, now));
        let oldest = old.first().unwrap().at.unwrap();
        let age = daily.last().unwrap().at.unwrap() - oldest;
        assert_eq!((old.len(), age.num_days()), (12, 19), "as measured there");
    }

    #[test]
    fn r4_the_months_are_exempt_from_the_age_of_days_and_weeks() {
        let monthly: Vec<_> = (1..=6)
            .map(|month| {
                let at = Utc.with_ymd_and_hms(2026, month, 1, 3, 0, 0).unwrap();
                proven(month as usize, at)
            })
            .collect();
        let now = at("2026-06-01T03:30:00Z");
        let plan = plan(&monthly, &Policy::default(), AMSTERDAM, now);
        assert_eq!(plan.kept.len(), 3);
        let kanbu = KanbuRule {
            retention_days: 30,
            keep_daily: 7,
            keep_weekly: 4,
            keep_monthly: 3,
        };
        assert_eq!(
            kanbu.deletes(&monthly, now).len(),
            5,
            "Kanbu's keeps one of them"
        );
    }

    #[test]
    fn r6_a_policy_never_touches_the_backups_of_another_schedule() {
        let hourly = series("2026-03-01T00:30:00Z", TimeDelta::hours(1), 24 * 60);
        let others = |c: &Candidate| c.at.unwrap().format("%H").to_string() == "02";
        let all: Vec<_> = hourly
            .iter()
            .map(|c| Candidate {
                is_own: !others(c),
                ..c.clone()
            })
            .collect();
        let strict = Policy {
            keep_daily: 1,
            keep_weekly: 1,
            keep_monthly: 1,
            daily_max_age_days: Some(1),
            ..none()
        };
        let plan = plan(&all, &strict, AMSTERDAM, at("2026-04-30T00:00:00Z"));
        assert_eq!(plan.kept.len() + plan.expired.len(), 24 * 60 - 60);
        let foreign: HashSet<_> = all.iter().filter(|c| !c.is_own).map(|c| c.id).collect();
        assert!(plan.expired.iter().all(|e| !foreign.contains(&e.id)));
    }

    #[test]
    fn r9_the_iso_week_over_new_year_is_one_week() {
        // Monday 28 December 2026 to Sunday 3 January 2027 is week 53 of 2026.
        let daily = series("2026-12-28T12:00:00Z", TimeDelta::days(1), 8);
        let policy = Policy {
            keep_weekly: 10,
            daily_max_age_days: None,
            ..none()
        };
        let plan = plan(&daily, &policy, AMSTERDAM, at("2027-01-04T13:00:00Z"));
        assert_eq!(
            instants(&daily, &plan),
            ["2027-01-03 12:00", "2027-01-04 12:00"]
        );
    }

    #[test]
    fn r10_a_day_is_a_day_of_the_calendar_whatever_summer_time_does() {
        // The clocks went forward on 29 March, so that this night has 23 hours and 00:30 is 22:30 of the day before in UTC.
        let backups = [
            proven(0, at("2026-03-27T23:30:00Z")), // Saturday 00:30
            proven(1, at("2026-03-28T23:30:00Z")), // Sunday 00:30
            proven(2, at("2026-03-29T21:59:00Z")), // Sunday 23:59
            proven(3, at("2026-03-29T22:30:00Z")), // Monday 00:30
        ];
        let policy = Policy {
            keep_daily: 9,
            daily_max_age_days: Some(1),
            ..none()
        };
        let of = |now| {
            let there: Vec<_> = backups
                .iter()
                .filter(|c| c.at.unwrap() <= at(now))
                .cloned()
                .collect();
            instants(&there, &plan(&there, &policy, AMSTERDAM, at(now)))
        };
        // On Sunday Saturday is one day ago; on Monday it is two, although it is less than 48 hours since.
        assert_eq!(
            of("2026-03-29T21:59:30Z"),
            ["2026-03-27 23:30", "2026-03-29 21:59"]
        );
        assert_eq!(
            of("2026-03-29T22:45:00Z"),
            ["2026-03-29 21:59", "2026-03-29 22:30"]
        );
    }

    #[test]
    fn r10_the_hour_that_is_repeated_is_two_hours() {
        let backups = [
            proven(0, at("2026-10-25T00:30:00Z")), // 02:30, summer time
            proven(1, at("2026-10-25T01:30:00Z")), // 02:30 again
        ];
        let policy = Policy {
            keep_hourly: 2,
            ..none()
        };
        let plan = plan(&backups, &policy, AMSTERDAM, at("2026-10-25T02:00:00Z"));
        assert_eq!(plan.kept.len(), 2);
    }

    #[test]
    fn r11_a_backup_that_nobody_knows_the_time_of_is_held_and_shown() {
        let mut backups = series("2026-03-01T02:00:00Z", TimeDelta::days(1), 5);
        backups[0].at = None;
        let plan = plan(&backups, &none(), AMSTERDAM, at("2026-03-06T00:00:00Z"));
        assert_eq!(
            reasons(&plan, backups[0].id),
            [KeepReason::UnknownInstant],
            "{plan:?}"
        );
        assert_eq!(plan.expired.len(), 3);
    }

    #[test]
    fn r12_the_newest_proven_backup_outlives_every_policy() {
        let mut backups = series("2020-01-01T02:00:00Z", TimeDelta::days(1), 3);
        backups[2].condition = Condition::Good;
        let strictest = Policy {
            max_age_days: Some(0),
            max_total_bytes: Some(0),
            min_proven: 0,
            ..none()
        };
        let plan = plan(&backups, &strictest, AMSTERDAM, at("2026-01-01T00:00:00Z"));
        assert_eq!(reasons(&plan, backups[1].id), [KeepReason::NewestProven]);
        assert_eq!(
            reasons(&plan, backups[2].id),
            [KeepReason::NewestStored, KeepReason::NothingNewerProven]
        );
        assert_eq!(plan.expired.len(), 1);
    }

    #[test]
    fn r14_a_bad_backup_stands_for_nothing_and_holds_the_subject_while_it_is_the_newest() {
        let mut backups = series("2026-03-01T02:00:00Z", TimeDelta::hours(8), 30);
        backups[28].condition = Condition::Bad;
        let policy = Policy {
            keep_daily: 1,
            ..none()
        };
        let now = at("2026-03-11T00:00:00Z");
        let of_last_day = plan(&backups, &policy, chrono_tz::UTC, now);
        assert_eq!(
            of_last_day.expires(backups[28].id),
            Some(&ExpireReason::Bad)
        );

        backups[29].condition = Condition::Bad;
        let held = plan(&backups, &policy, chrono_tz::UTC, now);
        let newest = backups[29].id;
        assert_eq!(held.held, Some(HoldReason::NewestIsBad { newest }));
        assert_eq!((held.kept.len(), held.expired.len()), (30, 0));
    }

    #[test]
    fn r15_a_backup_from_the_future_is_held_and_displaces_nobody() {
        let mut backups = series("2026-03-01T02:00:00Z", TimeDelta::days(1), 5);
        backups.push(proven(9, at("2031-01-01T00:00:00Z")));
        let policy = Policy {
            keep_daily: 2,
            ..none()
        };
        let plan = plan(&backups, &policy, AMSTERDAM, at("2026-03-05T03:00:00Z"));
        assert_eq!(reasons(&plan, id(9)), [KeepReason::InTheFuture]);
        assert_eq!(
            instants(&backups, &plan),
            ["2026-03-04 02:00", "2026-03-05 02:00", "2031-01-01 00:00"]
        );
        assert!(reasons(&plan, backups[4].id).contains(&KeepReason::NewestProven));
    }

    #[test]
    fn r16_what_is_previewed_with_the_next_backup_is_what_its_prune_then_does() {
        let backups = series("2026-03-01T02:00:00Z", TimeDelta::days(1), 10);
        let policy = Policy {
            keep_daily: 3,
            ..none()
        };
        let then = at("2026-03-11T02:00:00Z");
        let with_next: Vec<_> = backups.iter().cloned().chain([good(10, then)]).collect();
        let without = plan(&backups, &policy, AMSTERDAM, then);
        let with = plan(&with_next, &policy, AMSTERDAM, then);
        assert_eq!(with.expired.len(), without.expired.len() + 1);
    }
}

#[test]
fn a_content_alarm_that_nobody_acknowledged_holds_the_whole_subject() {
    let mut backups = series("2026-03-01T02:00:00Z", TimeDelta::days(1), 10);
    backups[6].held_by = Some(backups[7].id);
    backups[7].raised_alarm = true;
    let now = at("2026-03-11T00:00:00Z");
    let plan_of = |backups: &[Candidate]| plan(backups, &none(), AMSTERDAM, now);
    let held = plan_of(&backups);
    let alarm = backups[7].id;
    assert_eq!(held.held, Some(HoldReason::Alarm { alarm }));
    assert!(held.expired.is_empty());
    assert!(reasons(&held, backups[6].id).contains(&KeepReason::HeldByAlarm { alarm }));
    backups[6].held_by = None;
    backups[7].raised_alarm = false;
    assert_eq!(plan_of(&backups).expired.len(), 9);
}

#[test]
fn an_expired_backup_names_the_one_that_stands_for_it() {
    let backups = series("2026-03-01T02:00:00Z", TimeDelta::hours(8), 6);
    let policy = Policy {
        keep_daily: 2,
        ..none()
    };
    let plan = plan(
        &backups,
        &policy,
        chrono_tz::UTC,
        at("2026-03-02T23:00:00Z"),
    );
    let reason = plan.expires(backups[0].id).unwrap();
    let instead = Some(backups[2].id);
    assert_eq!(*reason, ExpireReason::Unneeded { instead });
    assert_eq!(
        reason.to_string(),
        format!("no rule keeps it, {} stands for it", backups[2].id.short())
    );
}

#[test]
fn the_oldest_unprotected_go_until_the_rest_fits() {
    let mut backups = series("2026-03-01T02:00:00Z", TimeDelta::days(1), 10);
    for backup in &mut backups {
        backup.bytes = 10;
    }
    backups[0].pinned = true;
    let policy = Policy {
        max_total_bytes: Some(35),
        ..Policy::everything(None)
    };
    let plan = plan(&backups, &policy, AMSTERDAM, at("2026-03-11T00:00:00Z"));
    assert_eq!(
        instants(&backups, &plan),
        ["2026-03-01 02:00", "2026-03-09 02:00", "2026-03-10 02:00"]
    );
}

#[test]
fn of_an_imported_schedule_only_what_both_rules_let_go_goes_in_the_first_cycle() {
    let hourly = series("2026-03-01T00:30:00Z", TimeDelta::hours(1), 24 * 40);
    let rule = KanbuRule {
        retention_days: 30,
        keep_daily: 7,
        keep_weekly: 4,
        keep_monthly: 3,
    };
    let now = at("2026-04-10T00:00:00Z");
    let new = plan(&hourly, &rule.policy(), AMSTERDAM, now);
    let old = rule.deletes(&hourly, now);
    let first = first_cycle(new.clone(), &rule, &hourly);
    let of = |plan: &Plan| plan.expired.iter().map(|e| e.id).collect::<HashSet<_>>();
    let both: HashSet<_> = of(&new).intersection(&old).copied().collect();
    assert_eq!(of(&first), both);
    assert!(of(&new).len() > both.len(), "nothing was spared");
    assert_eq!(first.kept.len() + first.expired.len(), hourly.len());
}

/// The goal of docs/benchmarks.md is measured there; here the size is asserted and the time told.
#[test]
fn a_hundred_thousand_backups_are_planned() {
    let hourly = series("2015-01-01T00:30:00Z", TimeDelta::hours(1), 100_000);
    let policy = Policy {
        keep_last: 10,
        keep_hourly: 48,
        keep_daily: 30,
        keep_weekly: 12,
        keep_monthly: 24,
        keep_yearly: 10,
        max_total_bytes: Some(90),
        ..Policy::default()
    };
    let begun = std::time::Instant::now();
    let plan = plan(&hourly, &policy, AMSTERDAM, at("2026-06-01T00:00:00Z"));
    println!("100000 backups were planned in {:?}", begun.elapsed());
    assert_eq!(plan.kept.len() + plan.expired.len(), 100_000);
    assert_eq!(plan.kept.len(), 90);
}

// From here on: any history, any policy, any zone.

const BEGIN: i64 = 1_767_225_600; // 2026-01-01
const MINUTES: i64 = 3 * 366 * 24 * 60;

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        1 => Just(Condition::Bad),
        4 => Just(Condition::Good),
        3 => Just(Condition::Proven),
    ]
}

prop_compose! {
    fn candidate()(
        // Some at the same instant, some years apart.
        minutes in prop_oneof![0..MINUTES, (0..MINUTES / 700).prop_map(|n| n * 700), Just(60_000_i64)],
        is_dated in prop::bool::weighted(0.97),
        bytes in 0_u64..1000,
        condition in condition(),
        is_own in prop::bool::weighted(0.8),
        pinned in prop::bool::weighted(0.05),
        in_use in prop::bool::weighted(0.05),
    ) -> Candidate {
        Candidate {
            at: is_dated.then(|| DateTime::from_timestamp(BEGIN + minutes * 60, 0).unwrap()),
            bytes,
            condition,
            is_own,
            pinned,
            in_use,
            ..good(0, DateTime::UNIX_EPOCH)
        }
    }
}

fn history() -> impl Strategy<Value = Vec<Candidate>> {
    let alarm = prop::option::weighted(0.1, any::<prop::sample::Index>());
    let dense = prop::bool::weighted(0.3);
    (prop::collection::vec(candidate(), 0..60), alarm, dense).prop_map(|(mut all, alarm, dense)| {
        for (number, candidate) in all.iter_mut().enumerate() {
            candidate.id = id(number);
            if dense {
                // Several a day, so that periods are crowded.
                let hours = i64::try_from(number).unwrap() * 7;
                candidate.at = DateTime::from_timestamp(BEGIN + hours * 3600, 0);
            }
        }
        if let (Some(alarm), true) = (alarm, all.len() > 1) {
            let at = alarm.index(all.len() - 1);
            all[at].held_by = Some(all[at + 1].id);
            all[at + 1].raised_alarm = true;
        }
        all
    })
}

prop_compose! {
    fn policy_without_bytes()(
        keep_last in 0_u32..5, keep_hourly in 0_u32..5, keep_daily in 0_u32..10, keep_weekly in 0_u32..6,
        keep_monthly in 0_u32..6, keep_yearly in 0_u32..3,
        daily_max_age_days in prop::option::of(0_u32..120),
        max_age_days in prop::option::weighted(0.3, 0_u32..900),
        min_proven in 0_u32..4,
    ) -> Policy {
        Policy {
            keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly, daily_max_age_days,
            max_age_days, max_total_bytes: None, min_proven,
        }
    }
}

fn policy() -> impl Strategy<Value = Policy> {
    let bytes = prop::option::weighted(0.3, 0_u64..20_000);
    (policy_without_bytes(), bytes).prop_map(|(policy, max_total_bytes)| Policy {
        max_total_bytes,
        ..policy
    })
}

fn instant() -> impl Strategy<Value = DateTime<Utc>> {
    (0..MINUTES + 100_000).prop_map(|n| DateTime::from_timestamp(BEGIN + n * 60, 0).unwrap())
}

fn zone() -> impl Strategy<Value = Tz> {
    prop::sample::select(ZONES.to_vec())
}

/// The past ones, the newest first, by the order that docs/retention.md tells.
fn past(all: &[Candidate], as_of: DateTime<Utc>) -> Vec<&Candidate> {
    let mut past: Vec<_> = all
        .iter()
        .filter(|c| c.at.is_some_and(|at| at <= as_of))
        .collect();
    past.sort_by_key(|c| std::cmp::Reverse((c.at, c.id)));
    past
}

/// Written anew, as text: what tells one period from another.
fn label(period: Period, at: DateTime<Utc>, zone: Tz) -> String {
    let local = at.with_timezone(&zone);
    match period {
        Period::Hour => local.format("%F %H %z").to_string(),
        Period::Day => local.format("%F").to_string(),
        Period::Week => local.format("%G-W%V").to_string(),
        Period::Month => local.format("%Y-%m").to_string(),
        Period::Year => local.format("%Y").to_string(),
    }
}

fn larger(policy: &Policy, by: &[u32; 6], lift: [bool; 2], more_proven: u32) -> Policy {
    Policy {
        keep_last: policy.keep_last + by[0],
        keep_hourly: policy.keep_hourly + by[1],
        keep_daily: policy.keep_daily + by[2],
        keep_weekly: policy.keep_weekly + by[3],
        keep_monthly: policy.keep_monthly + by[4],
        keep_yearly: policy.keep_yearly + by[5],
        daily_max_age_days: policy
            .daily_max_age_days
            .filter(|_| !lift[0])
            .map(|days| days + by[0]),
        max_age_days: policy
            .max_age_days
            .filter(|_| !lift[1])
            .map(|days| days + by[1]),
        max_total_bytes: policy.max_total_bytes,
        min_proven: policy.min_proven + more_proven,
    }
}

proptest! {
    #[test]
    fn every_own_backup_is_in_exactly_one_list_and_no_other_is_in_any(
        all in history(), policy in policy(), zone in zone(), as_of in instant()
    ) {
        let plan = plan(&all, &policy, zone, as_of);
        let mut listed: Vec<_> = plan.kept.iter().map(|k| k.id).chain(plan.expired.iter().map(|e| e.id)).collect();
        listed.sort();
        let own: Vec<_> = all.iter().filter(|c| c.is_own).map(|c| c.id).collect();
        prop_assert_eq!(listed, own);
    }

    #[test]
    fn everything_kept_and_everything_expired_is_explained(
        all in history(), policy in policy(), zone in zone(), as_of in instant()
    ) {
        let plan = plan(&all, &policy, zone, as_of);
        for kept in &plan.kept {
            prop_assert!(!kept.reasons.is_empty());
            prop_assert!(kept.reasons.iter().all(|reason| !reason.to_string().is_empty()));
        }
        let stays = kept(&plan);
        for expired in &plan.expired {
            if let ExpireReason::Unneeded { instead: Some(instead) } = expired.reason {
                prop_assert!(instead != expired.id, "a backup stands for itself");
                let limited = policy.max_age_days.is_some() || policy.max_total_bytes.is_some();
                prop_assert!(limited || stays.contains(&instead));
            }
        }
    }

    #[test]
    fn pinned_used_held_undated_and_future_backups_never_expire(
        all in history(), policy in policy(), zone in zone(), as_of in instant()
    ) {
        let plan = plan(&all, &policy, zone, as_of);
        for c in &all {
            let is_protected = c.pinned || c.in_use || c.held_by.is_some() || c.at.is_none_or(|at| at > as_of);
            prop_assert!(!is_protected || plan.expires(c.id).is_none(), "{:?}", c);
        }
    }

    #[test]
    fn nothing_expires_while_a_content_alarm_holds_or_the_newest_is_bad(
        all in history(), policy in policy(), zone in zone(), as_of in instant()
    ) {
        let plan = plan(&all, &policy, zone, as_of);
        let newest_is_bad = past(&all, as_of).first().is_some_and(|c| c.condition == Condition::Bad);
        let is_held = newest_is_bad || all.iter().any(|c| c.raised_alarm);
        prop_assert_eq!(plan.held.is_some(), is_held);
        prop_assert!(!is_held || plan.expired.is_empty());
    }

    #[test]
    fn only_what_is_older_than_a_proven_backup_expires(
        all in history(), policy in policy(), zone in zone(), as_of in instant()
    ) {
        let plan = plan(&all, &policy, zone, as_of);
        let proven = past(&all, as_of).into_iter().find(|c| c.condition == Condition::Proven);
        for expired in &plan.expired {
            let this = all.iter().find(|c| c.id == expired.id).unwrap();
            let newest = proven.expect("something expired and nothing is proven");
            prop_assert!((this.at, this.id) < (newest.at, newest.id));
        }
    }

    #[test]
    fn enough_proven_ones_and_the_newest_stored_one_stay(
        all in history(), policy in policy(), zone in zone(), as_of in instant()
    ) {
        let plan = plan(&all, &policy, zone, as_of);
        let there = left(&all, &plan);
        let count = |all: &[Candidate]| {
            past(all, as_of).iter().filter(|c| c.condition == Condition::Proven).count()
        };
        let wanted = usize::try_from(policy.min_proven.max(1)).unwrap();
        prop_assert!(count(&there) >= wanted.min(count(&all)));
        let newest = |all: &[Candidate]| {
            past(all, as_of).into_iter().find(|c| c.condition >= Condition::Good).map(|c| c.id)
        };
        prop_assert_eq!(newest(&all), newest(&there));
    }

    #[test]
    fn the_newest_good_one_of_a_period_is_kept_exactly_if_few_enough_newer_periods_have_one(
        all in history(), policy in policy_without_bytes(), zone in zone(), as_of in instant()
    ) {
        let policy = Policy { max_age_days: None, ..policy };
        let plan = plan(&all, &policy, zone, as_of);
        let today = as_of.with_timezone(&zone).date_naive();
        for (period, count, max_age) in [
            (Period::Hour, policy.keep_hourly, None),
            (Period::Day, policy.keep_daily, policy.daily_max_age_days),
            (Period::Week, policy.keep_weekly, policy.daily_max_age_days),
            (Period::Month, policy.keep_monthly, None),
            (Period::Year, policy.keep_yearly, None),
        ] {
            let young = |at: DateTime<Utc>| max_age.is_none_or(|days| {
                (today - at.with_timezone(&zone).date_naive()).num_days() <= i64::from(days)
            });
            let mut newest: BTreeMap<String, (DateTime<Utc>, ArtifactId)> = BTreeMap::new();
            for c in &all {
                let Some(at) = c.at.filter(|at| *at <= as_of && young(*at)) else { continue };
                if c.is_own && c.condition != Condition::Bad {
                    let entry = newest.entry(label(period, at, zone)).or_insert((at, c.id));
                    *entry = (*entry).max((at, c.id));
                }
            }
            let mut newest: Vec<_> = newest.into_values().collect();
            newest.sort_by(|a, b| b.cmp(a));
            let wanted: BTreeSet<_> = newest.iter().take(count as usize).map(|(_, id)| *id).collect();
            let by_period: BTreeSet<_> = plan.kept.iter()
                .filter(|kept| kept.reasons.iter().any(|r| matches!(r, KeepReason::Newest { period: p, .. } if *p == period)))
                .map(|kept| kept.id)
                .collect();
            prop_assert_eq!(by_period, wanted, "{}", period);
        }
    }

    #[test]
    fn bad_backups_stand_for_nothing(
        all in history(), policy in policy(), zone in zone(), as_of in instant()
    ) {
        let plan = plan(&all, &policy, zone, as_of);
        for c in all.iter().filter(|c| c.condition == Condition::Bad) {
            prop_assert!(reasons(&plan, c.id).iter().all(KeepReason::is_protection));
        }
        // Nor do they displace: without them the good ones fare the same.
        let without: Vec<_> = all.iter().filter(|c| c.condition != Condition::Bad).cloned().collect();
        let policy = Policy { max_total_bytes: None, ..policy };
        if plan.held.is_none() {
            let with = super::plan(&all, &policy, zone, as_of);
            let good = super::plan(&without, &policy, zone, as_of);
            prop_assert_eq!(with.expired.iter().filter(|e| e.reason != ExpireReason::Bad && without.iter().any(|c| c.id == e.id)).collect::<Vec<_>>(),
                good.expired.iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_limits_take_all_that_nothing_protects(
        all in history(), policy in policy(), zone in zone(), as_of in instant()
    ) {
        let plan = plan(&all, &policy, zone, as_of);
        prop_assume!(plan.held.is_none());
        let of = |id| all.iter().find(|c| c.id == id).unwrap();
        let loose: Vec<_> = plan.kept.iter().filter(|k| !k.reasons.iter().any(KeepReason::is_protection)).collect();
        let total: u64 = plan.kept.iter().map(|k| of(k.id).bytes).sum();
        prop_assert!(policy.max_total_bytes.is_none_or(|limit| total <= limit) || loose.is_empty());
        if let Some(days) = policy.max_age_days {
            let today = as_of.with_timezone(&zone).date_naive();
            for kept in loose {
                let date = of(kept.id).at.unwrap().with_timezone(&zone).date_naive();
                prop_assert!((today - date).num_days() <= i64::from(days));
            }
        }
    }

    #[test]
    fn what_a_plan_leaves_has_nothing_more_to_expire_at_the_same_instant(
        all in history(), policy in policy(), zone in zone(), as_of in instant()
    ) {
        let first = plan(&all, &policy, zone, as_of);
        let second = plan(&left(&all, &first), &policy, zone, as_of);
        prop_assert_eq!(&second.expired, &vec![]);
        prop_assert_eq!(kept(&second), kept(&first));
    }

    #[test]
    fn a_larger_policy_never_keeps_less(
        all in history(), policy in policy_without_bytes(), zone in zone(), as_of in instant(),
        by in prop::array::uniform6(0_u32..4), lift in any::<[bool; 2]>(), more_proven in 0_u32..3
    ) {
        let less = kept(&plan(&all, &policy, zone, as_of));
        let more = kept(&plan(&all, &larger(&policy, &by, lift, more_proven), zone, as_of));
        prop_assert!(less.is_subset(&more));
    }

    #[test]
    fn more_room_never_keeps_less(
        all in history(), policy in policy(), zone in zone(), as_of in instant(), room in prop::option::of(0_u64..9000)
    ) {
        let more = Policy {
            max_total_bytes: policy.max_total_bytes.and_then(|limit| Some(limit + room?)),
            ..policy.clone()
        };
        let (less, more) = (plan(&all, &policy, zone, as_of), plan(&all, &more, zone, as_of));
        prop_assert!(kept(&less).is_subset(&kept(&more)));
    }

    #[test]
    fn the_order_of_the_input_means_nothing(
        (all, shuffled) in history().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        policy in policy(), zone in zone(), as_of in instant()
    ) {
        prop_assert_eq!(plan(&all, &policy, zone, as_of), plan(&shuffled, &policy, zone, as_of));
    }

    /// R5: Kanbu's rule judged what an earlier run had left, and so forgot.
    #[test]
    fn pruning_after_every_backup_keeps_what_pruning_once_at_the_end_keeps_by_the_policy(
        gaps in prop::collection::vec(1_i64..4000, 1..80), policy in policy_without_bytes(), zone in zone(),
        proven_every in 1_usize..6
    ) {
        let mut minutes = 0;
        let all: Vec<_> = gaps.iter().enumerate().map(|(number, gap)| {
            minutes += gap;
            let at = DateTime::from_timestamp(BEGIN + minutes * 60, 0).unwrap();
            if number % proven_every == 0 { proven(number, at) } else { good(number, at) }
        }).collect();
        let end = all.last().unwrap().at.unwrap() + TimeDelta::minutes(1);
        let by_rules = |plan: &Plan| -> BTreeSet<ArtifactId> {
            let ruled = plan.kept.iter().filter(|k| k.reasons.iter().any(|r| !r.is_protection()));
            ruled.map(|k| k.id).collect()
        };
        let once = plan(&all, &policy, zone, end);
        let there = performed_each_time(&all, |there, now| {
            plan(there, &policy, zone, now).expired.iter().map(|e| e.id).collect()
        });
        let ids: BTreeSet<_> = there.iter().map(|c| c.id).collect();
        prop_assert!(kept(&once).is_subset(&ids), "forgotten: {:?}", kept(&once).difference(&ids));
        prop_assert_eq!(by_rules(&plan(&there, &policy, zone, end)), by_rules(&once));
    }

    #[test]
    fn the_first_cycle_of_an_imported_schedule_deletes_no_more_than_either_rule(
        all in history(), zone in zone(), as_of in instant(),
        retention_days in 0_u32..400, keep_daily in 0_u32..10, keep_weekly in 0_u32..6, keep_monthly in 0_u32..6
    ) {
        let rule = KanbuRule { retention_days, keep_daily, keep_weekly, keep_monthly };
        let new = plan(&all, &rule.policy(), zone, as_of);
        let first = first_cycle(new.clone(), &rule, &all);
        let old = rule.deletes(&all, as_of);
        prop_assert!(first.expired.iter().all(|e| old.contains(&e.id) && new.expires(e.id).is_some()));
        prop_assert_eq!(kept(&first).len() + first.expired.len(), kept(&new).len() + new.expired.len());
        prop_assert!(all.iter().all(|c| c.at.is_none()) || all.len() > old.len(), "Kanbu's rule keeps one at least");
    }
}

#[test]
fn kanbus_weeks_begin_on_sunday_and_end_with_the_year() {
    let rule = KanbuRule {
        retention_days: 400,
        keep_daily: 0,
        keep_weekly: 9,
        keep_monthly: 0,
    };
    // The newest of each month goes to its month. Of the rest of this one week two are left: one of each year.
    let days = series("2026-12-27T12:00:00Z", TimeDelta::days(1), 7);
    let gone = rule.deletes(&days, at("2027-01-03T00:00:00Z"));
    let kept: Vec<_> = days.iter().filter(|c| !gone.contains(&c.id)).collect();
    let years: Vec<_> = kept.iter().map(|c| c.at.unwrap().year()).collect();
    assert_eq!(years, [2026, 2027]);
}
