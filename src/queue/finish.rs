//! The end of an execution: fenced, closed, its job settled, and what follows from it, in one transaction.
//!
//! Repeating an ending after a lost reply finds it done. A fenced-out ending writes nothing at all.

use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::{
    Dedupe, NewJob, Origin, QueueError, backoff::ANSWER_WITHIN, enqueue::enqueue, wire::stored,
};
use crate::{
    catalog,
    control::{Connection, ControlDb, within},
    execution::{Effects, Outcome, Progress, Warning},
    fault::{Failure, Fault},
    id::{ExecutionId, JobId},
    job::{Job, Notify},
};

/// Longest kept error text, in bytes.
const MAX_ERROR_BYTES: usize = 8000;

/// How the work under a lease ended.
#[derive(Clone, Debug)]
pub enum Close {
    /// Done, wholly or in part: succeeded, degraded, or failed by what was found.
    Done(Box<Effects>),
    Failed(Failure),
    /// By request.
    Cancelled(Failure),
    /// Given back unfinished, on shutdown: the attempt isn't charged.
    Released,
}

/// An ending on its way to the database.
#[derive(Clone, Debug)]
pub struct Ending {
    pub execution: ExecutionId,
    pub job: JobId,
    pub close: Close,
    pub progress: Option<Progress>,
    /// How many log lines the row is known to hold, and what follows them.
    pub log_from: usize,
    pub log: Vec<String>,
}

/// What the database said to an ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Closed,
    /// It was closed by an earlier, unanswered request of ours.
    Already,
    /// Fenced out: the lease had run out, and nothing was written.
    Lost,
}

impl Ending {
    pub fn new(execution: ExecutionId, job: JobId, close: Close) -> Self {
        Self {
            execution,
            job,
            close,
            progress: None,
            log_from: 0,
            log: Vec::new(),
        }
    }

    /// What must become true in the same transaction, if anything.
    pub(super) fn effects(&self) -> Option<&Effects> {
        match &self.close {
            Close::Done(effects) => {
                let plain = effects.artifact.is_none()
                    && effects.proof.is_none()
                    && effects.follow_ups.is_empty();
                (!plain).then_some(effects)
            }
            Close::Failed(_) | Close::Cancelled(_) | Close::Released => None,
        }
    }
}

/// Closes executions whose ending touches no other table, in one round trip; each is fenced alone.
pub async fn finish_many(
    db: &ControlDb,
    endings: &[&Ending],
) -> Result<Vec<(ExecutionId, Answer)>, QueueError> {
    let records = stored(endings.iter().map(|e| Record::of(e)).collect::<Vec<_>>());
    within(db.pool(), ANSWER_WITHIN, |conn| {
        Box::pin(async move { close(conn, &records).await })
    })
    .await
}

/// Closes one execution together with everything its end brings about, or not at all.
pub async fn publish(db: &ControlDb, ending: &Ending) -> Result<Answer, QueueError> {
    let records = stored([Record::of(ending)]);
    let ending = ending.clone();
    within(db.pool(), ANSWER_WITHIN, |conn| {
        Box::pin(async move {
            let mut tx = conn.begin().await?;
            let answers = close(&mut tx, &records).await?;
            let answer = answers.first().map_or(Answer::Lost, |(_, answer)| *answer);
            if let (Answer::Closed, Some(effects)) = (answer, ending.effects()) {
                if let Some((artifact, copies)) = &effects.artifact {
                    catalog::insert(&mut tx, artifact, copies).await?;
                }
                if let Some(proof) = &effects.proof {
                    catalog::insert_proof(&mut tx, proof).await?;
                }
                for job in &effects.follow_ups {
                    follow_up(&mut tx, ending.job, job).await?;
                }
            }
            tx.commit().await?;
            Ok(answer)
        })
    })
    .await
}

async fn close(
    conn: &mut Connection<'_>,
    records: &Value,
) -> Result<Vec<(ExecutionId, Answer)>, QueueError> {
    let rows = sqlx::query!(
        r#"select execution_id as "execution_id!", answer as "answer!" from kanbu_backup.finish($1)"#,
        records,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| Ok((row.execution_id.into(), answer(row.answer)?)))
        .collect()
}

fn answer(word: String) -> Result<Answer, QueueError> {
    match word.as_str() {
        "closed" => Ok(Answer::Closed),
        "already" => Ok(Answer::Already),
        "lost" => Ok(Answer::Lost),
        _ => Err(QueueError::Undecodable {
            column: "answer",
            value: word,
        }),
    }
}

/// A follow-up that the queue refuses by rule is said and left out: it must not cost the backup it follows.
async fn follow_up(conn: &mut Connection<'_>, parent: JobId, job: &Job) -> Result<(), QueueError> {
    let new = NewJob {
        parent: Some(parent),
        dedupe: dedupe(job),
        ..NewJob::new(job.clone(), Origin::FollowUp)
    };
    let mut savepoint = conn.begin().await?;
    match enqueue(&mut savepoint, &new).await {
        Ok(_) => Ok(savepoint.commit().await?),
        Err(error) if error.is_transient() => Err(error),
        Err(error) => {
            tracing::error!(job.id = %parent, %error, "a follow-up job was refused");
            Ok(savepoint.rollback().await?)
        }
    }
}

/// A channel is told of an event once, however often it is said that it should be.
fn dedupe(job: &Job) -> Dedupe {
    match job {
        Job::Notify(Notify {
            event,
            channel: Some(channel),
            ..
        }) => Dedupe::Key(format!("event:{event}:{channel}")),
        Job::Notify(_) | Job::Backup(_) | Job::Restore(_) | Job::Prune(_) | Job::Verify(_) => {
            Dedupe::Never
        }
    }
}

/// One element of the parameter of `kanbu_backup.finish`.
#[derive(Serialize)]
struct Record<'a> {
    id: ExecutionId,
    outcome: Outcome,
    fault: Option<Fault>,
    charged: bool,
    error_code: Option<&'a str>,
    error: Option<&'a str>,
    hint: Option<&'a str>,
    progress: Option<&'a Progress>,
    log_from: usize,
    log: &'a [String],
    result: Option<&'a Value>,
    warnings: Option<&'a [Warning]>,
    bytes_in: Option<i64>,
    bytes_out: Option<i64>,
    artifact_id: Option<Uuid>,
    /// In seconds.
    retry_after: Option<f64>,
}

impl<'a> Record<'a> {
    fn of(ending: &'a Ending) -> Self {
        let open = Self {
            id: ending.execution,
            outcome: Outcome::Cancelled,
            fault: Some(Fault::Cancelled),
            charged: true,
            error_code: None,
            error: None,
            hint: None,
            progress: ending.progress.as_ref(),
            log_from: ending.log_from,
            log: &ending.log,
            result: None,
            warnings: None,
            bytes_in: None,
            bytes_out: None,
            artifact_id: None,
            retry_after: None,
        };
        match &ending.close {
            Close::Done(effects) => Self {
                outcome: effects.outcome(),
                fault: effects.failed.as_ref().map(|f| charged_fault(f.fault)),
                result: Some(&effects.result).filter(|result| !result.is_null()),
                warnings: Some(&*effects.warnings).filter(|warnings| !warnings.is_empty()),
                bytes_in: Some(bigint(effects.bytes_in)),
                bytes_out: Some(bigint(effects.bytes_out)),
                artifact_id: effects.artifact.as_ref().map(|(a, _)| a.id.as_uuid()),
                ..effects.failed.iter().fold(open, Self::because)
            },
            Close::Failed(failure) => Self {
                outcome: Outcome::Failed,
                fault: Some(charged_fault(failure.fault)),
                ..open.because(failure)
            },
            Close::Cancelled(failure) => open.because(failure),
            Close::Released => Self {
                charged: false,
                error_code: Some("execution.released"),
                error: Some("the worker shut down and gave the job back"),
                ..open
            },
        }
    }

    fn because(self, failure: &'a Failure) -> Self {
        let end = failure.message.floor_char_boundary(MAX_ERROR_BYTES);
        Self {
            error_code: Some(&failure.code),
            error: Some(&failure.message[..end]),
            hint: failure.hint.as_deref(),
            retry_after: failure.retry_after.map(|wait| wait.as_secs_f64()),
            ..self
        }
    }
}

/// A *failed* execution has failed by itself: being stopped is no failure, and losing the lease is the reaper's to say.
fn charged_fault(fault: Fault) -> Fault {
    match fault {
        Fault::Permanent => Fault::Permanent,
        Fault::Transient | Fault::LeaseLost | Fault::Cancelled => Fault::Transient,
    }
}

fn bigint(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
