//! The plan: what stays and why, and what goes and why.
//!
//! A policy sees the backups of its own schedule; the protections see all of the subject. Instants alone count, never the
//! order of the input: equal ones are told apart by id.

use std::{cmp::Reverse, collections::HashMap};

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::Serialize;

use super::{
    ExpireReason, HoldReason, KeepReason, Period, Policy,
    period::{Key, Local},
};
use crate::id::ArtifactId;

/// How far a backup can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// No good copy is left, or its last test restore failed.
    Bad,
    /// It has a good copy.
    Good,
    /// It was restored in a test, and that counts still.
    Proven,
}

/// A backup of the subject that is planned for.
#[expect(
    clippy::struct_excessive_bools,
    reason = "facts of which any may go with any other"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub id: ArtifactId,
    /// The instant it stands for; none where nobody knows it.
    pub at: Option<DateTime<Utc>>,
    /// Counted once, however many copies there are.
    pub bytes: u64,
    pub condition: Condition,
    /// The policy is about it. The other backups of the subject only protect.
    pub is_own: bool,
    pub pinned: bool,
    pub in_use: bool,
    /// The backup whose content alarm holds this one.
    pub held_by: Option<ArtifactId>,
    /// It raised a content alarm that nobody has acknowledged.
    pub raised_alarm: bool,
}

/// A backup that stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kept {
    pub id: ArtifactId,
    /// At least one: those of the policy first, then the protections.
    pub reasons: Vec<KeepReason>,
}

/// A backup that goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Expired {
    pub id: ArtifactId,
    #[serde(flatten)]
    pub reason: ExpireReason,
}

/// Every backup that the policy is about, in exactly one of two lists: the newest first, what was spared after all last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    pub as_of: DateTime<Utc>,
    pub kept: Vec<Kept>,
    pub expired: Vec<Expired>,
    /// Why nothing expires, whatever the policy says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<HoldReason>,
}

impl Plan {
    /// Nothing goes, for this reason too.
    #[must_use]
    pub fn hold(mut self, hold: &HoldReason) -> Self {
        self.spare(|_| Some(KeepReason::Held { hold: hold.clone() }));
        self.held.get_or_insert_with(|| hold.clone());
        self
    }

    /// Why a backup goes; `None` if it stays, or isn't planned for.
    pub fn expires(&self, id: ArtifactId) -> Option<&ExpireReason> {
        let expired = self.expired.iter().find(|expired| expired.id == id);
        expired.map(|expired| &expired.reason)
    }

    /// Keeps those expired ones for which there is a reason after all.
    pub(super) fn spare(&mut self, reason: impl Fn(ArtifactId) -> Option<KeepReason>) {
        self.expired.retain(|expired| match reason(expired.id) {
            None => true,
            Some(reason) => {
                let (id, reasons) = (expired.id, vec![reason]);
                self.kept.push(Kept { id, reasons });
                false
            }
        });
    }
}

/// Plans for the backups of one subject as they are at `as_of`, in the zone of their schedule.
pub fn plan(candidates: &[Candidate], policy: &Policy, zone: Tz, as_of: DateTime<Utc>) -> Plan {
    let mut newest_first: Vec<&Candidate> = candidates.iter().collect();
    newest_first.sort_unstable_by_key(|candidate| Reverse((candidate.at, candidate.id)));
    let guard = Guard::of(&newest_first, policy, as_of);
    let own: Vec<&Candidate> = newest_first.into_iter().filter(|c| c.is_own).collect();
    let mut rules = Rules::new(policy, zone, as_of);
    rules.apply(&own);

    let mut entries: Vec<Entry<'_>> = own
        .iter()
        .map(|candidate| Entry {
            candidate,
            fate: rules.fate(candidate, guard.reasons(candidate)),
        })
        .collect();
    limit_bytes(&mut entries, policy);
    let plan = sorted_out(entries, as_of);
    match guard.hold {
        Some(hold) => plan.hold(&hold),
        None => plan,
    }
}

struct Entry<'a> {
    candidate: &'a Candidate,
    fate: Result<Vec<KeepReason>, ExpireReason>,
}

impl Entry<'_> {
    fn is_protected(&self) -> bool {
        let reasons = self.fate.as_ref().ok();
        reasons.is_some_and(|reasons| reasons.iter().any(KeepReason::is_protection))
    }
}

/// The oldest go first; what is protected counts and stays.
fn limit_bytes(entries: &mut [Entry<'_>], policy: &Policy) {
    let Some(limit) = policy.max_total_bytes else {
        return;
    };
    let kept = entries.iter().filter(|entry| entry.fate.is_ok());
    let mut total: u128 = kept.map(|entry| u128::from(entry.candidate.bytes)).sum();
    for entry in entries.iter_mut().rev() {
        if total <= u128::from(limit) {
            return;
        }
        if entry.fate.is_ok() && !entry.is_protected() {
            total -= u128::from(entry.candidate.bytes);
            entry.fate = Err(ExpireReason::TooManyBytes { limit });
        }
    }
}

fn sorted_out(entries: Vec<Entry<'_>>, as_of: DateTime<Utc>) -> Plan {
    let mut plan = Plan {
        as_of,
        kept: Vec::new(),
        expired: Vec::new(),
        held: None,
    };
    for Entry { candidate, fate } in entries {
        let id = candidate.id;
        match fate {
            Ok(reasons) => plan.kept.push(Kept { id, reasons }),
            Err(reason) => plan.expired.push(Expired { id, reason }),
        }
    }
    plan
}

/// What the whole subject has to say, whatever the policy.
struct Guard {
    as_of: DateTime<Utc>,
    newest_stored: Option<ArtifactId>,
    newest_proven: Option<(DateTime<Utc>, ArtifactId)>,
    proven: HashMap<ArtifactId, u32>,
    min_proven: u32,
    hold: Option<HoldReason>,
}

impl Guard {
    fn of(newest_first: &[&Candidate], policy: &Policy, as_of: DateTime<Utc>) -> Self {
        // What says that it comes from the future is the newest of nothing.
        let past = || newest_first.iter().filter(|c| c.lies_before(as_of));
        let proven = || past().filter(|c| c.condition == Condition::Proven);
        let newest_proven = proven().find_map(|c| Some((c.at?, c.id)));
        let ranks = proven().map(|c| c.id).zip(1..=policy.min_proven);
        let alarm = newest_first.iter().find(|c| c.raised_alarm);
        let newest_bad = past().next().filter(|c| c.condition == Condition::Bad);
        let hold = match (alarm, newest_bad) {
            (Some(alarm), _) => Some(HoldReason::Alarm { alarm: alarm.id }),
            (None, Some(newest)) => Some(HoldReason::NewestIsBad { newest: newest.id }),
            (None, None) => None,
        };
        Self {
            as_of,
            newest_stored: past()
                .find(|c| c.condition >= Condition::Good)
                .map(|c| c.id),
            newest_proven,
            proven: ranks.collect(),
            min_proven: policy.min_proven,
            hold,
        }
    }

    fn reasons(&self, candidate: &Candidate) -> Vec<KeepReason> {
        let id = candidate.id;
        let of = self.min_proven;
        let rank = self.proven.get(&id).copied();
        let is_newest_proven = self.newest_proven.is_some_and(|(_, newest)| newest == id);
        let nothing_newer_proven = candidate
            .at
            .filter(|_| candidate.lies_before(self.as_of) && !is_newest_proven)
            .is_some_and(|at| self.newest_proven.is_none_or(|newest| (at, id) > newest));
        let alarm = candidate.held_by;
        [
            candidate.pinned.then_some(KeepReason::Pinned),
            candidate.in_use.then_some(KeepReason::InUse),
            alarm.map(|alarm| KeepReason::HeldByAlarm { alarm }),
            is_newest_proven.then_some(KeepReason::NewestProven),
            (self.newest_stored == Some(id)).then_some(KeepReason::NewestStored),
            rank.filter(|_| !is_newest_proven)
                .map(|rank| KeepReason::Proven { rank, of }),
            nothing_newer_proven.then_some(KeepReason::NothingNewerProven),
            candidate.at.is_none().then_some(KeepReason::UnknownInstant),
            candidate
                .at
                .is_some_and(|at| at > self.as_of)
                .then_some(KeepReason::InTheFuture),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

impl Candidate {
    pub(super) fn lies_before(&self, as_of: DateTime<Utc>) -> bool {
        self.at.is_some_and(|at| at <= as_of)
    }
}

/// What the policy has to say.
struct Rules<'a> {
    policy: &'a Policy,
    zone: Tz,
    as_of: DateTime<Utc>,
    today: Local,
    reasons: HashMap<ArtifactId, Vec<KeepReason>>,
    /// Of those that are not the newest of a kept period: the one that is, of the shortest such period.
    instead: HashMap<ArtifactId, ArtifactId>,
}

impl<'a> Rules<'a> {
    fn new(policy: &'a Policy, zone: Tz, as_of: DateTime<Utc>) -> Self {
        Self {
            policy,
            zone,
            as_of,
            today: Local::of(as_of, zone),
            reasons: HashMap::new(),
            instead: HashMap::new(),
        }
    }

    /// Only what is good stands for anything.
    fn apply(&mut self, own: &[&Candidate]) {
        let good: Vec<(ArtifactId, Local)> = own
            .iter()
            .filter(|c| c.condition >= Condition::Good && c.lies_before(self.as_of))
            .filter_map(|c| Some((c.id, Local::of(c.at?, self.zone))))
            .collect();
        self.last(&good);
        for period in Period::ALL {
            self.newest_of_each(period, &good);
        }
    }

    /// A schedule always keeps its newest, even by a policy of zeros.
    fn last(&mut self, good: &[(ArtifactId, Local)]) {
        let count = self.policy.keep_last.max(1);
        let of = (count != Policy::ALL).then_some(count);
        for ((id, _), rank) in good.iter().zip(1..=count) {
            self.keep(*id, KeepReason::Last { rank, of });
        }
    }

    fn newest_of_each(&mut self, period: Period, good: &[(ArtifactId, Local)]) {
        let (of, max_age) = self.terms(period);
        let mut newest: HashMap<Key, ArtifactId> = HashMap::new();
        let mut rank = 0;
        for (id, local) in good {
            if max_age.is_some_and(|days| self.is_older(local, days)) {
                continue;
            }
            let key = period.key(local);
            if let Some(newest) = newest.get(&key) {
                self.instead.entry(*id).or_insert(*newest);
            } else if rank < of {
                rank += 1;
                newest.insert(key, *id);
                self.keep(*id, KeepReason::Newest { period, rank, of });
            }
        }
    }

    /// How many of a period are kept, and up to which age.
    fn terms(&self, period: Period) -> (u32, Option<u32>) {
        let policy = self.policy;
        match period {
            Period::Hour => (policy.keep_hourly, None),
            Period::Day => (policy.keep_daily, policy.daily_max_age_days),
            Period::Week => (policy.keep_weekly, policy.daily_max_age_days),
            Period::Month => (policy.keep_monthly, None),
            Period::Year => (policy.keep_yearly, None),
        }
    }

    fn is_older(&self, local: &Local, days: u32) -> bool {
        local.days_until(&self.today) > i64::from(days)
    }

    fn keep(&mut self, id: ArtifactId, reason: KeepReason) {
        self.reasons.entry(id).or_default().push(reason);
    }

    fn fate(
        &mut self,
        candidate: &Candidate,
        protections: Vec<KeepReason>,
    ) -> Result<Vec<KeepReason>, ExpireReason> {
        let is_protected = !protections.is_empty();
        let mut reasons = self.reasons.remove(&candidate.id).unwrap_or_default();
        let too_old = self.policy.max_age_days.filter(|days| {
            let local = candidate.at.map(|at| Local::of(at, self.zone));
            local.is_some_and(|local| self.is_older(&local, *days))
        });
        match too_old {
            Some(days) if !is_protected => return Err(ExpireReason::TooOld { days }),
            // What stays does so for the protections alone.
            Some(_) => reasons.clear(),
            None => {}
        }
        reasons.extend(protections);
        if !reasons.is_empty() {
            Ok(reasons)
        } else if candidate.condition == Condition::Bad {
            Err(ExpireReason::Bad)
        } else {
            let instead = self.instead.get(&candidate.id).copied();
            Err(ExpireReason::Unneeded { instead })
        }
    }
}
