//! A transaction on the protected database in which an inventory is taken.
//!
//! Its statements go over a connection, or by the `psql` inside the server's container. Either way each answers with rows of
//! one JSON text, and one that is refused leaves the transaction and its snapshot as they were.

use std::time::Duration;

use futures::TryStreamExt;
use serde::de::DeserializeOwned;
use sqlx::{AssertSqlSafe, PgConnection, Row};
use tokio::time::timeout;

use super::{Inventory, KanbuLevel, ObjectPrint, count};
use crate::{
    id::ExecutionId,
    pg::{
        cluster::{Cluster, close},
        docker::{Asked, Psql},
        dump::Route,
        error::PgError,
    },
};

const BEGIN: &str = "begin isolation level repeatable read, read only";

/// How values and definitions are written, whatever the session's defaults are. Row security must refuse, not hide rows.
/// `GMT` is the one zone that a server knows without files.
const SETTINGS: [&str; 12] = [
    "set local search_path = ''",
    "set local datestyle = 'ISO, YMD'",
    "set local intervalstyle = 'iso_8601'",
    "set local timezone = 'GMT'",
    "set local bytea_output = 'hex'",
    "set local extra_float_digits = 3",
    "set local quote_all_identifiers = off",
    "set local client_encoding = 'UTF8'",
    "set local row_security = off",
    "set local idle_in_transaction_session_timeout = 0",
    "set local lock_timeout = '2s'",
    "set local statement_timeout = '60s'",
];

/// So that a count ends soon when nobody waits for it any more. Not every system's servers can.
const NOTICE_OUR_END: &str = "set local client_connection_check_interval = '1s'";

const EXPORT: &str = "select json_build_array(pg_export_snapshot())::text";
const DATABASE: &str = include_str!("database.sql");
const OBJECTS: &str = include_str!("objects.sql");

/// Kanbu's schema is made by Prisma, which keeps a table of what it has done.
const MIGRATIONS_TABLE: &str =
    "select json_build_array(to_regclass('public._prisma_migrations') is not null)::text";
const MIGRATION: &str = "select json_build_array(migration_name)::text from public._prisma_migrations \
    where finished_at is not null and rolled_back_at is null \
    order by finished_at desc, migration_name collate \"C\" desc limit 1";

/// What the server itself can't end in time: a connection that says nothing any more. Beyond the budget of the counts.
const PATIENCE: Duration = Duration::from_mins(5);

/// A read-only transaction with one snapshot.
#[derive(Debug)]
pub(super) enum Session {
    Direct(PgConnection),
    Inside(Box<Psql>),
}

impl Session {
    pub(super) async fn direct(cluster: &Cluster, database: &str) -> Result<Self, PgError> {
        let mut connection = cluster.connect(Some(database)).await?;
        sqlx::raw_sql(BEGIN)
            .execute(&mut connection)
            .await
            .map_err(PgError::query("begin an inventory"))?;
        Self::Direct(connection).prepared().await
    }

    /// On the way of a dump, and the snapshot's name for that dump.
    pub(super) async fn exporting(
        route: &Route,
        cluster: &Cluster,
        execution: ExecutionId,
    ) -> Result<(Self, String), PgError> {
        let mut session = match route {
            Route::Direct(_) => Self::direct(cluster, cluster.database()).await?,
            Route::Docker(container) => {
                let mut psql = Psql::start(container, cluster, execution).await?;
                psql.begin(BEGIN).await?;
                Self::Inside(Box::new(psql)).prepared().await?
            }
        };
        let (snapshot,) = session.export().await?;
        session.notice_our_end().await?;
        Ok((session, snapshot))
    }

    async fn prepared(mut self) -> Result<Self, PgError> {
        for setting in SETTINGS {
            self.all::<()>(setting, "prepare an inventory").await?;
        }
        Ok(self)
    }

    async fn notice_our_end(&mut self) -> Result<(), PgError> {
        if let Asked::Refused(reason) = self.ask::<()>(NOTICE_OUR_END).await? {
            tracing::debug!(%reason, "the server can't notice that nobody waits for it");
        }
        Ok(())
    }

    /// Not after a refusal, which leaves `psql` within a savepoint, where the server exports nothing.
    async fn export(&mut self) -> Result<(String,), PgError> {
        let what = "export the snapshot";
        let rows = match self {
            Self::Direct(connection) => match rows(connection, EXPORT).await? {
                Ok(rows) => Asked::Rows(rows),
                Err(source) => return Err(PgError::query(what)(source)),
            },
            Self::Inside(psql) => psql.ask_plainly(EXPORT).await?,
        };
        one(answered(rows, what)?, what)
    }

    pub(super) async fn close(self) {
        match self {
            Self::Direct(connection) => close(connection).await,
            Self::Inside(psql) => psql.close().await,
        }
    }

    /// Ends a session that may be in the middle of a statement.
    pub(super) async fn abandon(self) {
        match self {
            Self::Direct(connection) => drop(connection),
            Self::Inside(psql) => psql.kill().await,
        }
    }

    /// The inventory apart from its sequences, the counts within `budget`.
    pub(super) async fn inventory(&mut self, budget: Duration) -> Result<Inventory, PgError> {
        timeout(budget.saturating_add(PATIENCE), self.take(budget))
            .await
            .unwrap_or_else(|_| Err(refused("tell what the database holds", "it fell silent")))
    }

    async fn take(&mut self, budget: Duration) -> Result<Inventory, PgError> {
        let deadline = tokio::time::Instant::now() + budget;
        let what = "tell what the database is";
        let mut inventory: Inventory = one(self.all(DATABASE, what).await?, what)?;
        inventory.objects = self
            .all::<(String, String, String, String)>(OBJECTS, "tell which objects there are")
            .await?
            .into_iter()
            .map(|(kind, schema, name, print)| ObjectPrint {
                kind,
                schema,
                name,
                print,
            })
            .collect();
        inventory.objects.sort_unstable();
        inventory.kanbu = self.kanbu().await?;
        inventory.tables = count::tables(self, deadline).await?;
        Ok(inventory)
    }

    async fn kanbu(&mut self) -> Result<Option<KanbuLevel>, PgError> {
        let what = "tell whether it is Kanbu's";
        let (exists,): (bool,) = one(self.all(MIGRATIONS_TABLE, what).await?, what)?;
        if !exists {
            return Ok(None);
        }
        Ok(match self.ask::<(String,)>(MIGRATION).await? {
            Asked::Rows(rows) => Some(KanbuLevel {
                version: None,
                migration: rows.into_iter().next().map(|(name,)| name),
            }),
            Asked::Refused(_) => None,
        })
    }

    /// The rows of a statement that has to be answered.
    pub(super) async fn all<T: DeserializeOwned>(
        &mut self,
        statement: &str,
        what: &'static str,
    ) -> Result<Vec<T>, PgError> {
        answered(self.ask(statement).await?, what)
    }

    /// The rows of statements that may be refused.
    pub(super) async fn ask<T: DeserializeOwned>(
        &mut self,
        statements: &str,
    ) -> Result<Asked<T>, PgError> {
        match self {
            Self::Direct(connection) => ask(connection, statements).await,
            Self::Inside(psql) => psql.ask(statements).await,
        }
    }
}

fn one<T>(rows: Vec<T>, what: &'static str) -> Result<T, PgError> {
    let row = rows.into_iter().next();
    row.ok_or_else(|| refused(what, "there was no answer"))
}

fn answered<T>(asked: Asked<T>, what: &'static str) -> Result<Vec<T>, PgError> {
    match asked {
        Asked::Rows(rows) => Ok(rows),
        Asked::Refused(reason) => Err(refused(what, &reason)),
    }
}

fn refused(what: &'static str, reason: &str) -> PgError {
    PgError::Refused {
        what,
        reason: reason.to_owned(),
    }
}

async fn ask<T: DeserializeOwned>(
    connection: &mut PgConnection,
    statements: &str,
) -> Result<Asked<T>, PgError> {
    let guarded = format!("savepoint asked; {statements}; release savepoint asked");
    match rows(connection, &guarded).await? {
        Ok(rows) => Ok(Asked::Rows(rows)),
        Err(sqlx::Error::Database(refusal)) => {
            sqlx::raw_sql("rollback to savepoint asked")
                .execute(connection)
                .await
                .map_err(PgError::query("go on after a refusal"))?;
            Ok(Asked::Refused(refusal.message().to_owned()))
        }
        Err(source) => Err(PgError::query("what the database holds")(source)),
    }
}

async fn rows<T: DeserializeOwned>(
    connection: &mut PgConnection,
    statements: &str,
) -> Result<Result<Vec<T>, sqlx::Error>, PgError> {
    let mut found = Vec::new();
    let mut answers = sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).fetch(connection);
    loop {
        match answers.try_next().await {
            Ok(Some(row)) => match row.try_get::<&str, _>(0) {
                Ok(text) => found.push(serde_json::from_str(text).map_err(PgError::Facts)?),
                Err(error) => return Ok(Err(error)),
            },
            Ok(None) => return Ok(Ok(found)),
            Err(error) => return Ok(Err(error)),
        }
    }
}
