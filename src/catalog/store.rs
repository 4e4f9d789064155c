//! Reading the catalog, and entering what executions report.
//!
//! What runs inside the queue's publish transaction takes its connection; the rest takes the database. A backup whose
//! deletion was decided is in none of the answers.

use chrono::{DateTime, Utc};

use super::{
    ArtifactKind, ArtifactView, CatalogError, NewArtifact, NewCopy, copies,
    view::{CHECK_HOLDS_DAYS, Row, gather},
};
use crate::{
    control::{Connection, ControlDb, STATEMENT_TIMEOUT, within},
    id::ArtifactId,
    job::Subject,
};

/// Digits of an id that are too few to mean one backup.
const SHORTEST_ID: usize = 4;

/// Which backups a list holds. The default is all that have a stored copy.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub kind: Option<ArtifactKind>,
    pub subject: Option<Subject>,
    /// Created then or later.
    pub since: Option<DateTime<Utc>>,
    /// Most of them, the newest first.
    pub limit: Option<u32>,
    /// Also those without any stored copy.
    pub include_lost: bool,
}

/// Enters a backup with its copies. Entering it again changes nothing but adds copies that weren't known.
pub async fn insert(
    conn: &mut Connection<'_>,
    artifact: &NewArtifact,
    copies: &[NewCopy],
) -> Result<(), CatalogError> {
    insert_artifact(conn, artifact).await?;
    copies::insert(conn, artifact, copies).await
}

async fn insert_artifact(conn: &mut Connection<'_>, new: &NewArtifact) -> Result<(), CatalogError> {
    let schedule = new.origin.schedule.as_ref();
    sqlx::query!(
        "insert into kanbu_backup.artifact
            (id, kind, subject, folder, execution_id, job_id, label, pinned, created_at, content, compression, key_id,
             content_bytes, payload_bytes, payload_sha256, stored_bytes, stored_sha256, manifest, reason, schedule_id,
             schedule_name, holds)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)
         on conflict (id) do nothing",
        new.id.as_uuid(),
        new.kind.as_str(),
        new.subject.to_string(),
        new.folder.to_string(),
        new.execution.as_uuid(),
        new.job.as_uuid(),
        new.label.as_deref(),
        new.pinned,
        new.created_at,
        new.content.as_str(),
        new.compression.as_str(),
        new.key_id.map(|key| key.to_string()),
        bigint(new.content_bytes)?,
        bigint(new.payload_bytes)?,
        &new.payload_sha256[..],
        bigint(new.stored_bytes)?,
        &new.stored_sha256[..],
        new.manifest,
        new.origin.reason.as_str(),
        schedule.map(|schedule| schedule.id.as_uuid()),
        schedule.map(|schedule| schedule.name.as_str()),
        new.holds.map(ArtifactId::as_uuid),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The backups that pass the filter, the newest first.
pub async fn list(db: &ControlDb, filter: &Filter) -> Result<Vec<ArtifactView>, CatalogError> {
    select(db, None, filter).await
}

/// One backup; also one that is lost.
pub async fn get(db: &ControlDb, id: ArtifactId) -> Result<Option<ArtifactView>, CatalogError> {
    let any = Filter {
        include_lost: true,
        ..Filter::default()
    };
    Ok(select(db, Some(id), &any).await?.pop())
}

/// The newest backup of a subject that has a stored copy.
pub async fn newest(
    db: &ControlDb,
    subject: &Subject,
) -> Result<Option<ArtifactView>, CatalogError> {
    let one = Filter {
        subject: Some(subject.clone()),
        limit: Some(1),
        ..Filter::default()
    };
    Ok(select(db, None, &one).await?.pop())
}

/// The backup that a person means: a full id, the end of one (four digits or more, if only one fits), `latest` or
/// `latest-database` for the newest database backup that is stored, `latest-source` for the newest source archive.
pub async fn resolve(db: &ControlDb, text: &str) -> Result<ArtifactId, CatalogError> {
    let kind = match text {
        "latest" | "latest-database" => Some(ArtifactKind::Database),
        "latest-source" => Some(ArtifactKind::Source),
        _ => None,
    };
    let missing = || CatalogError::NotFound(text.to_owned());
    if kind.is_some() {
        let one = Filter {
            kind,
            limit: Some(1),
            ..Filter::default()
        };
        return Ok(select(db, None, &one).await?.pop().ok_or_else(missing)?.id);
    }
    let digits = text.replace('-', "").to_ascii_lowercase();
    if digits.len() < SHORTEST_ID || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(missing());
    }
    let matches = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move { ending_in(conn, &digits).await })
    })
    .await?;
    match matches.as_slice() {
        [] => Err(missing()),
        [one] => Ok(*one),
        _ => Err(CatalogError::Ambiguous {
            text: text.to_owned(),
            matches,
        }),
    }
}

async fn ending_in(
    conn: &mut Connection<'_>,
    digits: &str,
) -> Result<Vec<ArtifactId>, CatalogError> {
    let ids = sqlx::query_scalar!(
        "select id
           from kanbu_backup.artifact
          where deletion_decided_at is null
            and right(replace(id::text, '-', ''), length($1)) = $1
          order by created_at desc
          limit 5",
        digits,
    )
    .fetch_all(conn)
    .await?;
    Ok(ids.into_iter().map(ArtifactId::from).collect())
}

/// Keeps a backup from being pruned, or lets it go again.
pub async fn pin(db: &ControlDb, id: ArtifactId) -> Result<(), CatalogError> {
    set_pinned(db, id, true).await
}

/// See [`pin`].
pub async fn unpin(db: &ControlDb, id: ArtifactId) -> Result<(), CatalogError> {
    set_pinned(db, id, false).await
}

async fn set_pinned(db: &ControlDb, id: ArtifactId, pinned: bool) -> Result<(), CatalogError> {
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            let set = sqlx::query!(
                "update kanbu_backup.artifact set pinned = $2 where id = $1 and deletion_decided_at is null",
                id.as_uuid(),
                pinned,
            )
            .execute(conn)
            .await?;
            match set.rows_affected() {
                0 => Err(CatalogError::NotFound(id.to_string())),
                _ => Ok(()),
            }
        })
    })
    .await
}

async fn select(
    db: &ControlDb,
    id: Option<ArtifactId>,
    filter: &Filter,
) -> Result<Vec<ArtifactView>, CatalogError> {
    let filter = filter.clone();
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move { select_on(conn, id, &filter).await })
    })
    .await
}

async fn select_on(
    conn: &mut Connection<'_>,
    id: Option<ArtifactId>,
    filter: &Filter,
) -> Result<Vec<ArtifactView>, CatalogError> {
    let rows = sqlx::query_as!(
        Row,
        r#"select a.id, a.kind, a.subject, a.folder, a.execution_id, a.job_id, a.label, a.pinned, a.created_at,
                  a.reason, a.schedule_id, a.schedule_name, a.content, a.compression, a.key_id, a.content_bytes, a.payload_bytes, a.payload_sha256,
                  a.stored_bytes, a.stored_sha256, a.manifest,
                  c.storage as "storage?", c.state as "state?", c.bytes as "copy_bytes?", c.error as "error?",
                  c.seen_at as "seen_at?", c.checked_at as "checked_at?", c.bad_since as "bad_since?",
                  coalesce(c.checked_at > clock_timestamp() - make_interval(days => $7), false) as "check_holds!",
                  p.ended_at as "proof_ended_at?", p.is_good as "proof_is_good?", p.holds as "proof_holds?",
                  p.seconds as "proof_seconds?"
             from (select *
                     from kanbu_backup.artifact b
                    where b.deletion_decided_at is null
                      and ($1::uuid is null or b.id = $1)
                      and ($2::text is null or b.kind = $2)
                      and ($3::text is null or b.subject = $3)
                      and ($4::timestamptz is null or b.created_at >= $4)
                      and ($5 or exists (select from kanbu_backup.artifact_copy s
                                          where s.artifact_id = b.id and s.state = 'stored'))
                    order by b.created_at desc, b.id desc
                    limit $6) a
             left join kanbu_backup.artifact_copy c on c.artifact_id = a.id
             left join lateral kanbu_backup.last_proof(a.id) p on true
            order by a.created_at desc, a.id desc, c.storage"#,
        id.map(ArtifactId::as_uuid),
        filter.kind.map(ArtifactKind::as_str),
        filter.subject.as_ref().map(ToString::to_string),
        filter.since,
        filter.include_lost,
        filter.limit.map(i64::from),
        CHECK_HOLDS_DAYS,
    )
    .fetch_all(conn)
    .await?;
    gather(rows)
}

pub(super) fn bigint(bytes: u64) -> Result<i64, CatalogError> {
    i64::try_from(bytes).map_err(|_| CatalogError::SizeOutOfRange(bytes))
}
