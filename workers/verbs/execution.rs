//! `execution list|show|stats`.

use kanbu_backup::{
    bytes::ByteSize,
    clock::{Clock, SystemClock},
    execution::history::{self, GroupBy, HistoryEntry, HistoryFilter, Page, Summary},
    fault::Failure,
};

use super::{VerbError, job, list, time};
use crate::{
    cli::{By, Execution, Executions},
    exit::Exit,
    output::Table,
    session::Session,
};

pub async fn run(args: Execution, session: &Session) -> Result<Exit, Failure> {
    match args {
        Execution::List {
            filter,
            limit,
            before,
        } => many(filter, limit, before, session).await,
        Execution::Show { id } => one(&id, session).await,
        Execution::Stats { filter, by } => stats(filter, by, session).await,
    }
}

fn filter(args: Executions) -> Result<HistoryFilter, VerbError> {
    let now = SystemClock.now();
    let read = |text: Option<String>| text.map(|text| time::since(&text, now)).transpose();
    Ok(HistoryFilter {
        kinds: args.kind,
        subject: args.subject,
        schedule: args.schedule,
        outcomes: args.outcome,
        since: read(args.since)?,
        until: read(args.until)?,
    })
}

async fn many(
    args: Executions,
    limit: u32,
    before: Option<String>,
    session: &Session,
) -> Result<Exit, Failure> {
    let filter = filter(args)?;
    let db = session.control().await?;
    let before = match before {
        Some(text) => Some(history::find(&db, &text).await?.id),
        None => None,
    };
    let page = history::page(&db, &filter, before, limit).await?;
    session.out.document("page", &page, || listed(&page));
    Ok(Exit::Done)
}

fn listed(page: &Page) -> String {
    let mut table = Table::new(&[
        "ID", "BEGAN", "KIND", "SUBJECT", "SCHEDULE", "OUTCOME", "TOOK", "ERROR",
    ]);
    for entry in &page.executions {
        table.row([
            entry.id.short(),
            list::local(entry.started_at),
            entry.kind.clone(),
            entry.subject.clone(),
            schedule(entry),
            entry
                .outcome
                .map_or_else(|| "running".to_owned(), |outcome| outcome.to_string()),
            took(entry),
            entry.error_code.clone().unwrap_or_default(),
        ]);
    }
    let more = page.next.map(|id| format!("\nmore: --before {id}"));
    format!("{}{}", table.text(), more.unwrap_or_default())
}

/// Whose tick it was; what was started otherwise says how.
fn schedule(entry: &HistoryEntry) -> String {
    let name = entry.schedule_name.clone();
    let deleted = || entry.schedule.map(|id| format!("{} (deleted)", id.short()));
    name.or_else(deleted)
        .unwrap_or_else(|| format!("({})", entry.origin))
}

fn took(entry: &HistoryEntry) -> String {
    let ended = entry.ended_at;
    let took = ended.and_then(|ended| (ended - entry.started_at).to_std().ok());
    took.map_or_else(String::new, |took| format!("{:.1} s", took.as_secs_f64()))
}

async fn one(id: &str, session: &Session) -> Result<Exit, Failure> {
    let execution = history::find(&session.control().await?, id).await?;
    session.out.document("execution", &execution, || {
        let mut text = job::history(&execution).trim_start().to_owned();
        for warning in &execution.warnings {
            text.extend(["\n  ", &warning.code, ": ", &warning.text]);
        }
        text
    });
    Ok(Exit::Done)
}

async fn stats(args: Executions, by: Option<By>, session: &Session) -> Result<Exit, Failure> {
    let filter = filter(args)?;
    let by = match by {
        None => GroupBy::Nothing,
        Some(By::Kind) => GroupBy::Kind,
        Some(By::Subject) => GroupBy::Subject,
        Some(By::Schedule) => GroupBy::Schedule,
        Some(By::Day) => GroupBy::Day,
    };
    let zone = session.config.schedule.timezone;
    let summaries = history::summaries(&session.control().await?, &filter, by, zone).await?;
    session
        .out
        .document("statistics", &summaries, || counted(&summaries, by));
    Ok(Exit::Done)
}

fn counted(summaries: &[Summary], by: GroupBy) -> String {
    if summaries.is_empty() {
        return "nothing has ended yet".to_owned();
    }
    let mut table = Table::new(&[
        match by {
            GroupBy::Nothing => "",
            GroupBy::Kind => "KIND",
            GroupBy::Subject => "SUBJECT",
            GroupBy::Schedule => "SCHEDULE",
            GroupBy::Day => "DAY",
        },
        "ALL",
        "SUCCEEDED",
        "DEGRADED",
        "FAILED",
        "CANCELLED",
        "RATE",
        "P50",
        "P95",
        "LONGEST",
        "WRITTEN",
        "LAST SUCCESS",
        "LAST FAILURE",
    ]);
    for summary in summaries {
        let seconds = |value: Option<f64>| value.map_or_else(String::new, |s| format!("{s:.1} s"));
        let group = match (by, summary.group.as_str()) {
            (GroupBy::Nothing, _) => "all",
            (GroupBy::Schedule, "") => "(none)",
            (_, group) => group,
        };
        table.row([
            group.to_owned(),
            summary.executions.to_string(),
            summary.succeeded.to_string(),
            summary.degraded.to_string(),
            summary.failed.to_string(),
            summary.cancelled.to_string(),
            summary
                .success_rate
                .map_or_else(String::new, |rate| format!("{:.1} %", rate * 100.0)),
            seconds(summary.p50_seconds),
            seconds(summary.p95_seconds),
            seconds(summary.max_seconds),
            ByteSize(u64::try_from(summary.bytes_out).unwrap_or_default()).to_string(),
            summary.last_success_at.map(list::local).unwrap_or_default(),
            summary.last_failure_at.map(list::local).unwrap_or_default(),
        ]);
    }
    table.text()
}
