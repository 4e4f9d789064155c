//! How the content of databases is watched.

use std::time::Duration;

use super::{reader::Reader, settings};

/// Counting, and when a backup's content is worth an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentSettings {
    /// How long rows are counted while a dump runs.
    pub count_budget: Duration,
    /// A table that lost more than so many percent of its rows is told; 0 tells none.
    pub shrunk_percent: u64,
    /// A dump smaller than so many percent of what is usual is told; 0 tells none.
    pub small_percent: u64,
}

pub(super) fn read(reader: &mut Reader<'_>) -> Option<ContentSettings> {
    let budget = reader.whole(settings::COUNT_SECONDS);
    let shrunk_percent = reader.whole(settings::SHRUNK_PERCENT);
    let small_percent = reader.whole(settings::SMALL_PERCENT);
    Some(ContentSettings {
        count_budget: Duration::from_secs(budget?),
        shrunk_percent: shrunk_percent?,
        small_percent: small_percent?,
    })
}
