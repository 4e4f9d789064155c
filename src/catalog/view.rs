//! A backup as lists and readers see it: the row, its copies, and the proof that follows from them.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{
    ArtifactKind, CatalogError, Compression, Content, CopyState, Manifest, ManifestError, Proof,
    manifest::digest,
};
use crate::{
    crypto::KeyId,
    id::{ArtifactId, ExecutionId, JobId},
    job::Subject,
    storage::{Folder, StorageName},
};

/// How long a copy that was read in full counts as *checked*.
pub const CHECK_HOLDS_DAYS: i32 = 30;

/// One backup.
#[derive(Clone, Debug, Serialize)]
pub struct ArtifactView {
    pub id: ArtifactId,
    pub kind: ArtifactKind,
    pub subject: Subject,
    pub folder: Folder,
    pub execution: ExecutionId,
    pub job: JobId,
    pub label: Option<String>,
    pub pinned: bool,
    pub created_at: DateTime<Utc>,
    pub content: Content,
    pub compression: Compression,
    pub key_id: Option<KeyId>,
    pub content_bytes: u64,
    pub payload_bytes: u64,
    #[serde(with = "digest")]
    pub payload_sha256: [u8; 32],
    pub stored_bytes: u64,
    #[serde(with = "digest")]
    pub stored_sha256: [u8; 32],
    /// The manifest's exact text.
    #[serde(skip)]
    pub manifest: String,
    pub copies: Vec<CopyView>,
    /// Computed from the copies.
    pub proof: Proof,
}

/// That backup on one storage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CopyView {
    pub storage: StorageName,
    pub state: CopyState,
    pub error: Option<String>,
    pub seen_at: DateTime<Utc>,
    pub checked_at: Option<DateTime<Utc>>,
    /// The last full reading is not older than [`CHECK_HOLDS_DAYS`], by the database's clock.
    pub check_holds: bool,
}

impl ArtifactView {
    pub fn manifest(&self) -> Result<Manifest, ManifestError> {
        Manifest::parse_in(&self.folder, self.manifest.as_bytes())
    }

    /// Of the compressed, not yet encrypted bytes, as people compare it.
    pub fn sha256(&self) -> String {
        hex::encode(self.payload_sha256)
    }

    /// The copies worth reading.
    pub fn stored_copies(&self) -> impl Iterator<Item = &CopyView> {
        self.copies.iter().filter(|c| c.state == CopyState::Stored)
    }
}

/// The highest rung that the copies support. A copy that is missing, damaged or not made yet holds the backup at *stored*, however well
/// the others were checked: each rung includes those below it. *Proven* needs a test restore, of which copies know nothing.
pub fn proof(copies: &[CopyView]) -> Proof {
    let stored = copies.iter().filter(|c| c.state == CopyState::Stored);
    let all_stored = stored.clone().count() == copies.len();
    if stored.clone().next().is_none() {
        Proof::Lost
    } else if all_stored && stored.clone().all(|c| c.check_holds) {
        Proof::Checked
    } else if all_stored && copies.len() > 1 {
        Proof::Replicated
    } else {
        Proof::Stored
    }
}

/// A row of the artifact joined with one of its copies, as the database gives it.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) id: uuid::Uuid,
    pub(super) kind: String,
    pub(super) subject: String,
    pub(super) folder: String,
    pub(super) execution_id: uuid::Uuid,
    pub(super) job_id: uuid::Uuid,
    pub(super) label: Option<String>,
    pub(super) pinned: bool,
    pub(super) created_at: DateTime<Utc>,
    pub(super) content: String,
    pub(super) compression: String,
    pub(super) key_id: Option<String>,
    pub(super) content_bytes: i64,
    pub(super) payload_bytes: i64,
    pub(super) payload_sha256: Vec<u8>,
    pub(super) stored_bytes: i64,
    pub(super) stored_sha256: Vec<u8>,
    pub(super) manifest: String,
    pub(super) storage: Option<String>,
    pub(super) state: Option<String>,
    pub(super) error: Option<String>,
    pub(super) seen_at: Option<DateTime<Utc>>,
    pub(super) checked_at: Option<DateTime<Utc>>,
    pub(super) check_holds: bool,
}

/// Rows that come artifact by artifact, each with all its copies.
pub(super) fn gather(rows: Vec<Row>) -> Result<Vec<ArtifactView>, CatalogError> {
    let mut views: Vec<ArtifactView> = Vec::new();
    for mut row in rows {
        let copy = row.take_copy()?;
        if views.last().is_none_or(|view| view.id != row.id.into()) {
            views.push(row.into_view()?);
        }
        if let (Some(view), Some(copy)) = (views.last_mut(), copy) {
            view.copies.push(copy);
        }
    }
    for view in &mut views {
        view.proof = proof(&view.copies);
    }
    Ok(views)
}

impl Row {
    fn take_copy(&mut self) -> Result<Option<CopyView>, CatalogError> {
        let (Some(storage), Some(state), Some(seen_at)) =
            (self.storage.take(), self.state.take(), self.seen_at.take())
        else {
            return Ok(None);
        };
        let artifact = self.id;
        Ok(Some(CopyView {
            storage: word(artifact, "storage", &storage, |w| w.parse().ok())?,
            state: word(artifact, "state", &state, CopyState::from_word)?,
            error: self.error.take(),
            seen_at,
            checked_at: self.checked_at.take(),
            check_holds: self.check_holds,
        }))
    }

    fn into_view(self) -> Result<ArtifactView, CatalogError> {
        let id = self.id;
        let bytes = |column, size: i64| word(id, column, &size.to_string(), |w| w.parse().ok());
        let sha256 = |column, digest: Vec<u8>| {
            word(id, column, &hex::encode(&digest), |_| {
                digest.as_slice().try_into().ok()
            })
        };
        let key_id = self
            .key_id
            .map(|key| word(id, "key_id", &key, |w| w.parse().ok()));
        Ok(ArtifactView {
            id: id.into(),
            kind: word(id, "kind", &self.kind, ArtifactKind::from_word)?,
            subject: word(id, "subject", &self.subject, |w| w.parse().ok())?,
            folder: word(id, "folder", &self.folder, |w| w.parse().ok())?,
            execution: self.execution_id.into(),
            job: self.job_id.into(),
            label: self.label,
            pinned: self.pinned,
            created_at: self.created_at,
            content: word(id, "content", &self.content, Content::from_word)?,
            compression: word(id, "compression", &self.compression, Compression::from_word)?,
            key_id: key_id.transpose()?,
            content_bytes: bytes("content_bytes", self.content_bytes)?,
            payload_bytes: bytes("payload_bytes", self.payload_bytes)?,
            payload_sha256: sha256("payload_sha256", self.payload_sha256)?,
            stored_bytes: bytes("stored_bytes", self.stored_bytes)?,
            stored_sha256: sha256("stored_sha256", self.stored_sha256)?,
            manifest: self.manifest,
            copies: Vec::new(),
            proof: Proof::Lost,
        })
    }
}

/// The meaning of a column's text, or an error that names the row and the column.
pub(super) fn word<T>(
    artifact: uuid::Uuid,
    column: &'static str,
    value: &str,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<T, CatalogError> {
    read(value).ok_or_else(|| CatalogError::Undecodable {
        artifact: artifact.into(),
        column,
        value: value.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(state: CopyState, check_holds: bool) -> CopyView {
        CopyView {
            storage: "local".parse().unwrap(),
            state,
            error: None,
            seen_at: DateTime::UNIX_EPOCH,
            checked_at: None,
            check_holds,
        }
    }

    #[test]
    fn a_rung_of_proof_includes_those_below_it() {
        let (fresh, old) = (
            copy(CopyState::Stored, true),
            copy(CopyState::Stored, false),
        );
        let (missing, damaged) = (
            copy(CopyState::Missing, true),
            copy(CopyState::Damaged, true),
        );
        let pending = copy(CopyState::Pending, false);
        for (copies, expected) in [
            (vec![], Proof::Lost),
            (vec![missing.clone(), damaged.clone()], Proof::Lost),
            (vec![old.clone()], Proof::Stored),
            (vec![fresh.clone(), missing], Proof::Stored),
            (vec![fresh.clone(), damaged], Proof::Stored),
            (vec![fresh.clone(), pending], Proof::Stored),
            (vec![old.clone(), old.clone()], Proof::Replicated),
            (vec![fresh.clone(), old], Proof::Replicated),
            (vec![fresh.clone()], Proof::Checked),
            (vec![fresh.clone(), fresh], Proof::Checked),
        ] {
            assert_eq!(proof(&copies), expected, "{copies:?}");
        }
    }
}
