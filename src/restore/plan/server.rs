//! What is looked at on the server: versions, room, rights, and the live database that is to give way.

use std::time::Duration;

use super::Plan;
use crate::{
    bytes::ByteSize,
    catalog::Content,
    pg::{
        error::PgError,
        facts::Facts,
        guard::COMMON_DATABASE,
        inventory::{self, Inventory, KanbuLevel},
        survey::{Live, Survey, survey},
        tools::choose_client,
    },
    restore::{DatabaseTarget, Destination, Origin, RestoreError},
};

pub(super) async fn server(plan: &mut Plan, origin: &Origin, name: &str, target: &DatabaseTarget) {
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
    match &origin.expectations {
        Some(expected) => plan.pass(
            "expectations",
            format!(
                "{} tables are expected, and compared after the load",
                expected.tables.len()
            ),
        ),
        None => plan.warn(
            "expectations",
            "the backup does not tell what it must hold: nothing can be compared",
        ),
    }
    if !found.createdb {
        plan.fail(
            "rights",
            forbidden("the connecting role may not create databases"),
        );
    }
    plan.system_identifier.clone_from(&found.system_identifier);
    if matches!(plan.into, Destination::Live { .. }) {
        live(plan, name, found, target);
        kanbu(plan, origin, target).await;
    } else {
        match found.live {
            Some(_) => {
                let database = name.to_owned();
                plan.fail("name", PgError::DatabaseExists { database });
            }
            None => plan.pass("name", format!("no database {name} is there yet")),
        }
    }
}

fn extensions(origin: &Origin) -> Vec<String> {
    let expected = origin.expectations.as_ref();
    let extensions = expected.map(|expected| &expected.extensions);
    extensions
        .into_iter()
        .flatten()
        .map(|extension| extension.name.clone())
        .collect()
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
    if name == COMMON_DATABASE {
        return plan.fail("live", PgError::CommonDatabase);
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

/// Whether the Kanbu that runs is the one that made the backup's schema.
async fn kanbu(plan: &mut Plan, origin: &Origin, target: &DatabaseTarget) {
    let Some(expected) = origin.expectations.as_ref().and_then(|e| e.kanbu.as_ref()) else {
        return;
    };
    match inventory::take(&target.cluster, target.cluster.database(), Duration::ZERO).await {
        Ok(Inventory {
            kanbu: Some(live), ..
        }) if live == *expected => {
            plan.pass("kanbu", "the backup is of the Kanbu that is live");
        }
        Ok(Inventory { kanbu, .. }) => {
            let level = |level: Option<&KanbuLevel>| {
                let told =
                    level.and_then(|level| level.version.clone().or(level.migration.clone()));
                told.unwrap_or_else(|| "none".to_owned())
            };
            let text = format!(
                "the backup is of Kanbu {}, and {} is live: start the one that fits, or it changes the schema",
                level(Some(expected)),
                level(kanbu.as_ref())
            );
            plan.warn("kanbu", text);
        }
        Err(error) => plan.warn(
            "kanbu",
            format!("which Kanbu is live can't be told: {error}"),
        ),
    }
}
