//! `cron`: makes the jobs of schedules when they are due. Any number of these may run, on any hosts.

use kanbu_backup::{
    config::{Config, SchedulerMode},
    control::ControlDb,
    fault::Failure,
    schedule::{self, Producer},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::worker;
use crate::{exit::Exit, session::Session, wiring};

pub async fn run(session: &Session) -> Result<Exit, Failure> {
    let settings = &session.config.control;
    let url = settings
        .url
        .as_ref()
        .ok_or_else(|| worker::no_url("cron"))?;
    let db = wiring::connect(url.expose(), settings, "cron").await?;
    let stop = worker::stop_on_signals()?;
    wiring::prepare(&session.config, &db).await?;
    produce(session.config.schedule.mode, db, stop.gently).await;
    Ok(Exit::Done)
}

/// The same in the background, on a control database that is prepared.
pub(super) fn spawn(config: &Config, db: ControlDb, stop: CancellationToken) -> JoinHandle<()> {
    let mode = config.schedule.mode;
    tokio::spawn(async move { produce(mode, db, stop).await })
}

/// Makes jobs until `stop`, unless that is for somebody else to do.
async fn produce(mode: SchedulerMode, db: ControlDb, stop: CancellationToken) {
    match mode {
        SchedulerMode::Internal | SchedulerMode::Both => {
            info!("making the jobs of schedules");
            Producer::new(db).run(stop).await;
        }
        SchedulerMode::External => {
            remind(&db).await;
            stop.cancelled().await;
        }
    }
}

/// A setting that was meant for Kanbu alone stops backups without a sound.
async fn remind(db: &ControlDb) {
    let enabled = match schedule::list(db).await {
        Ok(schedules) => schedules.iter().filter(|view| view.draft.enabled).count(),
        Err(error) => return warn!(%error, "could not look at the schedules"),
    };
    if enabled > 0 {
        warn!(
            schedules = enabled,
            "BACKUP_SCHEDULER_MODE is external: schedules run only when a trigger asks; \
             KANBU_BACKUP_SCHEDULER_MODE=internal overrides it for this service"
        );
    }
}
