//! What shall stay: numbers that people set, per schedule. What stays whatever they say is the plan's affair.

use serde::{Deserialize, Serialize};

/// How many backups are kept, and how long. A member that is left out has its default; no limit is written as null.
///
/// The first six each keep the newest good backup of so many periods (of `keep_last`: so many backups), counted from the
/// newest and passing over periods without one. A backup that any of them keeps is kept. The two limits, where set, take
/// away from that again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// The newest backups, whatever the calendar says. [`Policy::ALL`] keeps every one.
    pub keep_last: u32,
    pub keep_hourly: u32,
    /// Calendar days.
    pub keep_daily: u32,
    /// ISO weeks, Monday to Sunday.
    pub keep_weekly: u32,
    pub keep_monthly: u32,
    pub keep_yearly: u32,
    /// Days and weeks keep nothing from longer ago than so many calendar days. The other periods are exempt.
    pub daily_max_age_days: Option<u32>,
    /// Nothing older is kept, for whatever reason above.
    pub max_age_days: Option<u32>,
    /// The oldest go until the rest takes no more, counted once however many copies there are.
    pub max_total_bytes: Option<u64>,
    /// So many proven backups stay, the newest, whatever the limits say.
    pub min_proven: u32,
}

impl Policy {
    /// As a number of periods or backups: all of them.
    pub const ALL: u32 = u32::MAX;

    /// Kanbu's four numbers, with Kanbu's meaning mended: `retention_days` caps days and weeks, and no longer months.
    #[must_use]
    pub fn of_kanbu(
        retention_days: u32,
        keep_daily: u32,
        keep_weekly: u32,
        keep_monthly: u32,
    ) -> Self {
        Self {
            keep_daily,
            keep_weekly,
            keep_monthly,
            daily_max_age_days: Some(retention_days),
            ..Self::bare()
        }
    }

    /// Every backup for so many days, or until somebody deletes it.
    #[must_use]
    pub fn everything(max_age_days: Option<u32>) -> Self {
        Self {
            keep_last: Self::ALL,
            max_age_days,
            ..Self::bare()
        }
    }

    /// The newest backup alone, and no limits: what the others are built on.
    #[must_use]
    pub fn bare() -> Self {
        Self {
            keep_last: 1,
            keep_hourly: 0,
            keep_daily: 0,
            keep_weekly: 0,
            keep_monthly: 0,
            keep_yearly: 0,
            daily_max_age_days: None,
            max_age_days: None,
            max_total_bytes: None,
            min_proven: 1,
        }
    }

    /// Whether it lets anything go at all.
    pub fn deletes(&self) -> bool {
        self.keep_last != Self::ALL || self.max_age_days.is_some() || self.max_total_bytes.is_some()
    }
}

impl Default for Policy {
    /// Kanbu's defaults: 30 days, 7 daily, 4 weekly, 3 monthly.
    fn default() -> Self {
        Self::of_kanbu(30, 7, 4, 3)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_default_is_kanbus_and_every_member_may_be_left_out() {
        let default: Policy = serde_json::from_value(json!({})).unwrap();
        assert_eq!(default, Policy::of_kanbu(30, 7, 4, 3));
        let written = serde_json::to_value(&default).unwrap();
        let members = json!({
            "keep_last": 1, "keep_hourly": 0, "keep_daily": 7, "keep_weekly": 4, "keep_monthly": 3, "keep_yearly": 0,
            "daily_max_age_days": 30, "max_age_days": null, "max_total_bytes": null, "min_proven": 1,
        });
        assert_eq!(written, members);
    }

    #[test]
    fn a_policy_survives_the_way_through_json() {
        let all = Policy {
            max_age_days: Some(400),
            max_total_bytes: Some(u64::MAX),
            ..Policy::default()
        };
        for policy in [all, Policy::everything(Some(30)), Policy::everything(None)] {
            let text = serde_json::to_string(&policy).unwrap();
            assert_eq!(serde_json::from_str::<Policy>(&text).unwrap(), policy);
        }
    }

    #[test]
    fn a_member_that_nobody_knows_is_refused() {
        let error = serde_json::from_value::<Policy>(json!({"keep_dayly": 7})).unwrap_err();
        assert!(error.to_string().contains("keep_dayly"), "{error}");
    }

    #[test]
    fn only_a_policy_that_keeps_all_for_ever_deletes_nothing() {
        assert!(!Policy::everything(None).deletes());
        assert!(Policy::everything(Some(90)).deletes());
        assert!(Policy::default().deletes());
    }
}
