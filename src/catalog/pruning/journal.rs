//! The journal of deletions: every backup that was let go, by whom and why, for as long as its row is there.

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::{
    catalog::{BackupOrigin, CatalogError, Reason, view},
    control::{ControlDb, STATEMENT_TIMEOUT, within},
    id::ArtifactId,
    job::Subject,
    storage::StorageName,
};

/// How far a deletion is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "fate", rename_all = "snake_case")]
pub enum Fate {
    Deleted,
    /// Copies that remain; the next prune of the subject tries again.
    Pending {
        on: Vec<StorageName>,
        error: Option<String>,
    },
}

/// A backup that was let go.
#[derive(Clone, Debug, Serialize)]
pub struct Deleted {
    pub id: ArtifactId,
    pub subject: Subject,
    pub created_at: DateTime<Utc>,
    pub stored_bytes: u64,
    pub origin: BackupOrigin,
    pub decided_at: DateTime<Utc>,
    pub by: String,
    pub reason: String,
    #[serde(flatten)]
    pub fate: Fate,
}

/// The latest deletions, the newest first.
pub async fn journal(
    db: &ControlDb,
    subject: Option<&Subject>,
    limit: u32,
) -> Result<Vec<Deleted>, CatalogError> {
    let subject = subject.map(Subject::to_string);
    let rows = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            let rows = sqlx::query!(
                r#"select a.id, a.subject, a.created_at, a.stored_bytes, a.reason, a.schedule_id, a.schedule_name,
                          a.deletion_decided_at as "decided_at!", a.deletion_decided_by as "by!",
                          a.deletion_reason as "why!",
                          array(select c.storage from kanbu_backup.artifact_copy c
                                 where c.artifact_id = a.id and c.state = 'deleting' order by c.storage) as "pending!",
                          (select min(c.error) from kanbu_backup.artifact_copy c
                            where c.artifact_id = a.id and c.state = 'deleting') as error
                     from kanbu_backup.artifact a
                    where a.deletion_decided_at is not null and ($1::text is null or a.subject = $1)
                    order by a.deletion_decided_at desc, a.id desc
                    limit $2"#,
                subject,
                i64::from(limit),
            );
            Ok::<_, CatalogError>(rows.fetch_all(conn).await?)
        })
    })
    .await?;
    rows.into_iter()
        .map(|row| {
            let id = row.id;
            let word = |column, text: &str| view::word(id, column, text, |w| w.parse().ok());
            let pending = row.pending.iter();
            let on: Vec<StorageName> = pending
                .map(|name| view::word(id, "storage", name, |w| w.parse().ok()))
                .collect::<Result<_, _>>()?;
            Ok(Deleted {
                id: id.into(),
                subject: word("subject", &row.subject)?,
                created_at: row.created_at,
                stored_bytes: row.stored_bytes.unsigned_abs(),
                origin: BackupOrigin {
                    reason: view::word(id, "reason", &row.reason, Reason::from_word)?,
                    schedule: view::schedule(row.schedule_id, row.schedule_name),
                },
                decided_at: row.decided_at,
                by: row.by,
                reason: row.why,
                fate: if on.is_empty() {
                    Fate::Deleted
                } else {
                    Fate::Pending {
                        on,
                        error: row.error,
                    }
                },
            })
        })
        .collect()
}
