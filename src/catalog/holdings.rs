//! What each storage holds and lacks, as far as was last seen.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{CatalogError, CopyState, view::word};
use crate::{
    control::{ControlDb, STATEMENT_TIMEOUT, within},
    id::ArtifactId,
    job::Subject,
    storage::StorageName,
};

/// The copies of one state on one storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Holding {
    pub copies: u64,
    /// What they take, or would take, there.
    pub bytes: u64,
}

/// What one storage holds.
pub type Holdings = BTreeMap<&'static str, Holding>;

/// A backup without a good copy on a storage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lack {
    pub artifact: ArtifactId,
    pub subject: Subject,
    /// What the copy is there; none if there never was one.
    pub state: Option<CopyState>,
    /// Whether another storage has a good copy to make it from.
    pub has_source: bool,
}

/// For every storage that the catalog knows: its copies by state, and when somebody last looked at one of them.
pub async fn holdings(
    db: &ControlDb,
) -> Result<BTreeMap<StorageName, (Holdings, DateTime<Utc>)>, CatalogError> {
    let rows = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            let rows = sqlx::query!(
                r#"select c.storage, c.state, count(*) as "copies!", sum(a.stored_bytes)::bigint as "bytes!",
                          max(c.seen_at) as "seen_at!", (array_agg(a.id))[1] as "example!"
                     from kanbu_backup.artifact_copy c
                     join kanbu_backup.artifact a on a.id = c.artifact_id
                    where c.state <> 'deleted'
                    group by c.storage, c.state"#,
            );
            Ok::<_, CatalogError>(rows.fetch_all(conn).await?)
        })
    })
    .await?;
    let mut all: BTreeMap<StorageName, (Holdings, DateTime<Utc>)> = BTreeMap::new();
    for row in rows {
        let storage = word(row.example, "storage", &row.storage, |w| w.parse().ok())?;
        let state = word(row.example, "state", &row.state, CopyState::from_word)?;
        let (holdings, seen_at) = all.entry(storage).or_insert((Holdings::new(), row.seen_at));
        *seen_at = row.seen_at.max(*seen_at);
        let holding = Holding {
            copies: row.copies.unsigned_abs(),
            bytes: row.bytes.unsigned_abs(),
        };
        holdings.insert(state.as_str(), holding);
    }
    Ok(all)
}

/// The backups that have no good copy on that storage, the newest first.
pub async fn lacking(db: &ControlDb, storage: &StorageName) -> Result<Vec<Lack>, CatalogError> {
    let storage = storage.clone();
    let rows = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            let rows = sqlx::query!(
                r#"select a.id, a.subject, c.state as "state?",
                          exists (select from kanbu_backup.artifact_copy o
                                   where o.artifact_id = a.id and o.storage <> $1 and o.state = 'stored') as "has_source!"
                     from kanbu_backup.artifact a
                     left join kanbu_backup.artifact_copy c on c.artifact_id = a.id and c.storage = $1
                    where a.deletion_decided_at is null
                      and (c.state is null or c.state in ('pending', 'missing', 'damaged'))
                    order by a.created_at desc, a.id desc"#,
                storage.as_str(),
            );
            Ok::<_, CatalogError>(rows.fetch_all(conn).await?)
        })
    })
    .await?;
    rows.into_iter()
        .map(|row| {
            let state = row.state.as_deref();
            Ok(Lack {
                artifact: row.id.into(),
                subject: word(row.id, "subject", &row.subject, |w| w.parse().ok())?,
                state: state
                    .map(|state| word(row.id, "state", state, CopyState::from_word))
                    .transpose()?,
                has_source: row.has_source,
            })
        })
        .collect()
}
