//! What may be asked of one storage, and which backups count: limits in the storage's own table, or by environment as
//! `KANBU_BACKUP_STORAGE_<NAME>_<WORD>`, which stands above it.

use std::{
    num::{NonZeroU64, NonZeroUsize},
    str::FromStr,
};

use super::{
    credentials::variable,
    file::Entries,
    reader::{Own, Reader},
    settings,
};
use crate::storage::{Policy, Role, StorageConfig, StorageName, Terms};

/// A throttled reader must still be seen moving, so that there is a least bandwidth.
const BANDWIDTHS: (u64, u64) = (64 * 1024, u64::MAX);
const CONCURRENCIES: (usize, usize) = (1, 64);
/// More parts than this aren't in memory.
const PARTS: (usize, usize) = (1, 3);

/// One storage's terms. What is wrong with them is complained about, and the usual holds.
pub(super) fn of_storage(
    reader: &mut Reader<'_>,
    name: &StorageName,
    role: Role,
    entries: &mut Entries,
) -> Terms {
    let usual = Terms::default();
    let mut own = |word| reader.own(&variable(name, word), entries, word);
    let live = own("live");
    let concurrency = own("concurrency");
    let bandwidth = own("bandwidth");
    let parts = own("parts");
    let terms = Terms {
        live: truth(reader, live).unwrap_or(usual.live),
        concurrency: whole(reader, concurrency, CONCURRENCIES).and_then(NonZeroUsize::new),
        bandwidth: whole(reader, bandwidth, BANDWIDTHS).and_then(NonZeroU64::new),
        parts: whole(reader, parts, PARTS)
            .and_then(NonZeroUsize::new)
            .unwrap_or(usual.parts),
    };
    if role == Role::Primary && !terms.live {
        reader.complain(
            &format!("storage {name}"),
            "is the primary and not live: it would be copied from nowhere",
            "make another storage the primary, or let backups be streamed to this one",
        );
    }
    terms
}

fn truth(reader: &mut Reader<'_>, own: Option<Own>) -> Option<bool> {
    let own = own?;
    let value = own.text.parse().ok();
    if value.is_none() {
        reader.complain(&own.told_by, "is neither true nor false", "say one of them");
    }
    value
}

fn whole<T: FromStr + PartialOrd + std::fmt::Display>(
    reader: &mut Reader<'_>,
    own: Option<Own>,
    (from, to): (T, T),
) -> Option<T> {
    let own = own?;
    let value = own.text.parse().ok();
    let value = value.filter(|value| (&from..=&to).contains(&value));
    if value.is_none() {
        let sentence = format!(
            "is {:?}; expected a whole number from {from} to {to}",
            own.text
        );
        reader.complain(&own.told_by, sentence, "see the documentation of storages");
    }
    value
}

/// The policy, if so many storages can meet it.
pub(super) fn policy(reader: &mut Reader<'_>, storages: &[StorageConfig]) -> Option<Policy> {
    let policy: Policy = reader.explained_or_default(settings::POLICY, str::parse)?;
    let streamed = storages
        .iter()
        .filter(|storage| policy.streams_to(storage.role, storage.terms.live));
    let streamed = streamed.count();
    if policy.least() > streamed && streamed > 0 {
        let sentence = format!(
            "is {policy}, but backups are streamed to {streamed} storage{} only",
            if streamed == 1 { "" } else { "s" }
        );
        reader.complain(
            settings::POLICY.name,
            sentence,
            "ask for fewer, or name more storages; one with live = false gets its copies too late to count",
        );
    }
    Some(policy)
}
