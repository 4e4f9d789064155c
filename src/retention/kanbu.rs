//! Kanbu's own rule (policy version 1), as it behaves and not as it reads: for comparison, and for the first cycle of a
//! schedule that was imported.

use std::{cmp::Reverse, collections::HashSet};

use chrono::{DateTime, Datelike, NaiveDate, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::{Candidate, KeepReason, Plan, Policy};
use crate::id::ArtifactId;

/// The four numbers of one of Kanbu's schedules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KanbuRule {
    pub retention_days: u32,
    pub keep_daily: u32,
    pub keep_weekly: u32,
    pub keep_monthly: u32,
}

impl KanbuRule {
    /// The same numbers, with the meaning that people gave them.
    pub fn policy(&self) -> Policy {
        Policy::of_kanbu(
            self.retention_days,
            self.keep_daily,
            self.keep_weekly,
            self.keep_monthly,
        )
    }

    /// What Kanbu would delete: of all backups of the subject, whoever made them. One without an instant isn't touched.
    pub fn deletes(&self, candidates: &[Candidate], as_of: DateTime<Utc>) -> HashSet<ArtifactId> {
        let mut newest_first: Vec<(DateTime<Utc>, ArtifactId)> = candidates
            .iter()
            .filter_map(|candidate| Some((candidate.at?, candidate.id)))
            .collect();
        newest_first.sort_unstable_by_key(|dated| Reverse(*dated));
        let oldest = as_of.checked_sub_signed(TimeDelta::days(self.retention_days.into()));
        let is_young = |at: DateTime<Utc>| oldest.is_none_or(|oldest| at >= oldest);

        let (mut months, mut weeks) = (HashSet::new(), HashSet::new());
        let mut room = [self.keep_monthly, self.keep_weekly, self.keep_daily];
        let mut kept = HashSet::new();
        for (at, id) in newest_first.iter().filter(|(at, _)| is_young(*at)) {
            let date = at.date_naive();
            // One bucket each, in this order: a week's newest may have gone to its month, and the days get the rest.
            let bucket = if months.insert((date.year(), date.month())) {
                0
            } else if weeks.insert((date.year(), week_of(date))) {
                1
            } else {
                2
            };
            if room[bucket] > 0 {
                room[bucket] -= 1;
                kept.insert(*id);
            }
        }
        if kept.is_empty() {
            kept.extend(newest_first.first().map(|(_, id)| *id));
        }
        let all = newest_first.into_iter().map(|(_, id)| id);
        all.filter(|id| !kept.contains(id)).collect()
    }
}

/// Weeks begin on Sunday, the first one of a year holds 1 January, and the last one ends with the year.
fn week_of(date: NaiveDate) -> u32 {
    let first = date.with_ordinal(1).unwrap_or(date);
    (date.ordinal0() + first.weekday().num_days_from_sunday()) / 7 + 1
}

/// The plan of a schedule that was imported, for its first cycle: only what both rules let go goes.
#[must_use]
pub fn first_cycle(mut plan: Plan, rule: &KanbuRule, candidates: &[Candidate]) -> Plan {
    let deleted = rule.deletes(candidates, plan.as_of);
    plan.spare(|id| (!deleted.contains(&id)).then_some(KeepReason::FirstCycle));
    plan
}
