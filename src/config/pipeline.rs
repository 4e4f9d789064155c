//! How the bytes of new backups are treated on their way.

use std::{num::NonZero, thread, time::Duration};

use super::{reader::Reader, settings};
use crate::{kanbu::env::BackupFormat, pipeline::Slowness};

/// Cores that compress one stream if nobody says otherwise.
const MAX_DEFAULT_WORKERS: u64 = 4;

/// Form, effort and patience.
#[derive(Clone, Debug)]
pub struct PipelineSettings {
    pub format: BackupFormat,
    pub zstd_level: i32,
    /// 0 compresses in the stream's own thread.
    pub zstd_workers: u32,
    /// A storage that finishes nothing for so long is dropped from a running backup.
    pub stall_timeout: Duration,
    /// When a replica is too slow for a running backup to wait for.
    pub slowness: Slowness,
}

pub(super) fn read(reader: &mut Reader<'_>) -> Option<PipelineSettings> {
    let format = reader.value(settings::FORMAT, BackupFormat::parse);
    let zstd_level = reader.whole(settings::ZSTD_LEVEL);
    let zstd_workers = reader.whole_or(settings::ZSTD_WORKERS, default_workers());
    let stall = reader.whole(settings::STALL);
    let window = reader.whole(settings::SLOW_SECONDS);
    let percent = reader.whole(settings::SLOW_PERCENT);
    Some(PipelineSettings {
        format: format?,
        zstd_level: zstd_level?,
        zstd_workers: zstd_workers?,
        stall_timeout: Duration::from_secs(stall?),
        slowness: Slowness {
            window: Duration::from_secs(window?),
            percent: percent?,
        },
    })
}

fn default_workers() -> u64 {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    u64::try_from(cores).map_or(MAX_DEFAULT_WORKERS, |cores| cores.min(MAX_DEFAULT_WORKERS))
}
