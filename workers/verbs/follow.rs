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
use tokio::signal::unix::SignalKind;

use super::list;
use crate::{
    cli::Follow,
    exit::Exit,
    output::{Bar, Output, extended},
    signals,
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
    submit(&request(job), follow, db, out).await
}

/// A job that a person asks for; the same asked twice is one.
pub(super) fn request(job: Job) -> NewJob {
    NewJob {
        requested_by: Some("cli".to_owned()),
        ..NewJob::new(job, Origin::Operator).unless_open()
    }
}

/// Like [`run`], for a request with conditions of its own.
pub(super) async fn submit(
    new: &NewJob,
    follow: Follow,
    db: &ControlDb,
    out: Output,
) -> Result<Fate, Failure> {
    let enqueued = queue::submit(db, new).await?;
    let id = enqueued.job();
    if let queue::Enqueued::AlreadyOpen(_) = enqueued {
        out.message(&format!(
            "joining job {}, which asks for the same",
            id.short()
        ));
    }
    stay(id, follow, db, out).await
}

/// Follows a job that somebody else has made.
pub(super) async fn stay(
    id: JobId,
    follow: Follow,
    db: &ControlDb,
    out: Output,
) -> Result<Fate, Failure> {
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
    let mut interrupt = signals::on(SignalKind::interrupt())?;
    let mut terminate = signals::on(SignalKind::terminate())?;
    let over = async {
        match limit {
            Some(limit) => drop(tokio::time::timeout(limit, std::future::pending::<()>()).await),
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        ended = to_its_end(id, db, out) => fate(&ended?, db, out).await,
        () = over => {
            out.result(json!({ "job": id, "state": "running" }), &format!("job {} goes on", id.short()));
            Ok(Fate::Left(Exit::Waited))
        }
        _ = interrupt.recv() => cancelled(id, Exit::Interrupted, db, out).await,
        _ = terminate.recv() => cancelled(id, Exit::Terminated, db, out).await,
    }
}

/// How the job came out. One that was cancelled while it waited has no execution that says so.
async fn fate(job: &JobView, db: &ControlDb, out: Output) -> Result<Fate, Failure> {
    let last = queue::executions(db, job.id).await?.into_iter().next();
    let said_by_execution = |last: &ExecutionView| {
        job.state != JobState::Cancelled || last.outcome == Some(Outcome::Cancelled)
    };
    if let Some(last) = last.filter(said_by_execution) {
        return Ok(Fate::Ended(Box::new(last)));
    }
    let text = format!("job {} was cancelled", job.id.short());
    let failure = Failure::new(Fault::Cancelled, "execution.cancelled", text);
    out.error(&failure);
    Ok(Fate::Left(Exit::of(&failure)))
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

async fn to_its_end(id: JobId, db: &ControlDb, out: Output) -> Result<JobView, Failure> {
    let mut bar = Bar::new(out);
    let mut views = pin!(queue::follow(db, id));
    let mut told = Told::default();
    let mut last = None;
    while let Some(view) = views.next().await {
        match view {
            Ok(view) => {
                told.explain(&view, out);
                show(&view, &mut bar, out);
                last = Some(view);
            }
            Err(error) if error.is_transient() => out.message(&format!("{error}; trying again")),
            Err(error) => return Err(error.into()),
        }
    }
    bar.clear();
    last.ok_or_else(|| queue::QueueError::NotFound(id.to_string()).into())
}

/// What whoever waits has been told, so that each thing is said once.
struct Told {
    began: Instant,
    lonely: bool,
    /// The attempts that had failed, and the code of the last failure.
    setback: (i16, Option<String>),
}

impl Default for Told {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            lonely: false,
            setback: (0, None),
        }
    }
}

impl Told {
    /// Says why an open job gets no further: what went wrong before the next attempt, or that nobody takes it.
    fn explain(&mut self, job: &JobView, out: Output) {
        let is_waiting = match job.state {
            JobState::Queued => true,
            JobState::Running => false,
            JobState::Succeeded | JobState::Dead | JobState::Cancelled => return,
        };
        let failed = job.attempts - i16::from(!is_waiting);
        let setback = (failed, job.error_code.clone());
        if let Some(failure) = last_failure(job)
            && self.setback != setback
        {
            self.setback = setback;
            out.setback(&failure, &what_next(job, failed));
        } else if is_waiting && !self.lonely && self.began.elapsed() > QUEUED_TOO_LONG {
            self.lonely = true;
            out.message(&format!(
                "job {} still waits: does a worker run (`kanbu-backup worker` or `up`)?",
                job.id.short()
            ));
        }
    }
}

fn last_failure(job: &JobView) -> Option<Failure> {
    Some(Failure {
        fault: Fault::Transient,
        code: job.error_code.clone()?.into(),
        message: job.error.clone()?,
        hint: job.hint.clone().map(Into::into),
        retry_after: None,
    })
}

fn what_next(job: &JobView, failed: i16) -> String {
    let count = format!("attempt {failed} of {} failed", job.max_attempts);
    match job.state {
        JobState::Queued if failed == 0 => "another worker will take it".to_owned(),
        JobState::Queued => format!("{count}; the next begins at {}", list::local(job.run_at)),
        _ => format!("{count}; the next runs"),
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
        hint: execution.hint.clone().map(Into::into),
        retry_after: None,
    }
}

/// The members that every result line has.
pub(super) fn result(execution: &ExecutionView, more: &Value) -> Value {
    let fields = json!({
        "job": execution.job,
        "execution": execution.id,
        "outcome": execution.outcome,
    });
    extended(fields, more.clone())
}

/// How long it took, for people.
pub(super) fn seconds(execution: &ExecutionView) -> String {
    let took = execution
        .ended_at
        .map(|end| (end - execution.started_at).num_milliseconds())
        .unwrap_or_default();
    format!("{}.{} s", took / 1000, took % 1000 / 100)
}
