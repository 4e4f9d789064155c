//! The journal of one worker process: a line for everything its handlers did, with the true time.
//!
//! Invariant: a line is written by one system call before the handler goes on, so that it survives the death of the process
//! and an absent database. The suite loads all journals into a table beside the queue's own rows.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::Path,
    process,
};

use chrono::{DateTime, Utc};
use kanbu_backup::id::{ExecutionId, JobId};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The process; its note is the time by its own wall clock.
    Started,
    /// A handler; its note is the script.
    Began,
    /// A step that touches the world, taken straight after the lease was found to hold.
    Effect,
    /// A handler; its note says how.
    Ended,
    /// The process, by its own hand. Others notice only later that it is gone.
    Aborting,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    pub pid: u32,
    pub what: What,
    pub execution: Option<ExecutionId>,
    pub job: Option<JobId>,
    pub subject: Option<String>,
    /// When the lease was asked for, before an effect.
    pub asked: Option<DateTime<Utc>>,
    pub at: DateTime<Utc>,
    pub note: String,
}

impl Entry {
    /// Something that happened now, in this process.
    pub fn now(what: What, note: impl Into<String>) -> Self {
        Self {
            pid: process::id(),
            what,
            execution: None,
            job: None,
            subject: None,
            asked: None,
            at: true_now(),
            note: note.into(),
        }
    }
}

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal(File);

impl Journal {
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(Self(file))
    }

    pub fn write(&self, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        (&self.0).write_all(&line)
    }
}

/// All journals in a directory. A line that its writer was killed in is no line.
pub fn read_all(directory: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for file in fs::read_dir(directory)? {
        let path = file?.path();
        if path.extension().is_some_and(|kind| kind == "journal") {
            let text = fs::read_to_string(path)?;
            entries.extend(
                text.lines()
                    .filter_map(|line| serde_json::from_str(line).ok()),
            );
        }
    }
    Ok(entries)
}

/// The host's time, which PostgreSQL also reads. It asks the kernel and not the C library, where a test may have put
/// another clock.
pub fn true_now() -> DateTime<Utc> {
    let now = clock_gettime(ClockId::Realtime);
    let nanoseconds = u32::try_from(now.tv_nsec).unwrap_or_default();
    DateTime::from_timestamp(now.tv_sec, nanoseconds).unwrap_or_default()
}
