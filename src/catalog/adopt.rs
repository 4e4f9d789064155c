//! Taking in a backup that was made without the catalog.
//!
//! Between the manifest and the row lies a moment in which a worker may die. The backup exists all the same: the job's
//! next execution finds it here and reports it instead of dumping again. What `import` brings has no execution that could
//! report it, and enters here by itself.

use super::{CatalogError, MAX_MANIFEST_BYTES, Manifest, NewArtifact, NewCopy, store};
use crate::{
    control::{Connection, ControlDb, STATEMENT_TIMEOUT, within},
    id::{ArtifactId, ExecutionId},
    storage::{Environment, ObjectKey, Storage, StorageError},
};

/// The newest complete backup that one of `executions` left on a storage, with its manifest's exact text.
///
/// Complete means: the manifest is sound and the data object has the size it names. The bytes and the seal are for the
/// caller to check, who has the keys. What isn't complete is passed over, with a warning in the log.
pub async fn find(
    storage: &Storage,
    environment: &Environment,
    executions: &[ExecutionId],
) -> Result<Option<(Manifest, String)>, StorageError> {
    if executions.is_empty() {
        return Ok(None);
    }
    let found = storage.folders(environment).await?;
    let candidates = found.into_iter().rev();
    for found in candidates.filter(|f| f.has_manifest && executions.contains(&f.folder.execution()))
    {
        let key = ObjectKey::Manifest {
            folder: found.folder.clone(),
        };
        let bytes = storage.read_small(&key, MAX_MANIFEST_BYTES).await?;
        match Manifest::parse_in(&found.folder, &bytes) {
            Ok(manifest)
                if found.bytes_of(manifest.object_name()) == Some(manifest.envelope.bytes) =>
            {
                return Ok(Some((
                    manifest,
                    String::from_utf8_lossy(&bytes).into_owned(),
                )));
            }
            Ok(_) => tracing::warn!(
                storage.name = %storage.name(), folder = %found.folder,
                "a manifest was found whose data object is missing or has another size; it is not adopted",
            ),
            Err(error) => tracing::warn!(
                storage.name = %storage.name(), folder = %found.folder, %error,
                "a manifest was found that can't be read; it is not adopted",
            ),
        }
    }
    Ok(None)
}

/// The backup whose stored bytes have this hash, unless it was deleted.
pub async fn by_hash(
    db: &ControlDb,
    stored_sha256: [u8; 32],
) -> Result<Option<ArtifactId>, CatalogError> {
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move { with_hash(conn, stored_sha256).await })
    })
    .await
}

async fn with_hash(
    conn: &mut Connection<'_>,
    stored_sha256: [u8; 32],
) -> Result<Option<ArtifactId>, CatalogError> {
    let id = sqlx::query_scalar!(
        "select id from kanbu_backup.artifact
          where stored_sha256 = $1 and deletion_decided_at is null
          order by recorded_at limit 1",
        &stored_sha256[..],
    )
    .fetch_optional(conn)
    .await?;
    Ok(id.map(ArtifactId::from))
}

/// Enters a backup that no execution reports, unless one with the same bytes is known: then that one's id is returned.
///
/// RACE: two imports of the same file. The second waits for the first's end here, and then sees its row.
pub async fn enter(
    db: &ControlDb,
    artifact: &NewArtifact,
    copy: &NewCopy,
) -> Result<Option<ArtifactId>, CatalogError> {
    let (artifact, copy) = (artifact.clone(), copy.clone());
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            let mut tx = conn.begin().await?;
            sqlx::query!(
                "select pg_advisory_xact_lock(hashtextextended(encode($1::bytea, 'hex'), 0))",
                &artifact.stored_sha256[..],
            )
            .execute(&mut tx)
            .await?;
            let known = with_hash(&mut tx, artifact.stored_sha256).await?;
            if known.is_none() {
                store::insert(&mut tx, &artifact, &[copy]).await?;
            }
            tx.commit().await?;
            Ok(known)
        })
    })
    .await
}

/// Those of these executions whose backup is in the catalog and isn't to be deleted.
pub async fn known(
    db: &ControlDb,
    executions: &[ExecutionId],
) -> Result<Vec<ExecutionId>, CatalogError> {
    of_executions(db, executions, false).await
}

/// The same, with those whose deletion was decided.
pub async fn entered(
    db: &ControlDb,
    executions: &[ExecutionId],
) -> Result<Vec<ExecutionId>, CatalogError> {
    of_executions(db, executions, true).await
}

async fn of_executions(
    db: &ControlDb,
    executions: &[ExecutionId],
    deleted_too: bool,
) -> Result<Vec<ExecutionId>, CatalogError> {
    let executions: Vec<uuid::Uuid> = executions.iter().map(|id| id.as_uuid()).collect();
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            let known = sqlx::query_scalar!(
                "select execution_id from kanbu_backup.artifact
                  where execution_id = any ($1) and ($2 or deletion_decided_at is null)",
                &executions,
                deleted_too,
            )
            .fetch_all(conn)
            .await?;
            Ok(known.into_iter().map(ExecutionId::from).collect())
        })
    })
    .await
}
