//! `up`: everything in one process. Without a configured control database it brings a private PostgreSQL of its own.

use kanbu_backup::{
    control::ControlDb,
    fault::Failure,
    pg::server::{PrivateServer, ServerOptions},
};
use tracing::info;

use super::{
    cron,
    worker::{self, Stop},
};
use crate::{cli::Worker, exit::Exit, session::Session, wiring};

pub async fn run(args: Worker, session: &Session) -> Result<Exit, Failure> {
    let stop = worker::stop_on_signals()?;
    let settings = &session.config.control;
    if let Some(url) = &settings.url {
        let db = wiring::connect(url.expose(), settings, "up").await?;
        everything(&args, session, db, stop).await?;
        return Ok(Exit::Done);
    }
    let toolsets = wiring::toolsets(&session.config.protected).await;
    let server =
        PrivateServer::start(ServerOptions::new(&settings.state_directory, toolsets)).await?;
    info!(directory = %settings.state_directory.display(), "the private control server runs");
    let ended = with_server(&args, session, &server, stop).await;
    server.stop().await?;
    ended.map(|()| Exit::Done)
}

/// Works until the stop, or until the server under it dies: then the process ends too, and whoever supervises it starts
/// both anew.
async fn with_server(
    args: &Worker,
    session: &Session,
    server: &PrivateServer,
    stop: Stop,
) -> Result<(), Failure> {
    let db = wiring::connect(server.url(), &session.config.control, "up").await?;
    tokio::select! {
        worked = everything(args, session, db, stop) => worked,
        death = server.ended() => Err(death.into()),
    }
}

/// All roles, until the worker has ended.
async fn everything(
    args: &Worker,
    session: &Session,
    db: ControlDb,
    stop: Stop,
) -> Result<(), Failure> {
    wiring::prepare(&session.config, &db).await?;
    let cron = cron::spawn(&session.config, db.clone(), stop.gently.clone());
    let ended = worker::serve(args, &session.config, db, stop.clone()).await;
    stop.gently.cancel();
    cron.await.ok();
    ended
}
