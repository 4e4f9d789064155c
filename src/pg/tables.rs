//! What a database's tables hold: exact counts and checksums, for comparing a database with what was backed up.
//!
//! All tables are read in one snapshot. Partitioned parents hold no rows of their own and are left out, as are
//! materialized views, which are made from tables.

use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

use super::{
    cluster::{Cluster, close},
    error::PgError,
    quote::identifier,
};

/// The number of rows of a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableCount {
    pub schema: String,
    pub table: String,
    pub rows: u64,
}

/// Rows and content of a table; the order of its rows doesn't matter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TableChecksum {
    pub schema: String,
    pub table: String,
    pub rows: u64,
    /// The sum of the rows' 64-bit hashes, in decimal. Not cryptographic: it shows accidents, not forgery.
    pub checksum: String,
}

/// Rows of every ordinary table of a database.
pub async fn table_counts(cluster: &Cluster, database: &str) -> Result<Vec<TableCount>, PgError> {
    let read = read_all(cluster, database, "select count(*), '' from only").await?;
    Ok(read
        .into_iter()
        .map(
            |TableChecksum {
                 schema,
                 table,
                 rows,
                 ..
             }| TableCount {
                schema,
                table,
                rows,
            },
        )
        .collect())
}

/// Checksums of every ordinary table of a database. Reads all of it.
pub async fn table_checksums(
    cluster: &Cluster,
    database: &str,
) -> Result<Vec<TableChecksum>, PgError> {
    const SELECT: &str =
        "select count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text from only";
    read_all(cluster, database, SELECT).await
}

/// Fixes how values are written as text, so that two servers write equal rows alike.
const SETTINGS: &str = "set local datestyle = 'ISO, YMD'; set local intervalstyle = 'iso_8601'; \
    set local timezone = 'UTC'; set local bytea_output = 'hex'; set local extra_float_digits = 3; \
    set local search_path = ''; set local statement_timeout = 0; set local row_security = off";

/// Asks each table by `select`, which gives rows and a text, and ends before the table's name.
async fn read_all(
    cluster: &Cluster,
    database: &str,
    select: &str,
) -> Result<Vec<TableChecksum>, PgError> {
    let mut connection = cluster.connect(Some(database)).await?;
    let read = read_snapshot(&mut connection, select)
        .await
        .map_err(PgError::query("what the tables hold"))?;
    close(connection).await;
    Ok(read)
}

async fn read_snapshot(
    connection: &mut PgConnection,
    select: &str,
) -> Result<Vec<TableChecksum>, sqlx::Error> {
    let mut snapshot = connection
        .begin_with("begin isolation level repeatable read, read only")
        .await?;
    sqlx::raw_sql(SETTINGS).execute(&mut *snapshot).await?;
    let mut read = Vec::new();
    for (schema, table) in tables(&mut snapshot).await? {
        let statement = format!(
            "{select} {}.{} as t",
            identifier(&schema),
            identifier(&table)
        );
        let row = sqlx::query(AssertSqlSafe(statement))
            .fetch_one(&mut *snapshot)
            .await?;
        let rows: i64 = row.try_get(0)?;
        read.push(TableChecksum {
            schema,
            table,
            rows: rows.unsigned_abs(),
            checksum: row.try_get(1)?,
        });
    }
    snapshot.commit().await?;
    Ok(read)
}

/// Ordinary tables, without those of the system and of other sessions.
async fn tables(connection: &mut PgConnection) -> Result<Vec<(String, String)>, sqlx::Error> {
    sqlx::query(
        "select n.nspname::text, c.relname::text
         from pg_class as c
         join pg_namespace as n on n.oid = c.relnamespace
         where c.relkind = 'r'
           and c.relpersistence <> 't'
           and n.nspname <> 'information_schema'
           and n.nspname !~ '^pg_'
         order by n.nspname collate \"C\", c.relname collate \"C\"",
    )
    .fetch(connection)
    .and_then(|row| async move { Ok((row.try_get(0)?, row.try_get(1)?)) })
    .try_collect()
    .await
}
