//! One batch of manifests against what the catalog knows, in one transaction: a verdict for each, then the rows.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::{
    catalog::{
        CatalogError, CopyState, Manifest, NewArtifact, NewCopy,
        rebuild::{FoundManifest, Seal},
        store,
    },
    control::{Connection, ControlDb, STATEMENT_TIMEOUT, within},
    fault::Classified,
    id::ArtifactId,
    storage::StorageName,
};

/// What became of a manifest.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Entered(ArtifactId),
    Copied,
    Known,
    Deleted,
    Doubted(Doubt),
}

/// Why a manifest isn't believed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Doubt {
    pub code: Cow<'static, str>,
    pub reason: String,
}

impl Doubt {
    pub(super) fn of(error: &impl Classified) -> Self {
        Self {
            code: error.code().into(),
            reason: crate::fault::chain(error),
        }
    }

    fn because(code: &'static str, reason: &str) -> Self {
        Self {
            code: code.into(),
            reason: reason.to_owned(),
        }
    }

    pub(super) fn without_data() -> Self {
        Self::because(
            "catalog.no_data",
            "its data object isn't there, and no other storage shows the same manifest with its data",
        )
    }
}

/// Some manifests of one storage.
pub(super) struct Batch<'a> {
    pub storage: &'a StorageName,
    pub found: &'a [FoundManifest],
    /// Backups that a dry run has come across before.
    pub planned: &'a HashSet<ArtifactId>,
    /// When the storage began to be read, by the database's clock.
    pub since: DateTime<Utc>,
    pub dry_run: bool,
}

/// What the catalog knows of a backup, and of its copy on the storage in question.
#[derive(Clone, Debug)]
struct Known {
    manifest: String,
    deleted: bool,
    copy: Option<String>,
    /// Nobody has looked at the copy since this began.
    older: bool,
}

impl Batch<'_> {
    /// What becomes of each, in their order.
    pub(super) async fn enter(&self, db: &ControlDb) -> Result<Vec<Fate>, CatalogError> {
        let ids: Vec<uuid::Uuid> = self
            .manifests()
            .map(|manifest| manifest.artifact.as_uuid())
            .collect();
        let folders: Vec<String> = self.found.iter().map(|f| f.folder.to_string()).collect();
        let (storage, since) = (self.storage.clone(), self.since);
        let known = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
            Box::pin(async move { known(conn, &ids, &folders, (&storage, since)).await })
        })
        .await?;
        let fates: Vec<Fate> = self.found.iter().map(|f| self.fate(f, &known)).collect();
        if !self.dry_run {
            self.write(&fates, db).await?;
        }
        Ok(fates)
    }

    fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.found.iter().filter_map(|f| f.manifest.as_ref().ok())
    }

    fn fate(&self, found: &FoundManifest, known: &Catalogued) -> Fate {
        let manifest = match &found.manifest {
            Ok(manifest) => manifest,
            Err(error) => return Fate::Doubted(Doubt::of(error)),
        };
        match known.by_id.get(&manifest.artifact) {
            Some(known) if known.manifest != found.text => Fate::Doubted(Doubt::because(
                "catalog.other_manifest",
                "the catalog knows this backup by another manifest",
            )),
            Some(known) if known.deleted => Fate::Deleted,
            Some(known) => match known.copy.as_deref().map(CopyState::from_word) {
                None => Fate::Copied,
                Some(Some(state)) if known.older && yields(state, found.copy) => Fate::Copied,
                Some(_) => Fate::Known,
            },
            None if known.folders.contains(&found.folder.to_string()) => {
                Fate::Doubted(Doubt::because(
                    "catalog.other_manifest",
                    "the catalog knows another backup in this folder",
                ))
            }
            None if self.planned.contains(&manifest.artifact) => Fate::Copied,
            None => {
                believed(found).map_or_else(Fate::Doubted, |()| Fate::Entered(manifest.artifact))
            }
        }
    }

    async fn write(&self, fates: &[Fate], db: &ControlDb) -> Result<(), CatalogError> {
        let mut new = Vec::new();
        let mut copies = Vec::new();
        for (found, fate) in self.found.iter().zip(fates) {
            let Ok(manifest) = &found.manifest else {
                continue;
            };
            match fate {
                Fate::Entered(_) => {
                    new.push(NewArtifact::from_manifest(manifest, found.text.clone()));
                    copies.push((manifest.artifact, found.copy));
                }
                Fate::Copied => copies.push((manifest.artifact, found.copy)),
                Fate::Known | Fate::Deleted | Fate::Doubted(_) => {}
            }
        }
        if copies.is_empty() {
            return Ok(());
        }
        copies.sort_by_key(|(artifact, _)| *artifact);
        let (storage, since) = (self.storage.clone(), self.since);
        within(db.pool(), STATEMENT_TIMEOUT, |conn| {
            Box::pin(async move {
                let mut tx = conn.begin().await?;
                for artifact in &new {
                    store::insert(&mut tx, artifact, &[] as &[NewCopy]).await?;
                }
                write_copies(&mut tx, (&storage, since), &copies).await?;
                tx.commit().await?;
                Ok(())
            })
        })
        .await
    }
}

/// Whether a copy's row lets a look by existence and size correct it. Damage was found by reading every byte, and what is
/// to be deleted was decided.
fn yields(known: CopyState, seen: CopyState) -> bool {
    let yields = match known {
        CopyState::Stored | CopyState::Missing | CopyState::Pending => true,
        CopyState::Damaged | CopyState::Deleting | CopyState::Deleted => false,
    };
    yields && known != seen
}

/// Whether a manifest that nobody knows may enter a backup.
fn believed(found: &FoundManifest) -> Result<(), Doubt> {
    if found.copy == CopyState::Missing {
        return Err(Doubt::without_data());
    }
    match &found.seal {
        Seal::Good | Seal::Absent => Ok(()),
        Seal::Unchecked => Err(Doubt::because(
            "catalog.unknown_key",
            "no key at hand opens its backup, so that its seal can't be checked; add the key and repeat this",
        )),
        Seal::Refused(error) => Err(Doubt::of(error)),
    }
}

/// What the catalog knows of a batch.
#[derive(Debug, Default)]
struct Catalogued {
    by_id: HashMap<ArtifactId, Known>,
    folders: HashSet<String>,
}

/// By the clock that `seen_at` is of.
pub(super) async fn now(db: &ControlDb) -> Result<DateTime<Utc>, CatalogError> {
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            let now = sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#);
            Ok(now.fetch_one(conn).await?)
        })
    })
    .await
}

async fn known(
    conn: &mut Connection<'_>,
    ids: &[uuid::Uuid],
    folders: &[String],
    (storage, since): (&StorageName, DateTime<Utc>),
) -> Result<Catalogued, CatalogError> {
    let rows = sqlx::query!(
        r#"select a.id, a.folder, a.manifest, a.deletion_decided_at is not null as "deleted!", c.state as "copy?",
                  coalesce(c.seen_at < $4, false) as "older!"
             from kanbu_backup.artifact a
             left join kanbu_backup.artifact_copy c on c.artifact_id = a.id and c.storage = $3
            where a.id = any ($1) or a.folder = any ($2)"#,
        ids,
        folders,
        storage.as_str(),
        since,
    )
    .fetch_all(conn)
    .await?;
    let mut known = Catalogued::default();
    for row in rows {
        known.folders.insert(row.folder);
        known.by_id.insert(
            row.id.into(),
            Known {
                manifest: row.manifest,
                deleted: row.deleted,
                copy: row.copy,
                older: row.older,
            },
        );
    }
    Ok(known)
}

/// RACE: a deletion, a verification or an execution's end while the storage is read. What they wrote stands: only rows
/// that nobody has written since then are corrected, and none of a backup that is to go.
async fn write_copies(
    conn: &mut Connection<'_>,
    (storage, since): (&StorageName, DateTime<Utc>),
    copies: &[(ArtifactId, CopyState)],
) -> Result<(), CatalogError> {
    let artifacts: Vec<uuid::Uuid> = copies.iter().map(|(id, _)| id.as_uuid()).collect();
    let states: Vec<String> = copies.iter().map(|(_, state)| state.to_string()).collect();
    sqlx::query!(
        "insert into kanbu_backup.artifact_copy as known (artifact_id, storage, state, bytes, error, bad_since)
         select c.artifact_id, $1, c.state, case c.state when 'stored' then a.stored_bytes end,
                case c.state when 'missing' then 'its data object is missing'
                             when 'damaged' then 'its data object has another size' end,
                case when c.state in ('missing', 'damaged') then clock_timestamp() end
           from unnest($2::uuid[], $3::text[]) as c (artifact_id, state)
           join kanbu_backup.artifact a on a.id = c.artifact_id and a.deletion_decided_at is null
          order by c.artifact_id
         on conflict (artifact_id, storage) do update
            set seen_at   = clock_timestamp(),
                state     = excluded.state,
                bytes     = excluded.bytes,
                error     = excluded.error,
                bad_since = case when excluded.bad_since is not null
                                 then coalesce(known.bad_since, excluded.bad_since) end
          where known.state in ('stored', 'missing', 'pending')
            and known.state <> excluded.state
            and known.seen_at < $4",
        storage.as_str(),
        &artifacts,
        &states,
        since,
    )
    .execute(conn)
    .await?;
    Ok(())
}
