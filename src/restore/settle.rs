//! What is to become of replacements that nobody finished, and of what restores left on the server.
//!
//! The oid under the live name tells whether the names were exchanged: then the rest is only a word in a row. Otherwise the
//! fence is lifted and the database that was to come is dropped. Either way one of the two is live, and open.

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, interval};

use super::{
    DatabaseTarget, RestoreError,
    right::{Right, over},
};
use crate::{
    catalog::{self, Replacement, ReplacementState, Replacements},
    control::ControlDb,
    execution,
    fault::Failure,
    id::ExecutionId,
    pg::{
        guard::{Guard, marked},
        restore as pg,
        survey::survey,
        swap::{self, Exchange, Settled},
    },
};

/// How long a server that went away in the middle of its work is waited for.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);
pub(super) const EVERY: Duration = Duration::from_secs(1);

/// Something that was put in order, for logs and people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tidied {
    pub database: String,
    pub text: String,
}

/// The exchange that a row speaks of, by its state.
pub(super) fn exchange_of(row: &Replacement) -> Exchange {
    let live = row.database.clone();
    match row.state {
        ReplacementState::Undoing => Exchange {
            live,
            outgoing: row.new_oid,
            incoming: row.old_oid,
            outgoing_name: row.undone_name.clone(),
            incoming_name: row.old_name.clone(),
            remark: format!(
                "kanbu_backup: set aside by the rollback of restore {}",
                row.execution
            ),
        },
        _ => Exchange {
            live,
            outgoing: row.old_oid,
            incoming: row.new_oid,
            outgoing_name: row.old_name.clone(),
            incoming_name: row.load_name.clone(),
            remark: format!("kanbu_backup: replaced by restore {}", row.execution),
        },
    }
}

/// Notes the next state. What can't be noted now is found out from the server by whoever settles the row.
pub(super) async fn note(
    catalog: &ControlDb,
    row: &Replacement,
    to: ReplacementState,
    rollback: Option<ExecutionId>,
) {
    match catalog::advance(catalog, row.execution, (row.state, to), rollback).await {
        Ok(true) => {}
        Ok(false) => {
            tracing::warn!(restore.id = %row.execution, state = %to, "somebody else settled the replacement");
        }
        Err(error) => {
            tracing::warn!(restore.id = %row.execution, state = %to, %error, "the state of the replacement could not be noted");
        }
    }
}

/// Settles an exchange whose end was not seen, waiting for a server that is away.
pub(super) async fn at_once(
    row: &Replacement,
    target: &DatabaseTarget,
    catalog: &ControlDb,
    right: &Right,
) -> Result<ReplacementState, Failure> {
    if right.guard.held().is_ok()
        && let Ok(state) = by(&right.guard, row, target, catalog).await
    {
        return Ok(state);
    }
    let (deadline, mut rounds) = (Instant::now() + PATIENCE, interval(EVERY));
    let own = right.lease.execution();
    let over = over(Some(catalog), Some(own));
    loop {
        let settled = async {
            right.lease.stopped()?;
            let guard = Guard::take(&target.cluster, &row.database, own, &*over).await?;
            by(&guard, row, target, catalog).await
        };
        match settled.await {
            Ok(state) => return Ok(state),
            Err(failure) if right.lease.stopped().is_err() || Instant::now() > deadline => {
                return Err(failure);
            }
            Err(_) => drop(rounds.tick().await),
        }
    }
}

/// Finishes or reverts, whichever the server says, and notes it.
async fn by(
    guard: &Guard,
    row: &Replacement,
    target: &DatabaseTarget,
    catalog: &ControlDb,
) -> Result<ReplacementState, Failure> {
    let settled = swap::settle(guard, &exchange_of(row)).await?;
    let state = match (row.state, settled) {
        (_, Settled::Neither) => return Err(RestoreError::Stranger(row.database.clone()).into()),
        (ReplacementState::Undoing, Settled::Incoming) => ReplacementState::Undone,
        (ReplacementState::Undoing, Settled::Outgoing) | (_, Settled::Incoming) => {
            ReplacementState::Replaced
        }
        (_, Settled::Outgoing) => {
            pg::drop_database(&target.cluster, &row.load_name, row.execution).await?;
            ReplacementState::Reverted
        }
    };
    note(catalog, row, state, None).await;
    Ok(state)
}

/// Puts in order what restores on this server left behind: replacements that nobody is at any more, databases of
/// executions that came to nothing, and replaced databases whose time is over. What can't be done is told and left.
pub async fn tidy(target: &DatabaseTarget, catalog: &ControlDb) -> Result<Vec<Tidied>, Failure> {
    let mut tidied = Vec::new();
    if !catalog::replacements(catalog, Replacements::Abandoned)
        .await?
        .is_empty()
    {
        let guard = guard(target.cluster.database(), target, catalog).await?;
        tidied = abandoned(&guard, target, catalog).await?;
        guard.release().await;
    }
    half_made(target, catalog, &mut tidied).await?;
    for row in catalog::replacements(catalog, Replacements::Expired).await? {
        if is_here(&row, target).await? {
            tidied.extend(expired(&row, target, catalog).await?);
        }
    }
    Ok(tidied)
}

/// Settles the replacements of the live database that nobody is at any more.
pub(super) async fn abandoned(
    guard: &Guard,
    target: &DatabaseTarget,
    catalog: &ControlDb,
) -> Result<Vec<Tidied>, Failure> {
    let mut tidied = Vec::new();
    for row in catalog::replacements(catalog, Replacements::Abandoned).await? {
        if is_here(&row, target).await? {
            tidied.push(settled(guard, &row, target, catalog).await?);
        }
    }
    Ok(tidied)
}

/// Workers for several servers may share a control database.
async fn is_here(row: &Replacement, target: &DatabaseTarget) -> Result<bool, Failure> {
    if row.database != target.cluster.database() {
        return Ok(false);
    }
    let Some(expected) = &row.system_identifier else {
        return Ok(true);
    };
    let found = survey(&target.cluster, &row.database, &[], &[]).await?;
    Ok(found.system_identifier.as_ref() == Some(expected))
}

async fn guard(name: &str, target: &DatabaseTarget, catalog: &ControlDb) -> Result<Guard, Failure> {
    let over = over(Some(catalog), None);
    Guard::take(&target.cluster, name, ExecutionId::new(), &*over).await
}

async fn settled(
    guard: &Guard,
    row: &Replacement,
    target: &DatabaseTarget,
    catalog: &ControlDb,
) -> Result<Tidied, Failure> {
    let state = by(guard, row, target, catalog).await?;
    let (database, restore) = (row.database.clone(), row.execution.short());
    let text = match state {
        ReplacementState::Replaced if row.state == ReplacementState::Undoing => format!(
            "the rollback of restore {restore} was interrupted: {database} is still the restored database"
        ),
        ReplacementState::Replaced => format!(
            "restore {restore} was interrupted after it had replaced {database}, which is the restored database; the old one is kept as {}",
            row.old_name
        ),
        ReplacementState::Undone => format!(
            "the rollback of restore {restore} was interrupted after {database} had become the old database again"
        ),
        _ => format!(
            "restore {restore} was interrupted before it replaced {database}, which is as it was and open"
        ),
    };
    Ok(Tidied { database, text })
}

/// Databases that executions were filling which came to nothing: their workers died, or the server was away when they
/// were to drop them. One that is complete has not been reported, and nobody counts on it.
async fn half_made(
    target: &DatabaseTarget,
    catalog: &ControlDb,
    tidied: &mut Vec<Tidied>,
) -> Result<(), Failure> {
    let failed = execution::store::failed_restores(catalog).await?;
    if failed.is_empty() {
        return Ok(());
    }
    // Taking a lock ends the sessions of all who are gone, so that nothing more is made.
    guard(target.cluster.database(), target, catalog)
        .await?
        .release()
        .await;
    for (database, execution) in marked(&target.cluster).await? {
        if failed.contains(&execution) {
            pg::drop_database(&target.cluster, &database, execution).await?;
            let text = format!(
                "{database} was dropped: restore {} came to its end while it was filling it",
                execution.short()
            );
            tidied.push(Tidied { database, text });
        }
    }
    Ok(())
}

async fn expired(
    row: &Replacement,
    target: &DatabaseTarget,
    catalog: &ControlDb,
) -> Result<Option<Tidied>, Failure> {
    let (name, oid) = match row.state {
        ReplacementState::Undone => (&row.undone_name, row.new_oid),
        _ => (&row.old_name, row.old_oid),
    };
    let guard = guard(&row.database, target, catalog).await?;
    let is_gone = swap::drop_set_aside(&guard, name, oid).await?;
    if is_gone {
        note(catalog, row, ReplacementState::Dropped, None).await;
    }
    guard.release().await;
    Ok(is_gone.then(|| Tidied {
        database: name.clone(),
        text: format!(
            "{name} was dropped: it had been kept for {} days",
            row.keep_days
        ),
    }))
}
