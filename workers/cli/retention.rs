//! The command line's part about what is kept and what goes.

use clap::{Args, Subcommand};
use kanbu_backup::{job::Subject, retention::Policy};

use super::Follow;

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
    #[command(flatten)]
    pub policy: Keep,
}

/// Another policy than the one in force. What isn't given keeps nothing and limits nothing.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "By another policy than the one in force")]
pub struct Keep {
    /// The newest backups
    #[arg(long, value_name = "N")]
    pub keep_last: Option<u32>,
    #[arg(long, value_name = "N")]
    pub keep_hourly: Option<u32>,
    #[arg(long, value_name = "N")]
    pub keep_daily: Option<u32>,
    #[arg(long, value_name = "N")]
    pub keep_weekly: Option<u32>,
    #[arg(long, value_name = "N")]
    pub keep_monthly: Option<u32>,
    #[arg(long, value_name = "N")]
    pub keep_yearly: Option<u32>,
    /// Days and weeks keep nothing older
    #[arg(long, value_name = "DAYS")]
    pub daily_max_age: Option<u32>,
    /// Nothing older is kept
    #[arg(long, value_name = "DAYS")]
    pub max_age: Option<u32>,
    /// The oldest go until the rest takes no more
    #[arg(long, value_name = "BYTES")]
    pub max_bytes: Option<u64>,
    /// So many proven backups stay
    #[arg(long, value_name = "N")]
    pub min_proven: Option<u32>,
}

impl Keep {
    /// None if no number was given.
    pub fn policy(&self) -> Option<Policy> {
        let numbers = [
            self.keep_last,
            self.keep_hourly,
            self.keep_daily,
            self.keep_weekly,
            self.keep_monthly,
            self.keep_yearly,
            self.daily_max_age,
            self.max_age,
            self.min_proven,
        ];
        let is_given = self.max_bytes.is_some() || numbers.iter().any(Option::is_some);
        let bare = Policy::bare();
        is_given.then_some(Policy {
            keep_last: self.keep_last.unwrap_or(bare.keep_last),
            keep_hourly: self.keep_hourly.unwrap_or_default(),
            keep_daily: self.keep_daily.unwrap_or_default(),
            keep_weekly: self.keep_weekly.unwrap_or_default(),
            keep_monthly: self.keep_monthly.unwrap_or_default(),
            keep_yearly: self.keep_yearly.unwrap_or_default(),
            daily_max_age_days: self.daily_max_age,
            max_age_days: self.max_age,
            max_total_bytes: self.max_bytes,
            min_proven: self.min_proven.unwrap_or(bare.min_proven),
        })
    }
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
