//! Test restores as rows, and how every backup stands on the ladder of proof.
//!
//! A row is entered in the transaction that ends its execution, good or bad, and never changed. How long a good one counts
//! stands in it. Neighbours: `view` computes the rung of one backup, `copies` has the rows that the lower rungs rest on.

use std::{collections::BTreeMap, fmt, time::Duration};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{
    CHECK_HOLDS_DAYS, CatalogError, CopyState, CopyView, Proof,
    artifact::words,
    proof as rung_of,
    store::bigint,
    view::{test_restore, word},
};
use crate::{
    control::{Connection, ControlDb, STATEMENT_TIMEOUT, within},
    fault::Failure,
    id::{ArtifactId, ExecutionId},
    job::Subject,
    storage::StorageName,
};

/// Where a backup was restored to in a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProofPlace {
    /// A private server that was started for it.
    Scratch,
    /// A database of its own on the protected server.
    Server,
    /// A directory, for a source archive.
    Directory,
}

words!(ProofPlace { Scratch => "scratch", Server => "server", Directory => "directory" });

/// Whether something that was found different spoils a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProofWeight {
    Tolerable,
    Real,
}

/// Something that a test restore found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofNote {
    pub weight: ProofWeight,
    pub code: String,
    /// One sentence that names the object.
    pub text: String,
}

/// A test restore that is about to enter the catalog.
#[derive(Clone, Debug)]
pub struct NewProof {
    pub artifact: ArtifactId,
    pub execution: ExecutionId,
    /// Whose copy was read, where that is known.
    pub storage: Option<StorageName>,
    pub place: ProofPlace,
    /// From the first byte read to the last comparison.
    pub took: Duration,
    pub tables: Option<u64>,
    pub rows: Option<u64>,
    pub files: Option<u64>,
    pub notes: Vec<ProofNote>,
    /// For how long it counts, or why it failed.
    pub verdict: Result<Duration, Failure>,
}

/// A test restore as people see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProofView {
    pub execution: ExecutionId,
    pub storage: Option<StorageName>,
    pub place: ProofPlace,
    pub ended_at: DateTime<Utc>,
    /// `None`: it failed.
    pub holds_until: Option<DateTime<Utc>>,
    pub seconds: f64,
    pub tables: Option<u64>,
    pub rows: Option<u64>,
    pub files: Option<u64>,
    pub notes: Vec<ProofNote>,
    pub error_code: Option<String>,
    pub error: Option<String>,
}

/// Enters a test restore. One of a backup that this catalog doesn't know is passed over.
pub async fn insert_proof(conn: &mut Connection<'_>, new: &NewProof) -> Result<(), CatalogError> {
    let count = |count: Option<u64>| count.map(bigint).transpose();
    let failure = new.verdict.as_ref().err();
    let holds_seconds = new.verdict.as_ref().ok().map(Duration::as_secs_f64);
    let notes = serde_json::to_value(&new.notes).unwrap_or_default();
    sqlx::query!(
        r#"insert into kanbu_backup.proof
              (execution_id, artifact_id, storage, place, holds_until, seconds, tables, "rows", files, notes,
               error_code, error)
           select $1, a.id, $3, $4, clock_timestamp() + make_interval(secs => $5), $6, $7, $8, $9, $10, $11, $12
             from kanbu_backup.artifact a where a.id = $2
           on conflict (execution_id) do nothing"#,
        new.execution.as_uuid(),
        new.artifact.as_uuid(),
        new.storage.as_ref().map(StorageName::as_str),
        new.place.as_str(),
        holds_seconds,
        new.took.as_secs_f64(),
        count(new.tables)?,
        count(new.rows)?,
        count(new.files)?,
        notes,
        failure.map(|failure| failure.code.as_ref()),
        failure.map(|failure| failure.message.as_str()),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The test restores of a backup, the newest first.
pub async fn proofs(
    db: &ControlDb,
    artifact: ArtifactId,
    limit: u32,
) -> Result<Vec<ProofView>, CatalogError> {
    let rows = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            let rows = sqlx::query!(
                r#"select execution_id, storage, place, ended_at, holds_until, seconds, tables, "rows", files, notes,
                          error_code, error
                     from kanbu_backup.proof where artifact_id = $1
                    order by ended_at desc, execution_id desc limit $2"#,
                artifact.as_uuid(),
                i64::from(limit),
            );
            Ok::<_, CatalogError>(rows.fetch_all(conn).await?)
        })
    })
    .await?;
    let id = artifact.as_uuid();
    let views = rows.into_iter().map(|row| {
        let storage = row
            .storage
            .map(|storage| word(id, "storage", &storage, |w| w.parse().ok()));
        Ok(ProofView {
            execution: row.execution_id.into(),
            storage: storage.transpose()?,
            place: word(id, "place", &row.place, ProofPlace::from_word)?,
            ended_at: row.ended_at,
            holds_until: row.holds_until,
            seconds: row.seconds,
            tables: row.tables.map(i64::cast_unsigned),
            rows: row.rows.map(i64::cast_unsigned),
            files: row.files.map(i64::cast_unsigned),
            notes: word(id, "notes", &row.notes.to_string(), |text| {
                serde_json::from_str(text).ok()
            })?,
            error_code: row.error_code,
            error: row.error,
        })
    });
    views.collect()
}

/// What verifications have said of a backup so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verification {
    /// Read in full or restored, and nothing is wrong with it.
    Verified,
    /// A copy is missing or damaged, or the last test restore failed.
    Failed,
    /// Nobody has ever read it in full, and nothing speaks against it.
    Pending,
}

/// One backup's place on the ladder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rung {
    pub artifact: ArtifactId,
    pub subject: Subject,
    pub proof: Proof,
    pub verification: Verification,
    /// When a copy was last read in full and found right, or the last good test restore ended.
    pub verified_at: Option<DateTime<Utc>>,
}

/// Every backup that exists, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ladder(pub Vec<Rung>);

/// How many backups stand where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Statistics {
    pub total: u64,
    pub verified: u64,
    pub failed: u64,
    pub pending: u64,
    pub by_proof: BTreeMap<Proof, u64>,
    pub last_verified_at: Option<DateTime<Utc>>,
}

impl Ladder {
    /// The backups that nobody has ever looked at in full, the newest first.
    pub fn pending(&self) -> impl Iterator<Item = &Rung> {
        self.0
            .iter()
            .filter(|rung| rung.verification == Verification::Pending)
    }

    pub fn statistics(&self) -> Statistics {
        let count = |wanted| {
            let of = |rung: &&Rung| rung.verification == wanted;
            self.0.iter().filter(of).count() as u64
        };
        let mut by_proof: BTreeMap<Proof, u64> =
            Proof::ALL.iter().map(|proof| (*proof, 0)).collect();
        for rung in &self.0 {
            *by_proof.entry(rung.proof).or_default() += 1;
        }
        Statistics {
            total: self.0.len() as u64,
            verified: count(Verification::Verified),
            failed: count(Verification::Failed),
            pending: count(Verification::Pending),
            by_proof,
            last_verified_at: self.0.iter().filter_map(|rung| rung.verified_at).max(),
        }
    }
}

/// Where every backup stands; also the lost ones, and none whose deletion was decided.
pub async fn ladder(db: &ControlDb) -> Result<Ladder, CatalogError> {
    let rows = within(db.pool(), STATEMENT_TIMEOUT, |conn| {
        Box::pin(async move {
            let rows = sqlx::query_as!(
                Row,
                r#"select a.id, a.subject, c.storage as "storage?", c.state as "state?", c.seen_at as "seen_at?",
                          c.checked_at as "checked_at?",
                          coalesce(c.checked_at > clock_timestamp() - make_interval(days => $1), false) as "check_holds!",
                          p.ended_at as "proof_ended_at?", p.is_good as "proof_is_good?", p.holds as "proof_holds?",
                          p.seconds as "proof_seconds?"
                     from kanbu_backup.artifact a
                     left join kanbu_backup.artifact_copy c on c.artifact_id = a.id
                     left join lateral kanbu_backup.last_proof(a.id) p on true
                    where a.deletion_decided_at is null
                    order by a.created_at desc, a.id desc, c.storage"#,
                CHECK_HOLDS_DAYS,
            );
            Ok::<_, CatalogError>(rows.fetch_all(conn).await?)
        })
    })
    .await?;
    let rungs = rows
        .chunk_by(|one, other| one.id == other.id)
        .filter_map(|rows| Some(rung(rows.first()?, rows)));
    Ok(Ladder(rungs.collect::<Result<_, _>>()?))
}

struct Row {
    id: uuid::Uuid,
    subject: String,
    storage: Option<String>,
    state: Option<String>,
    seen_at: Option<DateTime<Utc>>,
    checked_at: Option<DateTime<Utc>>,
    check_holds: bool,
    proof_ended_at: Option<DateTime<Utc>>,
    proof_is_good: Option<bool>,
    proof_holds: Option<bool>,
    proof_seconds: Option<f64>,
}

/// What follows from the rows of one backup.
fn rung(first: &Row, rows: &[Row]) -> Result<Rung, CatalogError> {
    let copies = rows.iter().filter_map(|row| copy(row).transpose());
    let copies: Vec<CopyView> = copies.collect::<Result<_, _>>()?;
    let last = test_restore(
        first.proof_ended_at,
        first.proof_is_good,
        first.proof_holds,
        first.proof_seconds,
    );
    let proof = rung_of(&copies, last.as_ref());
    let checked_at = copies.iter().filter_map(|copy| copy.checked_at).max();
    let proven_at = last.filter(|last| last.is_good).map(|last| last.ended_at);
    let verified_at = checked_at.max(proven_at);
    let is_bad = copies.iter().any(|copy| copy.state.is_bad());
    let verification = match (proof, verified_at) {
        (Proof::Lost | Proof::Failed, _) => Verification::Failed,
        _ if is_bad => Verification::Failed,
        (_, Some(_)) => Verification::Verified,
        (_, None) => Verification::Pending,
    };
    Ok(Rung {
        artifact: first.id.into(),
        subject: word(first.id, "subject", &first.subject, |w| w.parse().ok())?,
        proof,
        verification,
        verified_at,
    })
}

fn copy(row: &Row) -> Result<Option<CopyView>, CatalogError> {
    let (Some(storage), Some(state), Some(seen_at)) = (&row.storage, &row.state, row.seen_at)
    else {
        return Ok(None);
    };
    Ok(Some(CopyView {
        storage: word(row.id, "storage", storage, |w| w.parse().ok())?,
        state: word(row.id, "state", state, CopyState::from_word)?,
        bytes: None,
        error: None,
        seen_at,
        checked_at: row.checked_at,
        bad_since: None,
        check_holds: row.check_holds,
    }))
}
