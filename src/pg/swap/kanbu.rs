//! What Kanbu's own tables say of backups, set right in a database before it becomes live.

use crate::pg::{
    cluster::{Cluster, close},
    error::PgError,
};

/// All of Kanbu's columns that are written have to be there: another program may have a table of that name.
const HAS_TABLE: &str = "select count(*) = 4 from pg_attribute
   where attrelid = to_regclass('public.backup_executions') and not attisdropped
     and attname in ('status', 'error_message', 'started_at', 'completed_at')";

const END: &str = "update public.backup_executions
    set status = 'FAILED', error_message = 'interrupted by restore', completed_at = current_timestamp at time zone 'UTC'
  where status::text = 'RUNNING'";

/// A dump that Kanbu makes holds its own row, still running, which nobody would ever end. Answers how many were ended.
pub async fn end_phantoms(cluster: &Cluster, database: &str) -> Result<u64, PgError> {
    let mut connection = cluster.connect(Some(database)).await?;
    let asked = PgError::query("whether Kanbu keeps its backups in the database");
    let has_table: bool = sqlx::query_scalar(HAS_TABLE)
        .fetch_one(&mut connection)
        .await
        .map_err(asked)?;
    let ended = if has_table {
        let ended = sqlx::query(END).execute(&mut connection).await;
        ended
            .map_err(PgError::query("the backups that Kanbu thinks are running"))?
            .rows_affected()
    } else {
        0
    };
    close(connection).await;
    Ok(ended)
}
