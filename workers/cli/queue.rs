//! The command line's part about jobs, the queue and workers.

use std::time::Duration;

use clap::{Args, Subcommand};
use kanbu_backup::job::{Kind, Subject};
use serde_json::{Map, Value};

use super::{Follow, duration};

#[derive(Debug, Subcommand)]
pub enum Job {
    /// List jobs
    List {
        #[arg(long)]
        kind: Option<String>,
        #[arg(long)]
        state: Option<String>,
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Show a job with its executions, their errors and logs
    Show { id: String },
    /// Run a dead job again
    Retry {
        id: String,
        /// How often it may be tried from now on
        #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(i16).range(1..=1000))]
        attempts: i16,
        /// Show what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Cancel a job, waiting or running
    Cancel {
        id: String,
        /// Show what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Make a job due that waits for its time or its next attempt
    RunNow {
        id: String,
        /// Show what would be done
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum Queue {
    /// Let no job of a kind, of a subject, of both or at all begin; what runs goes on
    Pause(Pause),
    /// End a pause
    Resume(Resume),
    /// Limit how many jobs of a kind run at once, over all workers
    Limit {
        kind: Kind,
        /// At most so many at once, or `none`
        #[arg(value_name = "N|none", value_parser = cap)]
        max: Cap,
        /// Show what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Count jobs by kind and state, and show limits and pauses
    Stats,
    /// List the jobs that are due, and what each waits for
    Waiting,
    /// List workers
    Workers {
        /// Also those that have gone
        #[arg(long)]
        all: bool,
    },
    /// List the jobs that nobody tries any more, with the reason
    Dead {
        #[arg(long)]
        kind: Option<Kind>,
        #[arg(long, default_value_t = 50, value_name = "N")]
        limit: u32,
    },
}

#[derive(Debug, Args)]
pub struct Pause {
    #[arg(long)]
    pub kind: Option<Kind>,
    #[arg(long)]
    pub subject: Option<Subject>,
    /// End by itself: an RFC 3339 time, a date, or from now on like 2h
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Shown to whoever wonders
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Show what would be done
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct Resume {
    #[arg(long)]
    pub kind: Option<Kind>,
    #[arg(long)]
    pub subject: Option<Subject>,
    /// Show what would be done
    #[arg(long)]
    pub dry_run: bool,
}

/// A limit over all workers, or none.
#[derive(Clone, Copy, Debug)]
pub struct Cap(pub Option<i32>);

fn cap(text: &str) -> Result<Cap, String> {
    if text == "none" {
        return Ok(Cap(None));
    }
    let number = text.parse().ok().filter(|number| *number > 0);
    number
        .map(|number| Cap(Some(number)))
        .ok_or_else(|| "write a number of at least 1, or none".to_owned())
}

#[derive(Debug, Args)]
pub struct Drain {
    /// Workers: id, its short form, or name
    #[arg(required_unless_present = "all", value_name = "WORKER")]
    pub workers: Vec<String>,
    /// Every worker there is now
    #[arg(long, conflicts_with = "workers")]
    pub all: bool,
    /// Ask and return at once
    #[arg(long, conflicts_with = "timeout")]
    pub no_wait: bool,
    /// Wait at most this long (30s, 10m, 2h); the drain goes on (exit code 12)
    #[arg(long, value_parser = duration, value_name = "TIME")]
    pub timeout: Option<Duration>,
    /// Show who would be asked
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct Enqueue {
    pub kind: Kind,
    /// What it is about, for instance database:kanbu; a restore says that by its option into
    #[arg(long, required_unless_present_any = ["option", "options"])]
    pub subject: Option<Subject>,
    /// A part of the request; the value is JSON or else a text. May be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = option)]
    pub option: Vec<(String, Value)>,
    /// All parts of the request, as one JSON object
    #[arg(long, value_name = "JSON", value_parser = options, conflicts_with = "option")]
    pub options: Option<Map<String, Value>>,
    /// The same request twice is one job
    #[arg(long, value_name = "KEY")]
    pub request_key: Option<String>,
    /// Higher goes first
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub priority: i16,
    /// Not before: an RFC 3339 time, a date, or from now on like 2h. Returns at once
    #[arg(long, value_name = "TIME", conflicts_with = "timeout")]
    pub run_at: Option<String>,
    /// How often it may be tried (default: what is usual for the kind)
    #[arg(long, value_name = "N")]
    pub max_attempts: Option<i16>,
    /// Show what would be enqueued
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub follow: Follow,
}

fn option(text: &str) -> Result<(String, Value), String> {
    let (key, value) = text
        .split_once('=')
        .filter(|(key, _)| !key.is_empty())
        .ok_or("write key=value")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok((key.to_owned(), value))
}

fn options(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("write a JSON object ({error})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_json_or_else_a_text() {
        assert_eq!(option("pin=true").unwrap(), ("pin".into(), true.into()));
        assert_eq!(
            option("label=before import=x").unwrap(),
            ("label".into(), "before import=x".into())
        );
        assert_eq!(
            option(r#"label="7""#).unwrap(),
            ("label".into(), "7".into())
        );
        for text in ["", "label", "=7"] {
            assert!(option(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn a_cap_is_a_positive_number_or_none() {
        assert_eq!(cap("2").unwrap().0, Some(2));
        assert_eq!(cap("none").unwrap().0, None);
        for text in ["0", "-1", "many", ""] {
            assert!(cap(text).is_err(), "{text:?} was accepted");
        }
    }
}
