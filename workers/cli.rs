//! The command line: one binary, roles and verbs as subcommands. Definitions only; `--help`, completions and the tests that
//! compare them with the documents all come from here.

#![expect(
    clippy::doc_markdown,
    reason = "these comments are what `--help` prints, where backticks would show"
)]

mod execution;
mod notify;
mod numbers;
mod queue;
mod restore;
mod retention;
mod schedule;
mod storage;
mod verify;

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use self::{
    execution::{By, Execution, Executions},
    notify::Notify,
    queue::{Cap, Drain, Enqueue, Job, Pause, Queue, Resume},
    restore::{Restore, Rollback},
    retention::{Apply, Pin, Preview, Retention, Whose},
    schedule::{
        Add as AddSchedule, Edit as EditSchedule, Named as NamedSchedule, Remove as RemoveSchedule,
        Run as RunSchedule, Schedule, Terms as ScheduleTerms,
    },
    storage::{Acknowledge, Catalog, Import, Rebuild, Retire, Storage, Sync},
    verify::{Level, TestRestore, Verify},
};

/// Backups of Kanbu and of any PostgreSQL that cannot lie about themselves.
#[derive(Debug, Parser)]
#[command(
    name = "kanbu-backup",
    version,
    propagate_version = true,
    disable_help_subcommand = true
)]
#[command(after_help = EXIT_CODES)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done; 1 failed; 2 wrong usage, nothing changed; 3 done with findings; 4 not found; \
5 refused; 6 integrity failure; 7 storage unreachable or full; 8 database unreachable or wrong version; 9 not authorised; \
10 key missing or wrong; 12 waited long enough, the job goes on; 130/143 interrupted/terminated.";

/// What every verb accepts.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Print one JSON document (lists) or JSON lines (streams) instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// Say nothing but results and errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Log more: -v debug, -vv trace
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// No progress bars
    #[arg(long, global = true)]
    pub no_progress: bool,
    /// Configuration file
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything in one process; without KANBU_BACKUP_DATABASE_URL on a private PostgreSQL
    Up(Worker),
    /// Execute jobs
    Worker(Worker),
    /// Make the jobs of schedules when they are due; any number of these may run
    Cron,
    /// Prepare the control database
    #[command(subcommand)]
    Migrate(Migrate),
    /// Start a backup and follow it
    Backup(Backup),
    /// List backups
    List(List),
    /// Show one backup: manifest, copies, checks
    Show { id: String },
    /// Read backups again: every byte of every copy; and mend what is bad
    Verify(Verify),
    /// Restore a backup in a test, compare it with what it is to be, and remove it again
    TestRestore(TestRestore),
    /// Restore a backup into a new database or an empty directory, or in the live database's place
    Restore(Restore),
    /// Give the database that a restore replaced its name back
    Rollback(Rollback),
    /// Download a backup as a file
    Get(Get),
    /// Say what a file is, without a key or a service
    Inspect(OfflineFile),
    /// Decrypt a file, without a service
    Decrypt(Decrypt),
    /// Delete backups, everywhere
    Delete(Delete),
    /// Keep backups from being let go, whatever the policies say
    Pin(Pin),
    /// Let the policies have pinned backups again
    Unpin(Pin),
    /// What the policies keep and what they let go
    #[command(subcommand)]
    Retention(Retention),
    /// Look at jobs and steer them
    #[command(subcommand)]
    Job(Job),
    /// Look at the history of executions, page by page and in numbers
    #[command(subcommand)]
    Execution(Execution),
    /// Look at the queue, pause and limit it
    #[command(subcommand)]
    Queue(Queue),
    /// Send workers home: they claim no more, finish what they have begun, and go
    Drain(Drain),
    /// Put a job of any kind into the queue and follow it
    Enqueue(Enqueue),
    /// Run backups by the clock
    #[command(subcommand)]
    Schedule(Box<Schedule>),
    /// Look after the storages
    #[command(subcommand)]
    Storage(Storage),
    /// Look after the catalog of backups
    #[command(subcommand)]
    Catalog(Catalog),
    /// Look at the channels that are told, try them, and see what became of messages
    #[command(subcommand)]
    Notify(Notify),
    /// Check the set-up and say how to fix what is wrong
    Doctor {
        /// Only the queue: invariants, leases, workers, dead jobs, pauses
        #[arg(long)]
        queue: bool,
    },
    /// Show the settings in force
    #[command(subcommand)]
    Config(Config),
    /// Print a completion script for a shell
    Completions { shell: clap_complete::Shell },
    /// Print the version
    Version,
}

#[derive(Clone, Debug, Args)]
pub struct Worker {
    /// Only these kinds of job
    #[arg(long, value_delimiter = ',', value_name = "KIND,…")]
    pub kinds: Vec<String>,
    /// Slots for each kind
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub slots: Option<u16>,
    /// The name shown in lists (default: host name and process id)
    #[arg(long)]
    pub name: Option<String>,
    /// How long running jobs may go on after SIGTERM or a drain (30s, 2h, 0, unlimited) before they are handed back
    /// (default: KANBU_BACKUP_GRACE_SECONDS after SIGTERM, unlimited after a drain)
    #[arg(long, value_parser = drain_timeout, value_name = "TIME")]
    pub drain_timeout: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Migrate {
    /// Apply the control database's migrations and end
    Db,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum What {
    Database,
    Source,
}

/// How long a verb stays with the job that it started.
#[derive(Clone, Copy, Debug, Args)]
pub struct Follow {
    /// Enqueue and return at once
    #[arg(long, conflicts_with = "timeout")]
    pub no_wait: bool,
    /// Wait at most this long (30s, 10m, 2h); the job goes on (exit code 12)
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub timeout: Option<Duration>,
}

#[derive(Debug, Args)]
pub struct Backup {
    #[arg(value_enum, default_value = "database")]
    pub what: What,
    /// Which one, when several are configured
    #[arg(long, value_name = "NAME")]
    pub subject: Option<String>,
    /// A note shown in lists
    #[arg(long, value_parser = label)]
    pub label: Option<String>,
    /// Never prune this backup
    #[arg(long)]
    pub pin: bool,
    /// Show what would be done
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub follow: Follow,
}

#[derive(Debug, Args)]
pub struct List {
    #[arg(long, value_enum)]
    pub kind: Option<What>,
    /// Only backups made since then: a date, an RFC 3339 time, or an age like -2h, -7d
    #[arg(long, allow_hyphen_values = true, value_name = "TIME")]
    pub since: Option<String>,
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub limit: u32,
    /// Read the manifests of this directory instead of asking the service
    #[arg(long, value_name = "DIR")]
    pub from: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Get {
    /// A backup: id, its short form, or `latest`
    pub id: String,
    /// Which `latest`
    #[arg(long, value_enum)]
    pub kind: Option<What>,
    /// Decrypted and decompressed
    #[arg(long)]
    pub decrypt: bool,
    /// Instead of the backup: the SQL of the roles and tablespaces that were dumped beside it (default: to standard output)
    #[arg(long, conflicts_with = "decrypt")]
    pub globals: bool,
    /// The file to write; `-` is standard output
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Read this storage's copy
    #[arg(long)]
    pub storage: Option<String>,
}

#[derive(Debug, Args)]
pub struct OfflineFile {
    pub file: PathBuf,
}

#[derive(Debug, Args)]
pub struct Decrypt {
    pub file: PathBuf,
    /// The file to write; `-` is standard output (default: the name without its last suffix)
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The key, or the passphrase (default: BACKUP_ENCRYPTION_KEY)
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
    /// Decompress too
    #[arg(long)]
    pub decompress: bool,
    /// Set a newer header beside the file aside
    #[arg(long)]
    pub no_sidecar: bool,
}

#[derive(Debug, Args)]
pub struct Delete {
    #[arg(required = true)]
    pub ids: Vec<String>,
    /// Show what would be deleted
    #[arg(long)]
    pub dry_run: bool,
    /// Yes, delete
    #[arg(long)]
    pub yes: bool,
    /// Also the last backup of its subject; needs --reason
    #[arg(long, requires = "reason")]
    pub force_last: bool,
    #[arg(long)]
    pub reason: Option<String>,
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Config {
    /// Show the settings in force, secrets masked
    Show {
        /// Say where each value comes from
        #[arg(long)]
        origin: bool,
    },
}

/// `30s`, `10m`, `2h`, `7d`; a bare number is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let (digits, factor) = match text.strip_suffix(['s', 'm', 'h', 'd']) {
        Some(digits) => (digits, unit(&text[digits.len()..])),
        None => (text, 1),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(factor))
        .filter(|seconds| *seconds > 0)
        .map(Duration::from_secs)
        .ok_or_else(|| "write a time like 30s, 10m or 2h".to_owned())
}

/// Like [`duration`], or `0` for none, or `unlimited`.
fn drain_timeout(text: &str) -> Result<Duration, String> {
    match text {
        "0" => Ok(Duration::ZERO),
        "unlimited" => Ok(Duration::MAX),
        text => duration(text).map_err(|error| format!("{error}, or 0, or unlimited")),
    }
}

fn unit(suffix: &str) -> u64 {
    match suffix {
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => 1,
    }
}

fn label(text: &str) -> Result<String, String> {
    if text.len() > 200 || text.chars().any(char::is_control) {
        return Err("a label is at most 200 bytes on one line".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_documentation_names_every_verb_and_every_long_option() {
        let text = include_str!("../docs/cli.md");
        for verb in Cli::command().get_subcommands() {
            let name = verb.get_name();
            assert!(
                text.contains(&format!("| `{name}")),
                "docs/cli.md lacks the verb {name}"
            );
            for part in std::iter::once(verb).chain(verb.get_subcommands()) {
                let word = part.get_name();
                assert!(text.contains(word), "docs/cli.md lacks {name} {word}");
                for option in part.get_arguments().filter_map(clap::Arg::get_long) {
                    assert!(
                        text.contains(&format!("--{option}")),
                        "docs/cli.md lacks --{option} of {name} {word}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_time_limit_is_read_with_its_unit() {
        assert_eq!(duration("90").unwrap(), Duration::from_secs(90));
        assert_eq!(duration("10m").unwrap(), Duration::from_mins(10));
        for text in ["", "0s", "m", "1.5h", "-3s"] {
            assert!(duration(text).is_err(), "{text:?} was accepted");
        }
        assert_eq!(drain_timeout("0").unwrap(), Duration::ZERO);
        assert_eq!(drain_timeout("unlimited").unwrap(), Duration::MAX);
        assert_eq!(drain_timeout("90s").unwrap(), Duration::from_secs(90));
        assert!(drain_timeout("for ever").is_err());
    }
}
