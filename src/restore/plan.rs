//! What a restore would meet, as a value: a list of checks, each with a verdict and a sentence. Changes nothing.
//!
//! `--dry-run` shows it and `perform` makes the same one: a failure refuses, a warning is told and kept with the result.

mod server;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::{DatabaseTarget, Destination, Origin, Parts, RestoreError};
use crate::{
    archive,
    bytes::ByteSize,
    catalog::{self, ArtifactView, Content},
    clock::{Clock, SystemClock},
    execution::Warning,
    fault::Failure,
    pg::{restore as pg, survey::Live},
    pipeline::Sealed,
};

/// From this age on a backup is probably not the one that was meant.
const OLD: TimeDelta = TimeDelta::days(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Pass,
    Warn,
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// A stable word.
    pub name: &'static str,
    pub verdict: Verdict,
    pub text: String,
    /// Why it fails, with its code and its hint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// Everything that was looked at before a restore.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    pub from: String,
    pub content: Content,
    pub into: Destination,
    pub checks: Vec<Check>,
    /// The live database that is to give way.
    #[serde(skip)]
    pub live: Option<Live>,
    #[serde(skip)]
    pub system_identifier: Option<String>,
}

impl Plan {
    /// The first thing that speaks against it.
    pub fn refusal(&self) -> Option<&Failure> {
        self.checks.iter().find_map(|check| check.failure.as_ref())
    }

    pub fn require(&self) -> Result<(), Failure> {
        self.refusal()
            .map_or(Ok(()), |failure| Err(failure.clone()))
    }

    /// What a result has to repeat.
    pub fn warnings(&self) -> impl Iterator<Item = Warning> {
        let warned = self
            .checks
            .iter()
            .filter(|check| check.verdict == Verdict::Warn);
        warned.map(|check| Warning {
            code: format!("restore.plan.{}", check.name),
            text: check.text.clone(),
            degrades: false,
        })
    }

    fn pass(&mut self, name: &'static str, text: impl Into<String>) {
        self.add(name, Verdict::Pass, text.into(), None);
    }

    fn warn(&mut self, name: &'static str, text: impl Into<String>) {
        self.add(name, Verdict::Warn, text.into(), None);
    }

    fn fail(&mut self, name: &'static str, failure: impl Into<Failure>) {
        let failure = failure.into();
        self.add(name, Verdict::Fail, failure.message.clone(), Some(failure));
    }

    fn add(
        &mut self,
        name: &'static str,
        verdict: Verdict,
        text: String,
        failure: Option<Failure>,
    ) {
        self.checks.push(Check {
            name,
            verdict,
            text,
            failure,
        });
    }
}

/// Looks at the backup, at the keys, and at where it is to go.
pub async fn plan(origin: &Origin, destination: &Destination, parts: Parts<'_>) -> Plan {
    let mut plan = Plan {
        from: origin.describe(),
        content: origin.content,
        into: destination.clone(),
        checks: Vec::new(),
        live: None,
        system_identifier: None,
    };
    backup(&mut plan, origin, parts).await;
    key(&mut plan, origin, parts);
    if let Err(error) = destination.require_fit(origin.content) {
        plan.fail("destination", error);
        return plan;
    }
    if let Err(error) = origin.wanted.require_fit(origin.content, destination) {
        plan.fail("part", error);
        return plan;
    }
    if let Err(failure) = origin.wanted.require_room(origin) {
        plan.fail("room", failure);
    }
    match destination {
        Destination::Directory { path } => match archive::require_vacant(path) {
            Ok(()) => plan.pass(
                "destination",
                format!("{} is absent or empty", path.display()),
            ),
            Err(error) => plan.fail("destination", error),
        },
        Destination::Database { name, .. } | Destination::Live { name, .. } => match parts.target {
            Some(target) => server::server(&mut plan, origin, name, target).await,
            None => plan.fail("server", RestoreError::NoTarget),
        },
    }
    plan
}

/// Where the backup is, how large and how old.
async fn backup(plan: &mut Plan, origin: &Origin, parts: Parts<'_>) {
    let listed = match (&origin.backup, parts.catalog) {
        (Some((id, _)), Some(db)) => catalog::get(db, *id).await,
        _ => Ok(None),
    };
    match listed {
        Ok(Some(artifact)) => {
            plan.pass("backup", told(&artifact));
            age(plan, artifact.created_at, SystemClock.now());
        }
        Ok(None) => plan.pass("backup", format!("{} is there", origin.describe())),
        Err(error) => plan.fail("backup", error),
    }
}

fn told(artifact: &ArtifactView) -> String {
    let storages: Vec<_> = artifact
        .stored_copies()
        .map(|copy| copy.storage.to_string())
        .collect();
    format!(
        "{} of {}: {} of content, {} stored on {}",
        artifact.id.short(),
        artifact.subject,
        ByteSize(artifact.content_bytes),
        ByteSize(artifact.stored_bytes),
        storages.join(", ")
    )
}

fn age(plan: &mut Plan, made: DateTime<Utc>, now: DateTime<Utc>) {
    let text = format!("the backup was made {}", made.format("%Y-%m-%d %H:%M UTC"));
    if now - made > OLD {
        plan.warn(
            "age",
            format!("{text}, more than {} days ago", OLD.num_days()),
        );
    } else {
        plan.pass("age", text);
    }
}

/// Whether a key opens it, every byte is asked; that there is none at all can be said at once.
fn key(plan: &mut Plan, origin: &Origin, parts: Parts<'_>) {
    match origin.expected.sealed {
        Sealed::None => plan.pass("key", "the backup is not encrypted"),
        _ if parts.keyring.is_empty() && origin.expected.sealed != Sealed::default() => {
            plan.fail("key", RestoreError::NoKey(origin.describe()));
        }
        _ if parts.keyring.is_empty() => {
            plan.warn(
                "key",
                "no key is set, and whether one is needed the file has to tell",
            );
        }
        _ => plan.pass("key", "the keys at hand are tried before anything is made"),
    }
}

/// The free name is asked for again by whoever creates the database.
pub(super) async fn require_absent(target: &DatabaseTarget, name: &str) -> Result<(), Failure> {
    Ok(pg::require_absent(&target.cluster, name).await?)
}
