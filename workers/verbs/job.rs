//! `job list|show|retry|cancel`.

use kanbu_backup::{
    fault::{Failure, Fault},
    job::{Kind, UnknownKind},
    queue::{self, Cancelled, ExecutionView, JobFilter, JobState, JobView, Retried},
};
use serde_json::json;

use super::list;
use crate::{cli::Job, exit::Exit, output::Table, session::Session};

/// Attempts that a retry by hand adds.
const RETRY_BUDGET: i16 = 3;

pub async fn run(args: Job, session: &Session) -> Result<Exit, Failure> {
    match args {
        Job::List { kind, state, limit } => many(kind, state, limit, session).await,
        Job::Show { id } => one(&id, session).await,
        Job::Retry { id } => retry(&id, session).await,
        Job::Cancel { id } => cancel(&id, session).await,
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
    let db = session.control().await?;
    let id = queue::resolve(&db, id).await?;
    let job = queue::job(&db, id)
        .await?
        .ok_or_else(|| queue::QueueError::NotFound(id.to_string()))?;
    let executions = queue::executions(&db, id).await?;
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

fn history(execution: &ExecutionView) -> String {
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

async fn retry(id: &str, session: &Session) -> Result<Exit, Failure> {
    let db = session.control().await?;
    let id = queue::resolve(&db, id).await?;
    let (job, text) = match queue::retry(&db, id, RETRY_BUDGET).await? {
        Retried::Queued => (id, format!("job {} is queued again", id.short())),
        Retried::AlreadyOpen(other) => (other, format!("job {} already does that", other.short())),
    };
    session.out.result(json!({ "job": job }), &text);
    Ok(Exit::Done)
}

async fn cancel(id: &str, session: &Session) -> Result<Exit, Failure> {
    let db = session.control().await?;
    let id = queue::resolve(&db, id).await?;
    let (exit, text) = match queue::cancel(&db, id, "cli").await? {
        Cancelled::AtOnce => (Exit::Done, "is cancelled".to_owned()),
        Cancelled::Requested => (Exit::Done, "is being cancelled".to_owned()),
        Cancelled::TooLate(state) => (Exit::Refused, format!("has ended before ({state})")),
    };
    session
        .out
        .result(json!({ "job": id }), &format!("job {} {text}", id.short()));
    Ok(exit)
}
