//! The contenders of `./bench queue` that are written in Rust: our own crew, and apalis-postgres as it comes.
//!
//! Each verb does one step against the database that `QUEUE_BENCH_URL` names and prints one line of JSON. The Node
//! contenders beside this crate take the same verbs.

mod apalis;
mod claims;
mod course;
mod ours;

use std::fmt;

use clap::{Parser, Subcommand, ValueEnum};

#[derive(Parser)]
struct Arguments {
    contender: Contender,
    #[arg(long, env = "QUEUE_BENCH_URL", hide_env_values = true)]
    url: String,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Copy, ValueEnum)]
enum Contender {
    Ours,
    /// Stock apalis-postgres that fetches single jobs.
    #[value(name = "apalis-1")]
    Apalis1,
    /// Stock apalis-postgres with its default buffer of ten.
    #[value(name = "apalis-10")]
    Apalis10,
}

#[derive(Clone, Copy, Subcommand)]
enum Verb {
    /// Makes the tables.
    SetUp,
    /// Puts so many jobs into the queue.
    Fill { jobs: usize },
    /// Works off what is there.
    Drain { jobs: usize },
    /// Puts in single jobs while the worker is idle.
    Latency { jobs: usize },
    /// Makes a past: so many finished jobs, and so many that wait.
    Past { finished: usize, queued: usize },
    /// Claims and finishes single jobs.
    Claims { claims: usize },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments {
        contender,
        url,
        verb,
    } = Arguments::parse();
    let batch = match contender {
        Contender::Ours => return ours::run(&url, verb).await,
        Contender::Apalis1 => 1,
        Contender::Apalis10 => 10,
    };
    apalis::run(&url, verb, batch).await
}

/// How many jobs are worked on at once.
const CONCURRENCY: usize = 10;

fn unsupported(verb: impl fmt::Debug) -> anyhow::Error {
    anyhow::anyhow!("{verb:?} is not for this contender")
}
