//! One field of a rule's text: what may stand in it, and the values that it names.
//!
//! Every item becomes numbers here, so that a rule means the same whoever evaluates it, and what is wrong is told in words
//! about the text that was written.

use std::collections::BTreeSet;

use super::cron::CronFlaw;

/// Which field it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Second,
    Minute,
    Hour,
    Day,
    Month,
    Weekday,
}

impl Unit {
    pub(super) const ALL: [Self; 6] = [
        Self::Second,
        Self::Minute,
        Self::Hour,
        Self::Day,
        Self::Month,
        Self::Weekday,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day of the month",
            Self::Month => "month",
            Self::Weekday => "weekday",
        }
    }

    /// What it takes, both ends included. A weekday of 7 is Sunday again.
    pub(super) fn bounds(self) -> (u8, u8) {
        match self {
            Self::Second | Self::Minute => (0, 59),
            Self::Hour => (0, 23),
            Self::Day => (1, 31),
            Self::Month => (1, 12),
            Self::Weekday => (0, 7),
        }
    }

    fn is_day(self) -> bool {
        matches!(self, Self::Day | Self::Weekday)
    }

    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Month => &MONTHS,
            Self::Weekday => &WEEKDAYS,
            _ => &[],
        }
    }

    /// A number, or a name in its short or long form.
    fn value(self, text: &str) -> Result<u8, CronFlaw> {
        let (low, high) = self.bounds();
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let number = text.parse::<u8>().ok();
            return number
                .filter(|number| (low..=high).contains(number))
                .ok_or_else(|| CronFlaw::OutOfRange {
                    unit: self.name(),
                    value: text.to_owned(),
                    low,
                    high,
                });
        }
        let named = self
            .names()
            .iter()
            .zip(low..)
            .find(|(name, _)| text == **name || text == &name[..3]);
        named
            .map(|(_, number)| number)
            .ok_or_else(|| self.unknown(text))
    }

    fn unknown(self, item: &str) -> CronFlaw {
        CronFlaw::NotUnderstood {
            unit: self.name(),
            item: item.to_owned(),
        }
    }
}

pub(super) const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

pub(super) const WEEKDAYS: [&str; 7] = [
    "sunday",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
];

/// What a field names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Field {
    /// It is `*` or `?`: the field restricts nothing.
    pub(super) any: bool,
    /// An hour with a wildcard or a step in it.
    pub(super) floats: bool,
    pub(super) values: BTreeSet<u8>,
    /// The last day of the month.
    pub(super) last: bool,
    /// `5L`: the last such weekday of the month.
    pub(super) last_weekdays: BTreeSet<u8>,
    /// `1#2`: the second such weekday of the month.
    pub(super) nth_weekdays: BTreeSet<(u8, u8)>,
}

impl Field {
    /// `text` is in lower case.
    pub(super) fn parse(unit: Unit, text: &str) -> Result<Self, CronFlaw> {
        let mut field = Self {
            any: text == "*" || (unit.is_day() && text == "?"),
            floats: unit == Unit::Hour && text.contains(['*', '/']),
            ..Self::default()
        };
        if field.any {
            let (low, high) = unit.bounds();
            field
                .values
                .extend(low..=high.min(if unit == Unit::Weekday { 6 } else { high }));
            return Ok(field);
        }
        for item in text.split(',') {
            field.item(unit, item)?;
        }
        Ok(field)
    }

    fn item(&mut self, unit: Unit, item: &str) -> Result<(), CronFlaw> {
        let weekday = unit == Unit::Weekday;
        if unit == Unit::Day && item == "l" {
            self.last = true;
        } else if let Some(day) = item
            .strip_suffix('l')
            .filter(|day| weekday && !day.is_empty())
        {
            self.last_weekdays.insert(unit.value(day)? % 7);
        } else if let Some((day, nth)) = item.split_once('#').filter(|_| weekday) {
            let number = nth.parse::<u8>().ok().filter(|nth| (1..=5).contains(nth));
            let nth = number.ok_or_else(|| unit.unknown(item))?;
            self.nth_weekdays.insert((unit.value(day)? % 7, nth));
        } else {
            let values = range(unit, item)?;
            self.values
                .extend(values.map(|value| if weekday { value % 7 } else { value }));
        }
        Ok(())
    }

    /// The one value of a field that names no more.
    pub(super) fn only(&self) -> Option<u8> {
        let plain = !self.any
            && !self.last
            && self.last_weekdays.is_empty()
            && self.nth_weekdays.is_empty();
        match (plain, self.values.len()) {
            (true, 1) => self.values.first().copied(),
            _ => None,
        }
    }

    /// The same in the words of the crate that finds the days: numbers alone.
    pub(super) fn spelled(&self) -> String {
        if self.any {
            return "*".to_owned();
        }
        let plain = self.values.iter().map(u8::to_string);
        let last = self.last.then(|| "L".to_owned());
        let last_weekdays = self.last_weekdays.iter().map(|day| format!("{day}L"));
        let nth_weekdays = self
            .nth_weekdays
            .iter()
            .map(|(day, nth)| format!("{day}#{nth}"));
        let items: Vec<_> = plain
            .chain(last)
            .chain(last_weekdays)
            .chain(nth_weekdays)
            .collect();
        items.join(",")
    }
}

/// `5`, `5-7`, `*`, each perhaps with a step; a step with a mere start goes on to the end.
fn range(unit: Unit, item: &str) -> Result<impl Iterator<Item = u8> + use<>, CronFlaw> {
    let (low, high) = unit.bounds();
    let (base, step) = match item.split_once('/') {
        Some((base, step)) => (base, Some(step)),
        None => (item, None),
    };
    let (first, last) = match (base.split_once('-'), step) {
        // Sunday comes once, as 0.
        _ if base == "*" => (low, if unit == Unit::Weekday { 6 } else { high }),
        (Some((first, last)), _) => {
            let (from, to) = (unit.value(first)?, unit.value(last)?);
            // Sunday ends a week as well as it begins one: fri-sun.
            let to = if unit == Unit::Weekday && to == 0 && from > 0 {
                7
            } else {
                to
            };
            (from, to)
        }
        (None, Some(_)) => (unit.value(base)?, high),
        (None, None) => {
            let value = unit.value(base)?;
            (value, value)
        }
    };
    if first > last {
        return Err(CronFlaw::Backwards {
            unit: unit.name(),
            item: item.to_owned(),
        });
    }
    let step = match step {
        Some(step) => step
            .parse::<u8>()
            .ok()
            .filter(|step| (1..=high).contains(step))
            .ok_or_else(|| CronFlaw::Step {
                unit: unit.name(),
                item: item.to_owned(),
                high,
            })?,
        None => 1,
    };
    Ok((first..=last).step_by(step.into()))
}
