//! A transaction on the protected database in which an inventory is taken.

use std::time::Duration;

use futures::TryStreamExt;
use serde::de::DeserializeOwned;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::{Inventory, KanbuLevel, ObjectPrint, count};
use crate::pg::{
    cluster::{Cluster, close},
    error::PgError,
};

const BEGIN: &str = "begin isolation level repeatable read, read only";

/// How values and definitions are written, whatever the session's defaults are. Row security must refuse, not hide rows.
const SETTINGS: &str = "set local search_path = ''; set local datestyle = 'ISO, YMD'; set local intervalstyle = 'iso_8601'; \
    set local timezone = 'UTC'; set local bytea_output = 'hex'; set local extra_float_digits = 3; \
    set local quote_all_identifiers = off; set local client_encoding = 'UTF8'; set local row_security = off; \
    set local idle_in_transaction_session_timeout = 0; set local lock_timeout = '2s'; set local statement_timeout = '60s'";

const DATABASE: &str = include_str!("database.sql");
const OBJECTS: &str = include_str!("objects.sql");

/// Kanbu's schema is made by Prisma, which keeps a table of what it has done.
const MIGRATIONS_TABLE: &str =
    "select json_build_array(to_regclass('public._prisma_migrations') is not null)::text";
const MIGRATION: &str = "select json_build_array(migration_name)::text from public._prisma_migrations \
    where finished_at is not null and rolled_back_at is null \
    order by finished_at desc, migration_name collate \"C\" desc limit 1";

/// What a statement came to.
#[derive(Debug)]
pub(super) enum Asked<T> {
    Rows(Vec<T>),
    /// The server said no; the transaction goes on.
    Refused(String),
}

/// A read-only transaction with one snapshot.
#[derive(Debug)]
pub(super) struct Session(PgConnection);

impl Session {
    pub(super) async fn direct(cluster: &Cluster, database: &str) -> Result<Self, PgError> {
        let mut connection = cluster.connect(Some(database)).await?;
        for statement in [BEGIN, SETTINGS] {
            sqlx::raw_sql(statement)
                .execute(&mut connection)
                .await
                .map_err(PgError::query("begin an inventory"))?;
        }
        Ok(Self(connection))
    }

    pub(super) async fn close(self) {
        close(self.0).await;
    }

    /// All of the inventory, the counts within `budget`.
    pub(super) async fn inventory(&mut self, budget: Duration) -> Result<Inventory, PgError> {
        let deadline = tokio::time::Instant::now() + budget;
        let mut inventory: Inventory = self.one(DATABASE, "what the database is").await?;
        inventory.objects = self
            .all::<(String, String, String, String)>(OBJECTS, "which objects there are")
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
        inventory.sequences = count::sequences(self).await?;
        inventory.tables = count::tables(self, deadline).await?;
        Ok(inventory)
    }

    async fn kanbu(&mut self) -> Result<Option<KanbuLevel>, PgError> {
        let (exists,): (bool,) = self.one(MIGRATIONS_TABLE, "whether it is Kanbu's").await?;
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

    /// The one row of a statement that has to be answered.
    pub(super) async fn one<T: DeserializeOwned>(
        &mut self,
        statement: &str,
        what: &'static str,
    ) -> Result<T, PgError> {
        let rows = self.all(statement, what).await?;
        rows.into_iter().next().ok_or(PgError::Query {
            what,
            source: sqlx::Error::RowNotFound,
        })
    }

    /// The rows of a statement that has to be answered. Each is one JSON text.
    pub(super) async fn all<T: DeserializeOwned>(
        &mut self,
        statement: &str,
        what: &'static str,
    ) -> Result<Vec<T>, PgError> {
        rows(&mut self.0, statement)
            .await?
            .map_err(PgError::query(what))
    }

    /// The rows of a statement that may be refused.
    pub(super) async fn ask<T: DeserializeOwned>(
        &mut self,
        statement: &str,
    ) -> Result<Asked<T>, PgError> {
        let guarded = format!("savepoint asked; {statement}; release savepoint asked");
        match rows(&mut self.0, &guarded).await? {
            Ok(rows) => Ok(Asked::Rows(rows)),
            Err(sqlx::Error::Database(refusal)) => {
                sqlx::raw_sql("rollback to savepoint asked")
                    .execute(&mut self.0)
                    .await
                    .map_err(PgError::query("go on after a refusal"))?;
                Ok(Asked::Refused(refusal.message().to_owned()))
            }
            Err(source) => Err(PgError::query("what the database holds")(source)),
        }
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
