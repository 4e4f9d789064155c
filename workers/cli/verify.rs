//! The command line's part about looking at copies again.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use kanbu_backup::job::Percent;

use super::{Follow, What};

#[derive(Debug, Args)]
pub struct Verify {
    #[command(flatten)]
    pub which: Which,
    /// How closely to look: proven restores the backup (of several, the newest of each subject) in a test
    #[arg(long, value_enum, conflicts_with = "quick")]
    pub level: Option<Level>,
    /// Look only whether the objects exist and have their size
    #[arg(long)]
    pub quick: bool,
    /// For a test restore: SQL statements that must each return true (default: KANBU_BACKUP_CHECKS_FILE)
    #[arg(long, value_name = "FILE", requires = "level")]
    pub checks: Option<PathBuf>,
    /// Make missing and damaged copies anew from a good one
    #[arg(long)]
    pub repair: bool,
    /// Only so many per cent of the backups, those read longest ago first
    #[arg(long, value_name = "PERCENT", value_parser = percent, conflicts_with = "id")]
    pub sample: Option<Percent>,
    /// Only copies that nobody has read for so long: 12h, 7d, 4w
    #[arg(long, value_name = "AGE")]
    pub older_than: Option<String>,
    /// Which `latest`
    #[arg(long, value_enum)]
    pub kind: Option<What>,
    #[command(flatten)]
    pub follow: Follow,
}

/// Which backups are meant.
#[derive(Debug, Args)]
pub struct Which {
    /// A backup: id, its short form, or `latest`
    #[arg(required_unless_present_any = ["all", "pending", "stats"])]
    pub id: Option<String>,
    /// Every backup
    #[arg(long, conflicts_with = "id")]
    pub all: bool,
    /// Every backup that nobody has ever looked at in full, the newest first
    #[arg(long, conflicts_with_all = ["id", "all", "sample", "older_than"])]
    pub pending: bool,
    /// Look at nothing: say how many backups stand where
    #[arg(long, conflicts_with_all = ["id", "all", "pending", "quick", "level", "repair", "sample", "older_than", "checks"])]
    pub stats: bool,
}

/// How closely backups are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Level {
    Quick,
    Checked,
    Proven,
}

#[derive(Debug, Args)]
pub struct TestRestore {
    /// A backup: id, its short form, or `latest`
    #[arg(default_value = "latest")]
    pub id: String,
    /// Which `latest`
    #[arg(long, value_enum)]
    pub kind: Option<What>,
    /// SQL statements that must each return true in the restored database (default: KANBU_BACKUP_CHECKS_FILE)
    #[arg(long, value_name = "FILE")]
    pub checks: Option<PathBuf>,
    /// Leave the database there if it is on the protected server
    #[arg(long)]
    pub keep: bool,
    #[command(flatten)]
    pub follow: Follow,
}

fn percent(text: &str) -> Result<Percent, String> {
    let number: u8 = text.parse().map_err(|_| "write 1 to 100".to_owned())?;
    Percent::try_from(number).map_err(|error| error.to_string())
}
