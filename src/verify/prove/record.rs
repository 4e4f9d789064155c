//! What becomes of a test restore: a row, a result, and a failure if it found one.

use std::time::Duration;

use serde_json::json;

use super::Proving;
use crate::{
    catalog::{CopyState, NewProof, ProofNote, ProofPlace, ProofWeight},
    execution::{Effects, Warning},
    fault::{Failure, Fault},
    job::Job,
    storage::StorageName,
    verify::VerifyError,
};

/// Differences that a failure names; the row has them all.
const MOST_NAMED: usize = 5;

/// Most findings that one row keeps.
const MOST_NOTES: usize = 500;

/// The code of a check of the operator's that isn't true.
pub(super) const UNTRUE: &str = "check.untrue";

/// A test restore that says something about its backup.
pub(super) struct Trial {
    pub place: ProofPlace,
    /// Whose copy was restored.
    pub storage: Option<StorageName>,
    pub took: Duration,
    pub result: Result<Found, Failure>,
}

/// What was there once it was restored.
#[derive(Default)]
pub(super) struct Found {
    pub tables: Option<u64>,
    pub rows: Option<u64>,
    pub files: Option<u64>,
    pub bytes: u64,
    pub notes: Vec<ProofNote>,
    pub warnings: Vec<Warning>,
    pub follow_ups: Vec<Job>,
    /// The database that was kept.
    pub kept: Option<String>,
}

impl Found {
    pub(super) fn note(&mut self, weight: ProofWeight, code: &str, text: impl Into<String>) {
        match self.notes.len() {
            ..MOST_NOTES => self.notes.push(ProofNote {
                weight,
                code: code.to_owned(),
                text: text.into(),
            }),
            MOST_NOTES => self.notes.push(ProofNote {
                weight,
                code: "proof.more".to_owned(),
                text: "further findings are not kept".to_owned(),
            }),
            _ => {}
        }
    }

    /// What spoils the proof.
    fn failure(&self) -> Option<Failure> {
        let real = |note: &&ProofNote| note.weight == ProofWeight::Real;
        let (untrue, differs): (Vec<_>, Vec<_>) = self
            .notes
            .iter()
            .filter(real)
            .partition(|note| note.code == UNTRUE);
        match (differs.as_slice(), untrue.as_slice()) {
            ([], []) => None,
            ([], untrue) => Some(VerifyError::Untrue(told(untrue)).into()),
            (differs, _) => Some(VerifyError::Differs(told(differs)).into()),
        }
    }
}

fn told(notes: &[&ProofNote]) -> String {
    let first: Vec<&str> = notes
        .iter()
        .take(MOST_NAMED)
        .map(|note| note.text.as_str())
        .collect();
    match notes.len() - first.len() {
        0 => first.join("; "),
        more => format!("{}; and {more} more", first.join("; ")),
    }
}

/// Whether a failed restore says something about the backup, and not only about the place or the way there.
pub(super) fn is_the_backups(failure: &Failure) -> bool {
    let code = failure.code.as_ref();
    let family = code.split('.').next().unwrap_or_default();
    let is_lasting = failure.fault == Fault::Permanent;
    let speaks_of_it = matches!(
        family,
        "envelope" | "integrity" | "manifest" | "archive" | "pipeline" | "key"
    ) || matches!(code, "restore.load_failed" | "storage.no_copy");
    // The bytes were found right before, and so it was dumped like this.
    let was_cut = code == "database.dump_incomplete";
    is_lasting && speaks_of_it || CopyState::told_by(failure).is_some() || was_cut
}

pub(super) fn effects(proving: &Proving<'_>, trial: Trial) -> Effects {
    let Trial {
        place,
        storage,
        took,
        result,
    } = trial;
    let (found, broken) = match result {
        Ok(found) => (found, None),
        // However it is classed: to restore the same bytes again would end the same way.
        Err(failure) => {
            let fault = Fault::Permanent;
            (Found::default(), Some(Failure { fault, ..failure }))
        }
    };
    let failed = broken.or_else(|| found.failure());
    let artifact = proving.artifact;
    let mut warnings = told_of(proving, &found, failed.as_ref());
    let is_new = |warning: &Warning| !found.notes.iter().any(|note| note.text == warning.text);
    warnings.extend(found.warnings.into_iter().filter(is_new));
    let holds_for = proving.deps.proof.holds_for;
    Effects {
        warnings,
        result: json!({
            "artifact": artifact.id, "proven": failed.is_none(), "place": place, "storage": storage,
            "seconds": took.as_secs_f64(), "tables": found.tables, "rows": found.rows, "files": found.files,
            "notes": found.notes, "database": found.kept,
        }),
        proof: Some(NewProof {
            artifact: artifact.id,
            execution: proving.lease.execution(),
            storage,
            place,
            took,
            tables: found.tables,
            rows: found.rows,
            files: found.files,
            notes: found.notes,
            verdict: failed.clone().map_or(Ok(holds_for), Err),
        }),
        failed,
        follow_ups: found.follow_ups,
        bytes_in: artifact.stored_bytes,
        bytes_out: found.bytes,
        ..Effects::default()
    }
}

/// Says what was found where somebody may read it; what is tolerable becomes a warning.
fn told_of(proving: &Proving<'_>, found: &Found, failed: Option<&Failure>) -> Vec<Warning> {
    for note in &found.notes {
        proving.lease.log(&note.text);
    }
    if let Some(failure) = failed {
        let artifact = proving.artifact;
        tracing::error!(
            error.code = %failure.code, artifact.id = %artifact.id, subject = %artifact.subject,
            "a test restore failed: {failure}"
        );
    }
    let tolerable = |note: &&ProofNote| note.weight == ProofWeight::Tolerable;
    let warning = |note: &ProofNote| Warning {
        code: note.code.clone(),
        text: note.text.clone(),
        degrades: false,
    };
    found.notes.iter().filter(tolerable).map(warning).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_speaks_of_the_backup_condemns_it() {
        let failure = |fault, code| Failure::new(fault, code, "x");
        for code in [
            "envelope.chunk_auth",
            "key.none_fits",
            "restore.load_failed",
            "storage.no_copy",
        ] {
            assert!(is_the_backups(&failure(Fault::Permanent, code)), "{code}");
        }
        for (fault, code) in [
            (Fault::Transient, "database.unreachable"),
            (Fault::Permanent, "database.full"),
            (Fault::Permanent, "tools.client_too_old"),
            (Fault::Transient, "storage.unreachable"),
            (Fault::Permanent, "restore.role_missing"),
            (Fault::Cancelled, "execution.cancelled"),
            (Fault::LeaseLost, "lease.lost"),
        ] {
            assert!(!is_the_backups(&failure(fault, code)), "{code}");
        }
    }

    #[test]
    fn a_difference_outdoes_an_untrue_check_and_the_first_are_named() {
        let mut found = Found::default();
        found.note(ProofWeight::Tolerable, "a.b", "fine");
        assert!(found.failure().is_none());
        found.note(ProofWeight::Real, UNTRUE, "check \"select false\" is false");
        assert_eq!(found.failure().unwrap().code, "proof.untrue");
        for n in 0..7 {
            found.note(ProofWeight::Real, "row.count", format!("table t{n}"));
        }
        let failure = found.failure().unwrap();
        assert_eq!(failure.code, "proof.differs");
        assert_eq!(failure.fault, Fault::Permanent);
        let message = failure.message;
        assert!(
            message.contains("table t0") && message.ends_with("and 2 more"),
            "{message}"
        );
    }
}
