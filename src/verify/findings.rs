//! What a verification has seen and done so far, and what becomes of it.

use serde_json::json;

use super::case::{Case, Finding, Post};
use crate::{
    catalog::{self, ArtifactView, CopyState, Risk},
    execution::{Effects, Lease, Sightings, Trouble, Warning},
    fault::{Failure, Fault},
    job::{Subject, Verify, VerifyLevel},
};

/// Most warnings that one execution keeps. The rows of the copies have them all.
const MOST_WARNINGS: usize = 200;

/// Findings about copies at one level of looking.
pub(super) struct Findings {
    is_full: bool,
    /// Whether somebody waits for this one backup, and not for the next round.
    is_of_one: bool,
    warnings: Vec<Warning>,
    good: u64,
    bad: u64,
    repaired: u64,
    /// The first reason why a copy could not be looked at.
    blind: Option<Failure>,
    /// The first reason why a copy could not be made, if it may pass.
    delayed: Option<Failure>,
    storages: Sightings,
    bytes_read: u64,
    bytes_written: u64,
}

impl Findings {
    pub(super) fn new(request: &Verify) -> Self {
        Self {
            is_full: request.level != VerifyLevel::Quick,
            is_of_one: request.artifact.is_some() && request.repair,
            warnings: Vec::new(),
            good: 0,
            bad: 0,
            repaired: 0,
            blind: None,
            delayed: None,
            storages: Sightings::default(),
            bytes_read: 0,
            bytes_written: 0,
        }
    }

    /// Takes over all that was found and done about one backup.
    pub(super) fn settle(&mut self, case: &Case) {
        for post in &case.posts {
            self.count(&case.artifact, post);
            self.sight(post);
            if let Some((code, text, degrades)) = told(&case.artifact, post) {
                self.warn(code, text, degrades);
            }
        }
        if let Some(alarm) = alarm(case) {
            tracing::error!(
                error.code = alarm.code, artifact.id = %case.artifact.id, subject = %case.artifact.subject,
                "{}", alarm.text
            );
            self.warn(alarm.code.to_owned(), alarm.text, true);
        }
    }

    fn count(&mut self, artifact: &ArtifactView, post: &Post) {
        if post.mended.is_some() {
            self.repaired += 1;
            self.bytes_written += artifact.stored_bytes;
        }
        match &post.finding {
            Finding::Nothing => {}
            Finding::Good => {
                self.good += 1;
                if self.is_full {
                    self.bytes_read += artifact.stored_bytes;
                }
            }
            Finding::Bad(_) | Finding::OutOfReach(_) => self.bad += 1,
            Finding::Blind(failure) => {
                self.blind.get_or_insert_with(|| failure.clone());
                if post.state != CopyState::Stored {
                    self.delay(failure);
                }
            }
        }
        if let Some(failure) = &post.unmended {
            self.delay(failure);
        }
    }

    fn sight(&mut self, post: &Post) {
        let trouble = match &post.finding {
            Finding::Good => None,
            Finding::Bad(_) if post.mended.is_some() => None,
            Finding::Bad(reason) => Some(Trouble::Damaged(reason.to_string())),
            Finding::Blind(failure) if failure.code.starts_with("storage.") => {
                Some(Trouble::Unreachable(failure.to_string()))
            }
            Finding::Blind(_) | Finding::OutOfReach(_) | Finding::Nothing => return,
        };
        self.storages.note(&post.name, trouble);
    }

    fn delay(&mut self, failure: &Failure) {
        if failure.fault == Fault::Transient {
            self.delayed.get_or_insert_with(|| failure.clone());
        }
    }

    /// Nothing was there to be looked at, which is no good news.
    pub(super) fn nothing_there(&mut self, subject: &Subject) {
        let text = format!("there is no backup of {subject} to look at");
        self.warn("backup.none".to_owned(), text, true);
    }

    /// The catalog's own word on the backup can't be read. Its copies may be as good as ever.
    pub(super) fn unreadable(&mut self, artifact: &ArtifactView, failure: Failure) {
        let text = format!(
            "backup {} could not be looked at: {failure}",
            artifact.id.short()
        );
        self.warn(failure.code.to_string(), text, true);
        self.blind.get_or_insert(failure);
    }

    /// If no copy could be looked at, the verification itself has failed; and if the one backup that it was about could
    /// not be mended for now, it is tried again. What was found stands in the rows already.
    pub(super) fn into_effects(self, lease: &Lease) -> Result<Effects, Failure> {
        for warning in &self.warnings {
            lease.log(&warning.text);
        }
        if let (true, Some(failure)) = (self.is_of_one, self.delayed) {
            return Err(failure);
        }
        if let (0, 0, Some(failure)) = (self.good, self.bad, self.blind) {
            return Err(failure);
        }
        Ok(Effects {
            warnings: self.warnings,
            result: json!({
                "good": self.good, "bad": self.bad, "repaired": self.repaired, "bytes": self.bytes_read,
                "storages": self.storages,
            }),
            bytes_in: self.bytes_read,
            bytes_out: self.bytes_written,
            ..Effects::default()
        })
    }

    fn warn(&mut self, code: String, text: String, degrades: bool) {
        let text = match self.warnings.len() {
            ..MOST_WARNINGS => text,
            MOST_WARNINGS => {
                "further findings stand with the copies: `kanbu-backup list`".to_owned()
            }
            _ => return,
        };
        self.warnings.push(Warning {
            code,
            text,
            degrades,
        });
    }
}

/// Code, text and whether it degrades.
fn told(artifact: &ArtifactView, post: &Post) -> Option<(String, String, bool)> {
    let (id, name, state) = (artifact.id.short(), &post.name, post.state);
    if let Some(reason) = &post.mended {
        let text = format!("backup {id} was made anew on {name}: {reason}");
        return Some(("copy.repaired".to_owned(), text, false));
    }
    let but = post
        .unmended
        .as_ref()
        .map(|failure| format!("; it could not be made anew: {failure}"))
        .unwrap_or_default();
    match &post.finding {
        Finding::Bad(reason) => {
            let text = format!("backup {id} is {state} on {name}: {reason}{but}");
            Some((format!("copy.{state}"), text, true))
        }
        Finding::Blind(failure) | Finding::OutOfReach(failure) => {
            let text = format!("backup {id} could not be looked at on {name}: {failure}");
            Some((failure.code.to_string(), text, true))
        }
        Finding::Nothing | Finding::Good => {
            let failure = post.unmended.as_ref()?;
            let text = format!("backup {id} could not be brought to {name}: {failure}");
            Some((failure.code.to_string(), text, true))
        }
    }
}

/// What must not be overlooked.
#[derive(Debug, PartialEq, Eq)]
struct Alarm {
    code: &'static str,
    text: String,
}

/// Whether the backup hangs by its last thread, or has lost it.
fn alarm(case: &Case) -> Option<Alarm> {
    let copies = case.posts.iter().map(|post| (&post.name, post.state));
    let risk = catalog::risk(copies)?;
    let bad = case.posts.iter().filter(|post| post.state.is_bad());
    let bad: Vec<_> = bad
        .map(|post| format!("{} on {}", post.state, post.name))
        .collect();
    let artifact = &case.artifact;
    let what = format!(
        "backup {} of {}, made {}",
        artifact.id.short(),
        artifact.subject,
        artifact.created_at.format("%Y-%m-%d %H:%M:%SZ")
    );
    let bad = bad.join(", ");
    Some(match risk {
        Risk::Lost => Alarm {
            code: "backup.lost",
            text: format!("no good copy is left of {what}: {bad}"),
        },
        Risk::LastCopy { storage } => Alarm {
            code: "copy.last_at_risk",
            text: format!("only one good copy is left of {what}, on {storage}: {bad}"),
        },
    })
}
