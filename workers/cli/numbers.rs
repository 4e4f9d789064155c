//! The numbers of a retention policy on the command line, the same for schedules and for previews.

use std::str::FromStr;

use clap::Args;
use kanbu_backup::retention::Policy;

#[derive(Debug, Args)]
pub struct Numbers {
    /// Keep the newest backups
    #[arg(long, value_name = "N")]
    pub keep_last: Option<u32>,
    /// Keep the newest of so many hours
    #[arg(long, value_name = "N")]
    pub keep_hourly: Option<u32>,
    /// Keep the newest of so many days
    #[arg(long, value_name = "N")]
    pub keep_daily: Option<u32>,
    /// Keep the newest of so many weeks
    #[arg(long, value_name = "N")]
    pub keep_weekly: Option<u32>,
    /// Keep the newest of so many months
    #[arg(long, value_name = "N")]
    pub keep_monthly: Option<u32>,
    /// Keep the newest of so many years
    #[arg(long, value_name = "N")]
    pub keep_yearly: Option<u32>,
    /// Keep none longer than so many days, or `none` for no such limit
    #[arg(long, value_name = "N|none", value_parser = limit::<u32>)]
    pub max_age_days: Option<Limit<u32>>,
    /// Days and weeks keep none longer than so many days, or `none`
    #[arg(long, value_name = "N|none", value_parser = limit::<u32>)]
    pub daily_max_age_days: Option<Limit<u32>>,
    /// Keep no more bytes than these, or `none`
    #[arg(long, value_name = "N|none", value_parser = limit::<u64>)]
    pub max_total_bytes: Option<Limit<u64>>,
    /// So many proven backups stay whatever the limits say
    #[arg(long, value_name = "N")]
    pub min_proven: Option<u32>,
}

/// A limit, or none.
#[derive(Clone, Copy, Debug)]
pub struct Limit<T>(Option<T>);

fn limit<T: FromStr>(text: &str) -> Result<Limit<T>, String> {
    if text == "none" {
        return Ok(Limit(None));
    }
    let number = text
        .parse()
        .map_err(|_| "write a number, or none".to_owned());
    number.map(|number| Limit(Some(number)))
}

impl Numbers {
    /// Changes what was given, and nothing else.
    pub fn change(&self, policy: &mut Policy) {
        set(&mut policy.keep_last, self.keep_last);
        set(&mut policy.keep_hourly, self.keep_hourly);
        set(&mut policy.keep_daily, self.keep_daily);
        set(&mut policy.keep_weekly, self.keep_weekly);
        set(&mut policy.keep_monthly, self.keep_monthly);
        set(&mut policy.keep_yearly, self.keep_yearly);
        set(&mut policy.max_age_days, self.max_age_days.map(|max| max.0));
        set(
            &mut policy.daily_max_age_days,
            self.daily_max_age_days.map(|max| max.0),
        );
        set(
            &mut policy.max_total_bytes,
            self.max_total_bytes.map(|max| max.0),
        );
        set(&mut policy.min_proven, self.min_proven);
    }

    /// The policy that has these numbers and no others; none if no number was given.
    pub fn policy(&self) -> Option<Policy> {
        let given = [
            self.keep_last,
            self.keep_hourly,
            self.keep_daily,
            self.keep_weekly,
            self.keep_monthly,
            self.keep_yearly,
            self.min_proven,
        ];
        let is_limited = self.max_age_days.is_some()
            || self.daily_max_age_days.is_some()
            || self.max_total_bytes.is_some();
        (is_limited || given.iter().any(Option::is_some)).then(|| {
            let mut policy = Policy::bare();
            self.change(&mut policy);
            policy
        })
    }
}

fn set<T>(place: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *place = given;
    }
}
