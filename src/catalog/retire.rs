//! Letting a storage go: its copies are forgotten; its objects go too only where that was asked for, the intent first.
//!
//! Invariant: no backup loses the last copy that may still be read. A copy that is to be purged is *deleting* until
//! nothing of it is left, and whoever comes after a crash goes on from there.

use serde::Serialize;

use super::{CatalogError, view::word};
use crate::{
    control::{Connection, ControlDb, STATEMENT_TIMEOUT, within},
    id::ArtifactId,
    storage::{Folder, Storage, StorageName},
};

/// Copies that are let go in one transaction.
const BATCH: i64 = 200;

/// Backups that are named as the reason of a refusal; of more, only the number is told.
const MOST_NAMED: usize = 50;

/// What the end of a storage would mean.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Retirement {
    pub storage: StorageName,
    /// Copies that would be forgotten.
    pub copies: u64,
    pub bytes: u64,
    /// How many backups have no other good copy.
    pub last: u64,
    /// The newest of them.
    pub last_of: Vec<ArtifactId>,
}

/// Looks what would happen. Changes nothing.
pub async fn plan_retirement(
    db: &ControlDb,
    storage: &StorageName,
) -> Result<Retirement, CatalogError> {
    let name = storage.clone();
    let (copies, bytes, ids) = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            let all = sqlx::query!(
                r#"select count(*) as "copies!", coalesce(sum(a.stored_bytes), 0)::bigint as "bytes!"
                     from kanbu_backup.artifact_copy c
                     join kanbu_backup.artifact a on a.id = c.artifact_id
                    where c.storage = $1 and c.state <> 'deleted'"#,
                name.as_str(),
            )
            .fetch_one(&mut *conn)
            .await?;
            let last = last_copies(conn, &name, None).await?;
            Ok::<_, CatalogError>((all.copies, all.bytes, last))
        })
    })
    .await?;
    Ok(Retirement {
        storage: storage.clone(),
        copies: copies.unsigned_abs(),
        bytes: bytes.unsigned_abs(),
        last: ids.len() as u64,
        last_of: ids.into_iter().take(MOST_NAMED).collect(),
    })
}

/// Of all backups, or of these: those whose copy on `storage` may still be read, and that have no other good one.
async fn last_copies(
    conn: &mut Connection<'_>,
    storage: &StorageName,
    among: Option<&[uuid::Uuid]>,
) -> Result<Vec<ArtifactId>, CatalogError> {
    let ids = sqlx::query_scalar!(
        "select a.id
           from kanbu_backup.artifact a
           join kanbu_backup.artifact_copy c on c.artifact_id = a.id and c.storage = $1
          where a.deletion_decided_at is null
            and c.state in ('stored', 'damaged')
            and ($2::uuid[] is null or a.id = any ($2))
            and not exists (select from kanbu_backup.artifact_copy o
                             where o.artifact_id = a.id and o.storage <> $1 and o.state = 'stored')
          order by a.created_at desc, a.id desc",
        storage.as_str(),
        among,
    )
    .fetch_all(conn)
    .await?;
    Ok(ids.into_iter().map(ArtifactId::from).collect())
}

/// Forgets the copies on a storage; its objects stay where they are. Returns how many were forgotten.
pub async fn retire(db: &ControlDb, storage: &StorageName) -> Result<u64, CatalogError> {
    refuse_last(db, storage).await?;
    let mut forgotten = 0;
    loop {
        let batch = in_batch(db, storage, End::Forget).await?;
        forgotten += batch;
        if batch == 0 {
            return Ok(forgotten);
        }
    }
}

/// Writes down that the copies on a storage shall go with their objects, and deletes them one by one. Returns how many
/// copies went. What fails stays written down for the next time.
pub async fn purge(db: &ControlDb, storage: &Storage) -> Result<u64, CatalogError> {
    refuse_last(db, storage.name()).await?;
    while in_batch(db, storage.name(), End::Delete).await? > 0 {}
    let mut purged = 0;
    while let Some((artifact, folder)) = next_to_purge(db, storage.name()).await? {
        storage.delete_folder(&folder).await?;
        purged_one(db, artifact, storage.name()).await?;
        purged += 1;
    }
    Ok(purged)
}

async fn refuse_last(db: &ControlDb, storage: &StorageName) -> Result<(), CatalogError> {
    let plan = plan_retirement(db, storage).await?;
    if plan.last == 0 {
        return Ok(());
    }
    Err(CatalogError::LastCopies {
        storage: storage.clone(),
        count: plan.last,
        artifacts: plan.last_of,
    })
}

#[derive(Clone, Copy)]
enum End {
    Forget,
    Delete,
}

/// RACE: two storages that are retired at once, each for the other's copies. Every copy of a batch's backups is locked
/// before the look for another good one; the second waits, and then sees what the first has done.
async fn in_batch(db: &ControlDb, storage: &StorageName, end: End) -> Result<u64, CatalogError> {
    let storage = storage.clone();
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            let mut tx = conn.begin().await?;
            let ids = lock_batch(&mut tx, &storage, end).await?;
            let last = last_copies(&mut tx, &storage, Some(&ids)).await?;
            if !last.is_empty() {
                return Err(CatalogError::LastCopies {
                    storage,
                    count: last.len() as u64,
                    artifacts: last,
                });
            }
            match end {
                End::Forget => forget(&mut tx, &storage, &ids).await?,
                End::Delete => intend(&mut tx, &storage, &ids).await?,
            }
            tx.commit().await?;
            Ok(ids.len() as u64)
        })
    })
    .await
}

/// The next copies to let go, with every other copy of their backups.
async fn lock_batch(
    conn: &mut Connection<'_>,
    storage: &StorageName,
    end: End,
) -> Result<Vec<uuid::Uuid>, CatalogError> {
    let ids = sqlx::query_scalar!(
        "select artifact_id
           from kanbu_backup.artifact_copy
          where storage = $1 and state <> 'deleted' and ($2 or state <> 'deleting')
          order by artifact_id
          limit $3",
        storage.as_str(),
        matches!(end, End::Forget),
        BATCH,
    )
    .fetch_all(&mut *conn)
    .await?;
    sqlx::query!(
        "select from kanbu_backup.artifact_copy where artifact_id = any ($1) order by artifact_id, storage for update",
        &ids,
    )
    .execute(conn)
    .await?;
    Ok(ids)
}

async fn forget(
    conn: &mut Connection<'_>,
    storage: &StorageName,
    ids: &[uuid::Uuid],
) -> Result<(), CatalogError> {
    sqlx::query!(
        "delete from kanbu_backup.artifact_copy where storage = $1 and artifact_id = any ($2)",
        storage.as_str(),
        ids,
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn intend(
    conn: &mut Connection<'_>,
    storage: &StorageName,
    ids: &[uuid::Uuid],
) -> Result<(), CatalogError> {
    sqlx::query!(
        "update kanbu_backup.artifact_copy set state = 'deleting', error = null
          where storage = $1 and artifact_id = any ($2)",
        storage.as_str(),
        ids,
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn next_to_purge(
    db: &ControlDb,
    storage: &StorageName,
) -> Result<Option<(ArtifactId, Folder)>, CatalogError> {
    let storage = storage.clone();
    let row = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            let row = sqlx::query!(
                "select a.id, a.folder
                   from kanbu_backup.artifact_copy c
                   join kanbu_backup.artifact a on a.id = c.artifact_id
                  where c.storage = $1 and c.state = 'deleting'
                  order by a.id
                  limit 1",
                storage.as_str(),
            );
            Ok::<_, CatalogError>(row.fetch_optional(conn).await?)
        })
    })
    .await?;
    row.map(|row| {
        let folder = word(row.id, "folder", &row.folder, |w| w.parse().ok())?;
        Ok((row.id.into(), folder))
    })
    .transpose()
}

/// Nothing of the copy is left. That a deleted backup once lay there is kept; a backup that lives on forgets it.
async fn purged_one(
    db: &ControlDb,
    artifact: ArtifactId,
    storage: &StorageName,
) -> Result<(), CatalogError> {
    super::deletion_done(db, artifact, storage).await?;
    let storage = storage.clone();
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            sqlx::query!(
                "delete from kanbu_backup.artifact_copy c
                  using kanbu_backup.artifact a
                  where a.id = c.artifact_id and a.deletion_decided_at is null
                    and c.artifact_id = $1 and c.storage = $2 and c.state = 'deleted'",
                artifact.as_uuid(),
                storage.as_str(),
            )
            .execute(conn)
            .await?;
            Ok(())
        })
    })
    .await
}
