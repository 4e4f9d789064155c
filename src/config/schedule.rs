//! When things are due.

use chrono_tz::Tz;

use super::{reader::Reader, settings};
use crate::kanbu::env::SchedulerMode;

/// Zone and mode of the cron producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScheduleSettings {
    pub timezone: Tz,
    pub mode: SchedulerMode,
}

pub(super) fn read(reader: &mut Reader<'_>) -> Option<ScheduleSettings> {
    let timezone = reader.value(settings::TIMEZONE, |text| text.parse().ok());
    let kanbus = reader.value(settings::SCHEDULER_MODE, SchedulerMode::parse);
    let own = reader.optional(settings::OWN_SCHEDULER_MODE, SchedulerMode::parse);
    Some(ScheduleSettings {
        timezone: timezone?,
        mode: own.or(kanbus)?,
    })
}
