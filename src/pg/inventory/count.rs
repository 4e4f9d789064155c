//! Counting: rows within a budget of time, and where the sequences stand.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{SequenceValue, TableRows, session::Session};
use crate::pg::{docker::Asked, error::PgError, quote::identifier};

const TABLES: &str = include_str!("tables.sql");
const SEQUENCES: &str = include_str!("sequences.sql");

/// Less than this isn't worth beginning a count.
const LEAST: Duration = Duration::from_millis(1);

/// The rows of every table, counted until the deadline and estimated from then on.
pub(super) async fn tables(
    session: &mut Session,
    deadline: Instant,
) -> Result<Vec<TableRows>, PgError> {
    let listed: Vec<(String, String, u64, u64, bool)> =
        session.all(TABLES, "tell which tables there are").await?;
    let mut counted = Vec::with_capacity(listed.len());
    for (schema, table, estimate, bytes, is_readable) in listed {
        let count = if is_readable {
            count(session, &schema, &table, deadline).await?
        } else {
            None
        };
        counted.push(TableRows {
            schema,
            table,
            rows: count.unwrap_or(estimate),
            exact: count.is_some(),
            bytes,
        });
    }
    counted.sort_unstable();
    Ok(counted)
}

async fn count(
    session: &mut Session,
    schema: &str,
    table: &str,
    deadline: Instant,
) -> Result<Option<u64>, PgError> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left < LEAST {
        return Ok(None);
    }
    let statement = format!(
        "set local statement_timeout = {}; select json_build_array(count(*))::text from only {}.{}",
        left.as_millis(),
        identifier(schema),
        identifier(table)
    );
    match session.ask::<(u64,)>(&statement).await? {
        Asked::Rows(rows) => Ok(rows.into_iter().next().map(|(count,)| count)),
        Asked::Refused(reason) => {
            tracing::debug!(%schema, %table, %reason, "a table was not counted");
            Ok(None)
        }
    }
}

/// Where every sequence that we may read stands.
pub(super) async fn sequences(session: &mut Session) -> Result<Vec<SequenceValue>, PgError> {
    let listed: Vec<(String, String)> = session
        .all(SEQUENCES, "tell which sequences there are")
        .await?;
    let mut values = Vec::with_capacity(listed.len());
    for (schema, sequence) in listed {
        let statement = format!(
            "select json_build_array(last_value, is_called)::text from {}.{}",
            identifier(&schema),
            identifier(&sequence)
        );
        if let Asked::Rows(rows) = session.ask::<(i64, bool)>(&statement).await?
            && let Some((last_value, is_called)) = rows.into_iter().next()
        {
            values.push(SequenceValue {
                schema,
                sequence,
                last_value,
                is_called,
                moved_to: None,
            });
        }
    }
    values.sort_unstable();
    Ok(values)
}

/// Notes which of the sequences have moved since: what reads them in between may have seen any value on the way.
pub(super) async fn moved(
    session: &mut Session,
    values: &mut [SequenceValue],
) -> Result<(), PgError> {
    let now = sequences(session).await?;
    let now: BTreeMap<_, _> = now
        .iter()
        .map(|value| ((&value.schema, &value.sequence), value))
        .collect();
    for value in values {
        if let Some(there) = now.get(&(&value.schema, &value.sequence))
            && (there.last_value, there.is_called) != (value.last_value, value.is_called)
        {
            value.moved_to = Some(there.last_value);
        }
    }
    Ok(())
}
