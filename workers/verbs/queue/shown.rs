//! The queue as tables for people.

use std::collections::BTreeSet;

use kanbu_backup::{
    job::Kind,
    queue::{Blocked, DeadJob, KindStats, Pause, WaitingJob, WorkerView},
};

use super::super::{list, time};
use crate::output::Table;

pub(super) fn stats(kinds: &[KindStats], pauses: &[Pause]) -> String {
    let mut table = Table::new(&[
        "KIND",
        "READY",
        "OLDEST",
        "SCHEDULED",
        "RETRYING",
        "RUNNING",
        "LIMIT",
        "SLOTS",
        "DEAD",
        "SUCCEEDED",
        "CANCELLED",
    ]);
    for of in kinds {
        table.row([
            of.kind.to_string(),
            of.ready.to_string(),
            of.oldest_ready_seconds.map_or_else(none, time::span),
            of.scheduled.to_string(),
            of.retrying.to_string(),
            of.open.to_string(),
            of.max_running.map_or_else(none, |max| max.to_string()),
            of.slots.to_string(),
            of.dead.to_string(),
            of.succeeded.to_string(),
            of.cancelled.to_string(),
        ]);
    }
    let mut text = table.text();
    for pause in pauses {
        text += "\n";
        text += &paused(pause);
    }
    text
}

fn none() -> String {
    "-".to_owned()
}

fn paused(pause: &Pause) -> String {
    let kind = pause
        .kind
        .map_or_else(|| "all jobs".to_owned(), |kind| format!("{kind} jobs"));
    let of = pause
        .subject
        .as_ref()
        .map_or_else(String::new, |subject| format!(" of {subject}"));
    let by = pause.by.as_deref().unwrap_or("somebody");
    let until = pause.until.map_or_else(
        || "without end".to_owned(),
        |until| format!("until {}", list::local(until)),
    );
    let reason = reason(pause.reason.as_deref());
    format!(
        "paused: {kind}{of}, by {by} since {}, {until}{reason}",
        list::local(pause.since)
    )
}

fn reason(reason: Option<&str>) -> String {
    reason.map_or_else(String::new, |reason| format!(" ({reason})"))
}

pub(super) fn waiting(jobs: &[WaitingJob], kinds: &[KindStats]) -> String {
    if jobs.is_empty() {
        return "no job is due".to_owned();
    }
    let served: BTreeSet<Kind> = kinds
        .iter()
        .filter(|of| of.slots > 0)
        .map(|of| of.kind)
        .collect();
    let mut table = Table::new(&["ID", "KIND", "SUBJECT", "DUE", "WAITS FOR"]);
    for job in jobs {
        table.row([
            job.id.short(),
            job.kind.to_string(),
            job.subject.clone(),
            list::local(job.run_at),
            waits_for(job, served.contains(&job.kind)),
        ]);
    }
    table.text()
}

fn waits_for(job: &WaitingJob, is_served: bool) -> String {
    match &job.blocked {
        Some(Blocked::Subject(execution)) => {
            format!("its subject, held by execution {}", execution.short())
        }
        Some(Blocked::Pause {
            reason: why,
            until: Some(until),
        }) => format!(
            "the end of a pause at {}{}",
            list::local(*until),
            reason(why.as_deref())
        ),
        Some(Blocked::Pause { reason: why, .. }) => {
            format!("the end of a pause{}", reason(why.as_deref()))
        }
        Some(Blocked::Cap) => "the limit of its kind".to_owned(),
        None if is_served => "a free slot".to_owned(),
        None => "a worker that takes its kind".to_owned(),
    }
}

pub(super) fn workers(workers: &[WorkerView]) -> String {
    if workers.is_empty() {
        return "no worker is there: start `kanbu-backup worker` or `up`".to_owned();
    }
    let mut table = Table::new(&[
        "ID", "NAME", "VERSION", "STATE", "SLOTS", "RUNNING", "SINCE", "SEEN", "HEARS",
    ]);
    for worker in workers {
        let slots: Vec<_> = worker
            .slots
            .iter()
            .map(|(kind, slots)| format!("{kind}={slots}"))
            .collect();
        table.row([
            worker.id.short(),
            worker.name.clone(),
            worker.version.clone(),
            worker.state.to_string(),
            slots.join(","),
            worker.running.len().to_string(),
            list::local(worker.started_at),
            list::local(worker.last_seen_at),
            if worker.listening { "yes" } else { "no" }.to_owned(),
        ]);
    }
    table.text()
}

pub(super) fn dead(jobs: &[DeadJob]) -> String {
    if jobs.is_empty() {
        return "no job is dead".to_owned();
    }
    let mut texts = Vec::new();
    for job in jobs {
        texts.push(format!(
            "{} {} {}, after {} attempts at {}: {} ({})",
            job.id.short(),
            job.kind,
            job.subject,
            job.attempts,
            list::local(job.died_at),
            job.error.as_deref().unwrap_or("no reason is known"),
            job.error_code.as_deref().unwrap_or("unknown"),
        ));
        texts.extend(job.hint.iter().map(|hint| format!("  hint: {hint}")));
    }
    texts.push("again: kanbu-backup job retry ID".to_owned());
    texts.join("\n")
}
