//! The command line's part about looking at copies again.

use clap::Args;
use kanbu_backup::job::Percent;

use super::{Follow, What};

#[derive(Debug, Args)]
pub struct Verify {
    /// A backup: id, its short form, or `latest`
    #[arg(required_unless_present = "all")]
    pub id: Option<String>,
    /// Every backup
    #[arg(long, conflicts_with = "id")]
    pub all: bool,
    /// Look only whether the objects exist and have their size
    #[arg(long)]
    pub quick: bool,
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

fn percent(text: &str) -> Result<Percent, String> {
    let number: u8 = text.parse().map_err(|_| "write 1 to 100".to_owned())?;
    Percent::try_from(number).map_err(|error| error.to_string())
}
