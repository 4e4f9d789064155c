//! Replacements of a live database: what is intended, how far it came, and until when the database that gave way stays.
//!
//! A row is written before the live database is touched. It never says which database is live (its oid on the server does),
//! only what is to be made of that. Every step names the state that it leaves, so that of two who settle one row one wins.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::{CatalogError, NewArtifact, NewCopy, store};
use crate::{
    control::{ControlDb, STATEMENT_TIMEOUT, within},
    id::{ArtifactId, ExecutionId, JobId},
};

/// How far a replacement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplacementState {
    /// The names are being exchanged, or were when somebody died.
    Replacing,
    /// The new database is live, the old one is kept.
    Replaced,
    /// It did not come to that: the old one is live.
    Reverted,
    /// The names are being exchanged back.
    Undoing,
    /// The old database is live again, the new one is kept.
    Undone,
    /// The one that was kept is gone.
    Dropped,
}

impl ReplacementState {
    const ALL: [Self; 6] = [
        Self::Replacing,
        Self::Replaced,
        Self::Reverted,
        Self::Undoing,
        Self::Undone,
        Self::Dropped,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replacing => "replacing",
            Self::Replaced => "replaced",
            Self::Reverted => "reverted",
            Self::Undoing => "undoing",
            Self::Undone => "undone",
            Self::Dropped => "dropped",
        }
    }
}

impl fmt::Display for ReplacementState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One replacement of a live database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Replacement {
    /// The restore.
    pub execution: ExecutionId,
    pub job: JobId,
    pub artifact: ArtifactId,
    /// The rollback that was tried last.
    pub rollback: Option<ExecutionId>,
    /// Of the protected server, where it tells.
    pub system_identifier: Option<String>,
    /// The live name.
    pub database: String,
    pub old_oid: u32,
    pub new_oid: u32,
    /// What the new one is called before it is live.
    pub load_name: String,
    /// What the old one is called once it isn't.
    pub old_name: String,
    /// What the new one is called after a rollback.
    pub undone_name: String,
    pub state: ReplacementState,
    pub keep_days: u16,
    pub keep_until: Option<DateTime<Utc>>,
    pub safety_backup: Option<ArtifactId>,
    /// Why there is none.
    pub no_safety_backup: Option<String>,
}

/// Which replacements are asked for.
#[derive(Clone, Copy, Debug)]
pub enum Replacements<'a> {
    /// Under way, and nobody is at it any more.
    Abandoned,
    /// What they kept may go.
    Expired,
    /// Those whose restore or job has an id with this end.
    Of(&'a str),
}

/// Writes down what is intended. Refused while another exchange of this name is under way.
pub async fn intend(db: &ControlDb, new: &Replacement) -> Result<(), CatalogError> {
    let query = sqlx::query!(
        "insert into kanbu_backup.replacement
            (execution_id, job_id, artifact_id, system_identifier, database, old_oid, new_oid, load_name, old_name,
             undone_name, state, keep_days, safety_backup, no_safety_backup)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'replacing', $11, $12, $13)",
        new.execution.as_uuid(),
        new.job.as_uuid(),
        new.artifact.as_uuid(),
        new.system_identifier,
        new.database,
        i64::from(new.old_oid),
        i64::from(new.new_oid),
        new.load_name,
        new.old_name,
        new.undone_name,
        i16::try_from(new.keep_days).unwrap_or(i16::MAX),
        new.safety_backup.map(ArtifactId::as_uuid),
        new.no_safety_backup,
    );
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            query.execute(conn).await?;
            Ok(())
        })
    })
    .await
}

/// Goes from one state to the next. False if it isn't in that state any more. What was kept until now is kept anew when
/// another database gives way.
pub async fn advance(
    db: &ControlDb,
    replacement: ExecutionId,
    (from, to): (ReplacementState, ReplacementState),
    rollback: Option<ExecutionId>,
) -> Result<bool, CatalogError> {
    let query = sqlx::query!(
        "update kanbu_backup.replacement
            set state = $3, changed_at = clock_timestamp(), rollback_id = coalesce($4, rollback_id),
                keep_until = case when ($2, $3) in (('replacing', 'replaced'), ('undoing', 'undone'))
                                  then clock_timestamp() + keep_days * interval '1 day' else keep_until end
          where execution_id = $1 and state = $2",
        replacement.as_uuid(),
        from.as_str(),
        to.as_str(),
        rollback.map(ExecutionId::as_uuid),
    );
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move { Ok(query.execute(conn).await?.rows_affected() > 0) })
    })
    .await
}

/// The replacements that are asked for, the oldest first.
pub async fn replacements(
    db: &ControlDb,
    which: Replacements<'_>,
) -> Result<Vec<Replacement>, CatalogError> {
    let (word, end) = match which {
        Replacements::Abandoned => ("abandoned", String::new()),
        Replacements::Expired => ("expired", String::new()),
        Replacements::Of(id) => ("of", id.replace('-', "").to_ascii_lowercase()),
    };
    let query = sqlx::query_as!(
        Row,
        "select execution_id, job_id, artifact_id, rollback_id, system_identifier, database, old_oid, new_oid, load_name,
                old_name, undone_name, state, keep_days, keep_until, safety_backup, no_safety_backup
           from kanbu_backup.replacement r
          where case $1::text
                when 'abandoned' then r.state in ('replacing', 'undoing') and not exists (
                     select from kanbu_backup.execution e
                      where e.id = case r.state when 'undoing' then r.rollback_id else r.execution_id end
                        and e.ended_at is null and e.lease_until > now())
                when 'expired' then r.state in ('replaced', 'undone') and r.keep_until < now()
                else right(replace(r.execution_id::text, '-', ''), length($2)) = $2
                  or right(replace(r.job_id::text, '-', ''), length($2)) = $2 end
          order by r.created_at",
        word,
        end,
    );
    let rows = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move { Ok::<_, CatalogError>(query.fetch_all(conn).await?) })
    })
    .await?;
    rows.into_iter().map(Row::decode).collect()
}

/// Enters a backup that was made within another work. It counts from now on, whatever becomes of that.
pub async fn enter(
    db: &ControlDb,
    artifact: NewArtifact,
    copies: Vec<NewCopy>,
) -> Result<(), CatalogError> {
    within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move { store::insert(conn, &artifact, &copies).await })
    })
    .await
}

struct Row {
    execution_id: Uuid,
    job_id: Uuid,
    artifact_id: Uuid,
    rollback_id: Option<Uuid>,
    system_identifier: Option<String>,
    database: String,
    old_oid: i64,
    new_oid: i64,
    load_name: String,
    old_name: String,
    undone_name: String,
    state: String,
    keep_days: i16,
    keep_until: Option<DateTime<Utc>>,
    safety_backup: Option<Uuid>,
    no_safety_backup: Option<String>,
}

impl Row {
    fn decode(self) -> Result<Replacement, CatalogError> {
        let state = ReplacementState::ALL
            .into_iter()
            .find(|state| state.as_str() == self.state)
            .ok_or_else(|| CatalogError::Undecodable {
                artifact: self.artifact_id.into(),
                column: "replacement.state",
                value: self.state.clone(),
            })?;
        Ok(Replacement {
            execution: self.execution_id.into(),
            job: self.job_id.into(),
            artifact: self.artifact_id.into(),
            rollback: self.rollback_id.map(ExecutionId::from),
            system_identifier: self.system_identifier,
            database: self.database,
            old_oid: u32::try_from(self.old_oid).unwrap_or_default(),
            new_oid: u32::try_from(self.new_oid).unwrap_or_default(),
            load_name: self.load_name,
            old_name: self.old_name,
            undone_name: self.undone_name,
            state,
            keep_days: u16::try_from(self.keep_days).unwrap_or_default(),
            keep_until: self.keep_until,
            safety_backup: self.safety_backup.map(ArtifactId::from),
            no_safety_backup: self.no_safety_backup,
        })
    }
}
