//! The command line's part about restores and the way back.

use std::{num::NonZeroU8, path::PathBuf};

use clap::Args;

use super::{Follow, What};

#[derive(Debug, Args)]
pub struct Restore {
    /// A backup: id, its short form, or `latest`
    #[arg(default_value = "latest")]
    pub id: String,
    /// Which `latest`
    #[arg(long, value_enum)]
    pub kind: Option<What>,
    /// The new database (default: kanbu_restore_ID) or the empty directory
    #[arg(long, value_name = "NAME|DIR")]
    pub into: Option<String>,
    #[command(flatten)]
    pub part: Part,
    #[command(flatten)]
    pub replacing: Replacing,
    /// Leave a new database there that turns out to differ from the one that was backed up
    #[arg(long)]
    pub keep: bool,
    /// Read this storage's copy
    #[arg(long)]
    pub storage: Option<String>,
    /// Restore without any service, from a backup's file or from a storage directory
    #[arg(long, value_name = "FILE|DIR")]
    pub from: Option<PathBuf>,
    /// Leave owners and grants out: everything will belong to the connecting role
    #[arg(long)]
    pub no_owner: bool,
    /// Show the plan: what was looked at, and what speaks against it
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub follow: Follow,
}

/// What of the dump, and how.
#[derive(Debug, Args)]
pub struct Part {
    /// Only this table (or schema.table) with its rows and all that belongs to it; may be said again
    #[arg(long = "table", value_name = "NAME", conflicts_with = "replace")]
    pub tables: Vec<String>,
    /// Only this schema; may be said again
    #[arg(long = "schema", value_name = "NAME", conflicts_with = "replace")]
    pub schemas: Vec<String>,
    /// Load by so many sessions at once, from a copy of the dump on the worker's disk
    #[arg(long, value_name = "N")]
    pub jobs: Option<NonZeroU8>,
    /// Instead of the backup: create the roles that were dumped beside it and are missing on the server
    #[arg(long, conflicts_with_all = ["into", "from", "no_owner", "replace"])]
    pub globals: bool,
}

/// In the live database's place.
#[derive(Debug, Args)]
pub struct Replacing {
    /// Replace the live database: load and compare beside it, then exchange the names; the old one is kept
    #[arg(long, conflicts_with_all = ["into", "from"])]
    pub replace: bool,
    /// What gives way: environment and database
    #[arg(long, requires = "replace", value_name = "ENV/DATABASE")]
    pub confirm: Option<String>,
    /// Don't back up the live database before it is replaced; needs --reason
    #[arg(long, requires = "replace", requires = "reason")]
    pub no_safety_backup: bool,
    /// Why; kept with the restore
    #[arg(long, requires = "no_safety_backup")]
    pub reason: Option<String>,
    /// How many days the replaced database is kept (default: KANBU_BACKUP_KEEP_REPLACED_DAYS)
    #[arg(long, requires = "replace", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=365))]
    pub keep_old_days: Option<u16>,
}

#[derive(Debug, Args)]
pub struct Rollback {
    /// The restore that replaced the database: the id of it or of its job, or the end of one
    pub id: String,
    /// What gives way: environment and database
    #[arg(long, value_name = "ENV/DATABASE")]
    pub confirm: Option<String>,
    #[command(flatten)]
    pub follow: Follow,
}
