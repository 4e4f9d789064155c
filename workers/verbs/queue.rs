//! `queue pause|resume|limit|stats|waiting|workers|dead`: steering the queue as a whole, and seeing how it stands.

mod shown;

use kanbu_backup::{
    clock::{Clock, SystemClock},
    fault::Failure,
    job::{Kind, Subject},
    queue::{self, WorkerState},
};
use serde_json::json;

use super::{VerbError, list, time};
use crate::{
    cli::{Cap, Pause, Queue, Resume},
    exit::Exit,
    session::Session,
};

/// Who pauses, for people.
const BY: &str = "cli";

pub async fn run(args: Queue, session: &Session) -> Result<Exit, Failure> {
    match args {
        Queue::Pause(args) => pause(args, session).await,
        Queue::Resume(args) => resume(args, session).await,
        Queue::Limit { kind, max, dry_run } => limit(kind, max, dry_run, session).await,
        Queue::Stats => stats(session).await,
        Queue::Waiting => waiting(session).await,
        Queue::Workers { all } => workers(all, session).await,
        Queue::Dead { kind, limit } => dead(kind, limit, session).await,
    }
}

/// The jobs that a pause is for.
fn jobs(kind: Option<Kind>, subject: Option<&Subject>) -> String {
    let jobs = kind.map_or_else(|| "jobs".to_owned(), |kind| format!("{kind} jobs"));
    match subject {
        Some(subject) => format!("{jobs} of {subject}"),
        None => format!("all {jobs}"),
    }
}

async fn pause(args: Pause, session: &Session) -> Result<Exit, Failure> {
    let until = args
        .until
        .as_deref()
        .map(|text| time::ahead(text, SystemClock.now()))
        .transpose()?;
    let jobs = jobs(args.kind, args.subject.as_ref());
    let db = session.control().await?;
    if !args.dry_run {
        let subject = args.subject.as_ref();
        queue::pause(&db, args.kind, subject, until, args.reason.as_deref(), BY).await?;
    }
    let end = until.map_or_else(
        || "until somebody resumes them".to_owned(),
        |until| format!("until {}", list::local(until)),
    );
    let verb = would(args.dry_run, "are paused", "would be paused");
    session.out.result(
        json!({
            "paused": !args.dry_run,
            "kind": args.kind,
            "subject": args.subject,
            "until": until,
            "reason": args.reason,
        }),
        &format!("{jobs} {verb} {end}; what runs goes on"),
    );
    Ok(Exit::Done)
}

async fn resume(args: Resume, session: &Session) -> Result<Exit, Failure> {
    let subject = args.subject.as_ref();
    let jobs = jobs(args.kind, subject);
    let db = session.control().await?;
    let was_paused = if args.dry_run {
        let named = subject.map(Subject::to_string);
        let pauses = queue::pauses(&db).await?;
        pauses
            .iter()
            .any(|pause| pause.kind == args.kind && pause.subject == named)
    } else {
        queue::resume(&db, args.kind, subject).await?
    };
    if !was_paused {
        return Err(VerbError::NotPaused(jobs).into());
    }
    let verb = would(args.dry_run, "go on", "would go on");
    session.out.result(
        json!({ "resumed": !args.dry_run, "kind": args.kind, "subject": args.subject }),
        &format!("{jobs} {verb}"),
    );
    Ok(Exit::Done)
}

async fn limit(
    kind: Kind,
    Cap(max): Cap,
    dry_run: bool,
    session: &Session,
) -> Result<Exit, Failure> {
    let db = session.control().await?;
    if !dry_run {
        queue::limit_running(&db, kind, max).await?;
    }
    let verb = would(dry_run, "run", "would run");
    let many = max.map_or_else(
        || "as many as there are slots".to_owned(),
        |max| format!("at most {max} over all workers"),
    );
    session.out.result(
        json!({ "kind": kind, "max_running": max, "set": !dry_run }),
        &format!("{kind} jobs {verb} at once: {many}"),
    );
    Ok(Exit::Done)
}

fn would<'a>(dry_run: bool, is: &'a str, would_be: &'a str) -> &'a str {
    if dry_run { would_be } else { is }
}

async fn stats(session: &Session) -> Result<Exit, Failure> {
    let db = session.control().await?;
    let (kinds, pauses) = (queue::stats(&db).await?, queue::pauses(&db).await?);
    session.out.document(
        "queue",
        &json!({ "kinds": kinds, "pauses": pauses }),
        || shown::stats(&kinds, &pauses),
    );
    Ok(Exit::Done)
}

async fn waiting(session: &Session) -> Result<Exit, Failure> {
    let db = session.control().await?;
    let jobs = queue::waiting(&db).await?;
    let kinds = queue::stats(&db).await?;
    session
        .out
        .document("waiting", &jobs, || shown::waiting(&jobs, &kinds));
    Ok(Exit::Done)
}

async fn workers(all: bool, session: &Session) -> Result<Exit, Failure> {
    let mut workers = queue::workers(&session.control().await?).await?;
    workers.retain(|worker| all || worker.state != WorkerState::Gone);
    session
        .out
        .document("workers", &workers, || shown::workers(&workers));
    Ok(Exit::Done)
}

async fn dead(kind: Option<Kind>, limit: u32, session: &Session) -> Result<Exit, Failure> {
    let jobs = queue::dead(&session.control().await?, kind, limit).await?;
    session.out.document("dead", &jobs, || shown::dead(&jobs));
    Ok(Exit::Done)
}
