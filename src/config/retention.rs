//! What keeps the backups that no schedule made.

use super::{reader::Reader, settings};
use crate::retention::Policy;

/// The word for no limit.
const UNLIMITED: &str = "unlimited";

/// The policies of manual backups and of those that are made before a live database gives way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionSettings {
    pub manual: Policy,
    pub safety: Policy,
}

pub(super) fn read(reader: &mut Reader<'_>) -> Option<RetentionSettings> {
    let manual = reader.value(settings::MANUAL_KEEP, manual);
    let safety = reader.whole(settings::SAFETY_KEEP);
    Some(RetentionSettings {
        manual: manual?,
        safety: Policy::everything(Some(safety?)),
    })
}

fn manual(text: &str) -> Option<Policy> {
    if text == UNLIMITED {
        return Some(Policy::everything(None));
    }
    let days: u32 = text.parse().ok()?;
    (1..=3650)
        .contains(&days)
        .then(|| Policy::everything(Some(days)))
}
