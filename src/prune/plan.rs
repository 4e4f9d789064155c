//! What would go: one plan for each schedule of a subject, for its manual and for its safety backups.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::{Serialize, Serializer};

use super::Terms;
use crate::{
    catalog::{Class, Family, FirstCycle},
    id::{ArtifactId, ScheduleId},
    retention::{self, Candidate, Condition, HoldReason, Plan, Policy},
};

/// Which plans are wanted, and by what policy.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Only of what this schedule made.
    pub schedule: Option<ScheduleId>,
    /// Not by the policy in force, but by this one: for a look at what it would do.
    pub policy: Option<Policy>,
    /// As if another backup had been made by then.
    pub with_next: bool,
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
    /// In the plan, and still to be made.
    pub next: Option<ArtifactId>,
    #[serde(flatten)]
    pub plan: Plan,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "what serde hands over is a reference"
)]
fn by_name<S: Serializer>(zone: &Tz, to: S) -> Result<S::Ok, S::Error> {
    zone.name().serialize(to)
}

/// The plans for all classes that have backups, each by its own policy and in its own zone.
pub fn plans(family: &Family, wish: &Wish, terms: &Terms, as_of: DateTime<Utc>) -> Vec<Planned> {
    let classes = family.classes().into_iter();
    let wanted =
        classes.filter(|class| wish.schedule.is_none() || class.schedule() == wish.schedule);
    wanted
        .map(|class| one(family, class, wish, terms, as_of))
        .collect()
}

/// The plan for one class by the policy in force.
pub(super) fn in_force(family: &Family, class: Class, terms: &Terms, as_of: DateTime<Utc>) -> Plan {
    one(family, class, &Wish::default(), terms, as_of).plan
}

fn one(family: &Family, class: Class, wish: &Wish, terms: &Terms, as_of: DateTime<Utc>) -> Planned {
    let schedule = class.schedule().and_then(|id| family.schedules.get(&id));
    let policy = wish.policy.as_ref().unwrap_or(match (class, schedule) {
        (Class::Safety, _) => &terms.safety,
        (_, Some(schedule)) => &schedule.policy,
        (_, None) => &terms.manual,
    });
    let zone = schedule.map_or(terms.zone, |schedule| schedule.zone);
    let mut candidates = family.candidates(class);
    let next = wish.with_next.then(|| next(&candidates, as_of));
    candidates.extend(next.clone());
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
        next: next.map(|next| next.id),
        plan,
    }
}

/// As large as the newest of them.
fn next(candidates: &[Candidate], as_of: DateTime<Utc>) -> Candidate {
    let own = candidates.iter().filter(|candidate| candidate.is_own);
    let newest = own.max_by_key(|candidate| (candidate.at, candidate.id));
    Candidate {
        id: ArtifactId::new(),
        at: Some(as_of),
        bytes: newest.map_or(0, |newest| newest.bytes),
        condition: Condition::Good,
        is_own: true,
        pinned: false,
        in_use: false,
        held_by: None,
        raised_alarm: false,
    }
}
