//! One database takes the name of another: the live one is fenced, its sessions are ended, and both are renamed in one
//! transaction. The live name always has a database, and which one it is, its oid tells.
//!
//! Everything happens on the connection of the [`Guard`]. The fence is the only thing that a crash leaves behind:
//! [`settle`] lifts it. What gave way stays, fenced, until somebody drops it by [`drop_set_aside`].

mod dress;
mod kanbu;
mod session;

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, error::DatabaseError};

pub use self::{dress::dress, kanbu::end_phantoms};
use super::{
    error::PgError,
    guard::Guard,
    quote::{identifier, literal},
};

/// SQLSTATE for a database that somebody is connected to.
const OBJECT_IN_USE: &str = "55006";

const ROUND: Duration = Duration::from_millis(50);

/// A database as it stands on the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub oid: u32,
    /// False behind a fence.
    pub open: bool,
    pub comment: Option<String>,
}

/// Two databases, one of which is live and gives way to the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The name that both want.
    pub live: String,
    pub outgoing: u32,
    pub incoming: u32,
    /// What the outgoing one is called afterwards.
    pub outgoing_name: String,
    /// What the incoming one is called before.
    pub incoming_name: String,
    /// Put on the outgoing one.
    pub remark: String,
}

/// Which of the two is live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The exchange took place.
    Incoming,
    /// It did not, and the live database is open again.
    Outgoing,
    /// Another database altogether has the name: nothing was touched.
    Neither,
}

/// How the database of this name stands, if there is one.
pub async fn standing(guard: &Guard, name: &str) -> Result<Option<Standing>, PgError> {
    let mut connection = guard.connection().await?;
    look(&mut connection, name).await
}

async fn look(connection: &mut PgConnection, name: &str) -> Result<Option<Standing>, PgError> {
    let row = sqlx::query(
        "select oid::bigint, datallowconn, shobj_description(oid, 'pg_database') from pg_database where datname = $1",
    )
    .bind(name)
    .fetch_optional(connection)
    .await
    .map_err(PgError::query("how a database stands"))?;
    Ok(row.map(|row| Standing {
        oid: oid(row.get(0)),
        open: row.get(1),
        comment: row.get(2),
    }))
}

/// Oids are unsigned 32-bit numbers; the server gives them as wider ones.
pub(super) fn oid(number: i64) -> u32 {
    u32::try_from(number).unwrap_or_default()
}

/// Fences the live database, ends its sessions and exchanges the names. Answers how long the live name was closed to its
/// clients. If sessions stay beyond `limit` the fence is lifted, and nothing has changed; after any other failure
/// [`settle`] has to be asked.
pub async fn exchange(
    guard: &Guard,
    exchange: &Exchange,
    limit: Duration,
) -> Result<Duration, PgError> {
    let mut connection = guard.connection().await?;
    let begun = Instant::now();
    allow(&mut connection, &exchange.live, false).await?;
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let names = [exchange.live.as_str(), exchange.incoming_name.as_str()];
    loop {
        let holders = session::end_all(&mut connection, &names).await?;
        if holders.is_empty() {
            match rename(&mut connection, exchange).await {
                Ok(()) => return Ok(begun.elapsed()),
                Err(error) if is_in_use(&error) => {}
                Err(error) => return Err(PgError::query("the exchange of the names")(error)),
            }
        }
        if begun.elapsed() > limit {
            allow(&mut connection, &exchange.live, true).await?;
            return Err(PgError::HeldOn {
                database: exchange.live.clone(),
                limit,
                holders: session::told(holders),
            });
        }
        rounds.tick().await;
    }
}

fn is_in_use(error: &sqlx::Error) -> bool {
    let state = error.as_database_error().and_then(DatabaseError::code);
    state.as_deref() == Some(OBJECT_IN_USE)
}

/// Both names, the fence and the remark change together, or not at all.
async fn rename(connection: &mut PgConnection, exchange: &Exchange) -> Result<(), sqlx::Error> {
    let Exchange {
        live,
        outgoing_name,
        incoming_name,
        remark,
        ..
    } = exchange;
    let (live, outgoing) = (identifier(live), identifier(outgoing_name));
    let incoming = identifier(incoming_name);
    let comment: Option<String> = sqlx::query_scalar(
        "select shobj_description(oid, 'pg_database') from pg_database where datname = $1",
    )
    .bind(&exchange.live)
    .fetch_one(&mut *connection)
    .await?;
    let comment = comment.map_or_else(|| "null".to_owned(), |comment| literal(&comment));
    let mut transaction = connection.begin().await?;
    for statement in [
        "set local lock_timeout = '5s'".to_owned(),
        format!("alter database {live} rename to {outgoing}"),
        format!("alter database {incoming} rename to {live}"),
        format!("comment on database {outgoing} is {}", literal(remark)),
        format!("comment on database {live} is {comment}"),
        format!("alter database {live} with allow_connections true"),
    ] {
        sqlx::query(AssertSqlSafe(statement))
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await
}

/// What became of an exchange that nobody saw the end of. A live database that still has its name is opened again.
pub async fn settle(guard: &Guard, exchange: &Exchange) -> Result<Settled, PgError> {
    let mut connection = guard.connection().await?;
    match look(&mut connection, &exchange.live).await? {
        Some(found) if found.oid == exchange.incoming => Ok(Settled::Incoming),
        Some(found) if found.oid == exchange.outgoing => {
            if !found.open {
                allow(&mut connection, &exchange.live, true).await?;
            }
            Ok(Settled::Outgoing)
        }
        Some(_) | None => Ok(Settled::Neither),
    }
}

/// Opens a database, or closes it to new sessions of everybody, superusers included.
async fn allow(connection: &mut PgConnection, name: &str, is: bool) -> Result<(), PgError> {
    let statement = format!(
        "alter database {} with allow_connections {is}",
        identifier(name)
    );
    sqlx::query(AssertSqlSafe(statement))
        .execute(connection)
        .await
        .map(drop)
        .map_err(PgError::query("the fence around the live database"))
}

/// Drops a database that gave way, if it is still the one of this oid and nobody has opened it again. Answers whether it
/// is gone.
pub async fn drop_set_aside(guard: &Guard, name: &str, oid: u32) -> Result<bool, PgError> {
    let mut connection = guard.connection().await?;
    match look(&mut connection, name).await? {
        None => Ok(true),
        Some(found) if found.oid == oid && !found.open => {
            let statement = format!("drop database {} with (force)", identifier(name));
            sqlx::query(AssertSqlSafe(statement))
                .execute(&mut *connection)
                .await
                .map_err(PgError::query("drop the replaced database"))?;
            Ok(true)
        }
        Some(_) => Ok(false),
    }
}
