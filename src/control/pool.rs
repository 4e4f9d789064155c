//! The pools of connections to the control database, and the one way to use them: [`within`].

use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::timeout;

use super::{ACQUIRE_TIMEOUT, Connection, ControlError, LIMITS, pooler};

/// Some connections to the control database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pool {
    pub(super) connections: PgPool,
    pooled: bool,
}

impl Pool {
    /// Opens nothing yet. `pooled`: behind the address is a pooler in transaction mode.
    pub(super) fn new(address: PgConnectOptions, pool: PgPoolOptions, pooled: bool) -> Self {
        // A pooler takes no options at the start; there each transaction sets its limits.
        let options = if pooled {
            address
        } else {
            pooler::marked(address).options(LIMITS.map(|(name, limit)| (name, limit.as_millis())))
        };
        let connections = pool
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(options);
        Self {
            connections,
            pooled,
        }
    }

    /// A connection to hold on to. Behind a pooler it does nothing outside of a transaction.
    ///
    /// Whoever gives up waiting leaves the opening of a connection to itself: one that takes longer than any patience
    /// would otherwise be begun anew each time, and never come to be.
    pub async fn acquire(&self) -> Result<Connection<'static>, ControlError> {
        let connections = self.connections.clone();
        let opening = tokio::spawn(async move { connections.acquire().await });
        let connection = opening.await.unwrap_or(Err(sqlx::Error::WorkerCrashed))?;
        Ok(Connection::plain(connection, self.pooled))
    }

    /// A connection with a transaction begun on it. It goes back when the transaction ends.
    pub async fn begin(&self) -> Result<Connection<'static>, ControlError> {
        let first = Connection::first_statement(self.pooled);
        let transaction = self.connections.begin_with(first).await?;
        Ok(Connection::begun(transaction, self.pooled))
    }
}

/// Does work on a connection of the pool, at most for `limit`, waiting for the connection included. Behind a pooler the
/// work is one transaction.
///
/// A connection whose work is given up, by the limit or by its caller, is closed and not put back: it may be a dead one,
/// which the pool would wait for as long as TCP does.
pub async fn within<T, E, W>(pool: &Pool, limit: Duration, work: W) -> Result<T, E>
where
    W: for<'c> FnOnce(&'c mut Connection<'_>) -> BoxFuture<'c, Result<T, E>>,
    E: From<ControlError>,
{
    let done = async {
        let mut trial = Trial {
            connection: pool.acquire().await?,
            over: false,
        };
        let outcome = if pool.pooled {
            in_transaction(&mut trial.connection, work).await
        } else {
            work(&mut trial.connection).await
        };
        trial.over = true;
        outcome
    };
    let outcome = timeout(limit, done).await;
    outcome.unwrap_or_else(|_| Err(ControlError::Slow { limit }.into()))
}

async fn in_transaction<T, E, W>(connection: &mut Connection<'_>, work: W) -> Result<T, E>
where
    W: for<'c> FnOnce(&'c mut Connection<'_>) -> BoxFuture<'c, Result<T, E>>,
    E: From<ControlError>,
{
    let mut transaction = connection.begin().await.map_err(ControlError::from)?;
    let outcome = work(&mut transaction).await;
    let ended = match &outcome {
        Ok(_) => transaction.commit().await,
        Err(_) => transaction.rollback().await,
    };
    // Why the work failed says more than why it couldn't be taken back.
    let outcome = outcome?;
    ended.map_err(ControlError::from)?;
    Ok(outcome)
}

/// A connection that goes back to its pool only when its work came to an end.
struct Trial {
    connection: Connection<'static>,
    over: bool,
}

impl Drop for Trial {
    fn drop(&mut self) {
        if !self.over {
            self.connection.give_up();
        }
    }
}
