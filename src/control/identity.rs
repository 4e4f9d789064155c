//! Which database is it really: two addresses may lead to one, and the control database must not be the protected one.

use sqlx::{ConnectOptions, Connection, Executor, Postgres};
use tokio::time::timeout;

use super::{CONNECT_TIMEOUT, ControlDb, ControlError, options, unreachable};

/// The name of the other database in messages.
const PROTECTED: &str = "protected database";

/// A database as it knows itself. Addresses don't count: a pooler, a container network or a socket gives it others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's own number, if our role may read it. Its replicas have the same one.
    pub system_identifier: Option<i64>,
    /// When this server started, to the microsecond.
    pub server_started: chrono::DateTime<chrono::Utc>,
    pub database_oid: u32,
    pub database: String,
}

impl Identity {
    /// Whether both are one database, or one is the other's replica.
    pub fn is(&self, other: &Self) -> bool {
        let same_server = match (self.system_identifier, other.system_identifier) {
            (Some(one), Some(two)) => one == two,
            (None, _) | (_, None) => self.server_started == other.server_started,
        };
        same_server && self.database_oid == other.database_oid && self.database == other.database
    }
}

/// Refuses to work when the control database is the very database to be backed up.
pub async fn refuse_if_protected(
    control: &ControlDb,
    protected_url: &str,
) -> Result<(), ControlError> {
    let ours = control.identity().await?;
    let options = options(protected_url, PROTECTED)?.application_name("kanbu_backup/identity");
    let ask = async {
        let mut connection = options.connect().await?;
        let mut transaction = connection.begin().await?;
        let theirs = read(&mut *transaction).await?;
        transaction.rollback().await?;
        connection.close().await?;
        Ok(theirs)
    };
    let theirs = timeout(CONNECT_TIMEOUT, ask)
        .await
        .unwrap_or(Err(sqlx::Error::PoolTimedOut))
        .map_err(|source| unreachable(PROTECTED, &options, source))?;
    if ours.is(&theirs) {
        return Err(ControlError::SameDatabase {
            name: ours.database,
        });
    }
    Ok(())
}

/// Asks a server, in a transaction of the caller's. Queries at run time, because one of the two databases isn't ours, and
/// without names, because that one may be behind a pooler, too.
pub(super) async fn read<C>(connection: &mut C) -> Result<Identity, sqlx::Error>
where
    for<'c> &'c mut C: Executor<'c, Database = Postgres>,
{
    let readable: bool = sqlx::query_scalar(
        "select has_function_privilege('pg_catalog.pg_control_system()', 'execute')",
    )
    .persistent(false)
    .fetch_one(&mut *connection)
    .await?;
    let system_identifier = if readable {
        sqlx::query_scalar("select system_identifier from pg_catalog.pg_control_system()")
            .persistent(false)
            .fetch_one(&mut *connection)
            .await?
    } else {
        None
    };
    let (server_started, oid, database): (_, sqlx::postgres::types::Oid, _) = sqlx::query_as(
        "select pg_catalog.pg_postmaster_start_time(), oid, datname::text
         from pg_catalog.pg_database
         where datname = pg_catalog.current_database()",
    )
    .persistent(false)
    .fetch_one(connection)
    .await?;
    Ok(Identity {
        system_identifier,
        server_started,
        database_oid: oid.0,
        database,
    })
}
