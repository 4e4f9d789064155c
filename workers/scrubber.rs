//! The rounds: every worker that verifies asks for the scrub and for the test restore of each subject, and the queue makes
//! one job of each per period.

use kanbu_backup::{
    catalog,
    clock::{Clock, SystemClock},
    config::Config,
    control::ControlDb,
    fault::Failure,
    id::JobId,
    job::{Job, Kind},
    queue::{self, Enqueued, NewJob, Origin, QueueError},
    verify::{Cadence, Due, ProofCadence},
};
use tokio::{task::JoinHandle, time::Duration};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::verbs::test_restore;

/// No period is shorter than a day, so that what is due is late by an hour at most.
const LOOK_EVERY: Duration = Duration::from_hours(1);

/// What comes by itself here.
struct Rounds {
    scrub: Option<Cadence>,
    proof: Option<ProofCadence>,
}

/// Asks in the background until `stop`; `None` where this worker isn't to.
pub fn spawn(db: &ControlDb, config: &Config, stop: CancellationToken) -> Option<JoinHandle<()>> {
    let scrub = config.worker.scrub.map(|settings| Cadence {
        every: settings.every,
        sample: settings.sample,
    });
    let rounds = Rounds {
        scrub,
        proof: config.worker.proof.every.map(|every| ProofCadence {
            every,
            checks: checks(config),
        }),
    };
    let is_mine = config.worker.slots.contains_key(&Kind::Verify);
    (is_mine && (rounds.scrub.is_some() || rounds.proof.is_some())).then_some(())?;
    let db = db.clone();
    Some(tokio::spawn(async move {
        let mut round = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                _ = round.tick() => {}
                () = stop.cancelled() => return,
            }
            if let Err(failure) = rounds.ask(&db).await {
                warn!(%failure, "could not ask for what is to be verified");
            }
        }
    }))
}

/// Without the operator's checks a test restore is still worth something.
fn checks(config: &Config) -> Vec<String> {
    test_restore::checks(None, config).unwrap_or_else(|failure| {
        warn!(%failure, "the checks of test restores can't be used");
        Vec::new()
    })
}

impl Rounds {
    async fn ask(&self, db: &ControlDb) -> Result<(), Failure> {
        let now = SystemClock.now();
        let subjects = catalog::subjects(db).await?;
        for subject in &subjects {
            if let Some(scrub) = &self.scrub
                && let Some(job) = submit(db, scrub.due(subject, now)).await?
            {
                info!(%subject, job.id = %job, "every copy is to be read again");
            }
        }
        for subject in &subjects {
            // One in a round, so that they come one after the other and not all at once.
            if let Some(proof) = &self.proof
                && let Some(job) = submit(db, proof.due(subject, now)).await?
            {
                info!(%subject, job.id = %job, "the newest backup is to be restored in a test");
                break;
            }
        }
        Ok(())
    }
}

/// The job, if it is a new one.
async fn submit(db: &ControlDb, due: Due) -> Result<Option<JobId>, Failure> {
    let new = NewJob {
        request_key: Some(due.request_key),
        ..NewJob::new(Job::Verify(due.request), Origin::Cron).unless_open()
    };
    match queue::submit(db, &new).await {
        Ok(Enqueued::New(job)) => Ok(Some(job)),
        // The second: by a worker with other settings.
        Ok(Enqueued::AlreadyOpen(_)) | Err(QueueError::RequestKeyReused(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
