//! The command line's part about what is kept and what goes.

use clap::{Args, Subcommand};
use kanbu_backup::job::Subject;

use super::{Follow, numbers::Numbers};

#[derive(Debug, Subcommand)]
pub enum Retention {
    /// Show what would be kept and what would go, each with its reasons; changes nothing
    Preview(Preview),
    /// Let go what no policy keeps, now and not after the next backup
    Apply(Apply),
    /// Show which backups were deleted, by whom and why
    Log {
        /// Only of this subject
        #[arg(long)]
        subject: Option<Subject>,
        #[arg(long, default_value_t = 50, value_name = "N")]
        limit: u32,
    },
}

/// Whose backups are meant.
#[derive(Debug, Args)]
pub struct Whose {
    /// Only what this schedule made
    #[arg(long, value_name = "NAME", conflicts_with = "subject")]
    pub schedule: Option<String>,
    /// Only this subject (default: all that have backups)
    #[arg(long)]
    pub subject: Option<Subject>,
}

#[derive(Debug, Args)]
pub struct Preview {
    #[command(flatten)]
    pub whose: Whose,
    /// At this time: a date, an RFC 3339 time, or from now on like 7d
    #[arg(long, value_name = "TIME")]
    pub as_of: Option<String>,
    /// As if another backup had been made by then
    #[arg(long)]
    pub with_next: bool,
    /// Only this backup: id or its short form
    #[arg(long, value_name = "ID", conflicts_with_all = ["schedule", "subject"])]
    pub explain: Option<String>,
    #[command(
        flatten,
        next_help_heading = "By another policy, of these numbers alone"
    )]
    pub policy: Numbers,
}

#[derive(Debug, Args)]
pub struct Apply {
    #[command(flatten)]
    pub whose: Whose,
    /// Show what would be done
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub follow: Follow,
}

/// Backups that are pinned, or let go again.
#[derive(Debug, Args)]
pub struct Pin {
    /// Backups: ids, or their short forms
    #[arg(required = true)]
    pub ids: Vec<String>,
    /// Show what would be done
    #[arg(long)]
    pub dry_run: bool,
}
