//! Names that nobody declared: which of them are mistakes, and what was meant.

use super::{
    problem::Problem,
    settings::{NOT_YET, SETTINGS},
};

const PREFIX: &str = "KANBU_BACKUP_";

/// What is wrong with a variable that no setting has asked for, if it looks like one of ours.
pub(super) fn unknown_name(name: &str) -> Option<Problem> {
    let rest = name.strip_prefix(PREFIX)?;
    let known = SETTINGS.iter().any(|setting| {
        setting.name == name || (setting.is_secret() && setting.file_name() == name)
    });
    if known || is_injected(name) || rest.starts_with("TEST_") {
        return None;
    }
    let (sentence, hint) = if NOT_YET.contains(&name) {
        let hint = "unset it; it belongs to a part that is still to come".to_owned();
        ("has no meaning in this version", Some(hint))
    } else {
        let names = SETTINGS.iter().map(|setting| setting.name);
        let nearest = nearest(name, names).map(|nearest| format!("the nearest one is {nearest}"));
        ("is not a setting", nearest)
    };
    Some(Problem {
        name: name.to_owned(),
        sentence: sentence.to_owned(),
        hint,
    })
}

/// What container platforms put into the environment for a service named `kanbu-backup` or `kanbu-backup-…`.
fn is_injected(name: &str) -> bool {
    name.ends_with("_SERVICE_HOST") || name.ends_with("_PORT") || name.contains("_PORT_")
}

/// The candidate that takes the fewest edits.
pub(super) fn nearest<'c>(
    word: &str,
    candidates: impl Iterator<Item = &'c str>,
) -> Option<&'c str> {
    candidates.min_by_key(|candidate| strsim::damerau_levenshtein(word, candidate))
}
