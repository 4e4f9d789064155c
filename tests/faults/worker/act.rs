//! Performing a script under a lease, and writing down in the journal what was done.

use std::{path::PathBuf, process, sync::Arc, time::Duration};

use kanbu_backup::{
    execution::{Effects, Lease},
    fault::{Failure, Fault},
    job::{Job, Verify, VerifyLevel},
};
use kanbu_backup_faults::journal::{Entry, Journal, What, true_now};
use serde_json::json;

use crate::script::{Deed, pause, steps};

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A handler at work. Its end is written down however it ends, except with its process.
struct Act {
    lease: Arc<Lease>,
    subject: String,
    journal: Arc<Journal>,
    directory: PathBuf,
    end: &'static str,
}

/// What the steps have come to so far.
#[derive(Default)]
struct Course {
    careless: bool,
    follow_ups: Vec<Job>,
}

pub(crate) async fn perform(
    job: Job,
    lease: Arc<Lease>,
    journal: Arc<Journal>,
    directory: PathBuf,
) -> Result<Effects, Failure> {
    let script = match &job {
        Job::Backup(backup) => backup.label.clone().unwrap_or_default(),
        Job::Restore(_) | Job::Prune(_) | Job::Verify(_) | Job::Notify(_) => String::new(),
    };
    let mut act = Act {
        subject: job.subject().to_string(),
        lease,
        journal,
        directory,
        end: "was dropped",
    };
    act.note(What::Began, &script)?;
    let done = act.follow(&job, &script).await;
    act.end = match &done {
        Ok(_) => "succeeded",
        Err(failure) => failure.fault.as_str(),
    };
    done
}

impl Act {
    async fn follow(&self, job: &Job, script: &str) -> Result<Effects, Failure> {
        let steps = steps(script, self.lease.attempt()).map_err(|word| {
            Failure::new(
                Fault::Permanent,
                "script.unreadable",
                format!("{word:?} is no step"),
            )
        })?;
        let mut course = Course::default();
        for step in steps {
            self.take(step, job, &mut course).await?;
        }
        if !course.careless {
            self.touch_the_world().await?;
        }
        Ok(Effects {
            follow_ups: course.follow_ups,
            result: json!({"execution": self.lease.execution()}),
            ..Effects::default()
        })
    }

    async fn take(&self, step: Deed, job: &Job, course: &mut Course) -> Result<(), Failure> {
        match step {
            Deed::Sleep(time) => self.unless_told(pause(time)).await?,
            Deed::Stubborn(time) => pause(time).await,
            Deed::Block(time) => block(time),
            Deed::Hang => std::future::pending().await,
            Deed::Gate(name) => self.unless_told(self.gate(&name)).await?,
            Deed::DeafGate(name) => self.gate(&name).await,
            Deed::Effect => self.touch_the_world().await?,
            Deed::Fail => return Err(failure(Fault::Transient, "script.failed")),
            Deed::FailPermanently => return Err(failure(Fault::Permanent, "script.refused")),
            Deed::Panic => fall_over(),
            Deed::Abort => {
                self.note(What::Aborting, "")?;
                process::abort()
            }
            Deed::Follow => course.follow_ups.push(Job::Verify(Verify {
                level: VerifyLevel::Quick,
                ..Verify::of(job.subject())
            })),
            Deed::Careless => course.careless = true,
        }
        Ok(())
    }

    async fn unless_told(&self, work: impl Future<Output = ()>) -> Result<(), Failure> {
        tokio::select! {
            () = work => Ok(()),
            () = self.lease.cancelled().cancelled() => self.lease.stopped(),
        }
    }

    async fn gate(&self, name: &str) {
        let gate = self.directory.join(format!("{name}.gate"));
        while !gate.exists() {
            pause(LOOK_EVERY).await;
        }
    }

    /// The one way in which a handler may act on what others see: the lease first.
    async fn touch_the_world(&self) -> Result<(), Failure> {
        let asked = true_now();
        self.lease.check().await?;
        self.write(&Entry {
            asked: Some(asked),
            ..self.entry(What::Effect, "")
        })
    }

    fn entry(&self, what: What, note: &str) -> Entry {
        Entry {
            execution: Some(self.lease.execution()),
            job: Some(self.lease.job()),
            subject: Some(self.subject.clone()),
            ..Entry::now(what, note)
        }
    }

    fn note(&self, what: What, note: &str) -> Result<(), Failure> {
        self.write(&self.entry(what, note))
    }

    fn write(&self, entry: &Entry) -> Result<(), Failure> {
        self.journal
            .write(entry)
            .map_err(|error| Failure::new(Fault::Permanent, "script.journal", error.to_string()))
    }
}

impl Drop for Act {
    fn drop(&mut self) {
        // A journal without this line reads as work without end, which fails the scenario.
        drop(self.note(What::Ended, self.end));
    }
}

fn failure(fault: Fault, code: &'static str) -> Failure {
    Failure::new(fault, code, "the script says so")
}

#[expect(clippy::panic, reason = "the script says so")]
fn fall_over() {
    panic!("the script says so");
}

#[expect(
    clippy::disallowed_methods,
    reason = "a handler that blocks is what is tested"
)]
fn block(time: Duration) {
    std::thread::sleep(time);
}
