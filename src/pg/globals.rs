//! What belongs to a cluster and to none of its databases: roles, their memberships, tablespaces.
//!
//! Dumped beside a database, as the text of `pg_dumpall --globals-only`. Of that text only what concerns roles that are
//! missing is ever applied, and no message repeats a statement: it may hold the hash of a password.

use std::{collections::BTreeSet, time::Duration};

use serde::Serialize;
use sqlx::{AssertSqlSafe, PgConnection};

use super::{
    cluster::{Cluster, close},
    docker::{Command, EXECUTION_VARIABLE},
    dump::{Route, application},
    error::{PgError, Work},
    process::Program,
    quote::identifier,
};
use crate::id::ExecutionId;

const TOOL: &str = "pg_dumpall";

/// More roles than anybody has; the manifest has no room for more.
pub const MOST_BYTES: usize = 256 * 1024;

/// How long the roles of a cluster may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The globals of a cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct Globals {
    /// May hold the hashes of passwords.
    pub sql: String,
    pub with_passwords: bool,
}

impl std::fmt::Debug for Globals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Globals")
            .field("bytes", &self.sql.len())
            .field("with_passwords", &self.with_passwords)
            .finish()
    }
}

/// Dumps them, with the hashes of passwords if they are wanted and the server lets us read them.
pub async fn dump_globals(
    route: &Route,
    cluster: &Cluster,
    execution: ExecutionId,
    with_passwords: bool,
) -> Result<Globals, PgError> {
    if with_passwords {
        match dumped(route, cluster, execution, true).await {
            Ok(sql) => {
                return Ok(Globals {
                    sql,
                    with_passwords,
                });
            }
            // Only superusers read hashes; the roles themselves everybody does.
            Err(error) => tracing::debug!(%error, "dumping the globals without passwords"),
        }
    }
    let sql = dumped(route, cluster, execution, false).await?;
    Ok(Globals {
        sql,
        with_passwords: false,
    })
}

async fn dumped(
    route: &Route,
    cluster: &Cluster,
    execution: ExecutionId,
    with_passwords: bool,
) -> Result<String, PgError> {
    let mut words = vec![
        "--globals-only".to_owned(),
        "--no-password".to_owned(),
        // Connected to by its name even where `postgres` doesn't exist.
        format!("--database={}", cluster.database()),
    ];
    if !with_passwords {
        words.push("--no-role-passwords".to_owned());
    }
    let text = match route {
        Route::Direct(tools) => {
            let mut program = Program::new(tools.program(TOOL)).args(words);
            for (name, value) in cluster.environment(cluster.database(), &application(execution)) {
                program = program.env(name, value);
            }
            let limit = MOST_BYTES as u64 + 1;
            let output = program.run(limit, PATIENCE).await?;
            String::from_utf8_lossy(&output).into_owned()
        }
        Route::Docker(container) => {
            words.insert(0, TOOL.to_owned());
            let mut environment = cluster.login(cluster.database(), &application(execution));
            environment.push((EXECUTION_VARIABLE.to_owned(), execution.to_string()));
            container
                .output(TOOL, Work::Ask, Command { words, environment })
                .await?
        }
    };
    if text.len() > MOST_BYTES {
        return Err(PgError::Refused {
            what: "fit its globals into a manifest",
            reason: format!("they are larger than {MOST_BYTES} bytes"),
        });
    }
    // What only `psql` understands means nothing to those who read the text.
    let kept = text.lines().filter(|line| !line.starts_with('\\'));
    Ok(kept.flat_map(|line| [line, "\n"]).collect())
}

/// What became of the roles of a dump.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RolesMade {
    pub created: Vec<String>,
    /// Left as they are.
    pub existing: Vec<String>,
    /// Tablespaces need a directory on the server: they are left to whoever can make it.
    pub tablespaces: Vec<String>,
    /// What the server refused, without the statement.
    pub refused: Vec<String>,
}

/// Creates the roles that the server lacks, with their settings, comments and memberships.
pub async fn create_missing_roles(cluster: &Cluster, sql: &str) -> Result<RolesMade, PgError> {
    let mut connection = cluster.connect(None).await?;
    let existing: Vec<String> = sqlx::query_scalar("select rolname::text from pg_roles")
        .fetch_all(&mut connection)
        .await
        .map_err(PgError::query("which roles there are"))?;
    let existing: BTreeSet<String> = existing.into_iter().collect();
    let mut made = RolesMade::default();
    let mut missing = BTreeSet::new();
    for statement in statements(sql) {
        let words = words(statement);
        match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["CREATE", "ROLE", role] if existing.contains(role) => {
                made.existing.push(role.to_owned());
            }
            ["CREATE", "ROLE", role] => {
                missing.insert(role.to_owned());
                if run(&mut connection, statement, role, &mut made).await? {
                    made.created.push(role.to_owned());
                }
            }
            ["CREATE", "TABLESPACE", name, ..] => made.tablespaces.push(name.to_owned()),
            ["ALTER", "ROLE", role, ..] | ["COMMENT", "ON", "ROLE", role, ..]
                if missing.contains(role) =>
            {
                run(&mut connection, statement, role, &mut made).await?;
            }
            ["GRANT", of, "TO", member, ..] if missing.contains(member) || missing.contains(of) => {
                run(&mut connection, statement, member, &mut made).await?;
            }
            _ => {}
        }
    }
    close(connection).await;
    Ok(made)
}

/// Whether the server did it.
async fn run(
    connection: &mut PgConnection,
    statement: &str,
    role: &str,
    made: &mut RolesMade,
) -> Result<bool, PgError> {
    let done = sqlx::query(AssertSqlSafe(statement.to_owned()))
        .execute(connection)
        .await;
    match done {
        Ok(_) => Ok(true),
        Err(sqlx::Error::Database(refusal)) => {
            let reason = refusal.message();
            made.refused
                .push(format!("role {}: {reason}", identifier(role)));
            Ok(false)
        }
        Err(source) => Err(PgError::query("make a role")(source)),
    }
}

/// The statements of a dump, without comments, ended by semicolons that stand in no quotes.
fn statements(sql: &str) -> impl Iterator<Item = &str> {
    let mut quote = None;
    let mut in_comment = false;
    let mut before = ' ';
    sql.split(move |c| {
        match (c, quote, in_comment) {
            ('\n', None, true) => in_comment = false,
            (_, _, true) => {}
            ('-', None, _) if before == '-' => in_comment = true,
            ('\'' | '"', None, _) => quote = Some(c),
            (_, Some(open), _) if c == open => quote = None,
            _ => {}
        }
        before = c;
        c == ';' && quote.is_none() && !in_comment
    })
    .map(|statement| {
        let rest = statement.trim_start();
        let mut lines = rest;
        while lines.starts_with("--") {
            lines = lines
                .split_once('\n')
                .map_or("", |(_, rest)| rest)
                .trim_start();
        }
        lines.trim_end()
    })
    .filter(|statement| !statement.is_empty())
}

/// The words of a statement, names without their quotes.
fn words(statement: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = statement.trim();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_name(quoted),
            None => rest
                .split_once(char::is_whitespace)
                .map_or((rest.to_owned(), ""), |(word, after)| {
                    (word.to_owned(), after)
                }),
        };
        words.push(word);
        rest = after.trim_start();
    }
    words
}

/// A name up to its closing quote, and what follows.
fn quoted_name(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut rest = text;
    while let Some((part, after)) = rest.split_once('"') {
        name.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None => return (name, after),
        }
    }
    (name + rest, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_falls_into_statements_and_these_into_words() {
        let sql = "-- it's a; comment\n\nCREATE ROLE \"odd \"\"role\"\"; x\";\nALTER ROLE a WITH PASSWORD 'p;q''r';\n\
                   -- Membership\nGRANT a TO b GRANTED BY postgres;\n";
        let found: Vec<_> = statements(sql).collect();
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(words(found[0]), ["CREATE", "ROLE", "odd \"role\"; x"]);
        assert_eq!(words(found[1])[..3], ["ALTER", "ROLE", "a"]);
        assert_eq!(words(found[2])[..4], ["GRANT", "a", "TO", "b"]);
    }
}
