//! Parse, load the configuration, start the log, carry the command out.

use std::process::ExitCode;

use clap::Parser;
use kanbu_backup::{config::Env, fault::Failure};
use kanbu_backup_workers::{
    cli::{Cli, Command},
    commands,
    exit::Exit,
    output::Output,
    session::Session,
    telemetry,
    verbs::{self, NoRuntime},
};
use tracing::Level;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let out = Output::new(&cli.global);
    let ended = tokio::runtime::Builder::new_multi_thread()
        // The work itself has threads of its own; these only wait for sockets.
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::from(NoRuntime(error)))
        .and_then(|runtime| runtime.block_on(run(cli)));
    let exit = ended.unwrap_or_else(|failure| {
        out.error(&failure);
        Exit::of(&failure)
    });
    exit.into()
}

async fn run(cli: Cli) -> Result<Exit, Failure> {
    let Cli { global, command } = cli;
    if let Command::Completions { shell } = command {
        return Ok(verbs::completions::run(shell));
    }
    let session = Session::open(&Env::capture(), &global)?;
    telemetry::start(session.config.log, global.verbose, quietest(&command));
    commands::run(command, &session).await
}

/// Roles log what they do; verbs say it themselves.
fn quietest(command: &Command) -> Option<Level> {
    (!matches!(command, Command::Up(_) | Command::Worker(_) | Command::Cron)).then_some(Level::WARN)
}
