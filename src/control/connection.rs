//! A connection to the control database, as the queries see it.
//!
//! Invariant: through a pooler in transaction mode no statement has a name, and none is sent outside of a transaction.
//! sqlx parses and executes in two steps, which only a transaction keeps on one server connection; a name would stay
//! behind there, for strangers to meet. Direct connections keep their cache of prepared statements.

use futures::{
    FutureExt, StreamExt,
    future::{self, BoxFuture},
    stream::{self, BoxStream},
};
use sqlx::{
    AssertSqlSafe, Connection as _, Database, Describe, Either, Error, Execute, Executor,
    PgConnection, SqlSafeStr, SqlStr,
    error::BoxDynError,
    pool::PoolConnection,
    postgres::{PgArguments, PgQueryResult, PgRow, PgStatement, PgTypeInfo, Postgres},
};

use super::LIMITS;

type Answers<'e> = BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>;

/// A connection, in a transaction or outside of one. Queries run on `&mut` of it.
#[derive(Debug)]
pub struct Connection<'c> {
    held: Held<'c>,
    pooled: bool,
}

#[derive(Debug)]
enum Held<'c> {
    Plain(PoolConnection<Postgres>),
    Begun(sqlx::Transaction<'c, Postgres>),
}

impl<'c> Connection<'c> {
    pub(super) fn plain(connection: PoolConnection<Postgres>, pooled: bool) -> Self {
        let held = Held::Plain(connection);
        Self { held, pooled }
    }

    pub(super) fn begun(transaction: sqlx::Transaction<'c, Postgres>, pooled: bool) -> Self {
        let held = Held::Begun(transaction);
        Self { held, pooled }
    }

    /// What begins a transaction. The limits are those that a direct connection asks for when it starts; a pooler passes
    /// none on.
    pub(super) fn first_statement(pooled: bool) -> SqlStr {
        if !pooled {
            return "begin".into_sql_str();
        }
        let set = LIMITS.map(|(name, limit)| format!("; set local {name} = {}", limit.as_millis()));
        AssertSqlSafe(format!("begin{}", set.concat())).into_sql_str()
    }

    /// Begins a transaction, or a savepoint in one. It is rolled back unless it is committed.
    pub async fn begin(&mut self) -> Result<Connection<'_>, Error> {
        let begun = match &mut self.held {
            Held::Plain(connection) => {
                let first = Self::first_statement(self.pooled);
                connection.begin_with(first).await?
            }
            Held::Begun(transaction) => transaction.begin().await?,
        };
        Ok(Connection::begun(begun, self.pooled))
    }

    /// Makes true what was done since [`begin`](Self::begin). Outside of a transaction it is already.
    pub async fn commit(self) -> Result<(), Error> {
        match self.held {
            Held::Begun(transaction) => transaction.commit().await,
            Held::Plain(_) => Ok(()),
        }
    }

    /// Takes back what was done since [`begin`](Self::begin).
    pub async fn rollback(self) -> Result<(), Error> {
        match self.held {
            Held::Begun(transaction) => transaction.rollback().await,
            Held::Plain(_) => Ok(()),
        }
    }

    /// Closes it instead of putting it back.
    pub(super) fn give_up(&mut self) {
        if let Held::Plain(connection) = &mut self.held {
            connection.close_on_drop();
        }
    }

    /// What statements may be sent on now.
    fn wire(&mut self) -> Result<&mut PgConnection, Error> {
        match &mut self.held {
            Held::Plain(_) if self.pooled => Err(Error::Protocol(
                "a statement needs a transaction around it to go through a pooler".to_owned(),
            )),
            Held::Plain(connection) => Ok(connection),
            Held::Begun(transaction) => Ok(transaction),
        }
    }

    /// The same for statements that keep a name.
    fn wire_for_names(&mut self) -> Result<&mut PgConnection, Error> {
        if self.pooled {
            let refusal = "a statement can't keep a name behind a pooler";
            return Err(Error::Protocol(refusal.to_owned()));
        }
        self.wire()
    }
}

impl<'c> Executor<'c> for &'c mut Connection<'_> {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> Answers<'e>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let may_keep_name = !self.pooled;
        match self.wire() {
            Ok(wire) => wire.fetch_many(Statement {
                query,
                may_keep_name,
            }),
            Err(refused) => stream::once(future::ready(Err(refused))).boxed(),
        }
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let may_keep_name = !self.pooled;
        match self.wire() {
            Ok(wire) => wire.fetch_optional(Statement {
                query,
                may_keep_name,
            }),
            Err(refused) => future::ready(Err(refused)).boxed(),
        }
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'c: 'e,
    {
        match self.wire_for_names() {
            Ok(wire) => wire.prepare_with(sql, parameters),
            Err(refused) => future::ready(Err(refused)).boxed(),
        }
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, Error>>
    where
        'c: 'e,
    {
        match self.wire_for_names() {
            Ok(wire) => wire.describe(sql),
            Err(refused) => future::ready(Err(refused)).boxed(),
        }
    }
}

/// A query that is prepared under a name only where it may be.
struct Statement<E> {
    query: E,
    may_keep_name: bool,
}

impl<'q, E: Execute<'q, Postgres>> Execute<'q, Postgres> for Statement<E> {
    fn sql(self) -> SqlStr {
        self.query.sql()
    }

    fn statement(&self) -> Option<&<Postgres as Database>::Statement> {
        self.query.statement()
    }

    fn take_arguments(&mut self) -> Result<Option<PgArguments>, BoxDynError> {
        self.query.take_arguments()
    }

    fn persistent(&self) -> bool {
        self.may_keep_name && self.query.persistent()
    }
}
