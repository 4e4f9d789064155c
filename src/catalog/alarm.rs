//! Alarms about the content of backups: what they are compared with, what they hold, and that somebody has seen them.
//!
//! An alarm stands in the manifest of the backup that raised it, with the backup that it holds (`source.holds`), so a
//! catalog that was rebuilt knows it still. Only that somebody has acknowledged it is a row.

use super::CatalogError;
use crate::{
    control::{Connection, ControlDb, STATEMENT_TIMEOUT, within},
    id::ArtifactId,
    job::Subject,
};

/// The member of a manifest's `source` that names the backup which an alarm holds.
pub const HOLDS: &str = "holds";

/// An earlier backup that can still be read.
#[derive(Clone, Debug)]
pub struct Earlier {
    pub artifact: ArtifactId,
    pub content: String,
    pub content_bytes: u64,
    /// The file's own text.
    pub manifest: String,
}

/// The newest good backups of a subject, the newest first.
pub async fn earlier(
    db: &ControlDb,
    subject: &Subject,
    most: u32,
) -> Result<Vec<Earlier>, CatalogError> {
    let subject = subject.to_string();
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            let rows = sqlx::query!(
                "select a.id, a.content, a.content_bytes, a.manifest
                   from kanbu_backup.artifact a
                  where a.subject = $1 and a.deletion_decided_at is null
                    and exists (select from kanbu_backup.artifact_copy c
                                 where c.artifact_id = a.id and c.state = 'stored')
                  order by a.created_at desc, a.id desc
                  limit $2",
                subject,
                i64::from(most),
            )
            .fetch_all(conn)
            .await?;
            let earlier = rows.into_iter().map(|row| Earlier {
                artifact: row.id.into(),
                content: row.content,
                content_bytes: row.content_bytes.unsigned_abs(),
                manifest: row.manifest,
            });
            Ok::<_, CatalogError>(earlier.collect())
        })
    })
    .await
}

/// The backup whose alarm holds this one, if nobody has acknowledged it.
pub(super) async fn held_by(
    conn: &mut Connection<'_>,
    id: ArtifactId,
) -> Result<Option<ArtifactId>, CatalogError> {
    let alarm = sqlx::query_scalar!(
        "select a.id
           from kanbu_backup.artifact a
          where a.subject = (select subject from kanbu_backup.artifact where id = $1)
            and a.deletion_decided_at is null
            and a.holds = $1
            and not exists (select from kanbu_backup.acknowledgement k where k.artifact_id = a.id)
          order by a.created_at, a.id
          limit 1",
        id.as_uuid(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(alarm.map(ArtifactId::from))
}

/// Writes down that somebody has seen what a backup's alarm says. Again is fine; the first one stays.
pub async fn acknowledge(
    db: &ControlDb,
    id: ArtifactId,
    by: &str,
    reason: &str,
) -> Result<(), CatalogError> {
    let (by, reason) = (by.to_owned(), reason.to_owned());
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            sqlx::query!(
                "insert into kanbu_backup.acknowledgement (artifact_id, acknowledged_by, reason)
                 select a.id, $2, $3 from kanbu_backup.artifact a where a.id = $1
                 on conflict (artifact_id) do nothing",
                id.as_uuid(),
                by,
                reason,
            )
            .execute(conn)
            .await?;
            Ok(())
        })
    })
    .await
}
