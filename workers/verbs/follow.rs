//! Staying with a job until its end: progress for people, lines for programs, and the job's fate whatever happens.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use futures::StreamExt;
use kanbu_backup::{
    control::ControlDb,
    execution::Outcome,
    fault::{Failure, Fault},
    id::JobId,
    job::Job,
    queue::{self, ExecutionView, JobState, JobView, NewJob, Origin},
};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    cli::Follow,
    exit::Exit,
    output::{Bar, Output},
};

/// After so long in the queue somebody should be told why nothing happens.
const QUEUED_TOO_LONG: Duration = Duration::from_secs(10);

/// How a followed job came out.
pub(super) enum Fate {
    /// It ended; the last execution says how.
    Ended(Box<ExecutionView>),
    /// It goes on, or somebody else stopped it: nothing more to show.
    Left(Exit),
}

/// Enqueues a job, or joins the open one that asks for the same, and follows it.
pub(super) async fn run(
    job: Job,
    follow: Follow,
    db: &ControlDb,
    out: Output,
) -> Result<Fate, Failure> {
    let new = NewJob {
        requested_by: Some("cli".to_owned()),
        ..NewJob::new(job, Origin::Operator).unless_open()
    };
    let enqueued = queue::submit(db, &new).await?;
    let id = enqueued.job();
    if let queue::Enqueued::AlreadyOpen(_) = enqueued {
        out.message(&format!(
            "joining job {}, which asks for the same",
            id.short()
        ));
    }
    if follow.no_wait {
        out.result(
            json!({ "job": id, "state": "queued" }),
            &format!("job {} is queued", id.short()),
        );
        return Ok(Fate::Left(Exit::Done));
    }
    attend(id, follow.timeout, db, out).await
}

/// Follows an open job until it ends, the time is over, or somebody interrupts.
async fn attend(
    id: JobId,
    limit: Option<Duration>,
    db: &ControlDb,
    out: Output,
) -> Result<Fate, Failure> {
    let mut interrupt = handler(SignalKind::interrupt())?;
    let mut terminate = handler(SignalKind::terminate())?;
    let over = async {
        match limit {
            Some(limit) => drop(tokio::time::timeout(limit, std::future::pending::<()>()).await),
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        ended = to_its_end(id, db, out) => {
            ended?;
            let last = queue::executions(db, id).await?.into_iter().next();
            Ok(last.map_or(Fate::Left(Exit::Failed), |last| Fate::Ended(Box::new(last))))
        }
        () = over => {
            out.result(json!({ "job": id, "state": "running" }), &format!("job {} goes on", id.short()));
            Ok(Fate::Left(Exit::Waited))
        }
        _ = interrupt.recv() => cancelled(id, Exit::Interrupted, db, out).await,
        _ = terminate.recv() => cancelled(id, Exit::Terminated, db, out).await,
    }
}

fn handler(kind: SignalKind) -> Result<tokio::signal::unix::Signal, Failure> {
    signal(kind)
        .map_err(|error| Failure::new(Fault::Transient, "process.signals", error.to_string()))
}

/// Whoever interrupts wants the work to stop; that it does is said.
async fn cancelled(id: JobId, exit: Exit, db: &ControlDb, out: Output) -> Result<Fate, Failure> {
    let fate = match queue::cancel(db, id, "cli").await? {
        queue::Cancelled::AtOnce => "is cancelled".to_owned(),
        queue::Cancelled::Requested => "is being cancelled".to_owned(),
        queue::Cancelled::TooLate(state) => format!("had ended before ({state})"),
    };
    out.result(
        json!({ "job": id, "fate": fate }),
        &format!("job {} {fate}", id.short()),
    );
    Ok(Fate::Left(exit))
}

async fn to_its_end(id: JobId, db: &ControlDb, out: Output) -> Result<(), Failure> {
    let mut bar = Bar::new(out);
    let mut views = pin!(queue::follow(db, id));
    let began = Instant::now();
    let mut told = false;
    while let Some(view) = views.next().await {
        match view {
            Ok(view) => {
                let is_waiting =
                    view.state == JobState::Queued && began.elapsed() > QUEUED_TOO_LONG;
                if is_waiting && !told {
                    told = true;
                    out.message(&why_it_waits(&view));
                }
                show(&view, &mut bar, out);
            }
            Err(error) if error.is_transient() => out.message(&format!("{error}; trying again")),
            Err(error) => return Err(error.into()),
        }
    }
    bar.clear();
    Ok(())
}

fn why_it_waits(job: &JobView) -> String {
    match (&job.error, job.attempts) {
        (Some(error), attempts) if attempts > 0 => {
            format!(
                "attempt {attempts} of {} failed: {error}; trying again later",
                job.max_attempts
            )
        }
        _ => format!(
            "job {} still waits: does a worker run (`kanbu-backup worker` or `up`)?",
            job.id.short()
        ),
    }
}

fn show(job: &JobView, bar: &mut Bar, out: Output) {
    let Some(progress) = job
        .running
        .as_ref()
        .and_then(|running| running.progress.as_ref())
    else {
        return;
    };
    bar.show(progress);
    out.progress(json!({
        "job": job.id,
        "phase": progress.phase,
        "done_bytes": progress.done_bytes,
        "total_bytes": progress.total_bytes,
        "rate_bps": progress.rate_bps,
    }));
}

/// What a finished execution means for the exit code; prints its warnings, and its failure if it failed.
pub(super) fn verdict(execution: &ExecutionView, out: Output) -> Exit {
    for warning in &execution.warnings {
        out.warning(&warning.code, &warning.text);
    }
    match execution.outcome {
        Some(Outcome::Succeeded) => Exit::Done,
        Some(Outcome::Degraded) => Exit::Findings,
        Some(Outcome::Failed | Outcome::Cancelled) | None => {
            let failure = failure(execution);
            out.error(&failure);
            Exit::of(&failure)
        }
    }
}

fn failure(execution: &ExecutionView) -> Failure {
    let text = execution
        .error
        .clone()
        .unwrap_or_else(|| "the execution ended without a word".to_owned());
    Failure {
        fault: execution.fault.unwrap_or(Fault::Transient),
        code: execution
            .error_code
            .clone()
            .unwrap_or_else(|| "execution.unknown".to_owned())
            .into(),
        message: text,
        hint: execution
            .result
            .as_ref()
            .and_then(|r| r["hint"].as_str())
            .map(|hint| hint.to_owned().into()),
    }
}

/// The members that every result line has.
pub(super) fn result(execution: &ExecutionView, more: &Value) -> Value {
    let mut fields = json!({
        "job": execution.job,
        "execution": execution.id,
        "outcome": execution.outcome,
    });
    if let (Value::Object(fields), Value::Object(more)) = (&mut fields, more) {
        fields.extend(more.clone());
    }
    fields
}

/// How long it took, for people.
pub(super) fn seconds(execution: &ExecutionView) -> String {
    let took = execution
        .ended_at
        .map(|end| (end - execution.started_at).num_milliseconds())
        .unwrap_or_default();
    format!("{}.{} s", took / 1000, took % 1000 / 100)
}
