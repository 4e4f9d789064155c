//! The command line's part about the history of executions.

use clap::{Args, Subcommand, ValueEnum};
use kanbu_backup::{execution::Outcome, job::Kind};

#[derive(Debug, Subcommand)]
pub enum Execution {
    /// List executions, newest first, page by page
    List {
        #[command(flatten)]
        filter: Executions,
        /// At most so many, up to 1000
        #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Go on behind this execution: what the page before names as `next`
        #[arg(long, value_name = "ID")]
        before: Option<String>,
    },
    /// Show one execution with its error, warnings and log
    Show { id: String },
    /// Count executions that have ended: success rate, last success and failure, durations
    Stats {
        #[command(flatten)]
        filter: Executions,
        /// A line for each of these
        #[arg(long, value_enum)]
        by: Option<By>,
    },
}

/// Which executions are meant.
#[derive(Debug, Args)]
pub struct Executions {
    /// May be repeated
    #[arg(long)]
    pub kind: Vec<Kind>,
    /// `database:kanbu`, with `#verify` for its verifications and `#prune` for its prunings
    #[arg(long)]
    pub subject: Option<String>,
    /// Name or id
    #[arg(long)]
    pub schedule: Option<String>,
    /// succeeded, degraded, failed or cancelled; may be repeated
    #[arg(long, value_parser = outcome)]
    pub outcome: Vec<Outcome>,
    /// Begun since a date, a time, or an age like -2h
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub since: Option<String>,
    /// Begun before a date, a time, or an age like -2h
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub until: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum By {
    Kind,
    Subject,
    Schedule,
    Day,
}

fn outcome(text: &str) -> Result<Outcome, String> {
    let found = Outcome::ALL.into_iter().find(|o| o.as_str() == text);
    found.ok_or_else(|| {
        format!("{text:?} is not an outcome (succeeded, degraded, failed, cancelled)")
    })
}
