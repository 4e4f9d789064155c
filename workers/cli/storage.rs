//! The command line's part about storages and the catalog.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use kanbu_backup::{job::Subject, storage::Place};

use super::Follow;

#[derive(Debug, Subcommand)]
pub enum Storage {
    /// Make a mounted directory a storage, once, while it is mounted
    Init {
        /// The name of the storage
        name: String,
        /// Believe that it is mounted, even on the root file system
        #[arg(long)]
        anyway: bool,
    },
    /// List the storages and what they hold
    List,
    /// Try every sort of request on a storage, with timings; leaves nothing
    Test {
        /// The name of the storage (default: all)
        name: Option<String>,
    },
    /// Make the copies that a storage lacks, from good ones elsewhere
    Sync(Sync),
    /// Adopt Kanbu's backups and foreign dumps; a preview unless --apply
    Import(Import),
    /// Forget the copies on a storage that is to be retired
    Rm(Retire),
}

#[derive(Debug, Args)]
pub struct Sync {
    /// The name of the storage
    pub name: String,
    /// List what would be made
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub follow: Follow,
}

#[derive(Debug, Args)]
pub struct Import {
    /// A file, or a directory whose files are looked at (default: the primary storage's directory, where Kanbu's lie)
    #[arg(value_name = "PATH|URL")]
    pub from: Option<String>,
    /// The storage that gets the copies (default: the primary one)
    #[arg(long, value_name = "NAME")]
    pub storage: Option<String>,
    /// What they are backups of, like database:shop (default: known for files with Kanbu's names only)
    #[arg(long, value_name = "SUBJECT")]
    pub subject: Option<Subject>,
    /// Do it
    #[arg(long)]
    pub apply: bool,
}

#[derive(Debug, Args)]
pub struct Retire {
    /// The name of the storage
    pub name: String,
    /// Show what would be forgotten
    #[arg(long)]
    pub dry_run: bool,
    /// Yes, forget the copies on this storage: its name again
    #[arg(long, value_name = "NAME")]
    pub confirm: Option<String>,
    /// Delete its objects too
    #[arg(long)]
    pub purge: bool,
}

#[derive(Debug, Subcommand)]
pub enum Catalog {
    /// Make the catalog anew from the manifests on the storages
    Rebuild(Rebuild),
    /// Say that somebody has looked at a backup's content alarm: what it holds may go again
    Acknowledge(Acknowledge),
}

#[derive(Debug, Args)]
pub struct Acknowledge {
    /// The backup that raised the alarm: id, or its short form
    pub id: String,
    /// What was found out
    #[arg(long)]
    pub reason: Option<String>,
}

#[derive(Debug, Args)]
pub struct Rebuild {
    /// Only this storage, by its name or URL; may be repeated (default: all that are configured)
    #[arg(long, value_name = "NAME|URL")]
    pub storage: Vec<String>,
    /// Show what would be entered
    #[arg(long)]
    pub dry_run: bool,
}

impl Import {
    /// The path that was given, whichever way it is written.
    pub fn path(&self) -> Option<Result<PathBuf, String>> {
        let text = self.from.as_deref()?;
        if !text.contains("://") {
            return Some(Ok(PathBuf::from(text)));
        }
        Some(match Place::parse(text) {
            Ok(Place::Local { directory } | Place::Mounted { directory }) => Ok(directory),
            Ok(_) => Err(format!(
                "{text} is no directory of this machine: mount it, or download what is to be adopted"
            )),
            Err(error) => Err(format!("the URL {error}")),
        })
    }
}
