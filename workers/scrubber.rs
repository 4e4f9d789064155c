//! The rounds: every worker that verifies asks for the scrub of each subject, and the queue makes one job of it per period.

use kanbu_backup::{
    catalog,
    clock::{Clock, SystemClock},
    config::Config,
    control::ControlDb,
    fault::Failure,
    job::{Job, Kind},
    queue::{self, Enqueued, NewJob, Origin, QueueError},
    verify::Cadence,
};
use tokio::{task::JoinHandle, time::Duration};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// No period is shorter than a day, so that a scrub is late by an hour at most.
const LOOK_EVERY: Duration = Duration::from_hours(1);

/// Asks in the background until `stop`; `None` where this worker isn't to.
pub fn spawn(db: &ControlDb, config: &Config, stop: CancellationToken) -> Option<JoinHandle<()>> {
    let settings = config.worker.scrub?;
    let cadence = Cadence {
        every: settings.every,
        sample: settings.sample,
    };
    config
        .worker
        .slots
        .contains_key(&Kind::Verify)
        .then_some(())?;
    let db = db.clone();
    Some(tokio::spawn(async move {
        let mut round = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                _ = round.tick() => {}
                () = stop.cancelled() => return,
            }
            if let Err(failure) = ask(&db, cadence).await {
                warn!(%failure, "could not ask for what is to be read again");
            }
        }
    }))
}

async fn ask(db: &ControlDb, cadence: Cadence) -> Result<(), Failure> {
    for subject in catalog::subjects(db).await? {
        let scrub = cadence.due(&subject, SystemClock.now());
        let new = NewJob {
            request_key: Some(scrub.request_key),
            ..NewJob::new(Job::Verify(scrub.request), Origin::Cron).unless_open()
        };
        let job = match queue::submit(db, &new).await {
            Ok(Enqueued::New(job)) => job,
            // The second: by a worker with another sample.
            Ok(Enqueued::AlreadyOpen(_)) | Err(QueueError::RequestKeyReused(_)) => continue,
            Err(error) => return Err(error.into()),
        };
        info!(%subject, job.id = %job, "every copy is to be read again");
    }
    Ok(())
}
