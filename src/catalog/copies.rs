//! The rows of copies: entering them, and writing down what was seen of them since.
//!
//! What is written here is a fact about a storage and stands for itself: it is true however the execution ends that found
//! it, and a crash in the next step must not lose it. Copies that are to be deleted are in nobody's way and stay so.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::{CatalogError, CopyCheck, CopyState, NewArtifact, NewCopy, store::bigint, view::word};
use crate::{
    control::{Connection, ControlDb, STATEMENT_TIMEOUT, within},
    id::ArtifactId,
    job::{Subject, VerifyLevel},
    storage::StorageName,
};

/// How long ago somebody looked at a copy.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    pub artifact: ArtifactId,
    pub stored_bytes: u64,
    pub storage: StorageName,
    pub state: CopyState,
    /// Since it was looked at like this, by the database's clock; `None`: never.
    pub age_seconds: Option<f64>,
}

pub(super) async fn insert(
    conn: &mut Connection<'_>,
    artifact: &NewArtifact,
    copies: &[NewCopy],
) -> Result<(), CatalogError> {
    let storages: Vec<String> = copies.iter().map(|c| c.storage.to_string()).collect();
    let states: Vec<String> = copies.iter().map(|c| c.state.to_string()).collect();
    let errors: Vec<Option<String>> = copies.iter().map(|c| c.error.clone()).collect();
    let checked: Vec<Option<DateTime<Utc>>> = copies.iter().map(|c| c.checked_at).collect();
    sqlx::query!(
        "insert into kanbu_backup.artifact_copy (artifact_id, storage, state, bytes, error, checked_at, bad_since)
         select $1, c.storage, c.state, case c.state when 'stored' then $6::bigint end, c.error, c.checked_at,
                case when c.state in ('missing', 'damaged') then clock_timestamp() end
           from unnest($2::text[], $3::text[], $4::text[], $5::timestamptz[]) as c (storage, state, error, checked_at)
         on conflict (artifact_id, storage) do nothing",
        artifact.id.as_uuid(),
        &storages,
        &states,
        &errors as &[Option<String>],
        &checked as &[Option<DateTime<Utc>>],
        bigint(artifact.stored_bytes)?,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Records what looks at copies found, also at copies that weren't known. Returns how many were recorded: a backup that
/// isn't in the catalog, or that is to be deleted, is passed over.
///
/// A quick look that finds the right size doesn't clear the damage that a full reading found.
pub async fn note_checks(db: &ControlDb, checks: Vec<CopyCheck>) -> Result<u64, CatalogError> {
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move { record_checks(conn, &checks).await })
    })
    .await
}

async fn record_checks(
    conn: &mut Connection<'_>,
    checks: &[CopyCheck],
) -> Result<u64, CatalogError> {
    // One row per copy, the last word counting, in an order that two writers share.
    let checks: BTreeMap<_, _> = checks
        .iter()
        .map(|c| ((c.artifact, &c.storage), c))
        .collect();
    let artifacts: Vec<uuid::Uuid> = checks.values().map(|c| c.artifact.as_uuid()).collect();
    let storages: Vec<String> = checks.values().map(|c| c.storage.to_string()).collect();
    let states: Vec<String> = checks.values().map(|c| c.state.to_string()).collect();
    let bytes = checks.values().map(|c| c.bytes.map(bigint).transpose());
    let bytes: Vec<Option<i64>> = bytes.collect::<Result<_, _>>()?;
    let errors: Vec<Option<String>> = checks.values().map(|c| c.error.clone()).collect();
    let full: Vec<bool> = checks.values().map(|c| c.full).collect();
    let recorded = sqlx::query!(
        "insert into kanbu_backup.artifact_copy as known (artifact_id, storage, state, bytes, error, checked_at, bad_since)
         select c.artifact_id, c.storage, c.state, c.bytes, c.error,
                case when c.full and c.state = 'stored' then clock_timestamp() end,
                case when c.state in ('missing', 'damaged') then clock_timestamp() end
           from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::boolean[], $6::bigint[])
                as c (artifact_id, storage, state, error, \"full\", bytes)
           join kanbu_backup.artifact a on a.id = c.artifact_id and a.deletion_decided_at is null
          order by c.artifact_id, c.storage
         on conflict (artifact_id, storage) do update
            set seen_at    = clock_timestamp(),
                state      = excluded.state,
                bytes      = excluded.bytes,
                error      = excluded.error,
                checked_at = coalesce(excluded.checked_at, known.checked_at),
                bad_since  = case when excluded.bad_since is not null
                                  then coalesce(known.bad_since, excluded.bad_since) end
          where known.state not in ('deleting', 'deleted')
            and (known.state <> 'damaged' or excluded.state <> 'stored' or excluded.checked_at is not null)",
        &artifacts,
        &storages,
        &states,
        &errors as &[Option<String>],
        &full,
        &bytes as &[Option<i64>],
    )
    .execute(conn)
    .await?;
    Ok(recorded.rows_affected())
}

/// Announces copies that nobody has made yet, before anything of them is written: whoever decides to delete the backup then
/// deletes them too. Answers whether the backup is wanted still.
pub async fn announce_copies(
    db: &ControlDb,
    artifact: ArtifactId,
    storages: &[StorageName],
) -> Result<bool, CatalogError> {
    let storages: Vec<String> = storages.iter().map(StorageName::to_string).collect();
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            // RACE: a deletion that is being decided has marked the copies that it saw. The lock waits for its end.
            let wanted = sqlx::query_scalar!(
                r#"with wanted as (
                     select a.id from kanbu_backup.artifact a
                      where a.id = $1 and a.deletion_decided_at is null
                        for share
                   ), announced as (
                     insert into kanbu_backup.artifact_copy (artifact_id, storage, state)
                     select w.id, s.storage, 'pending' from wanted w, unnest($2::text[]) as s (storage)
                     on conflict (artifact_id, storage) do nothing
                   )
                   select exists (select from wanted) as "wanted!""#,
                artifact.as_uuid(),
                &storages,
            )
            .fetch_one(conn)
            .await?;
            Ok(wanted)
        })
    })
    .await
}

/// Every copy of a subject's backups, or of one of them, and how long ago it was looked at at this level.
pub async fn standings(
    db: &ControlDb,
    subject: &Subject,
    artifact: Option<ArtifactId>,
    level: VerifyLevel,
) -> Result<Vec<Standing>, CatalogError> {
    let subject = subject.to_string();
    let rows = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            let rows = sqlx::query!(
                r#"select a.id, a.stored_bytes, c.storage, c.state,
                          extract(epoch from clock_timestamp() - case when $3 then c.checked_at else c.seen_at end)::float8
                            as age
                     from kanbu_backup.artifact a
                     join kanbu_backup.artifact_copy c on c.artifact_id = a.id
                    where a.deletion_decided_at is null
                      and case when $2::uuid is null then a.subject = $1 else a.id = $2 end
                    order by a.created_at desc, a.id desc, c.storage"#,
                subject,
                artifact.map(ArtifactId::as_uuid),
                level != VerifyLevel::Quick,
            );
            Ok::<_, CatalogError>(rows.fetch_all(conn).await?)
        })
    })
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Standing {
                artifact: row.id.into(),
                stored_bytes: row.stored_bytes.cast_unsigned(),
                storage: word(row.id, "storage", &row.storage, |w| w.parse().ok())?,
                state: word(row.id, "state", &row.state, CopyState::from_word)?,
                age_seconds: row.age,
            })
        })
        .collect()
}

/// The subjects that have backups.
pub async fn subjects(db: &ControlDb) -> Result<Vec<Subject>, CatalogError> {
    let rows = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            let rows = sqlx::query!(
                r#"select distinct on (subject) subject, id from kanbu_backup.artifact
                    where deletion_decided_at is null order by subject, id"#,
            );
            Ok::<_, CatalogError>(rows.fetch_all(conn).await?)
        })
    })
    .await?;
    rows.into_iter()
        .map(|row| word(row.id, "subject", &row.subject, |w| w.parse().ok()))
        .collect()
}
