//! Schedules as tables and pages for people, and as documents for programs.

use std::time::Duration;

use chrono::{DateTime, Utc};
use kanbu_backup::{
    retention::Policy,
    schedule::{CatchUp, Draft, Pause, ScheduleView, TickView, Tz, VerifyEvery, kanbu_description},
};
use serde_json::{Value, json};

use super::super::list;
use crate::output::{Table, extended};

/// So many runs to come are shown with a schedule.
const NEXT: usize = 5;

/// A schedule's own zone tells its times.
pub(super) fn local(time: DateTime<Utc>, zone: Tz) -> String {
    time.with_timezone(&zone)
        .format("%a %Y-%m-%d %H:%M:%S %:z")
        .to_string()
}

pub(super) fn times(ticks: &[DateTime<Utc>], zone: Tz) -> String {
    let lines: Vec<_> = ticks.iter().map(|tick| local(*tick, zone)).collect();
    lines.join("\n")
}

pub(super) fn draft(draft: &Draft) -> Value {
    json!({
        "name": draft.name,
        "kind": draft.kind,
        "subject": draft.subject,
        "cron": draft.cron.text(),
        "cron_description": kanbu_description(draft.cron.text()),
        "meaning": draft.cron.describe(),
        "time_zone": draft.zone.name(),
        "enabled": draft.enabled,
        "catch_up": draft.catch_up,
        "catch_up_limit": draft.catch_up_limit,
        "overlap": draft.overlap,
        "jitter_seconds": draft.jitter.as_secs(),
        "retention": draft.retention,
        "storages": draft.storages,
        "verify_every": draft.verify_every,
        "verify_level": draft.verify_level,
        "timeout_seconds": draft.timeout.map(|timeout| timeout.as_secs()),
        "max_attempts": draft.max_attempts,
    })
}

pub(super) fn document(view: &ScheduleView) -> Value {
    let next = view.next_ticks(NEXT);
    let standing = json!({
        "id": view.id,
        "revision": view.revision,
        "state": state(view),
        "paused": view.pause.is_some(),
        "paused_until": view.pause.and_then(|pause| pause.until),
        "paused_by": view.paused_by,
        "next_run": next.first(),
        "next": next,
        "last_run": view.last_run,
        "created_at": view.created_at,
        "created_by": view.created_by,
        "updated_at": view.updated_at,
        "updated_by": view.updated_by,
    });
    extended(draft(&view.draft), standing)
}

/// One word or two about whether it runs.
pub(super) fn state(view: &ScheduleView) -> String {
    match (view.draft.enabled, view.pause) {
        (false, _) => "off".to_owned(),
        (true, None) => "on".to_owned(),
        (true, Some(Pause { until: None })) => "paused".to_owned(),
        (true, Some(Pause { until: Some(until) })) => {
            format!("paused until {}", local(until, view.draft.zone))
        }
    }
}

pub(super) fn table(schedules: &[ScheduleView]) -> String {
    let mut table = Table::new(&[
        "ID", "NAME", "KIND", "SUBJECT", "CRON", "ZONE", "STATE", "LAST RUN", "NEXT RUN",
    ]);
    for view in schedules {
        let draft = &view.draft;
        let last = view.last_run.as_ref().map_or_else(none, |run| {
            format!("{} {}", local(run.at, draft.zone), run.status)
        });
        let next = view.next_ticks(1);
        table.row([
            view.id.short(),
            draft.name.clone(),
            draft.kind.as_str().to_owned(),
            draft.subject.to_string(),
            draft.cron.text().to_owned(),
            draft.zone.name().to_owned(),
            state(view),
            last,
            next.first()
                .map_or_else(none, |tick| local(*tick, draft.zone)),
        ]);
    }
    table.text()
}

fn none() -> String {
    "-".to_owned()
}

/// The rule in words, and what it does when the clocks change.
pub(super) fn meaning(draft: &Draft) -> String {
    let change = if draft.cron.has_fixed_hour() {
        "When the clocks change it still runs once: after the gap, and the first time in a repeated hour."
    } else {
        "When the clocks change it follows the time that elapses: not in the gap, and twice in a repeated hour."
    };
    format!(
        "{}: {} ({})\n{change}",
        draft.cron.text(),
        draft.cron.describe(),
        draft.zone.name()
    )
}

/// What a schedule will do, in one line.
pub(super) fn promise(draft: &Draft) -> String {
    format!(
        "{}: a {} of {} {} ({})",
        draft.name,
        draft.kind.as_str(),
        draft.subject,
        draft.cron.describe(),
        draft.zone.name()
    )
}

pub(super) fn page(view: &ScheduleView, ticks: &[TickView]) -> String {
    let mut table = Table::new(&["SCHEDULE", &view.draft.name]);
    let rows = [
        vec![("id", view.id.to_string()), ("state", state(view))],
        work(&view.draft),
        manner(&view.draft),
        course(view, ticks),
    ];
    for (name, value) in rows.into_iter().flatten() {
        table.row([name.to_owned(), value]);
    }
    table.text()
}

type Rows = Vec<(&'static str, String)>;

/// What it makes, when, and how long that is kept.
fn work(draft: &Draft) -> Rows {
    let missed = match draft.catch_up {
        CatchUp::All => format!("all are made up for, {} at most", draft.catch_up_limit),
        CatchUp::Latest => "the latest is made up for".to_owned(),
        CatchUp::None => "are left out".to_owned(),
    };
    let makes = format!("a {} of {}", draft.kind.as_str(), draft.subject);
    let rule = format!("{}: {}", draft.cron.text(), draft.cron.describe());
    vec![
        ("makes", makes),
        ("rule", rule),
        ("zone", draft.zone.name().to_owned()),
        ("missed runs", missed),
        ("overlap", draft.overlap.as_str().to_owned()),
        ("jitter", span(draft.jitter)),
        ("keeps", policy(&draft.retention)),
    ]
}

/// How its jobs are carried out.
fn manner(draft: &Draft) -> Rows {
    let storages = draft.storages.as_ref().map(|names| {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        names.join(", ")
    });
    let verifies = match draft.verify_every {
        VerifyEvery::Never => "none".to_owned(),
        every => format!("{}, {}", every.as_str(), draft.verify_level.as_str()),
    };
    let attempts = draft.max_attempts.map(|most| most.to_string());
    vec![
        ("storages", storages.unwrap_or_else(|| "all".to_owned())),
        ("verifies", verifies),
        ("time-out", draft.timeout.map_or_else(usual, span)),
        ("attempts", attempts.unwrap_or_else(usual)),
    ]
}

/// What has become of it, and what is to come.
fn course(view: &ScheduleView, ticks: &[TickView]) -> Rows {
    let zone = view.draft.zone;
    let by = view.updated_by.as_deref().unwrap_or("-");
    let changed = format!(
        "{} by {by}, revision {}",
        list::local(view.updated_at),
        view.revision
    );
    let last = view.last_run.as_ref().map_or_else(none, |run| {
        let at = local(run.at, zone);
        format!("{at} {}, job {}", run.status, run.job.short())
    });
    let next = view.next_ticks(NEXT);
    let next = next.iter().map(|tick| ("next run", local(*tick, zone)));
    let ticks = ticks.iter().map(|tick| {
        let why = tick.reason.iter().map(|why| format!(" ({why})"));
        let job = tick.job.iter().map(|job| format!(", job {}", job.short()));
        let more: String = why.chain(job).collect();
        let at = local(tick.tick_at, zone);
        ("tick", format!("{at} {}{more}", tick.disposition))
    });
    let standing = [("changed", changed), ("last run", last)];
    standing.into_iter().chain(next).chain(ticks).collect()
}

fn usual() -> String {
    "as usual".to_owned()
}

fn span(time: Duration) -> String {
    match time.as_secs() {
        0 => "none".to_owned(),
        seconds if seconds % 3600 == 0 => format!("{} h", seconds / 3600),
        seconds if seconds % 60 == 0 => format!("{} min", seconds / 60),
        seconds => format!("{seconds} s"),
    }
}

fn policy(policy: &Policy) -> String {
    if !policy.deletes() {
        return "everything".to_owned();
    }
    let of = |count: u32, unit: &str| match count {
        0 => None,
        Policy::ALL => Some(format!("all {unit}")),
        count => Some(format!("{count} {unit}")),
    };
    let kept = [
        of(policy.keep_last, "last"),
        of(policy.keep_hourly, "hourly"),
        of(policy.keep_daily, "daily"),
        of(policy.keep_weekly, "weekly"),
        of(policy.keep_monthly, "monthly"),
        of(policy.keep_yearly, "yearly"),
        policy
            .daily_max_age_days
            .map(|days| format!("days and weeks at most {days} days")),
        policy
            .max_age_days
            .map(|days| format!("nothing longer than {days} days")),
        policy
            .max_total_bytes
            .map(|bytes| format!("at most {bytes} bytes")),
        of(policy.min_proven, "proven in any case"),
    ];
    let kept: Vec<_> = kept.into_iter().flatten().collect();
    kept.join(", ")
}
