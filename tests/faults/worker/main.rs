//! A process of the fault suite: a worker whose handlers follow the script in their job's label, or a producer of ticks.
//!
//! It runs the library's own crew; only the handler is the suite's. What handlers do is told by [`journal`] alone.
//! Neighbours: `script` is the language, `act` performs it, `producer` enqueues.

mod act;
mod producer;
mod script;

use std::{collections::BTreeMap, path::PathBuf, process, sync::Arc, time::Duration};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use futures::FutureExt;
use kanbu_backup::{
    clock::{Clock, SystemClock},
    control::{ControlConfig, ControlDb},
    job::Kind,
    queue::{Crew, Handler, LeaseTerms},
};
use kanbu_backup_faults::journal::{Entry, Journal, What};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[derive(Debug, Parser)]
struct Cli {
    /// The control database; it holds a password.
    #[arg(long, env = "KANBU_FAULTS_DATABASE_URL", hide_env_values = true)]
    url: String,
    #[arg(long)]
    name: String,
    /// Where the journal is written and gates are looked for.
    #[arg(long)]
    directory: PathBuf,
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    Work(Work),
    Produce(producer::Produce),
}

#[derive(Debug, Args)]
struct Work {
    #[arg(long)]
    lease_ms: u64,
    #[arg(long, default_value_t = 1)]
    slots: usize,
    #[arg(long, default_value_t = 20_000)]
    grace_ms: u64,
    #[arg(long, default_value_t = 10_000)]
    clean_up_ms: u64,
    #[arg(long, default_value_t = 600_000)]
    deadline_ms: u64,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    // Two threads: one may be blocked by a script.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let end = runtime.block_on(run(cli));
    // A blocked handler shall not keep the process.
    runtime.shutdown_background();
    end
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    let path = cli.directory.join(format!("{}.journal", process::id()));
    let journal = Arc::new(Journal::open(&path).context("the journal")?);
    journal.write(&Entry::now(What::Started, SystemClock.now().to_rfc3339()))?;
    match cli.role {
        Role::Work(work) => work.run(cli.url, cli.name, cli.directory, journal).await,
        Role::Produce(produce) => produce.run(&cli.url, &cli.directory, &journal).await,
    }
}

impl Work {
    async fn run(
        self,
        url: String,
        name: String,
        directory: PathBuf,
        journal: Arc<Journal>,
    ) -> anyhow::Result<()> {
        let (stop, hurry) = (CancellationToken::new(), CancellationToken::new());
        obey(stop.clone(), hurry.clone())?;
        let config = ControlConfig::new(url, "fault-worker");
        // Born in an outage, it waits for the end of it.
        let db = loop {
            match ControlDb::connect(&config).await {
                Ok(db) => break db,
                Err(error) => eprintln!("{error}"),
            }
            script::pause(Duration::from_millis(200)).await;
        };
        let handler: Handler = Arc::new(move |job, lease| {
            act::perform(job, lease, Arc::clone(&journal), directory.clone()).boxed()
        });
        let slots = BTreeMap::from([(Kind::Backup, self.slots), (Kind::Verify, 1)]);
        let mut crew = Crew::new(db, handler, slots, name);
        crew.terms = LeaseTerms::new(Duration::from_millis(self.lease_ms));
        crew.grace = Duration::from_millis(self.grace_ms);
        crew.limits = crew
            .limits
            .with_deadline(Kind::Backup, Duration::from_millis(self.deadline_ms));
        crew.limits.clean_up = Duration::from_millis(self.clean_up_ms);
        Ok(crew.run(stop, hurry).await?)
    }
}

/// The first SIGTERM stops, the second hurries.
fn obey(stop: CancellationToken, hurry: CancellationToken) -> anyhow::Result<()> {
    let mut asked = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        asked.recv().await;
        stop.cancel();
        asked.recv().await;
        hurry.cancel();
    });
    Ok(())
}
