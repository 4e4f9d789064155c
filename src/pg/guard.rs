//! Who may write to a database of the protected server: one restore at a time, and the latest of its kind.
//!
//! A [`Guard`] is a connection that holds an advisory lock named after the database, under `kanbu_backup/<execution>` like
//! every tool of that execution. Whoever finds the lock taken by an execution that is over ends its sessions, so that one
//! who froze in the middle of its work wakes up without a connection. What must not be done twice is done on this very
//! connection: a lock that is lost takes the right to act with it.
//!
//! Advisory locks are those of one database, so that everybody locks in `postgres`, which nobody restores into.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use tokio::{
    sync::{Mutex, MutexGuard},
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    cluster::{Cluster, close},
    dump::application,
    error::PgError,
    quote::literal,
    restore::made_by,
};
use crate::{fault::Failure, id::ExecutionId};

/// Where the locks are, and where one stands while other databases are renamed, made and dropped.
pub const COMMON_DATABASE: &str = "postgres";

/// How long a lock is waited for whose holder may still be at work.
const PATIENCE: Duration = Duration::from_secs(10);

const EVERY: Duration = Duration::from_millis(200);

/// How often the connection is tried, and how long it may take to answer.
const HEARTBEAT: Duration = Duration::from_secs(2);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The same number for everybody who means this database of this server.
const KEY: &str = "hashtextextended('kanbu_backup restore ' || $1, 0)";

/// No server ends a session of ours for its silence.
const SETTINGS: &str = "select set_config(name, '0', false) from pg_settings
    where name in ('idle_session_timeout', 'statement_timeout', 'idle_in_transaction_session_timeout')";

/// Which of these executions nobody works on any more. The server can't tell.
pub type Over<'a> =
    dyn Fn(Vec<ExecutionId>) -> BoxFuture<'a, Result<Vec<ExecutionId>, Failure>> + Send + Sync + 'a;

/// The exclusive right to fill or replace one database.
#[derive(Debug)]
pub struct Guard {
    connection: Arc<Mutex<PgConnection>>,
    database: String,
    lost: CancellationToken,
    heart: JoinHandle<()>,
}

/// A session of an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Holder {
    pid: i32,
    /// `None`: not one of ours.
    execution: Option<ExecutionId>,
}

impl Guard {
    /// Takes the lock of `database`. Sessions of executions that `over` tells to be over are ended, whether they hold the
    /// lock or not; somebody else who holds it is waited for a moment, and then respected.
    pub async fn take(
        cluster: &Cluster,
        database: &str,
        execution: ExecutionId,
        over: &Over<'_>,
    ) -> Result<Self, Failure> {
        if database == COMMON_DATABASE {
            return Err(PgError::CommonDatabase.into());
        }
        let mut connection = cluster.connect(Some(COMMON_DATABASE)).await?;
        announce(&mut connection, execution).await?;
        let (deadline, mut rounds) = (Instant::now() + PATIENCE, interval(EVERY));
        while !try_lock(&mut connection, database).await? {
            let holder = holder(&mut connection, database).await?;
            let gone = match holder.and_then(|holder| holder.execution) {
                Some(execution) => over(vec![execution]).await?,
                None => Vec::new(),
            };
            if let (Some(holder), false) = (holder, gone.is_empty()) {
                terminate(&mut connection, holder.pid).await?;
            } else if Instant::now() > deadline {
                let holder = holder.and_then(|holder| holder.execution);
                return Err(PgError::Guarded {
                    database: database.to_owned(),
                    holder: holder.map(|execution| execution.to_string()),
                }
                .into());
            }
            rounds.tick().await;
        }
        end_predecessors(&mut connection, execution, over).await?;
        Ok(Self::beating(connection, database))
    }

    fn beating(connection: PgConnection, database: &str) -> Self {
        let connection = Arc::new(Mutex::new(connection));
        let lost = CancellationToken::new();
        let heart = tokio::spawn(beat(Arc::clone(&connection), lost.clone()));
        Self {
            connection,
            database: database.to_owned(),
            lost,
            heart,
        }
    }

    /// Fires when the connection, and the lock with it, is gone.
    pub fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// Asks the server whether the lock is still there.
    pub async fn ask(&self) -> Result<(), PgError> {
        let mut connection = self.connection.lock().await;
        if !matches!(timeout(ANSWER_WITHIN, connection.ping()).await, Ok(Ok(()))) {
            self.lost.cancel();
        }
        self.held()
    }

    /// Whether the right still holds, as far as anybody here knows.
    pub fn held(&self) -> Result<(), PgError> {
        if self.lost.is_cancelled() {
            let database = self.database.clone();
            return Err(PgError::GuardLost { database });
        }
        Ok(())
    }

    /// The connection that holds the lock.
    pub(super) async fn connection(&self) -> Result<MutexGuard<'_, PgConnection>, PgError> {
        let connection = self.connection.lock().await;
        self.held()?;
        Ok(connection)
    }

    /// Gives the lock back; dropping the guard does the same, only later.
    pub async fn release(self) {
        self.heart.abort();
        let mut connection = self.connection.lock().await;
        if timeout(ANSWER_WITHIN, unlock(&mut connection))
            .await
            .is_err()
        {
            tracing::debug!(database = %self.database, "the lock of a restore goes with its connection");
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.heart.abort();
    }
}

/// Tries the connection again and again. One that doesn't answer is as good as lost.
async fn beat(connection: Arc<Mutex<PgConnection>>, lost: CancellationToken) {
    let mut beats = interval(HEARTBEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beats.tick().await;
        let mut connection = connection.lock().await;
        match timeout(ANSWER_WITHIN, connection.ping()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return lost.cancel(),
        }
    }
}

async fn announce(connection: &mut PgConnection, execution: ExecutionId) -> Result<(), PgError> {
    let name = format!(
        "set application_name = {}",
        literal(&application(execution))
    );
    for statement in [name.as_str(), SETTINGS] {
        sqlx::query(AssertSqlSafe(statement.to_owned()))
            .execute(&mut *connection)
            .await
            .map_err(PgError::query("the session of a restore"))?;
    }
    Ok(())
}

async fn try_lock(connection: &mut PgConnection, database: &str) -> Result<bool, PgError> {
    let statement = format!("select pg_try_advisory_lock({KEY})");
    sqlx::query_scalar(AssertSqlSafe(statement))
        .bind(database)
        .fetch_one(connection)
        .await
        .map_err(PgError::query("the lock of the restored database"))
}

async fn unlock(connection: &mut PgConnection) {
    // Every lock of the session; without it the server notices the end of the connection a little later.
    let unlocked = sqlx::query("select pg_advisory_unlock_all()")
        .execute(connection)
        .await;
    if let Err(error) = unlocked {
        tracing::debug!(%error, "the lock of a restore goes with its connection");
    }
}

async fn holder(connection: &mut PgConnection, database: &str) -> Result<Option<Holder>, PgError> {
    let statement = format!(
        "select a.pid, a.application_name
           from pg_locks l
           join pg_stat_activity a on a.pid = l.pid
          where l.locktype = 'advisory' and l.granted and l.objsubid = 1
            and l.database = (select oid from pg_database where datname = current_database())
            and ((l.classid::bigint << 32) | l.objid::bigint) = {KEY}"
    );
    let row = sqlx::query(AssertSqlSafe(statement))
        .bind(database)
        .fetch_optional(connection)
        .await
        .map_err(PgError::query("who restores into the database"))?;
    Ok(row.map(|row| Holder {
        pid: row.get(0),
        execution: execution_of(row.get(1)),
    }))
}

/// Sessions that executions which are over left on the server: the tools of a worker that froze, or was cut off.
async fn end_predecessors(
    connection: &mut PgConnection,
    own: ExecutionId,
    over: &Over<'_>,
) -> Result<(), Failure> {
    let rows = sqlx::query(
        "select pid, application_name from pg_stat_activity where application_name like 'kanbu\\_backup/%'",
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(PgError::query("the sessions of earlier executions"))?;
    let sessions: Vec<(i32, ExecutionId)> = rows
        .into_iter()
        .filter_map(|row| Some((row.get(0), execution_of(row.get(1))?)))
        .filter(|(_, execution)| *execution != own)
        .collect();
    if sessions.is_empty() {
        return Ok(());
    }
    let gone = over(sessions.iter().map(|(_, execution)| *execution).collect()).await?;
    for (pid, execution) in sessions {
        if gone.contains(&execution) {
            terminate(connection, pid).await?;
        }
    }
    Ok(())
}

/// Ends what an execution still has at work on the server, and waits until it has ended. Its lock stays.
pub async fn end_work(cluster: &Cluster, execution: ExecutionId) -> Result<(), PgError> {
    let mut connection = cluster.connect(Some(COMMON_DATABASE)).await?;
    let (deadline, mut rounds) = (Instant::now() + PATIENCE, interval(EVERY));
    loop {
        let ended: i64 = sqlx::query_scalar(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity
              where application_name = $1 and state <> 'idle'",
        )
        .bind(application(execution))
        .fetch_one(&mut connection)
        .await
        .map_err(PgError::query("what is still at work on the server"))?;
        if ended == 0 || Instant::now() > deadline {
            break;
        }
        rounds.tick().await;
    }
    close(connection).await;
    Ok(())
}

async fn terminate(connection: &mut PgConnection, pid: i32) -> Result<(), PgError> {
    sqlx::query("select pg_terminate_backend($1)")
        .bind(pid)
        .execute(connection)
        .await
        .map(drop)
        .map_err(PgError::query("the end of an earlier execution's session"))
}

fn execution_of(application: &str) -> Option<ExecutionId> {
    application.strip_prefix("kanbu_backup/")?.parse().ok()
}

/// The databases of the server that executions made and that bear their marks.
pub async fn marked(cluster: &Cluster) -> Result<Vec<(String, ExecutionId)>, PgError> {
    let mut connection = cluster.connect(Some(COMMON_DATABASE)).await?;
    let rows = sqlx::query(
        "select datname::text, shobj_description(oid, 'pg_database') from pg_database order by datname",
    )
    .fetch_all(&mut connection)
    .await
    .map_err(PgError::query("which databases restores have made"))?;
    close(connection).await;
    let marked = |row: sqlx::postgres::PgRow| {
        let (name, comment): (String, Option<String>) = (row.get(0), row.get(1));
        let execution = made_by(&name, comment.as_deref())?;
        Some((name, execution))
    };
    Ok(rows.into_iter().filter_map(marked).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sessions_of_executions_are_told_as_such() {
        let execution = ExecutionId::new();
        assert_eq!(execution_of(&application(execution)), Some(execution));
        for name in ["kanbu_backup", "kanbu_backup/", "kanbu_backup/x", "psql"] {
            assert_eq!(execution_of(name), None, "{name}");
        }
    }
}
