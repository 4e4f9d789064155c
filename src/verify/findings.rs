//! What a verification has seen so far, and what becomes of it.

use serde_json::json;

use crate::{
    catalog::{ArtifactView, CopyCheck, CopyState, CopyView},
    execution::{Effects, Lease, Warning},
    fault::Failure,
    job::{Subject, VerifyLevel},
};

/// Findings about copies at one level of looking.
pub(super) struct Findings {
    level: VerifyLevel,
    checks: Vec<CopyCheck>,
    warnings: Vec<Warning>,
    good: u64,
    bad: u64,
    /// The first reason why a copy could not be looked at.
    blind: Option<Failure>,
    bytes_read: u64,
}

impl Findings {
    pub(super) fn new(level: VerifyLevel) -> Self {
        Self {
            level,
            checks: Vec::new(),
            warnings: Vec::new(),
            good: 0,
            bad: 0,
            blind: None,
            bytes_read: 0,
        }
    }

    /// A copy that is what was written, as far as this level sees.
    pub(super) fn good(&mut self, artifact: &ArtifactView, copy: &CopyView) {
        self.good += 1;
        if self.is_full() {
            self.bytes_read += artifact.stored_bytes;
        }
        self.check(artifact, copy, CopyState::Stored, None);
    }

    pub(super) fn bad(
        &mut self,
        artifact: &ArtifactView,
        copy: &CopyView,
        state: CopyState,
        reason: &str,
    ) {
        let text = format!(
            "backup {} is {state} on {}: {reason}",
            artifact.id.short(),
            copy.storage
        );
        self.warn(format!("copy.{state}"), text);
        self.bad += 1;
        self.check(artifact, copy, state, Some(reason.to_owned()));
    }

    /// The copy is out of everybody's reach. What it is like is unknown, and that nobody can restore from it is not.
    pub(super) fn out_of_reach(
        &mut self,
        artifact: &ArtifactView,
        copy: &CopyView,
        failure: &Failure,
    ) {
        self.unseen(artifact, copy, failure);
        self.bad += 1;
    }

    /// The way to the copy is the trouble. That says nothing about the copy.
    pub(super) fn cannot_look(
        &mut self,
        artifact: &ArtifactView,
        copy: &CopyView,
        failure: Failure,
    ) {
        self.unseen(artifact, copy, &failure);
        self.blind.get_or_insert(failure);
    }

    /// Nothing was there to be looked at, which is no good news.
    pub(super) fn nothing_there(&mut self, subject: &Subject) {
        let text = format!("there is no backup of {subject} to look at");
        self.warn("backup.none".to_owned(), text);
    }

    /// If no copy could be looked at, the verification itself has failed.
    pub(super) fn into_effects(self, lease: &Lease) -> Result<Effects, Failure> {
        for warning in &self.warnings {
            lease.log(&warning.text);
        }
        if let (0, 0, Some(failure)) = (self.good, self.bad, self.blind) {
            return Err(failure);
        }
        Ok(Effects {
            checks: self.checks,
            warnings: self.warnings,
            result: json!({ "good": self.good, "bad": self.bad, "bytes": self.bytes_read }),
            bytes_in: self.bytes_read,
            ..Effects::default()
        })
    }

    fn unseen(&mut self, artifact: &ArtifactView, copy: &CopyView, failure: &Failure) {
        let text = format!(
            "backup {} could not be looked at on {}: {failure}",
            artifact.id.short(),
            copy.storage
        );
        self.warn(failure.code.to_string(), text);
    }

    fn warn(&mut self, code: String, text: String) {
        self.warnings.push(Warning {
            code,
            text,
            degrades: true,
        });
    }

    fn check(
        &mut self,
        artifact: &ArtifactView,
        copy: &CopyView,
        state: CopyState,
        error: Option<String>,
    ) {
        self.checks.push(CopyCheck {
            artifact: artifact.id,
            storage: copy.storage.clone(),
            state,
            error,
            full: self.is_full(),
        });
    }

    fn is_full(&self) -> bool {
        self.level == VerifyLevel::Checked
    }
}
