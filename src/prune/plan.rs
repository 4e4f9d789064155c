//! What would go: one plan for each schedule of a subject, for its manual and for its safety backups.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::{Serialize, Serializer};

use super::Terms;
use crate::{
    catalog::{Class, Family, FirstCycle},
    id::ScheduleId,
    retention::{self, HoldReason, Plan, Policy},
};

/// Which plans are wanted, and by what policy.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Only of what this schedule made.
    pub schedule: Option<ScheduleId>,
    /// Not by the policy in force, but by this one: for a look at what it would do.
    pub policy: Option<Policy>,
}

/// The plan for one class of a subject's backups.
#[derive(Clone, Debug, Serialize)]
pub struct Planned {
    pub class: Class,
    /// What the schedule is called.
    pub schedule: Option<String>,
    #[serde(serialize_with = "by_name")]
    pub zone: Tz,
    pub policy: Policy,
    #[serde(flatten)]
    pub plan: Plan,
}

fn by_name<S: Serializer>(zone: &Tz, to: S) -> Result<S::Ok, S::Error> {
    zone.name().serialize(to)
}

/// The plans for all classes that have backups, each by its own policy and in its own zone.
pub fn plans(family: &Family, wish: &Wish, terms: &Terms, as_of: DateTime<Utc>) -> Vec<Planned> {
    let classes = family.classes().into_iter();
    let wanted =
        classes.filter(|class| wish.schedule.is_none() || class.schedule() == wish.schedule);
    wanted
        .map(|class| one(family, class, wish.policy.as_ref(), terms, as_of))
        .collect()
}

/// The plan for one class by the policy in force.
pub(super) fn in_force(family: &Family, class: Class, terms: &Terms, as_of: DateTime<Utc>) -> Plan {
    one(family, class, None, terms, as_of).plan
}

fn one(
    family: &Family,
    class: Class,
    other: Option<&Policy>,
    terms: &Terms,
    as_of: DateTime<Utc>,
) -> Planned {
    let schedule = class.schedule().and_then(|id| family.schedules.get(&id));
    let policy = other.unwrap_or(match (class, schedule) {
        (Class::Safety, _) => &terms.safety,
        (_, Some(schedule)) => &schedule.policy,
        (_, None) => &terms.manual,
    });
    let zone = schedule.map_or(terms.zone, |schedule| schedule.zone);
    let candidates = family.candidates(class);
    let plan = retention::plan(&candidates, policy, zone, as_of);
    let plan = match schedule.and_then(|schedule| schedule.first_cycle) {
        None => plan,
        Some(FirstCycle { held_until, .. }) if as_of < held_until => {
            plan.hold(&HoldReason::Imported { until: held_until })
        }
        Some(FirstCycle { rule, .. }) => retention::first_cycle(plan, &rule, &candidates),
    };
    Planned {
        class,
        schedule: schedule.map(|schedule| schedule.name.clone()),
        zone,
        policy: policy.clone(),
        plan,
    }
}
