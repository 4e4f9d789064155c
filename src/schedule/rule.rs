//! What a schedule is: everything that people set, with its defaults and limits.

use std::time::Duration;

use chrono_tz::Tz;
use serde::Serialize;

use super::{Cron, ScheduleError};
use crate::{
    job::{Kind, Scope, Subject, VerifyLevel},
    retention::Policy,
    storage::StorageName,
};

/// A tick of which nobody took notice for longer is late.
pub(super) const GRACE: Duration = Duration::from_mins(1);

const LONGEST_NAME: usize = 255;
const LONGEST_JITTER: Duration = Duration::from_hours(1);
const TIMEOUT: std::ops::RangeInclusive<Duration> =
    Duration::from_mins(1)..=Duration::from_hours(7 * 24);
const MOST_CAUGHT_UP: u16 = 1000;
const MOST_ATTEMPTS: i16 = 1000;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[$variant_doc])* $variant),+
        }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word of SQL, CLI and JSON.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }

            pub(super) fn read(column: &'static str, word: &str) -> Result<Self, ScheduleError> {
                Self::ALL
                    .iter()
                    .copied()
                    .find(|one| one.as_str() == word)
                    .ok_or_else(|| ScheduleError::Undecodable {
                        column,
                        value: word.to_owned(),
                    })
            }
        }
    };
}

words! {
    /// What becomes of late ticks.
    CatchUp {
        /// Nothing.
        None = "none",
        /// The newest is made up for, unless one that is in time does that.
        Latest = "latest",
        /// They are all made up for, up to a limit.
        All = "all"
    }
}
words! {
    /// What a tick does while the job of an earlier one is open.
    Overlap {
        /// Nothing more.
        Skip = "skip",
        /// It queues up behind.
        Queue = "queue"
    }
}
words! {
    /// Which of its backups a schedule has verified.
    VerifyEvery {
        Never = "never",
        Each = "each",
        /// The first of every day of its zone.
        Daily = "daily",
        /// The first of every ISO week of its zone.
        Weekly = "weekly"
    }
}
words! {
    /// What a schedule makes.
    ScheduledKind {
        Backup = "backup",
        Verify = "verify"
    }
}

impl From<ScheduledKind> for Kind {
    fn from(kind: ScheduledKind) -> Self {
        match kind {
            ScheduledKind::Backup => Self::Backup,
            ScheduledKind::Verify => Self::Verify,
        }
    }
}

/// A schedule as people write it.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    pub name: String,
    pub kind: ScheduledKind,
    pub subject: Subject,
    pub cron: Cron,
    pub zone: Tz,
    pub enabled: bool,
    pub catch_up: CatchUp,
    /// So many late ticks are made up for at most, the newest.
    pub catch_up_limit: u16,
    pub overlap: Overlap,
    /// A job may begin so much later than its tick says, by a time that is always the same for that tick.
    pub jitter: Duration,
    /// What its backups are kept by.
    pub retention: Policy,
    /// `None`: on all of the workers' storages.
    pub storages: Option<Vec<StorageName>>,
    pub verify_every: VerifyEvery,
    pub verify_level: VerifyLevel,
    /// How long one execution may take; `None`: what is usual for the kind.
    pub timeout: Option<Duration>,
    /// `None`: what is usual for the kind.
    pub max_attempts: Option<i16>,
}

impl Draft {
    /// Backups of a subject, with the defaults.
    pub fn of(name: impl Into<String>, subject: Subject, cron: Cron, zone: Tz) -> Self {
        Self {
            name: name.into(),
            kind: ScheduledKind::Backup,
            subject,
            cron,
            zone,
            enabled: true,
            catch_up: CatchUp::Latest,
            catch_up_limit: 24,
            overlap: Overlap::Skip,
            jitter: Duration::ZERO,
            retention: Policy::default(),
            storages: None,
            verify_every: VerifyEvery::Never,
            verify_level: VerifyLevel::Checked,
            timeout: None,
            max_attempts: None,
        }
    }

    /// Refuses what the table would refuse, in words.
    pub fn check(&self) -> Result<(), ScheduleError> {
        let refuse = |what: String| Err(ScheduleError::Invalid(what));
        let name = &self.name;
        if name.is_empty()
            || name.len() > LONGEST_NAME
            || name.trim() != name
            || name.chars().any(char::is_control)
        {
            return refuse(format!(
                "{name:?} is no name: it has 1 to {LONGEST_NAME} bytes on one line and no blanks at its ends"
            ));
        }
        if !matches!(self.subject.scope(), Scope::Database | Scope::Source)
            || self.subject.to_string().contains('#')
        {
            return refuse(format!(
                "{} can't be backed up; databases and sources can",
                self.subject
            ));
        }
        if !(1..=MOST_CAUGHT_UP).contains(&self.catch_up_limit) {
            return refuse(format!(
                "the limit of what is caught up is within 1 and {MOST_CAUGHT_UP}"
            ));
        }
        if self.jitter > LONGEST_JITTER {
            return refuse("the jitter is an hour at most".to_owned());
        }
        if self
            .timeout
            .is_some_and(|timeout| !TIMEOUT.contains(&timeout))
        {
            return refuse("the time-out is within a minute and 7 days".to_owned());
        }
        if self
            .max_attempts
            .is_some_and(|most| !(1..=MOST_ATTEMPTS).contains(&most))
        {
            return refuse(format!("the attempts are within 1 and {MOST_ATTEMPTS}"));
        }
        self.check_kind()
    }

    fn check_kind(&self) -> Result<(), ScheduleError> {
        let of_backups = self.storages.is_some() || self.verify_every != VerifyEvery::Never;
        if self.kind == ScheduledKind::Verify && of_backups {
            return Err(ScheduleError::Invalid(
                "storages and the verification of new backups belong to schedules of backups"
                    .to_owned(),
            ));
        }
        if self.storages.as_ref().is_some_and(Vec::is_empty) {
            return Err(ScheduleError::Invalid(
                "a backup needs a storage; name none of them for all".to_owned(),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> Draft {
        let cron = "0 2 * * *".parse().unwrap();
        Draft::of("nightly", "database:kanbu".parse().unwrap(), cron, Tz::UTC)
    }

    #[test]
    fn the_defaults_are_sound() {
        draft().check().unwrap();
    }

    #[test]
    fn what_is_out_of_its_limits_is_refused_in_words() {
        let wrong = |word: &str, change: fn(&mut Draft)| {
            let mut draft = draft();
            change(&mut draft);
            let error = draft.check().unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        };
        wrong("no name", |draft| draft.name = " nightly".to_owned());
        wrong("no name", |draft| draft.name = "a\nb".to_owned());
        wrong("no name", |draft| draft.name.clear());
        wrong("can't be backed up", |draft| {
            draft.subject = "cluster:main".parse().unwrap();
        });
        wrong("can't be backed up", |draft| {
            draft.subject = "database:kanbu#prune".parse().unwrap();
        });
        wrong("caught up", |draft| draft.catch_up_limit = 0);
        wrong("jitter", |draft| draft.jitter = Duration::from_secs(3601));
        wrong("time-out", |draft| {
            draft.timeout = Some(Duration::from_hours(24 * 8));
        });
        wrong("attempts", |draft| draft.max_attempts = Some(0));
        wrong("needs a storage", |draft| draft.storages = Some(Vec::new()));
        wrong("belong to schedules of backups", |draft| {
            draft.kind = ScheduledKind::Verify;
            draft.verify_every = VerifyEvery::Each;
        });
    }
}
