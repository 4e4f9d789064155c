//! The queue's part of `doctor`: what must never be, and what waits for somebody.

use std::collections::BTreeMap;

use kanbu_backup::{
    clock::{Clock, SystemClock},
    control::ControlDb,
    fault::Failure,
    queue::{self, KindStats, WorkerState, WorkerView},
};

use super::{super::time, finding::Finding};

/// A worker that has been silent for longer is history, not news.
const NEWS_FOR: chrono::TimeDelta = chrono::TimeDelta::days(1);

/// Listening takes a worker a moment after its start.
const DEAF_AFTER: chrono::TimeDelta = chrono::TimeDelta::seconds(30);

/// Seconds; while workers are exchanged there may be none for a moment.
const LONG_DUE: f64 = 60.0;

/// Looks at everything; what can't be looked at is a finding too.
pub(super) async fn look(db: &ControlDb) -> Vec<Finding> {
    let mut findings = Vec::new();
    match look_at_all(db, &mut findings).await {
        Ok(()) if findings.is_empty() => findings.push(Finding::good("queue", "in order")),
        Ok(()) => {}
        Err(failure) => findings.push(Finding::bad("queue", &failure)),
    }
    findings
}

async fn look_at_all(db: &ControlDb, findings: &mut Vec<Finding>) -> Result<(), Failure> {
    invariants(db, findings).await?;
    leases(db, findings).await?;
    workers(&queue::workers(db).await?, findings);
    let kinds = queue::stats(db).await?;
    unserved(&kinds, findings);
    dead(&kinds, findings);
    pauses(db, findings).await
}

async fn invariants(db: &ControlDb, findings: &mut Vec<Finding>) -> Result<(), Failure> {
    let mut rules: BTreeMap<String, usize> = BTreeMap::new();
    for violation in queue::invariants(db).await? {
        *rules.entry(violation.rule).or_default() += 1;
    }
    for (rule, rows) in rules {
        findings.push(Finding::wrong(
            "invariant",
            format!("{rule}: {rows} rows of kanbu_backup.invariant_violation"),
            "report this with the rows; jobs of these subjects may be stuck until an operator cancels them",
        ));
    }
    Ok(())
}

async fn leases(db: &ControlDb, findings: &mut Vec<Finding>) -> Result<(), Failure> {
    let overdue = queue::overdue(db).await?;
    if let [oldest, ..] = overdue.as_slice() {
        findings.push(Finding::wrong(
            "leases",
            format!(
                "{} ran out and nobody has closed their executions, the oldest {} ago (job {})",
                overdue.len(),
                time::span(oldest.seconds),
                oldest.job.short()
            ),
            "start a worker: every worker closes what dead ones left",
        ));
    }
    Ok(())
}

fn workers(workers: &[WorkerView], findings: &mut Vec<Finding>) {
    let now = SystemClock.now();
    for worker in workers {
        let what = format!("worker {}", worker.name);
        match worker.state {
            WorkerState::Silent if now - worker.last_seen_at < NEWS_FOR => {
                let text = format!(
                    "not heard of since {}, and never said goodbye",
                    super::super::list::local(worker.last_seen_at)
                );
                let fix = "see whether its host runs and reaches the control database; \
                           another worker takes over what it held";
                findings.push(Finding::warning(what, text, fix));
            }
            WorkerState::Working if !worker.listening && now - worker.started_at > DEAF_AFTER => {
                findings.push(Finding::warning(
                    what,
                    "hears no notifications and looks every second instead",
                    "behind a pooler, set KANBU_BACKUP_LISTEN_URL to the direct address of the control database",
                ));
            }
            WorkerState::Working
            | WorkerState::Draining
            | WorkerState::Stopping
            | WorkerState::Gone
            | WorkerState::Silent => {}
        }
    }
}

/// Whatever else a job waits for: without a worker of its kind it waits in vain.
fn unserved(kinds: &[KindStats], findings: &mut Vec<Finding>) {
    for of in kinds.iter().filter(|of| of.slots == 0) {
        let Some(waited) = of.oldest_ready_seconds.filter(|it| *it > LONG_DUE) else {
            continue;
        };
        findings.push(Finding::wrong(
            format!("{} jobs", of.kind),
            format!(
                "{} due, the oldest for {}, and no worker takes them",
                of.ready,
                time::span(waited)
            ),
            "start a `kanbu-backup worker` whose KANBU_BACKUP_WORKER_KINDS names the kind",
        ));
    }
}

fn dead(kinds: &[KindStats], findings: &mut Vec<Finding>) {
    let dead: Vec<_> = kinds
        .iter()
        .filter(|of| of.dead > 0)
        .map(|of| format!("{} {}", of.dead, of.kind))
        .collect();
    if !dead.is_empty() {
        findings.push(Finding::warning(
            "dead jobs",
            format!("{}; nobody tries them any more", dead.join(", ")),
            "`kanbu-backup queue dead` says why; then `kanbu-backup job retry ID`",
        ));
    }
}

async fn pauses(db: &ControlDb, findings: &mut Vec<Finding>) -> Result<(), Failure> {
    for pause in queue::pauses(db).await? {
        if pause.until.is_some() {
            continue;
        }
        let kind = pause.kind.map(|kind| format!(" --kind {kind}"));
        let subject = pause.subject.map(|subject| format!(" --subject {subject}"));
        let which = [kind, subject].into_iter().flatten().collect::<String>();
        let text = format!(
            "without end, by {} since {}",
            pause.by.as_deref().unwrap_or("somebody"),
            super::super::list::local(pause.since)
        );
        findings.push(Finding::warning(
            "pause",
            text,
            &format!("kanbu-backup queue resume{which}"),
        ));
    }
    Ok(())
}
