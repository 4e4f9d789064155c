//! `job list|show|retry|cancel|run-now`.

use kanbu_backup::{
    control::ControlDb,
    fault::{Failure, Fault},
    job::{Kind, UnknownKind},
    queue::{self, Cancelled, ExecutionView, JobFilter, JobState, JobView, QueueError, Retried},
};
use serde_json::json;

use super::list;
use crate::{cli::Job, exit::Exit, output::Table, session::Session};

pub async fn run(args: Job, session: &Session) -> Result<Exit, Failure> {
    match args {
        Job::List { kind, state, limit } => many(kind, state, limit, session).await,
        Job::Show { id } => one(&id, session).await,
        Job::Retry {
            id,
            attempts,
            dry_run,
        } => retry(&id, attempts, dry_run, session).await,
        Job::Cancel { id, dry_run } => cancel(&id, dry_run, session).await,
        Job::RunNow { id, dry_run } => run_now(&id, dry_run, session).await,
    }
}

fn misread(error: impl std::fmt::Display) -> Failure {
    Failure::new(Fault::Permanent, "usage.invalid", error.to_string())
}

async fn many(
    kind: Option<String>,
    state: Option<String>,
    limit: u32,
    session: &Session,
) -> Result<Exit, Failure> {
    let kind: Option<Kind> = kind
        .map(|word| word.parse())
        .transpose()
        .map_err(|e: UnknownKind| misread(e))?;
    let states: Option<JobState> = state
        .map(|word| word.parse())
        .transpose()
        .map_err(misread)?;
    let filter = JobFilter {
        kind,
        states: states.into_iter().collect(),
        limit: Some(limit),
        ..JobFilter::default()
    };
    let jobs = queue::jobs(&session.control().await?, &filter).await?;
    session.out.document("jobs", &jobs, || table(&jobs));
    Ok(Exit::Done)
}

fn table(jobs: &[JobView]) -> String {
    let mut table = Table::new(&[
        "ID", "KIND", "SUBJECT", "STATE", "ATTEMPTS", "CREATED", "ERROR",
    ]);
    for job in jobs {
        table.row([
            job.id.short(),
            job.kind.to_string(),
            job.subject.clone(),
            shown_state(job),
            format!("{}/{}", job.attempts, job.max_attempts),
            list::local(job.created_at),
            job.error_code.clone().unwrap_or_default(),
        ]);
    }
    table.text()
}

/// A queued job that has failed before is *retrying*.
fn shown_state(job: &JobView) -> String {
    match (job.state, &job.error, &job.running) {
        (JobState::Queued, Some(_), _) => "retrying".to_owned(),
        (JobState::Running, _, Some(running)) => match &running.progress {
            Some(progress) => format!("running: {}", progress.phase),
            None => "running".to_owned(),
        },
        (state, ..) => state.to_string(),
    }
}

async fn one(id: &str, session: &Session) -> Result<Exit, Failure> {
    let (db, job) = meant(id, session).await?;
    let executions = queue::executions(&db, job.id).await?;
    session.out.document(
        "detail",
        &json!({ "job": job, "executions": executions }),
        || {
            let mut text = table(std::slice::from_ref(&job));
            if let Some(error) = &job.error {
                text += "\n  ";
                text += error;
            }
            if let Some(hint) = &job.hint {
                text += "\n  hint: ";
                text += hint;
            }
            for execution in &executions {
                text += &history(execution);
            }
            text
        },
    );
    Ok(Exit::Done)
}

pub(super) fn history(execution: &ExecutionView) -> String {
    let outcome = execution
        .outcome
        .map_or_else(|| "running".to_owned(), |outcome| outcome.to_string());
    let fault = execution
        .fault
        .map_or_else(String::new, |fault| format!(" ({fault})"));
    let mut text = format!(
        "\n\nexecution {} attempt {} {outcome}{fault}, began {}",
        execution.id,
        execution.attempt,
        list::local(execution.started_at),
    );
    for line in execution.error.iter().chain(&execution.log) {
        text += "\n  ";
        text += line;
    }
    text
}

/// The job that a text means.
async fn meant(text: &str, session: &Session) -> Result<(ControlDb, JobView), Failure> {
    let db = session.control().await?;
    let id = queue::resolve(&db, text).await?;
    let job = queue::job(&db, id)
        .await?
        .ok_or_else(|| QueueError::NotFound(id.to_string()))?;
    Ok((db, job))
}

async fn retry(id: &str, attempts: i16, dry_run: bool, session: &Session) -> Result<Exit, Failure> {
    let (db, job) = meant(id, session).await?;
    if dry_run {
        if job.state != JobState::Dead {
            let state = job.state.to_string();
            return Err(QueueError::NotDead { job: job.id, state }.into());
        }
        return Ok(would(
            &job,
            &format!("be queued for {attempts} more attempts"),
            session,
        ));
    }
    let (job, text) = match queue::retry(&db, job.id, attempts).await? {
        Retried::Queued => (job.id, format!("job {} is queued again", job.id.short())),
        Retried::AlreadyOpen(other) => (other, format!("job {} already does that", other.short())),
    };
    session.out.result(json!({ "job": job }), &text);
    Ok(Exit::Done)
}

async fn cancel(id: &str, dry_run: bool, session: &Session) -> Result<Exit, Failure> {
    let (db, job) = meant(id, session).await?;
    if dry_run && job.state.is_open() {
        return Ok(would(&job, "be cancelled", session));
    }
    let cancelled = if dry_run {
        Cancelled::TooLate(job.state)
    } else {
        queue::cancel(&db, job.id, "cli").await?
    };
    let (exit, text) = match cancelled {
        Cancelled::AtOnce => (Exit::Done, "is cancelled".to_owned()),
        Cancelled::Requested => (Exit::Done, "is being cancelled".to_owned()),
        Cancelled::TooLate(state) => (Exit::Refused, format!("has ended before ({state})")),
    };
    session.out.result(
        json!({ "job": job.id }),
        &format!("job {} {text}", job.id.short()),
    );
    Ok(exit)
}

async fn run_now(id: &str, dry_run: bool, session: &Session) -> Result<Exit, Failure> {
    let (db, job) = meant(id, session).await?;
    if dry_run {
        if job.state != JobState::Queued {
            let state = job.state.to_string();
            return Err(QueueError::NotQueued { job: job.id, state }.into());
        }
        return Ok(would(&job, "be made due", session));
    }
    queue::run_now(&db, job.id).await?;
    session.out.result(
        json!({ "job": job.id }),
        &format!("job {} is due", job.id.short()),
    );
    Ok(Exit::Done)
}

/// Says what a dry run spares.
fn would(job: &JobView, what: &str, session: &Session) -> Exit {
    session.out.result(
        json!({ "job": job.id, "state": job.state, "dry_run": true }),
        &format!("job {} is {} and would {what}", job.id.short(), job.state),
    );
    Exit::Done
}
