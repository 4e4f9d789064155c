//! Letting a backup go: the intent in a row, then the manifest, the sidecar, the data, then the row.
//!
//! Whether it may go was decided before; here only that is refused which no decision should meet by accident.
//! Every step can be repeated: whoever comes after a crash performs what [`pending_deletions`] still names.

use chrono::{DateTime, Utc};

use super::{
    CatalogError,
    alarm::held_by,
    view::{condition, word},
};
use crate::{
    control::{Connection, ControlDb, STATEMENT_TIMEOUT, within},
    id::{ArtifactId, JobId},
    job::Subject,
    retention::Condition,
    storage::{Folder, Storage, StorageName},
};

/// A copy whose deletion was decided and not yet performed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingDeletion {
    pub artifact: ArtifactId,
    pub folder: Folder,
    pub storage: StorageName,
}

/// Writes down that a backup shall go, with all its copies, and takes it off every list. Deciding again is fine.
///
/// A pinned backup, the last good one of its subject, the newest proven one, and one that an alarm holds are refused unless
/// `force`; one that a job uses is refused in any case.
pub async fn decide_deletion(
    db: &ControlDb,
    id: ArtifactId,
    by: &str,
    reason: &str,
    force: bool,
) -> Result<Vec<PendingDeletion>, CatalogError> {
    let (by, reason) = (by.to_owned(), reason.to_owned());
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move { decide(conn, id, &by, &reason, force).await })
    })
    .await
}

async fn decide(
    conn: &mut Connection<'_>,
    id: ArtifactId,
    by: &str,
    reason: &str,
    force: bool,
) -> Result<Vec<PendingDeletion>, CatalogError> {
    let mut tx = conn.begin().await?;
    let siblings = lock_subject_of(&mut tx, id).await?;
    if let Some(this) = siblings.iter().find(|sibling| sibling.id == id) {
        if let Some(job) = used_by(&mut tx, id).await? {
            return Err(CatalogError::InUse { artifact: id, job });
        }
        if !force {
            spare(this, &siblings)?;
            if let Some(alarm) = held_by(&mut tx, id).await? {
                return Err(CatalogError::Held {
                    artifact: id,
                    alarm,
                });
            }
        }
        write_intent(&mut tx, id, by, reason).await?;
    } else if !decided(&mut tx, id).await? {
        return Err(CatalogError::NotFound(id.to_string()));
    }
    mark_copies(&mut tx, id).await?;
    let pending = pending(&mut tx, Some(id)).await?;
    tx.commit().await?;
    Ok(pending)
}

/// A backup of the subject that is being decided about.
struct Sibling {
    id: ArtifactId,
    subject: Subject,
    created_at: DateTime<Utc>,
    pinned: bool,
    stored: bool,
    condition: Condition,
}

/// Refuses what is pinned, the last good one, and the newest proven one. A bad one is no substitute for a good one.
fn spare(this: &Sibling, siblings: &[Sibling]) -> Result<(), CatalogError> {
    if this.pinned {
        return Err(CatalogError::Pinned(this.id));
    }
    let wanted = this.condition.min(Condition::Good);
    let is_substitute = |s: &Sibling| s.stored && s.id != this.id && s.condition >= wanted;
    if this.stored && !siblings.iter().any(is_substitute) {
        return Err(CatalogError::LastOfSubject {
            artifact: this.id,
            subject: this.subject.clone(),
        });
    }
    let is_proven = |sibling: &&Sibling| sibling.condition == Condition::Proven;
    let proven = siblings.iter().filter(is_proven);
    let newest = proven.max_by_key(|sibling| (sibling.created_at, sibling.id));
    if newest.is_some_and(|newest| newest.id == this.id) {
        return Err(CatalogError::NewestProven(this.id));
    }
    Ok(())
}

/// RACE: two deletions that each take the other's backup for the one that stays. Each locks every backup of the subject
/// first; the second waits, and then no longer sees what the first decided about.
async fn lock_subject_of(
    conn: &mut Connection<'_>,
    id: ArtifactId,
) -> Result<Vec<Sibling>, CatalogError> {
    let rows = sqlx::query!(
        r#"select a.id, a.subject, a.pinned, a.created_at,
                  exists (select from kanbu_backup.artifact_copy c
                           where c.artifact_id = a.id and c.state = 'stored') as "stored!",
                  not exists (select from kanbu_backup.artifact_copy c
                               where c.artifact_id = a.id and c.state <> 'stored') as "whole!",
                  p.is_good as "proof_is_good?", p.holds as "proof_holds?"
             from kanbu_backup.artifact a
             left join lateral kanbu_backup.last_proof(a.id) p on true
            where a.subject = (select subject from kanbu_backup.artifact where id = $1)
              and a.deletion_decided_at is null
            order by a.id
              for update of a"#,
        id.as_uuid(),
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Sibling {
                id: row.id.into(),
                subject: word(row.id, "subject", &row.subject, |w| w.parse().ok())?,
                created_at: row.created_at,
                pinned: row.pinned,
                stored: row.stored,
                condition: condition(row.stored, row.whole, row.proof_is_good, row.proof_holds),
            })
        })
        .collect()
}

/// A job that waits or runs and names the backup.
async fn used_by(conn: &mut Connection<'_>, id: ArtifactId) -> Result<Option<JobId>, CatalogError> {
    let job = sqlx::query_scalar!(
        "select j.id from kanbu_backup.job j
          where j.state in ('queued', 'running') and j.payload ->> 'artifact' is not null
            and kanbu_backup.id_of(j.payload ->> 'artifact') = $1
          order by j.id limit 1",
        id.as_uuid(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(job.map(JobId::from))
}

async fn decided(conn: &mut Connection<'_>, id: ArtifactId) -> Result<bool, CatalogError> {
    let decided = sqlx::query_scalar!(
        r#"select deletion_decided_at is not null as "decided!" from kanbu_backup.artifact where id = $1"#,
        id.as_uuid(),
    )
    .fetch_optional(conn)
    .await?;
    Ok(decided.unwrap_or(false))
}

pub(super) async fn write_intent(
    conn: &mut Connection<'_>,
    id: ArtifactId,
    by: &str,
    reason: &str,
) -> Result<(), CatalogError> {
    sqlx::query!(
        "update kanbu_backup.artifact
            set deletion_decided_at = clock_timestamp(), deletion_decided_by = $2, deletion_reason = $3
          where id = $1",
        id.as_uuid(),
        by,
        reason,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Missing and damaged copies too: something of them may lie there still.
pub(super) async fn mark_copies(
    conn: &mut Connection<'_>,
    id: ArtifactId,
) -> Result<(), CatalogError> {
    sqlx::query!(
        "update kanbu_backup.artifact_copy set state = 'deleting' where artifact_id = $1 and state <> 'deleted'",
        id.as_uuid(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn pending(
    conn: &mut Connection<'_>,
    id: Option<ArtifactId>,
) -> Result<Vec<PendingDeletion>, CatalogError> {
    let rows = sqlx::query!(
        "select a.id, a.folder, c.storage
           from kanbu_backup.artifact_copy c
           join kanbu_backup.artifact a on a.id = c.artifact_id
          where c.state = 'deleting' and ($1::uuid is null or a.id = $1)
          order by a.id, c.storage",
        id.map(ArtifactId::as_uuid),
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(PendingDeletion {
                artifact: row.id.into(),
                folder: word(row.id, "folder", &row.folder, |w| w.parse().ok())?,
                storage: word(row.id, "storage", &row.storage, |w| w.parse().ok())?,
            })
        })
        .collect()
}

/// All that was decided and not yet performed, on every storage.
pub async fn pending_deletions(db: &ControlDb) -> Result<Vec<PendingDeletion>, CatalogError> {
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(pending(conn, None))
    })
    .await
}

/// Deletes one copy and says so in its row. Returns how many objects went this time.
pub async fn perform_deletion(
    db: &ControlDb,
    deletion: &PendingDeletion,
    storage: &Storage,
) -> Result<u64, CatalogError> {
    if *storage.name() != deletion.storage {
        return Err(CatalogError::WrongStorage {
            decided: deletion.storage.clone(),
            given: storage.name().clone(),
        });
    }
    let artifact = deletion.artifact;
    // RACE: a restore that found the backup just before its deletion was decided. Its job is seen here, and it reads on.
    let used = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(used_by(conn, artifact))
    });
    if let Some(job) = used.await? {
        return Err(CatalogError::InUse { artifact, job });
    }
    let objects = storage.delete_folder(&deletion.folder).await?;
    deletion_done(db, deletion.artifact, &deletion.storage).await?;
    Ok(objects)
}

/// Nothing of the copy is left on that storage.
pub async fn deletion_done(
    db: &ControlDb,
    id: ArtifactId,
    storage: &StorageName,
) -> Result<(), CatalogError> {
    let storage = storage.clone();
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            sqlx::query!(
                "update kanbu_backup.artifact_copy
                    set state = 'deleted', error = null, seen_at = clock_timestamp()
                  where artifact_id = $1 and storage = $2 and state = 'deleting'",
                id.as_uuid(),
                storage.as_str(),
            )
            .execute(conn)
            .await?;
            Ok(())
        })
    })
    .await
}
