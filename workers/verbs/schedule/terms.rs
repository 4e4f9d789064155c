//! From what was written to a draft: only what was said changes anything.

use kanbu_backup::{
    fault::Failure,
    job::{BadSubject, Subject, VerifyLevel},
    schedule::{Cron, Draft, ScheduleError, Tz},
};

use super::super::VerbError;
use crate::{
    cli::{Level, ScheduleTerms},
    session::Session,
};

/// Instead of names: all storages that the workers have.
const ALL: &str = "all";

pub(super) fn rule(text: &str) -> Result<Cron, ScheduleError> {
    text.parse().map_err(|flaw| ScheduleError::rule(text, flaw))
}

pub(super) fn zone(text: &str) -> Result<Tz, ScheduleError> {
    text.parse()
        .map_err(|_| ScheduleError::UnknownZone(text.to_owned()))
}

pub(super) fn apply(terms: &ScheduleTerms, draft: &mut Draft) -> Result<(), Failure> {
    if let Some(text) = &terms.tz {
        draft.zone = zone(text)?;
    }
    set(&mut draft.catch_up, terms.catch_up);
    set(&mut draft.catch_up_limit, terms.catch_up_limit);
    set(&mut draft.overlap, terms.overlap);
    set(&mut draft.jitter, terms.jitter);
    set(&mut draft.verify_every, terms.verify_every);
    set(&mut draft.verify_level, terms.verify_level.map(level));
    set(&mut draft.timeout, terms.timeout.map(|usual| usual.0));
    set(&mut draft.max_attempts, terms.attempts.map(|usual| usual.0));
    terms.keep.change(&mut draft.retention);
    if terms.storages.iter().any(|name| name == ALL) {
        draft.storages = None;
    } else if !terms.storages.is_empty() {
        let names = terms.storages.iter().map(|name| name.parse());
        let names: Result<Vec<_>, _> = names.collect();
        let names = names.map_err(|error: kanbu_backup::storage::BadStorageName| {
            VerbError::Unusable(error.to_string())
        })?;
        draft.storages = Some(names);
    }
    Ok(())
}

fn set<T>(place: &mut T, said: Option<T>) {
    if let Some(said) = said {
        *place = said;
    }
}

fn level(level: Level) -> VerifyLevel {
    match level {
        Level::Quick => VerifyLevel::Quick,
        Level::Checked => VerifyLevel::Checked,
        Level::Proven => VerifyLevel::Proven,
    }
}

/// What can't be right here. Other hosts may have other storages and sources, so that is no more than a warning.
pub(super) fn check(draft: &Draft, session: &Session) -> Result<(), Failure> {
    draft.check()?;
    let known = &session.config.storage.storages;
    let strange = draft
        .storages
        .iter()
        .flatten()
        .find(|name| !known.iter().any(|storage| storage.name == **name));
    if let Some(name) = strange {
        let text =
            format!("no storage {name} is configured here; workers without it refuse the backup");
        session.out.warning("schedule.unknown_storage", &text);
    }
    Ok(())
}

/// For a rule that belongs to nothing.
pub(super) fn any_subject() -> Result<Subject, VerbError> {
    "database:any"
        .parse()
        .map_err(|error: BadSubject| VerbError::Unusable(error.to_string()))
}
