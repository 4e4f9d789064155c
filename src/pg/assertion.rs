//! Statements of the operator's that must be true of a restored database.
//!
//! Each runs alone, in a transaction that can only read and ends unfinished, and within a time limit. Whatever it answers
//! but one row with one true boolean is said as it is.

use std::{fmt, time::Duration};

use futures::TryStreamExt;
use sqlx::{AssertSqlSafe, Column, Connection, PgConnection, Row, TypeInfo, postgres::PgRow};

use super::{cluster::Cluster, error::PgError};

/// SQLSTATE of a statement that was ended for its length.
const CANCELLED: &str = "57014";

/// Longest repeated first line of a statement, in characters.
const MAX_NAME_CHARS: usize = 120;

/// What a statement came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    True,
    /// Why it isn't true.
    Otherwise(Wrong),
}

/// How a statement can fail to be true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    False,
    Null,
    NoRow,
    SeveralRows,
    Columns(usize),
    /// Of another type.
    Type(String),
    Slow(Duration),
    Refused(String),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::False => f.write_str("is false"),
            Self::Null => f.write_str("is null"),
            Self::NoRow => f.write_str("gives no row"),
            Self::SeveralRows => f.write_str("gives more than one row"),
            Self::Columns(count) => write!(f, "gives {count} columns instead of one"),
            Self::Type(name) => write!(f, "gives {name} instead of boolean"),
            Self::Slow(limit) => write!(f, "did not end within {} s", limit.as_secs_f64()),
            Self::Refused(text) => write!(f, "failed: {text}"),
        }
    }
}

/// Asks one statement. Only a server that can't be reached is an error.
pub async fn ask(
    cluster: &Cluster,
    database: &str,
    statement: &str,
    limit: Duration,
) -> Result<Answer, PgError> {
    let mut connection = cluster.connect(Some(database)).await?;
    let answer = match try_ask(&mut connection, statement, limit).await {
        Ok(answer) => answer,
        Err(sqlx::Error::Database(refusal)) if refusal.code().as_deref() == Some(CANCELLED) => {
            Answer::Otherwise(Wrong::Slow(limit))
        }
        Err(sqlx::Error::Database(refusal)) => {
            Answer::Otherwise(Wrong::Refused(refusal.message().to_owned()))
        }
        Err(source) => return Err(PgError::query("whether a check is true")(source)),
    };
    // Closing would wait for what the statement may still be sending.
    drop(connection);
    Ok(answer)
}

async fn try_ask(
    connection: &mut PgConnection,
    statement: &str,
    limit: Duration,
) -> Result<Answer, sqlx::Error> {
    let settings = format!(
        "set default_transaction_read_only = on; set statement_timeout = {}",
        limit.as_millis()
    );
    sqlx::raw_sql(AssertSqlSafe(settings))
        .execute(&mut *connection)
        .await?;
    let mut reading = connection.begin_with("begin read only").await?;
    // Prepared, and so never more than one statement.
    let query = sqlx::query(AssertSqlSafe(statement.to_owned()));
    let mut rows = query.fetch(&mut *reading);
    let Some(row) = rows.try_next().await? else {
        return Ok(Answer::Otherwise(Wrong::NoRow));
    };
    let answer = read(&row)?;
    match rows.try_next().await? {
        Some(_) => Ok(Answer::Otherwise(Wrong::SeveralRows)),
        None => Ok(answer),
    }
}

fn read(row: &PgRow) -> Result<Answer, sqlx::Error> {
    let wrong = match row.columns() {
        [only] if only.type_info().name() == "BOOL" => match row.try_get(0)? {
            Some(true) => return Ok(Answer::True),
            Some(false) => Wrong::False,
            None => Wrong::Null,
        },
        [only] => Wrong::Type(only.type_info().name().to_lowercase()),
        columns => Wrong::Columns(columns.len()),
    };
    Ok(Answer::Otherwise(wrong))
}

/// How a statement is called: by its first line that says something.
pub fn name_of(statement: &str) -> String {
    let mut lines = statement.lines().map(str::trim);
    let line = lines.find(|line| !line.is_empty() && !line.starts_with("--"));
    let line = line.unwrap_or_default();
    match line.char_indices().nth(MAX_NAME_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_called_by_its_first_line() {
        assert_eq!(
            name_of("-- cards\n\n select count(*) > 0\n from card"),
            "select count(*) > 0"
        );
        let long = name_of(&"é".repeat(1000));
        assert_eq!(long.chars().count(), MAX_NAME_CHARS + 1);
    }
}
