//! Where a backup is restored to in a test: a private server that lives as long as the test, or a database of its own on
//! the protected server.
//!
//! Invariant: whatever is made here bears the id of its execution in its name, so that whoever comes after a crash knows
//! whose it was. `server` starts and clears the private ones; who may still be at work is not known here.

use std::path::{Path, PathBuf};

use sqlx::{AssertSqlSafe, PgConnection, error::DatabaseError};

use super::{
    cluster::{Cluster, close},
    error::PgError,
    quote::{identifier, literal},
    restore::mark,
    server::{PrivateServer, ServerError, ServerOptions},
    tools::Toolset,
};
use crate::{fault::Failure, id::ExecutionId};

/// How the names of scratch databases begin.
const PREFIX: &str = "kanbu_prove_";

/// Sees every row and may change none. Only private servers have it.
const READER: &str = "kanbu_backup_reader";

/// SQLSTATE of `create role` and `create tablespace` for a name that is taken.
const DUPLICATE: &str = "42710";

/// What the log of a private server's writes may take on the disk.
const MAX_WAL: &str = "256MB";

/// The first version of which every release knows tablespaces within the data directory.
const IN_PLACE_SINCE: u32 = 15;

/// Where test restores go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ground {
    /// A private server if a fitting one is installed, else the protected one.
    #[default]
    Auto,
    /// A private server.
    Scratch,
    /// A database on the protected server.
    Server,
}

impl Ground {
    pub const WORDS: &'static [&'static str] = &["auto", "scratch", "server"];

    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "scratch" => Some(Self::Scratch),
            "server" => Some(Self::Server),
            _ => None,
        }
    }
}

/// The scratch database of an execution.
pub fn database_of(execution: ExecutionId) -> String {
    format!("{PREFIX}{}", execution.as_uuid().simple())
}

fn execution_of(database: &str) -> Option<ExecutionId> {
    database.strip_prefix(PREFIX)?.parse().ok()
}

/// The server binaries that can take a dump of that version: of the same one if possible, since only then definitions are
/// written alike.
pub fn choose_server(toolsets: &[Toolset], major: u32) -> Option<&Toolset> {
    let fitting = toolsets
        .iter()
        .filter(|set| set.has_server && set.major() >= major);
    fitting.min_by_key(|set| set.major())
}

/// A private server for one test restore. It is not safe against a crash of the host, and needn't be.
#[derive(Debug)]
pub struct ScratchServer {
    server: PrivateServer,
    cluster: Cluster,
}

impl ScratchServer {
    pub async fn start(directory: &Path, toolset: &Toolset) -> Result<Self, Failure> {
        let options = ServerOptions::new(directory, vec![toolset.clone()])
            .throwaway()
            .socket_only()
            .setting("synchronous_commit", "off")
            .setting("wal_level", "minimal")
            .setting("max_wal_senders", "0")
            .setting("max_wal_size", MAX_WAL)
            .setting("max_connections", "20")
            .setting("autovacuum", "off");
        // A tablespace then needs no directory of its own.
        let options = if toolset.major() >= IN_PLACE_SINCE {
            options.setting("allow_in_place_tablespaces", "on")
        } else {
            options
        };
        let server = PrivateServer::start(options).await?;
        let cluster = Cluster::from_url(server.url())?;
        let scratch = Self { server, cluster };
        let reader = format!(
            "create role {READER} login bypassrls password {} in role pg_read_all_data",
            literal(scratch.server.password())
        );
        run(&scratch.cluster, reader, "make the role that reads").await?;
        Ok(scratch)
    }

    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The same server for somebody who may only read.
    pub fn reader(&self, database: &str) -> Result<Cluster, PgError> {
        Cluster::from_url(&self.server.url_as(READER, database))
    }

    /// Makes roles that own things and get rights, and can't log in. Those that are there stay as they are. They may do
    /// everything, since some things (event triggers, publications of all tables) only superusers can own, and here nobody
    /// is who has to be kept from anything.
    pub async fn make_roles(&self, names: &[String]) -> Result<(), PgError> {
        let mut connection = self.cluster.connect(None).await?;
        for name in names {
            let statement = format!("create role {} nologin superuser", identifier(name));
            make(
                &mut connection,
                statement,
                "make a role that the dump names",
            )
            .await?;
        }
        close(connection).await;
        Ok(())
    }

    /// Makes a tablespace that is one by its name alone: where something lies says nothing about what it is.
    pub async fn make_tablespace(&self, name: &str) -> Result<(), PgError> {
        let mut connection = self.cluster.connect(None).await?;
        let statement = format!("create tablespace {} location ''", identifier(name));
        make(
            &mut connection,
            statement,
            "make a tablespace that the dump names",
        )
        .await?;
        close(connection).await;
        Ok(())
    }

    /// Which of these extensions can't be installed there.
    pub async fn lacking(&self, extensions: &[String]) -> Result<Vec<String>, PgError> {
        let mut connection = self.cluster.connect(None).await?;
        let lacking = sqlx::query_scalar(
            "select e.name from unnest($1::text[]) as e (name)
              where not exists (select from pg_available_extensions a where a.name = e.name)
              order by 1",
        )
        .bind(extensions)
        .fetch_all(&mut connection)
        .await
        .map_err(PgError::query("which extensions can be installed"))?;
        close(connection).await;
        Ok(lacking)
    }

    /// Waits until it has ended by itself, and says with which last words.
    pub async fn ended(&self) -> ServerError {
        self.server.ended().await
    }

    pub async fn stop(self) -> Result<(), ServerError> {
        self.server.discard().await
    }
}

/// What is there already stays as it is.
async fn make(
    connection: &mut PgConnection,
    statement: String,
    what: &'static str,
) -> Result<(), PgError> {
    let made = sqlx::query(AssertSqlSafe(statement))
        .execute(connection)
        .await;
    let is_there = |refusal: &sqlx::Error| {
        let refusal = refusal.as_database_error();
        refusal.and_then(DatabaseError::code).as_deref() == Some(DUPLICATE)
    };
    match made {
        Err(refusal) if !is_there(&refusal) => Err(PgError::query(what)(refusal)),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The roles of a server, without its own.
pub async fn roles(cluster: &Cluster) -> Result<Vec<String>, PgError> {
    let mut connection = cluster.connect(None).await?;
    let roles = sqlx::query_scalar(
        "select rolname::text from pg_roles where not starts_with(rolname, 'pg_') order by 1",
    )
    .fetch_all(&mut connection)
    .await
    .map_err(PgError::query("which roles there are"))?;
    close(connection).await;
    Ok(roles)
}

/// Directories of test restores in `root`, each with its execution.
pub fn directories(root: &Path) -> Vec<(ExecutionId, PathBuf)> {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
        .collect()
}

/// Scratch databases on a server, each with its execution; not those that were to be kept.
pub async fn databases(cluster: &Cluster) -> Result<Vec<(ExecutionId, String)>, PgError> {
    let mut connection = cluster.connect(None).await?;
    let found: Vec<(String, Option<String>)> = sqlx::query_as(
        "select datname::text, shobj_description(oid, 'pg_database') from pg_database
          where starts_with(datname, $1)",
    )
    .bind(PREFIX)
    .fetch_all(&mut connection)
    .await
    .map_err(PgError::query("which scratch databases there are"))?;
    close(connection).await;
    let ours = found.into_iter().filter_map(|(name, comment)| {
        let execution = execution_of(&name)?;
        // Between its creation and its mark it has none.
        let is_debris = comment.is_none_or(|comment| comment == mark(execution));
        is_debris.then_some((execution, name))
    });
    Ok(ours.collect())
}

/// Takes the mark off a scratch database: nobody drops it any more but its owner by hand.
pub async fn keep(cluster: &Cluster, execution: ExecutionId) -> Result<(), PgError> {
    let comment = format!("kanbu_backup kept the test restore {execution}");
    let statement = format!(
        "comment on database {} is {}",
        identifier(&database_of(execution)),
        literal(&comment)
    );
    run(cluster, statement, "keep the scratch database").await
}

/// Drops the scratch database of an execution that nobody is at any more; one that is not there is fine.
pub async fn drop_database(cluster: &Cluster, execution: ExecutionId) -> Result<(), PgError> {
    let statement = format!(
        "drop database if exists {} with (force)",
        identifier(&database_of(execution))
    );
    run(cluster, statement, "drop the scratch database").await
}

async fn run(cluster: &Cluster, statement: String, what: &'static str) -> Result<(), PgError> {
    let mut connection = cluster.connect(None).await?;
    let ran = sqlx::query(AssertSqlSafe(statement))
        .execute(&mut connection)
        .await;
    ran.map_err(PgError::query(what))?;
    close(connection).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toolset(major: u32, has_server: bool) -> Toolset {
        Toolset {
            directory: PathBuf::from(format!("/pg/{major}")),
            version: (major, 0),
            text: String::new(),
            has_client: true,
            has_server,
        }
    }

    #[test]
    fn a_scratch_database_tells_whose_it_is() {
        let execution = ExecutionId::new();
        let name = database_of(execution);
        assert!(name.len() < 63, "{name}");
        assert_eq!(execution_of(&name), Some(execution));
        assert_eq!(execution_of("kanbu_prove_thing"), None);
        assert_eq!(execution_of("kanbu_restore_12345678"), None);
    }

    #[test]
    fn the_server_is_of_the_dumps_own_version_or_the_next_one() {
        let sets = [
            toolset(18, true),
            toolset(17, false),
            toolset(16, true),
            toolset(15, true),
        ];
        let chosen = |major| choose_server(&sets, major).map(Toolset::major);
        assert_eq!(chosen(15), Some(15));
        assert_eq!(chosen(16), Some(16));
        assert_eq!(chosen(17), Some(18));
        assert_eq!(chosen(19), None);
    }
}
