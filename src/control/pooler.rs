//! Telling a server from a pooler in transaction mode, which keeps nothing for us from one transaction to the next.
//!
//! A connection asks for a setting of ours when it starts. A server knows it from then on. A pooler refuses it (PgBouncer),
//! or drops it if it was told to; then no server connection that it lends us knows it.

use sqlx::{
    Executor, Postgres, Row,
    postgres::{PgConnectOptions, PgPool},
};
use tokio::time::timeout;

use super::{ACQUIRE_TIMEOUT, CONTROL, ControlError, unreachable};

/// Nobody else's setting: the server takes any name with a dot in it.
const MARK: &str = "kanbu_backup.direct";

/// Options by which a direct connection can be told from one to a pooler.
pub(super) fn marked(options: PgConnectOptions) -> PgConnectOptions {
    options.options([(MARK, "on")])
}

/// Whether what answers there is a pooler: it doesn't know the mark, or wasn't given it because we know.
pub(super) async fn is_behind(connections: &PgPool) -> Result<bool, sqlx::Error> {
    let look = async {
        match connections.acquire().await {
            Ok(mut connection) => Ok(!knows_mark(&mut *connection).await?),
            Err(error) if is_refusal(&error) => Ok(true),
            Err(error) => Err(error),
        }
    };
    let found = timeout(ACQUIRE_TIMEOUT, look).await;
    found.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

/// Refuses a connection that should be direct and isn't.
pub(super) async fn refuse<'c>(
    connection: impl Executor<'c, Database = Postgres>,
    needed_for: &'static str,
) -> Result<(), ControlError> {
    if knows_mark(connection).await? {
        return Ok(());
    }
    Err(ControlError::NoDirectAddress { needed_for })
}

/// Why a connection that should be direct didn't come up.
pub(super) fn explain(
    error: sqlx::Error,
    direct: &PgConnectOptions,
    needed_for: &'static str,
) -> ControlError {
    if is_refusal(&error) {
        ControlError::NoDirectAddress { needed_for }
    } else {
        unreachable(CONTROL, direct, error)
    }
}

/// A simple query: it needs no transaction, pooler or not.
async fn knows_mark<'c>(
    connection: impl Executor<'c, Database = Postgres>,
) -> Result<bool, sqlx::Error> {
    let ask = sqlx::raw_sql("select current_setting('kanbu_backup.direct', true)");
    let mark: Option<String> = connection.fetch_one(ask).await?.try_get(0)?;
    Ok(mark.as_deref() == Some("on"))
}

/// PgBouncer's answer to start-up parameters that it can't pass on. It has no code of its own.
fn is_refusal(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| {
        error.code().as_deref() == Some("08P01")
            && error.message().contains("unsupported startup parameter")
    })
}
