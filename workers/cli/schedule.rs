//! The command line's part about schedules.

use std::time::Duration;

use clap::{Args, Subcommand};
use kanbu_backup::{
    job::Subject,
    schedule::{CatchUp, Overlap, ScheduledKind, VerifyEvery},
};

use super::{Follow, Level, duration, numbers::Numbers};

#[derive(Debug, Subcommand)]
pub enum Schedule {
    /// List schedules with their last and next runs
    List,
    /// Show a schedule: what it does, its next runs, and what became of the last
    Show {
        /// Name, id, or the end of an id
        schedule: String,
    },
    /// Make a schedule
    Add(Add),
    /// Change a schedule
    Edit(Edit),
    /// Turn a schedule on; nothing from before is made up for
    Enable(Named),
    /// Turn a schedule off
    Disable(Named),
    /// Run a schedule now, also one that is off; its plan isn't moved by it
    Run(Run),
    /// Leave the runs of a time out
    Pause {
        #[command(flatten)]
        named: Named,
        /// End by itself: an RFC 3339 time, a date, or from now on like 2h
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
    },
    /// End a pause
    Resume(Named),
    /// Remove a schedule, and say what becomes of its backups
    Rm(Remove),
    /// Show the next runs of a schedule
    Next {
        /// Name, id, or the end of an id
        schedule: String,
        #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
        count: u16,
    },
    /// Say what a rule means, and when it would run next
    Explain {
        /// Five fields, or six with the seconds first, or a word like @daily
        cron: String,
        /// An IANA name (default: BACKUP_CRON_TIMEZONE)
        #[arg(long, value_name = "ZONE")]
        tz: Option<String>,
        #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
        count: u16,
    },
}

#[derive(Debug, Args)]
pub struct Named {
    /// Name, id, or the end of an id
    pub schedule: String,
    /// Show what would be done
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct Add {
    pub name: String,
    /// What is backed up or verified: database:NAME or source:NAME (default: the one that is configured)
    #[arg(long)]
    pub subject: Option<Subject>,
    #[arg(long, default_value = "backup", value_name = "backup|verify", value_parser = kind)]
    pub kind: ScheduledKind,
    /// When: five fields, six with the seconds first, or a word like @daily
    #[arg(long)]
    pub cron: String,
    /// Make it, and leave it off
    #[arg(long)]
    pub disabled: bool,
    #[command(flatten)]
    pub terms: Terms,
    /// Show what would be made
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct Edit {
    /// Name, id, or the end of an id
    pub schedule: String,
    #[arg(long, value_name = "NAME")]
    pub rename: Option<String>,
    #[arg(long)]
    pub subject: Option<Subject>,
    #[arg(long)]
    pub cron: Option<String>,
    /// Only if it is still of this revision
    #[arg(long, value_name = "N")]
    pub revision: Option<i64>,
    #[command(flatten)]
    pub terms: Terms,
    /// Show what it would be
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    pub named: Named,
    /// The same key is the same run
    #[arg(long, value_name = "KEY")]
    pub request_key: Option<String>,
    #[command(flatten)]
    pub follow: Follow,
}

#[derive(Debug, Args)]
pub struct Remove {
    #[command(flatten)]
    pub named: Named,
    /// Its backups are kept like those that people make
    #[arg(long, conflicts_with = "expire_backups")]
    pub keep_backups: bool,
    /// Its backups go on expiring by its policy
    #[arg(long)]
    pub expire_backups: bool,
}

/// What is the same for a new schedule and a changed one. What isn't said is as usual, or as it was.
#[derive(Debug, Args)]
pub struct Terms {
    /// The time zone of the rule, an IANA name (default: BACKUP_CRON_TIMEZONE)
    #[arg(long, value_name = "ZONE")]
    pub tz: Option<String>,
    /// What becomes of runs that were missed: nothing, the latest is made up for, or all
    #[arg(long, value_name = "none|latest|all", value_parser = catch_up)]
    pub catch_up: Option<CatchUp>,
    /// Make up for so many at most
    #[arg(long, value_name = "N")]
    pub catch_up_limit: Option<u16>,
    /// While the job of the run before is open: skip, or queue up behind
    #[arg(long, value_name = "skip|queue", value_parser = overlap)]
    pub overlap: Option<Overlap>,
    /// Begin so much later at most, by a time that differs from run to run (0 for none)
    #[arg(long, value_name = "TIME", value_parser = pause)]
    pub jitter: Option<Duration>,
    /// Only on these storages; `all` for all that the workers have
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub storages: Vec<String>,
    /// Which of its backups are verified: none, each, the first of every day, or of every week
    #[arg(long, value_name = "never|each|daily|weekly", value_parser = verify_every)]
    pub verify_every: Option<VerifyEvery>,
    /// How they are verified, or how a schedule of the kind verify does
    #[arg(long, value_enum)]
    pub verify_level: Option<Level>,
    /// How long an execution may take (30m, 12h), or `usual`
    #[arg(long, value_name = "TIME", value_parser = or_usual_time)]
    pub timeout: Option<Usual<Duration>>,
    /// How often it is tried, or `usual`
    #[arg(long, value_name = "N", value_parser = or_usual_count)]
    pub attempts: Option<Usual<i16>>,
    #[command(flatten)]
    pub keep: Numbers,
}

/// A number of one's own, or what is usual for the kind.
#[derive(Clone, Copy, Debug)]
pub struct Usual<T>(pub Option<T>);

fn or_usual_time(text: &str) -> Result<Usual<Duration>, String> {
    match text {
        "usual" => Ok(Usual(None)),
        text => duration(text).map(|time| Usual(Some(time))),
    }
}

fn or_usual_count(text: &str) -> Result<Usual<i16>, String> {
    if text == "usual" {
        return Ok(Usual(None));
    }
    let number = text
        .parse()
        .map_err(|_| "write a number, or usual".to_owned());
    number.map(|number| Usual(Some(number)))
}

fn pause(text: &str) -> Result<Duration, String> {
    match text {
        "0" => Ok(Duration::ZERO),
        text => duration(text),
    }
}

fn word<T: Copy>(text: &str, all: &[T], name: impl Fn(T) -> &'static str) -> Result<T, String> {
    let known = all.iter().copied().find(|one| name(*one) == text);
    known.ok_or_else(|| {
        let words: Vec<_> = all.iter().map(|one| name(*one)).collect();
        format!("write {}", words.join(", "))
    })
}

fn kind(text: &str) -> Result<ScheduledKind, String> {
    word(text, ScheduledKind::ALL, ScheduledKind::as_str)
}

fn catch_up(text: &str) -> Result<CatchUp, String> {
    word(text, CatchUp::ALL, CatchUp::as_str)
}

fn overlap(text: &str) -> Result<Overlap, String> {
    word(text, Overlap::ALL, Overlap::as_str)
}

fn verify_every(text: &str) -> Result<VerifyEvery, String> {
    word(text, VerifyEvery::ALL, VerifyEvery::as_str)
}
