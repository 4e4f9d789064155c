//! The text of a rule and what it means on a clock without a time zone: which local times it names.
//!
//! Five fields, or six with the seconds first; a day is named by its number *or* by its weekday where both are given. The
//! dialect is ours (docs/schedules.md has its table): the text is read and refused here, in words; finding the days that a
//! month, `L` and `#` name is croner's part, which sees numbers only. What local times mean in a zone is `zone`'s affair.

use std::{fmt, str::FromStr};

use chrono::{DateTime, NaiveDateTime};

use super::{
    describe,
    field::{Field, Unit},
};

/// Longer texts are no rules. Kanbu's own limit is 100.
const LONGEST: usize = 255;

/// A rule.
#[derive(Clone, Debug)]
pub struct Cron {
    text: String,
    fields: [Field; 6],
    days: croner::Cron,
}

/// Why a text is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CronFlaw {
    #[error("a rule has 1 to {LONGEST} bytes, not {0}")]
    Length(usize),
    #[error(
        "{0} is no rule; @hourly, @daily (or @midnight), @weekly, @monthly and @yearly (or @annually) are"
    )]
    UnknownWord(String),
    #[error("a rule has 5 fields, or 6 with the seconds first, not {0}")]
    Fields(usize),
    #[error("{unit} {value} is not within {low} and {high}")]
    OutOfRange {
        unit: &'static str,
        value: String,
        low: u8,
        high: u8,
    },
    #[error("{item:?} means nothing as a {unit}")]
    NotUnderstood { unit: &'static str, item: String },
    #[error("the {unit} range {item:?} runs backwards; write its two parts with a comma")]
    Backwards { unit: &'static str, item: String },
    #[error("the step of {item:?} is not within 1 and {high}, the highest {unit}")]
    Step {
        unit: &'static str,
        item: String,
        high: u8,
    },
    #[error("no day is ever named by it")]
    NeverFires,
}

impl Cron {
    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it means, in a sentence.
    pub fn describe(&self) -> String {
        describe::full(&self.fields)
    }

    /// Whether the hour is fixed: on the days when the clocks change such a rule still fires once, and others follow the
    /// time that elapses.
    pub fn has_fixed_hour(&self) -> bool {
        !self.fields[2].floats
    }

    /// The next local time that it names.
    pub(super) fn next_local(&self, after: NaiveDateTime) -> Option<NaiveDateTime> {
        let next = self.days.find_next_occurrence(&after.and_utc(), false);
        next.ok().map(|next| next.naive_utc())
    }
}

/// What Kanbu's page shows beside a rule: its three sentences where they are right, otherwise the text itself.
pub fn kanbu_description(text: &str) -> String {
    describe::as_kanbu(text)
}

impl FromStr for Cron {
    type Err = CronFlaw;

    fn from_str(text: &str) -> Result<Self, CronFlaw> {
        let text = text.trim();
        if !(1..=LONGEST).contains(&text.len()) {
            return Err(CronFlaw::Length(text.len()));
        }
        let lower = text.to_ascii_lowercase();
        let rule = if lower.starts_with('@') {
            word(&lower).ok_or_else(|| CronFlaw::UnknownWord(text.to_owned()))?
        } else {
            &lower
        };
        let parts: Vec<_> = rule.split_ascii_whitespace().collect();
        let parts: [&str; 6] = match parts[..] {
            [minute, hour, day, month, weekday] => ["0", minute, hour, day, month, weekday],
            [second, minute, hour, day, month, weekday] => {
                [second, minute, hour, day, month, weekday]
            }
            _ => return Err(CronFlaw::Fields(parts.len())),
        };
        let mut fields = <[Field; 6]>::default();
        for ((field, unit), part) in fields.iter_mut().zip(Unit::ALL).zip(parts) {
            *field = Field::parse(unit, part)?;
        }
        let spelled: Vec<_> = fields.iter().map(Field::spelled).collect();
        let days = spelled
            .join(" ")
            .parse::<croner::Cron>()
            .map_err(|_| CronFlaw::NeverFires)?;
        let cron = Self {
            text: text.to_owned(),
            fields,
            days,
        };
        match cron.next_local(DateTime::UNIX_EPOCH.naive_utc()) {
            Some(_) => Ok(cron),
            None => Err(CronFlaw::NeverFires),
        }
    }
}

fn word(text: &str) -> Option<&'static str> {
    Some(match text {
        "@hourly" => "0 * * * *",
        "@daily" | "@midnight" => "0 0 * * *",
        "@weekly" => "0 0 * * 0",
        "@monthly" => "0 0 1 * *",
        "@yearly" | "@annually" => "0 0 1 1 *",
        _ => return None,
    })
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

/// Two rules are equal if they name the same times, however they are written.
impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.fields == other.fields
    }
}

#[cfg(test)]
mod tests;
