//! A dump back into a database of its own: created, filled, or dropped again if it stays half-made.
//!
//! Invariant: no database is ever filled that was not made here, and none is dropped that does not carry the mark of its
//! execution. A load stops at the first error. What is live is never touched: swapping is another step's work.

mod load;
mod parallel;
mod rehearse;
mod selection;
mod spool;
mod toc;

use sqlx::{AssertSqlSafe, Connection, PgConnection, error::DatabaseError};

pub use self::{
    load::{LoadOptions, LoadReport, load},
    parallel::{Parallel, load_parallel},
    rehearse::rehearse,
    selection::{Choice, NotATable, NotThere, Selection, TableName, UseList},
    spool::{Spool, SpoolError},
    toc::Toc,
};
pub use super::tables::{TableChecksum, TableCount, table_checksums, table_counts};
use super::{
    cluster::{Cluster, close},
    dump::application,
    error::PgError,
    facts::{LocaleProvider, Shape},
    quote::{identifier, literal, literals},
};
use crate::id::ExecutionId;

/// SQLSTATEs by which a server says that it does not know a locale, a provider or an option of a newer version.
const UNKNOWN_LOCALE: [&str; 4] = ["42809", "22023", "0A000", "42601"];

/// SQLSTATE of `create database` for a name that is taken.
const DUPLICATE_DATABASE: &str = "42P04";

/// How a new database differs from what was asked for, one sentence each; empty when it doesn't.
pub type Differences = Vec<String>;

/// Creates an empty database like `shape`, marked as made by `execution`. An existing one is refused.
///
/// Creating is no transaction, so the database is made under a name that is a mark by itself, and gets the comment and its
/// own name in one: at no moment is there one that nobody can be told to have made.
pub async fn create_database(
    cluster: &Cluster,
    name: &str,
    shape: &Shape,
    execution: ExecutionId,
) -> Result<Differences, PgError> {
    let mut connection = cluster.connect(Some(maintenance(cluster, name))).await?;
    // Whoever comes after this execution ends the session, and with it a creation that takes its time.
    let session = format!(
        "set application_name = {}",
        literal(&application(execution))
    );
    run(&mut connection, session, "name the session").await?;
    let mut differences = Vec::new();
    let unnamed = unnamed(execution);
    create(&mut connection, &unnamed, shape, &mut differences).await?;
    let named = give_name(&mut connection, name, execution).await;
    if named.is_err() {
        let drop = format!("drop database {}", identifier(&unnamed));
        run(&mut connection, drop, "drop the new database").await?;
    }
    close(connection).await;
    named.map(|()| differences)
}

async fn give_name(
    connection: &mut PgConnection,
    name: &str,
    execution: ExecutionId,
) -> Result<(), PgError> {
    let failed = |error: sqlx::Error| match state_of(&error).as_deref() {
        Some(DUPLICATE_DATABASE) => PgError::DatabaseExists {
            database: name.to_owned(),
        },
        _ => PgError::query("mark the new database")(error),
    };
    let unnamed = identifier(&unnamed(execution));
    let mark = literal(&mark(execution));
    let mut transaction = connection.begin().await.map_err(failed)?;
    for statement in [
        format!("comment on database {unnamed} is {mark}"),
        format!("alter database {unnamed} rename to {}", identifier(name)),
    ] {
        execute(&mut transaction, statement).await.map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)
}

fn state_of(error: &sqlx::Error) -> Option<std::borrow::Cow<'_, str>> {
    error.as_database_error().and_then(DatabaseError::code)
}

/// Refuses a name that is taken, before anything is begun. Only [`create_database`] decides.
pub async fn require_absent(cluster: &Cluster, name: &str) -> Result<(), PgError> {
    let mut connection = cluster.connect(Some(maintenance(cluster, name))).await?;
    let is_taken: bool =
        sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
            .bind(name)
            .fetch_one(&mut connection)
            .await
            .map_err(PgError::query("whether the database exists"))?;
    close(connection).await;
    if is_taken {
        let database = name.to_owned();
        return Err(PgError::DatabaseExists { database });
    }
    Ok(())
}

/// Gives a filled database its owner and settings. Before it is filled they could hinder the load: a database may be
/// read-only by its settings.
pub async fn give_properties(
    cluster: &Cluster,
    name: &str,
    shape: &Shape,
) -> Result<Differences, PgError> {
    let mut connection = cluster.connect(Some(maintenance(cluster, name))).await?;
    let mut differences = Vec::new();
    give_owner(&mut connection, name, shape, &mut differences).await?;
    give_settings(&mut connection, name, shape, &mut differences).await?;
    close(connection).await;
    Ok(differences)
}

/// Drops a database that `execution` created, ending whoever is connected to it. One that is not there is fine.
pub async fn drop_database(
    cluster: &Cluster,
    name: &str,
    execution: ExecutionId,
) -> Result<(), PgError> {
    let mut connection = cluster.connect(Some(maintenance(cluster, name))).await?;
    let found: Option<Option<String>> = sqlx::query_scalar(
        "select shobj_description(oid, 'pg_database') from pg_database where datname = $1",
    )
    .bind(name)
    .fetch_optional(&mut connection)
    .await
    .map_err(PgError::query("whose database it is"))?;
    match found {
        None => {}
        Some(comment) if made_by(name, comment.as_deref()) == Some(execution) => {
            let drop = format!("drop database if exists {} with (force)", identifier(name));
            run(&mut connection, drop, "drop the half-made database").await?;
        }
        Some(_) => {
            let (database, execution) = (name.to_owned(), execution.to_string());
            return Err(PgError::NotOurs {
                database,
                execution,
            });
        }
    }
    close(connection).await;
    Ok(())
}

/// Takes the mark off a database that `execution` created and that nobody is to drop any more.
pub async fn keep_database(
    cluster: &Cluster,
    name: &str,
    execution: ExecutionId,
) -> Result<(), PgError> {
    let mut connection = cluster.connect(Some(maintenance(cluster, name))).await?;
    let remark = format!("kanbu_backup: kept by restore {execution}");
    let comment = format!(
        "comment on database {} is {}",
        identifier(name),
        literal(&remark)
    );
    run(&mut connection, comment, "keep the database").await?;
    close(connection).await;
    Ok(())
}

/// The comment on a database that an execution made: a successor sees whose it is.
pub fn mark(execution: ExecutionId) -> String {
    format!("{MARK}{execution}")
}

/// Which execution made the database that has this name and bears this comment.
pub(super) fn made_by(name: &str, comment: Option<&str>) -> Option<ExecutionId> {
    let by_name = name.strip_prefix(UNNAMED).and_then(|id| id.parse().ok());
    let by_comment = || comment?.strip_prefix(MARK)?.parse().ok();
    by_name.or_else(by_comment)
}

/// What a database is called while it has no comment yet.
fn unnamed(execution: ExecutionId) -> String {
    format!("{UNNAMED}{execution}")
}

const UNNAMED: &str = "kanbu_backup_making_";

/// What begins the comment on a database that may be dropped once its execution is over.
const MARK: &str = "kanbu_backup execution ";

/// A database to be connected to while `name` is made or dropped.
fn maintenance<'a>(cluster: &'a Cluster, name: &str) -> &'a str {
    match cluster.database() {
        own if own == name => "postgres",
        own => own,
    }
}

async fn create(
    connection: &mut PgConnection,
    name: &str,
    shape: &Shape,
    differences: &mut Differences,
) -> Result<(), PgError> {
    let Err(refusal) = execute(connection, creation(name, shape, true)).await else {
        return Ok(());
    };
    let failed = PgError::query("create the database");
    match state_of(&refusal).as_deref() {
        Some(state) if UNKNOWN_LOCALE.contains(&state) => {
            let reason = refusal
                .as_database_error()
                .map(ToString::to_string)
                .unwrap_or_default();
            differences.push(format!(
                "the database has the server's own locale: {reason}"
            ));
            execute(connection, creation(name, shape, false))
                .await
                .map_err(failed)
        }
        Some(_) | None => Err(failed(refusal)),
    }
}

/// From `template0`, because only it may be copied with another encoding and locale.
fn creation(name: &str, shape: &Shape, with_locale: bool) -> String {
    let mut statement = format!("create database {} template template0", identifier(name));
    let mut option = |word: &str, value: &Option<String>| {
        if let Some(value) = value {
            statement.extend([" ", word, " ", &literal(value)]);
        }
    };
    option("encoding", &shape.encoding);
    if with_locale {
        option("lc_collate", &shape.collation);
        option("lc_ctype", &shape.ctype);
        match shape.locale_provider {
            LocaleProvider::Libc => {}
            LocaleProvider::Icu => option("locale_provider icu icu_locale", &shape.locale),
            LocaleProvider::Builtin => {
                option("locale_provider builtin builtin_locale", &shape.locale);
            }
        }
    }
    statement
}

async fn give_owner(
    connection: &mut PgConnection,
    name: &str,
    shape: &Shape,
    differences: &mut Differences,
) -> Result<(), PgError> {
    let Some(owner) = &shape.owner else {
        return Ok(());
    };
    let statement = format!(
        "alter database {} owner to {}",
        identifier(name),
        identifier(owner)
    );
    note_refusal(connection, statement, differences, || {
        format!("the database is not owned by {owner:?}")
    })
    .await
}

async fn give_settings(
    connection: &mut PgConnection,
    name: &str,
    shape: &Shape,
    differences: &mut Differences,
) -> Result<(), PgError> {
    for text in &shape.settings {
        let Some((variable, value)) = setting(text) else {
            continue;
        };
        let statement = format!("alter database {} set {value}", identifier(name));
        note_refusal(connection, statement, differences, || {
            format!("the database lacks its setting {variable:?}")
        })
        .await?;
    }
    Ok(())
}

/// A stored `name=value` as its name and the words behind `set`.
pub(super) fn setting(stored: &str) -> Option<(&str, String)> {
    let (variable, value) = stored.split_once('=')?;
    let value = match variable {
        "search_path"
        | "temp_tablespaces"
        | "session_preload_libraries"
        | "local_preload_libraries" => literals(value),
        _ => literal(value),
    };
    Some((variable, format!("{} = {value}", identifier(variable))))
}

/// Runs a statement whose refusal makes a difference and not a failure.
pub(super) async fn note_refusal(
    connection: &mut PgConnection,
    statement: String,
    differences: &mut Differences,
    what: impl FnOnce() -> String,
) -> Result<(), PgError> {
    match execute(connection, statement).await {
        Ok(()) => Ok(()),
        Err(sqlx::Error::Database(refusal)) => {
            differences.push(format!("{}: {refusal}", what()));
            Ok(())
        }
        Err(source) => Err(PgError::query("shape the new database")(source)),
    }
}

async fn run(
    connection: &mut PgConnection,
    statement: String,
    what: &'static str,
) -> Result<(), PgError> {
    execute(connection, statement)
        .await
        .map_err(PgError::query(what))
}

async fn execute(connection: &mut PgConnection, statement: String) -> Result<(), sqlx::Error> {
    // Prepared, and so never more than one statement.
    sqlx::query(AssertSqlSafe(statement))
        .execute(connection)
        .await
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_created_with_the_locale_it_had() {
        let shape = Shape {
            encoding: Some("UTF8".into()),
            collation: Some("C".into()),
            ctype: Some("C".into()),
            locale_provider: LocaleProvider::Icu,
            locale: Some("de-x'y".into()),
            ..Shape::default()
        };
        assert_eq!(
            creation("a\"b", &shape, true),
            "create database \"a\"\"b\" template template0 encoding 'UTF8' lc_collate 'C' lc_ctype 'C' \
             locale_provider icu icu_locale 'de-x''y'"
        );
        assert_eq!(
            creation("a", &shape, false),
            "create database \"a\" template template0 encoding 'UTF8'"
        );
    }
}
