//! What a rule's local times mean in a time zone, also on the days when the clocks change.
//!
//! A rule with a fixed hour fires once for every time that it names: one that the clocks jump over at the first instant after
//! the gap, one that comes twice the first time. A rule with a wildcard or a step in the hour field follows the time that
//! elapses: it fires whenever the clocks show such a time, so twice in a repeated hour and not at all in a gap.

use chrono::{DateTime, LocalResult, NaiveDateTime, SubsecRound, TimeDelta, TimeZone, Utc};
use chrono_tz::{GapInfo, Tz};

use super::Cron;

/// The next instant of the rule; none when it has no more.
pub(super) fn next(cron: &Cron, zone: Tz, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
    // Instants of rules are whole seconds.
    let after = after.trunc_subsecs(0);
    let here = after.with_timezone(&zone).naive_local();
    if cron.has_fixed_hour() {
        return once(cron, zone, here).find(|instant| *instant > after);
    }
    let ahead = locals(cron, here).find_map(|local| shown(zone, local, after));
    let again = repeated(cron, zone, here, after);
    ahead.into_iter().chain(again).min()
}

/// The local times of the rule from there on.
fn locals(cron: &Cron, after: NaiveDateTime) -> impl Iterator<Item = NaiveDateTime> {
    std::iter::successors(cron.next_local(after), |local| cron.next_local(*local))
}

/// The instants of a rule with a fixed hour. They never run backwards, as local times come to instants in their order; those
/// that one gap swallows come to the same.
fn once(cron: &Cron, zone: Tz, here: NaiveDateTime) -> impl Iterator<Item = DateTime<Utc>> {
    // The time shown now may be a repeated one, whose first showing is over: then it is passed over by the caller.
    locals(cron, here).filter_map(move |local| match zone.from_local_datetime(&local) {
        LocalResult::Single(instant) | LocalResult::Ambiguous(instant, _) => Some(instant.to_utc()),
        LocalResult::None => GapInfo::new(&local, &zone)?.end.map(|end| end.to_utc()),
    })
}

/// When the clocks show this time first after `after`.
fn shown(zone: Tz, local: NaiveDateTime, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let (first, second) = match zone.from_local_datetime(&local) {
        LocalResult::Single(instant) => (Some(instant), None),
        LocalResult::Ambiguous(first, second) => (Some(first), Some(second)),
        LocalResult::None => (None, None),
    };
    let instants = first.into_iter().chain(second);
    instants
        .map(|instant| instant.to_utc())
        .find(|instant| *instant > after)
}

/// In the first showing of a repeated time: the first local time of the rule that was shown already and comes again.
fn repeated(
    cron: &Cron,
    zone: Tz,
    here: NaiveDateTime,
    after: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let LocalResult::Ambiguous(first, second) = zone.from_local_datetime(&here) else {
        return None;
    };
    (first.to_utc() == after).then_some(())?;
    let before = here - (second.to_utc() - first.to_utc()) - TimeDelta::seconds(1);
    locals(cron, before)
        .take_while(|local| *local <= here)
        .find_map(|local| match zone.from_local_datetime(&local) {
            LocalResult::Ambiguous(_, again) => Some(again.to_utc()),
            LocalResult::Single(_) | LocalResult::None => None,
        })
}
