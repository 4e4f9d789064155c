//! What a restore would meet, as a value: a list of checks, each with a verdict and a sentence. Changes nothing.
//!
//! `--dry-run` shows it and `perform` makes the same one: a failure refuses, a warning is told and kept with the result.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::{DatabaseTarget, Destination, Origin, Parts, RestoreError};
use crate::{
    archive,
    bytes::ByteSize,
    catalog::{self, ArtifactView, Content},
    execution::Warning,
    fault::Failure,
    pg::{
        facts::Facts,
        restore as pg,
        survey::{Live, Survey, survey},
        tools::choose_client,
    },
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
    match destination {
        Destination::Directory { path } => match archive::require_vacant(path) {
            Ok(()) => plan.pass(
                "destination",
                format!("{} is absent or empty", path.display()),
            ),
            Err(error) => plan.fail("destination", error),
        },
        Destination::Database { name, .. } | Destination::Live { name, .. } => match parts.target {
            Some(target) => server(&mut plan, origin, name, target).await,
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
            age(plan, artifact.created_at, Utc::now());
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

async fn server(plan: &mut Plan, origin: &Origin, name: &str, target: &DatabaseTarget) {
    let facts = origin.server.as_ref();
    let roles: Vec<String> = facts
        .and_then(|facts| facts.shape.owner.clone())
        .into_iter()
        .collect();
    let extensions = extensions(origin);
    let found = match survey(&target.cluster, name, &roles, &extensions).await {
        Ok(found) => found,
        Err(error) => return plan.fail("server", error),
    };
    versions(plan, origin, target, &found);
    room(plan, facts, &found);
    absent(plan, origin, &found);
    if !found.createdb {
        plan.fail(
            "rights",
            forbidden("the connecting role may not create databases"),
        );
    }
    plan.system_identifier.clone_from(&found.system_identifier);
    if matches!(plan.into, Destination::Live { .. }) {
        live(plan, name, found, target);
    } else {
        match found.live {
            Some(_) => {
                let database = name.to_owned();
                plan.fail(
                    "name",
                    crate::pg::error::PgError::DatabaseExists { database },
                );
            }
            None => plan.pass("name", format!("no database {name} is there yet")),
        }
    }
}

fn extensions(_origin: &Origin) -> Vec<String> {
    Vec::new()
}

fn versions(plan: &mut Plan, origin: &Origin, target: &DatabaseTarget, found: &Survey) {
    let server = found.version_num / 10_000;
    let newest = origin.newest_major().map_or(server, |m| m.max(server));
    match choose_client(&target.toolsets, newest) {
        Ok(tools) => {
            let text = format!("server {server}, client {}", tools.major());
            match origin.server.as_ref().map(Facts::major) {
                Some(dumped) if dumped > server => plan.warn(
                    "versions",
                    format!(
                        "{text}: the backup is of the newer server {dumped}, which may not load"
                    ),
                ),
                Some(dumped) => plan.pass("versions", format!("{text}, backup of server {dumped}")),
                None => plan.pass("versions", text),
            }
        }
        Err(error) => plan.fail("versions", error),
    }
}

fn room(plan: &mut Plan, facts: Option<&Facts>, found: &Survey) {
    match (found.free_bytes, facts.map(|facts| facts.size_bytes)) {
        (Some(free), Some(needed)) if free < needed => {
            plan.fail("room", RestoreError::NoRoom { free, needed });
        }
        (Some(free), Some(needed)) => plan.pass(
            "room",
            format!(
                "{} free, the database had {}",
                ByteSize(free),
                ByteSize(needed)
            ),
        ),
        (Some(free), None) => plan.pass(
            "room",
            format!("{} free, how much is needed is not known", ByteSize(free)),
        ),
        (None, _) => plan.warn(
            "room",
            "how much room the server's disk has can't be seen from here",
        ),
    }
}

fn absent(plan: &mut Plan, origin: &Origin, found: &Survey) {
    if let Some(role) = found.missing_roles.first() {
        let hint = match origin.content {
            Content::PgDumpCustom => "restore without owners, or create it",
            Content::Sql | Content::Tar => "create it first",
        };
        plan.warn(
            "roles",
            format!("the server has no role {role:?}, the owner of the backed up database: {hint}"),
        );
    }
    if !found.missing_extensions.is_empty() {
        let names = found.missing_extensions.join(", ");
        plan.warn("extensions", format!("the server can't install {names}"));
    }
}

fn forbidden(text: &str) -> RestoreError {
    RestoreError::Forbidden(text.to_owned())
}

/// The database that is to give way.
fn live(plan: &mut Plan, name: &str, found: Survey, target: &DatabaseTarget) {
    if name != target.cluster.database() {
        let (asked, live) = (name.to_owned(), target.cluster.database().to_owned());
        return plan.fail("live", RestoreError::NotLive { asked, live });
    }
    if name == crate::pg::guard::COMMON_DATABASE {
        return plan.fail("live", crate::pg::error::PgError::CommonDatabase);
    }
    let Some(live) = found.live else {
        return plan.fail("live", RestoreError::NoLive(name.to_owned()));
    };
    let size = ByteSize(live.bytes);
    plan.pass(
        "live",
        format!("{name} holds {size} and is kept when it gives way"),
    );
    rights(plan, &live, found.superuser, found.signals);
    if !live.open || live.template {
        plan.fail(
            "fence",
            forbidden("the live database is a template, or closed to connections"),
        );
    }
    if live.prepared > 0 {
        let text = format!(
            "{} prepared transactions hold on to the live database: commit them or roll them back",
            live.prepared
        );
        plan.fail("prepared", forbidden(&text));
    }
    if live.slots > 0 {
        plan.warn(
            "slots",
            format!(
                "{} replication slots stay with the database that gives way",
                live.slots
            ),
        );
    }
    match live.sessions {
        0 => plan.pass("sessions", "nobody is connected to the live database"),
        count => plan.warn(
            "sessions",
            format!("{count} sessions on the live database will be ended"),
        ),
    }
    plan.live = Some(live);
}

fn rights(plan: &mut Plan, live: &Live, superuser: bool, signals: bool) {
    if !(live.owned || superuser) {
        let text = format!(
            "the live database belongs to {}, whom the connecting role can't act for",
            live.owner
        );
        plan.fail("rights", forbidden(&text));
    } else if signals {
        plan.pass(
            "rights",
            "databases may be created and renamed, and sessions ended",
        );
    } else {
        plan.warn("rights", "only sessions of the connecting role can be ended: it is no member of pg_signal_backend");
    }
}

/// The free name is asked for again by whoever creates the database.
pub(super) async fn require_absent(target: &DatabaseTarget, name: &str) -> Result<(), Failure> {
    Ok(pg::require_absent(&target.cluster, name).await?)
}
