//! The schema of the control database: forward only, under an advisory lock, its table inside our own schema.

use sqlx::{
    ConnectOptions, Connection, PgConnection,
    migrate::{Migrate, MigrateError, Migrator},
    postgres::PgConnectOptions,
};

use super::ControlError;

/// Our only schema.
const SCHEMA: &str = "kanbu_backup";

/// Where applied migrations are recorded.
const TABLE: &str = "kanbu_backup.migration";

/// How long a migration waits for others' locks, and for the one who is migrating just now.
const LOCK_TIMEOUT: &str = "60s";

/// Applies what is missing. Any number of processes may do so at once; one works, the others wait and find it done.
pub(super) async fn migrate(direct: &PgConnectOptions) -> Result<(), ControlError> {
    let options = direct.clone().options([
        ("lock_timeout", LOCK_TIMEOUT),
        // An unqualified name finds nothing, on every host and not only on some.
        ("search_path", "pg_catalog"),
    ]);
    let mut connection = options.connect().await?;
    let outcome = if is_current(&mut connection).await {
        Ok(())
    } else {
        migrator().run(&mut connection).await.map_err(explain)
    };
    // Closing also gives back the lock, which a failed migration keeps.
    let closed = connection.close().await;
    outcome?;
    Ok(closed?)
}

/// Whether there is nothing to do. A login that may not change the schema, as a worker's, can find that out.
async fn is_current(connection: &mut PgConnection) -> bool {
    let Ok(applied) = connection.list_applied_migrations(TABLE).await else {
        return false;
    };
    let applied = applied.iter().map(|step| (step.version, &step.checksum));
    applied.eq(migrator().iter().map(|step| (step.version, &step.checksum)))
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
        MigrateError::VersionMissing(found) => {
            let known = migrator().iter().map(|step| step.version).max();
            match known.unwrap_or_default() {
                known if found > known => ControlError::NewerSchema { found, known },
                _ => ControlError::OtherMigration { version: found },
            }
        }
        MigrateError::VersionMismatch(version) => ControlError::OtherMigration { version },
        other => ControlError::Query {
            source: sqlx::Error::Migrate(Box::new(other)),
        },
    }
}
