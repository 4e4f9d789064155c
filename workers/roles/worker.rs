//! `worker`: executes jobs until it is told to go.

use std::{collections::BTreeMap, time::Duration};

use kanbu_backup::{
    config::Config,
    control::ControlDb,
    execution::event,
    fault::{Failure, Fault},
    job::{Kind, UnknownKind},
    notify::Channel,
    queue::{self, Crew, History, LeaseTerms},
};
use tokio::signal::unix::SignalKind;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::leftovers;
use crate::{
    cli::Worker, dispatch, exit::Exit, scrubber, session::Session, signals, sweeper, wiring,
};

pub async fn run(args: Worker, session: &Session) -> Result<Exit, Failure> {
    let settings = &session.config.control;
    let url = settings.url.as_ref().ok_or_else(|| no_url("worker"))?;
    let db = wiring::connect(url.expose(), settings, "worker").await?;
    let stop = stop_on_signals()?;
    serve(&args, &session.config, db, stop).await?;
    Ok(Exit::Done)
}

pub(super) fn no_url(role: &str) -> Failure {
    Failure::new(
        Fault::Permanent,
        "config.no_control_database",
        format!("`{role}` needs a control database"),
    )
    .with_hint("set KANBU_BACKUP_DATABASE_URL, or use `up`, which brings its own")
}

/// Orders to stop: the first signal lets running jobs finish within the grace, the second skips it.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    pub gently: CancellationToken,
    pub now: CancellationToken,
}

pub fn stop_on_signals() -> Result<Stop, Failure> {
    let mut terminate = signals::on(SignalKind::terminate())?;
    let mut interrupt = signals::on(SignalKind::interrupt())?;
    let stop = Stop::default();
    let orders = stop.clone();
    tokio::spawn(async move {
        for order in [orders.gently, orders.now] {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
            info!("stopping");
            order.cancel();
        }
    });
    Ok(stop)
}

/// Prepares the control database and works on it until the stop or a drain.
pub async fn serve(
    args: &Worker,
    config: &Config,
    db: ControlDb,
    stop: Stop,
) -> Result<(), Failure> {
    wiring::prepare(config, &db).await?;
    queue::register_subjects(&db, &wiring::subjects(config)?).await?;
    let deps = wiring::deps(config, db.clone()).await?;
    let slots = slots(args, config)?;
    if slots.contains_key(&Kind::Notify) {
        event::register_channels(&db, &names(&deps.notify.channels)).await?;
    }
    warn_without_key(config);
    let sweeper = sweeper::spawn(&deps, config, stop.gently.clone());
    let scrubber = scrubber::spawn(&db, config, stop.gently.clone());
    let leftovers = Some(leftovers::of(&deps.backup.sources, &deps.restore, &db));
    let crew = Crew {
        leftovers,
        terms: LeaseTerms::new(config.worker.lease),
        grace: args.drain_timeout.unwrap_or(config.worker.grace),
        drain_limit: args.drain_timeout.unwrap_or(Duration::MAX),
        history: History::new(config.worker.history),
        ..Crew::new(db, dispatch::handler(deps), slots, name(args))
    };
    let ended = crew.run(stop.gently.clone(), stop.now).await;
    // After a drain nobody has said it yet.
    stop.gently.cancel();
    sweeper.await.ok();
    if let Some(scrubber) = scrubber {
        scrubber.await.ok();
    }
    ended.map_err(Failure::from)
}

fn names(channels: &[Channel]) -> Vec<(String, &'static str)> {
    let names = channels.iter();
    names
        .map(|channel| (channel.name.clone(), channel.kind))
        .collect()
}

fn warn_without_key(config: &Config) {
    if config.encryption.key.is_none() {
        tracing::warn!("backups are NOT encrypted: BACKUP_ENCRYPTION_KEY is not set");
    }
}

fn slots(args: &Worker, config: &Config) -> Result<BTreeMap<Kind, usize>, Failure> {
    let mut slots = config.worker.slots.clone();
    if !args.kinds.is_empty() {
        let wanted: Result<Vec<Kind>, UnknownKind> =
            args.kinds.iter().map(|kind| kind.parse()).collect();
        let wanted = wanted
            .map_err(|error| Failure::new(Fault::Permanent, "usage.invalid", error.to_string()))?;
        slots.retain(|kind, _| wanted.contains(kind));
    }
    if let Some(count) = args.slots {
        for slot in slots.values_mut() {
            *slot = usize::from(count);
        }
    }
    Ok(slots)
}

fn name(args: &Worker) -> String {
    let host = || std::fs::read_to_string("/proc/sys/kernel/hostname");
    args.name.clone().unwrap_or_else(|| {
        let host = host().map_or_else(|_| "host".to_owned(), |name| name.trim().to_owned());
        format!("{host}:{}", std::process::id())
    })
}
