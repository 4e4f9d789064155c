//! What a worker executes, and how long it may hold on to it.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use super::{
    reader::{Reader, absolute_path, parts},
    settings,
};
use crate::{
    job::{Days, Kind, Percent},
    pg::scratch::Ground,
};

/// The kinds that have a handler.
const KINDS: [Kind; 5] = Kind::ALL;
const MAX_SLOTS: usize = 64;
/// Messages are short and wait for others: a receiver that hangs holds one of these.
const MESSAGE_SLOTS: usize = 8;

/// The capacity of one worker.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// Jobs of a kind at once; a kind that isn't here isn't executed.
    pub slots: BTreeMap<Kind, usize>,
    pub lease: Duration,
    /// For running jobs at shutdown.
    pub grace: Duration,
    /// Age at which what no backup came of is removed from the storages.
    pub sweep_after: Duration,
    /// How long finished jobs are remembered.
    pub history: Duration,
    /// How long a database that a restore replaced is kept.
    pub keep_old: Days,
    /// When copies are read again by themselves; `None`: never.
    pub scrub: Option<ScrubSettings>,
    pub proof: ProofSettings,
}

/// How often everything is read again, and how much of it each time.
#[derive(Clone, Copy, Debug)]
pub struct ScrubSettings {
    pub every: Duration,
    pub sample: Percent,
}

/// How backups are restored in a test, and when that comes by itself.
#[derive(Clone, Debug)]
pub struct ProofSettings {
    /// `None`: never.
    pub every: Option<Duration>,
    pub ground: Ground,
    pub holds_for: Duration,
    pub with_amcheck: bool,
    pub checks_file: Option<PathBuf>,
}

pub(super) fn read(reader: &mut Reader<'_>) -> Option<WorkerSettings> {
    let kinds = reader.value(settings::KINDS, |text| {
        let kinds: Option<Vec<Kind>> = parts(text, ',').map(kind).collect();
        kinds.filter(|kinds| !kinds.is_empty())
    });
    let concurrency = reader.optional(settings::CONCURRENCY, |text| {
        parts(text, ',')
            .map(slots)
            .collect::<Option<BTreeMap<Kind, usize>>>()
    });
    let lease = reader.whole(settings::LEASE);
    let grace = reader.whole(settings::GRACE);
    let sweep_after = reader.whole(settings::SWEEP_AFTER);
    let history = reader.whole::<u64>(settings::HISTORY);
    let keep_old = reader.whole::<u16>(settings::KEEP_OLD);
    let scrub_every = reader.value(settings::SCRUB_DAYS, days_or_off);
    let scrub_percent = reader.whole::<u8>(settings::SCRUB_PERCENT);
    let proof = proof(reader);
    let mut slots: BTreeMap<Kind, usize> = kinds?
        .into_iter()
        .map(|kind| (kind, usual_slots(kind)))
        .collect();
    for (kind, count) in concurrency.unwrap_or_default() {
        if let Some(slot) = slots.get_mut(&kind) {
            *slot = count;
        } else {
            reader.complain(
                settings::CONCURRENCY.name,
                format!("names {kind}, which is not among KANBU_BACKUP_WORKER_KINDS"),
                "name a kind in both or in neither",
            );
        }
    }
    Some(WorkerSettings {
        slots,
        lease: Duration::from_secs(lease?),
        grace: Duration::from_secs(grace?),
        sweep_after: Duration::from_secs(sweep_after?),
        history: Duration::from_hours(24 * history?),
        keep_old: keep_old?.try_into().ok()?,
        scrub: match scrub_every? {
            Recurrence::Every(every) => Some(ScrubSettings {
                every,
                sample: scrub_percent?.try_into().ok()?,
            }),
            Recurrence::Never => None,
        },
        proof: proof?,
    })
}

fn proof(reader: &mut Reader<'_>) -> Option<ProofSettings> {
    let every = reader.value(settings::PROVE_DAYS, days_or_off);
    let ground = reader.value(settings::PROVE_ON, Ground::parse);
    let holds_days = reader.whole::<u64>(settings::PROOF_HOLDS);
    let with_amcheck = reader.value(settings::PROVE_AMCHECK, |text| match text {
        "on" => Some(true),
        "off" => Some(false),
        _ => None,
    });
    let checks_file = reader.optional(settings::CHECKS_FILE, absolute_path);
    Some(ProofSettings {
        every: match every? {
            Recurrence::Every(every) => Some(every),
            Recurrence::Never => None,
        },
        ground: ground?,
        holds_for: Duration::from_hours(24 * holds_days?),
        with_amcheck: with_amcheck?,
        checks_file,
    })
}

/// How often something comes by itself.
enum Recurrence {
    Never,
    Every(Duration),
}

fn days_or_off(text: &str) -> Option<Recurrence> {
    if text == "off" {
        return Some(Recurrence::Never);
    }
    let days: u64 = text.parse().ok()?;
    (1..=365)
        .contains(&days)
        .then_some(Recurrence::Every(Duration::from_hours(24 * days)))
}

fn usual_slots(kind: Kind) -> usize {
    match kind {
        Kind::Notify => MESSAGE_SLOTS,
        Kind::Backup | Kind::Restore | Kind::Prune | Kind::Verify => 1,
    }
}

fn kind(text: &str) -> Option<Kind> {
    text.parse().ok().filter(|kind| KINDS.contains(kind))
}

fn slots(text: &str) -> Option<(Kind, usize)> {
    let (name, count) = text.split_once('=')?;
    let count: usize = count.trim().parse().ok()?;
    (1..=MAX_SLOTS)
        .contains(&count)
        .then_some((kind(name.trim())?, count))
}
