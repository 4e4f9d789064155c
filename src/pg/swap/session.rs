//! The sessions on databases that are about to change their names: ended, or told when they can't be.

use sqlx::{PgConnection, Row, error::DatabaseError};

use crate::pg::error::PgError;

/// Somebody who holds on to a database.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    pid: i32,
    text: String,
}

/// More than this many are only counted.
const NAMED: usize = 5;

const SESSIONS: &str = "select a.pid, format('process %s (%s)', a.pid, concat_ws(', ', a.usename, nullif(a.application_name, ''),
        host(a.client_addr), a.state, case when a.backend_type <> 'client backend' then a.backend_type end))
    from pg_stat_activity a
   where a.datname = any ($1) and a.pid <> pg_backend_pid()
   order by a.backend_start";

/// SQLSTATE of what one may not do.
const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// Asks all sessions to end, and answers who was there. Empty: nobody is.
pub(super) async fn end_all(
    connection: &mut PgConnection,
    databases: &[&str],
) -> Result<Vec<Holder>, PgError> {
    let rows = sqlx::query(SESSIONS)
        .bind(databases)
        .fetch_all(&mut *connection)
        .await
        .map_err(PgError::query("who is connected to the live database"))?;
    let holders = rows.into_iter().map(|row| Holder {
        pid: row.get(0),
        text: row.get(1),
    });
    let holders: Vec<Holder> = holders.collect();
    for holder in &holders {
        end(connection, holder.pid).await?;
    }
    Ok(holders)
}

/// One that we may not end may still go by itself.
async fn end(connection: &mut PgConnection, pid: i32) -> Result<(), PgError> {
    let asked = sqlx::query("select pg_terminate_backend($1)")
        .bind(pid)
        .execute(connection)
        .await;
    match asked {
        Ok(_) => Ok(()),
        Err(error) if is_forbidden(&error) => Ok(()),
        Err(error) => Err(PgError::query("the end of a session on the live database")(
            error,
        )),
    }
}

fn is_forbidden(error: &sqlx::Error) -> bool {
    let state = error.as_database_error().and_then(DatabaseError::code);
    state.as_deref() == Some(INSUFFICIENT_PRIVILEGE)
}

/// For people. Nobody in sight means a transaction that was prepared: it holds on without a session.
pub(super) fn told(holders: Vec<Holder>) -> Vec<String> {
    let rest = holders.len().saturating_sub(NAMED);
    let mut told: Vec<String> = holders
        .into_iter()
        .take(NAMED)
        .map(|holder| holder.text)
        .collect();
    if told.is_empty() {
        told.push("a prepared transaction, or a session that came and went".to_owned());
    }
    if rest > 0 {
        told.push(format!("and {rest} more"));
    }
    told
}
