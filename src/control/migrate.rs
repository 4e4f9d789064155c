//! The schema of the control database: forward only, under an advisory lock, its table inside our own schema.
//!
//! Whether anything is missing is asked first, in a way that needs no more than the right to read: so a role that may
//! not change the schema can work with it, and so can a process that knows a pooler's address alone.

use std::{borrow::Cow, collections::BTreeMap};

use sqlx::{
    ConnectOptions, Connection as _,
    migrate::{MigrateError, Migrator},
    postgres::PgConnectOptions,
};

use super::{Connection, ControlDb, ControlError, STATEMENT_TIMEOUT, pooler, within};

/// Our only schema.
const SCHEMA: &str = "kanbu_backup";

/// Where applied migrations are recorded. The table is sqlx's; so queries on it aren't checked ones.
const TABLE: &str = "kanbu_backup.migration";

/// How long a migration waits for others' locks, and for the one who is migrating just now.
const LOCK_TIMEOUT: &str = "60s";

/// Who can't do with a pooler.
const MIGRATIONS: &str = "migrations";

/// Applies what is missing. Any number of processes may do so at once; one works, the others wait and find it done.
pub(super) async fn migrate(db: &ControlDb) -> Result<(), ControlError> {
    let complete = within(db.pool(), STATEMENT_TIMEOUT, |connection| {
        Box::pin(is_complete(connection))
    });
    if complete.await? {
        return Ok(());
    }
    apply(db.direct_for(MIGRATIONS)?).await
}

/// Whether the schema is the one that this program knows. One that it can't know is an error.
async fn is_complete(connection: &mut Connection<'_>) -> Result<bool, ControlError> {
    let exists = sqlx::query_scalar("select pg_catalog.to_regclass($1) is not null")
        .bind(TABLE)
        .fetch_one(&mut *connection);
    if !exists.await? {
        return Ok(false);
    }
    let applied: Vec<(i64, Vec<u8>, bool)> =
        sqlx::query_as("select version, checksum, success from kanbu_backup.migration")
            .fetch_all(connection)
            .await?;
    let migrator = migrator();
    let known: BTreeMap<i64, &Cow<'static, [u8]>> = migrator
        .iter()
        .map(|step| (step.version, &step.checksum))
        .collect();
    for (version, checksum, _) in &applied {
        match known.get(version) {
            Some(known) if ***known == checksum[..] => {}
            Some(_) => return Err(ControlError::OtherMigration { version: *version }),
            None => return Err(unknown(*version)),
        }
    }
    let succeeded = applied.iter().filter(|(_, _, success)| *success).count();
    Ok(succeeded == known.len())
}

async fn apply(direct: &PgConnectOptions) -> Result<(), ControlError> {
    let options = direct.clone().options([
        ("lock_timeout", LOCK_TIMEOUT),
        // An unqualified name finds nothing, on every host and not only on some.
        ("search_path", "pg_catalog"),
    ]);
    let mut connection = options
        .connect()
        .await
        .map_err(|error| pooler::explain(error, direct, MIGRATIONS))?;
    pooler::refuse(&mut connection, MIGRATIONS).await?;
    let outcome = migrator().run(&mut connection).await.map_err(explain);
    // Closing also gives back the lock, which a failed migration keeps.
    let closed = connection.close().await;
    outcome?;
    Ok(closed?)
}

fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!();
    migrator.dangerous_set_table_name(TABLE);
    migrator.create_schema(SCHEMA);
    migrator
}

fn explain(error: MigrateError) -> ControlError {
    match error {
        MigrateError::Execute(source) => ControlError::Query { source },
        MigrateError::ExecuteMigration(source, version) => {
            ControlError::Migration { version, source }
        }
        MigrateError::VersionMissing(found) => unknown(found),
        MigrateError::VersionMismatch(version) => ControlError::OtherMigration { version },
        other => ControlError::Query {
            source: sqlx::Error::Migrate(Box::new(other)),
        },
    }
}

/// A migration was applied that this program doesn't contain.
fn unknown(found: i64) -> ControlError {
    let known = migrator().iter().map(|step| step.version).max();
    match known.unwrap_or_default() {
        known if found > known => ControlError::NewerSchema { found, known },
        _ => ControlError::OtherMigration { version: found },
    }
}
