//! A backup as lists and readers see it: the row, its copies, and the proof that follows from them.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{
    ArtifactKind, BackupOrigin, CatalogError, Compression, Content, CopyState, Manifest,
    ManifestError, Proof, Reason, ScheduleName, manifest::digest,
};
use crate::{
    crypto::KeyId,
    id::{ArtifactId, ExecutionId, JobId},
    job::Subject,
    retention::Condition,
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
    pub origin: BackupOrigin,
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
    /// The last one.
    pub test_restore: Option<TestRestore>,
    /// Computed from the copies and the last test restore.
    pub proof: Proof,
}

/// What the last test restore says of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TestRestore {
    pub ended_at: DateTime<Utc>,
    pub is_good: bool,
    /// It was good, and is not too old, by the database's clock.
    pub holds: bool,
    /// From the first byte read to the last comparison: the measured recovery time.
    pub seconds: f64,
}

/// That backup on one storage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CopyView {
    pub storage: StorageName,
    pub state: CopyState,
    /// Of the data object, as last seen there.
    pub bytes: Option<u64>,
    pub error: Option<String>,
    pub seen_at: DateTime<Utc>,
    pub checked_at: Option<DateTime<Utc>>,
    /// Since when it has been missing or damaged.
    pub bad_since: Option<DateTime<Utc>>,
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

    /// What hangs over it, as far as was last seen.
    pub fn risk(&self) -> Option<Risk> {
        risk(self.copies.iter().map(|copy| (&copy.storage, copy.state)))
    }

    /// `missing on one, damaged on two`: what is wrong with its copies, if anything is.
    pub fn ailments(&self) -> String {
        let bad = self.copies.iter().filter(|copy| copy.state.is_bad());
        let told: Vec<_> = bad
            .map(|copy| format!("{} on {}", copy.state, copy.storage))
            .collect();
        told.join(", ")
    }

    /// The copies worth reading.
    pub fn stored_copies(&self) -> impl Iterator<Item = &CopyView> {
        self.copies.iter().filter(|c| c.state == CopyState::Stored)
    }
}

/// The highest rung that the copies and the last test restore support. A copy that is missing, damaged or not made yet holds
/// the backup at *stored*, however well the others were checked or restored: each rung includes those below it. A test
/// restore that failed is no rung, and outdoes them all until a later one is good.
pub fn proof(copies: &[CopyView], last: Option<&TestRestore>) -> Proof {
    let stored = copies.iter().filter(|c| c.state == CopyState::Stored);
    let all_stored = stored.clone().count() == copies.len();
    if stored.clone().next().is_none() {
        Proof::Lost
    } else if last.is_some_and(|last| !last.is_good) {
        Proof::Failed
    } else if all_stored && last.is_some_and(|last| last.holds) {
        Proof::Proven
    } else if all_stored && stored.clone().all(|c| c.check_holds) {
        Proof::Checked
    } else if all_stored && copies.len() > 1 {
        Proof::Replicated
    } else {
        Proof::Stored
    }
}

/// The same ladder, as far as retention climbs it. `whole`: no copy is other than stored.
pub(super) fn condition(
    stored: bool,
    whole: bool,
    is_good: Option<bool>,
    holds: Option<bool>,
) -> Condition {
    if !stored || is_good == Some(false) {
        Condition::Bad
    } else if whole && holds == Some(true) {
        Condition::Proven
    } else {
        Condition::Good
    }
}

/// Why a backup wants somebody's attention.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "risk", rename_all = "snake_case")]
pub enum Risk {
    /// No good copy is left.
    Lost,
    /// Others are missing or damaged, and this is the last good one.
    LastCopy { storage: StorageName },
}

/// What hangs over a backup whose copies stand like this.
pub fn risk<'a>(copies: impl Iterator<Item = (&'a StorageName, CopyState)>) -> Option<Risk> {
    let mut good = Vec::new();
    let mut any_bad = false;
    for (storage, state) in copies {
        match state {
            CopyState::Stored => good.push(storage),
            CopyState::Missing | CopyState::Damaged => any_bad = true,
            CopyState::Pending | CopyState::Deleting | CopyState::Deleted => {}
        }
    }
    match good.as_slice() {
        [] => Some(Risk::Lost),
        [last] if any_bad => Some(Risk::LastCopy {
            storage: (*last).clone(),
        }),
        _ => None,
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
    pub(super) reason: String,
    pub(super) schedule_id: Option<uuid::Uuid>,
    pub(super) schedule_name: Option<String>,
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
    pub(super) copy_bytes: Option<i64>,
    pub(super) error: Option<String>,
    pub(super) seen_at: Option<DateTime<Utc>>,
    pub(super) checked_at: Option<DateTime<Utc>>,
    pub(super) bad_since: Option<DateTime<Utc>>,
    pub(super) check_holds: bool,
    pub(super) proof_ended_at: Option<DateTime<Utc>>,
    pub(super) proof_is_good: Option<bool>,
    pub(super) proof_holds: Option<bool>,
    pub(super) proof_seconds: Option<f64>,
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
        view.proof = proof(&view.copies, view.test_restore.as_ref());
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
            bytes: self.copy_bytes.map(i64::cast_unsigned),
            error: self.error.take(),
            seen_at,
            checked_at: self.checked_at.take(),
            bad_since: self.bad_since.take(),
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
            test_restore: test_restore(
                self.proof_ended_at,
                self.proof_is_good,
                self.proof_holds,
                self.proof_seconds,
            ),
            id: id.into(),
            kind: word(id, "kind", &self.kind, ArtifactKind::from_word)?,
            subject: word(id, "subject", &self.subject, |w| w.parse().ok())?,
            folder: word(id, "folder", &self.folder, |w| w.parse().ok())?,
            execution: self.execution_id.into(),
            job: self.job_id.into(),
            label: self.label,
            pinned: self.pinned,
            created_at: self.created_at,
            origin: BackupOrigin {
                reason: word(id, "reason", &self.reason, Reason::from_word)?,
                schedule: schedule(self.schedule_id, self.schedule_name),
            },
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

/// The columns of the schedule, if there was one.
pub(super) fn schedule(id: Option<uuid::Uuid>, name: Option<String>) -> Option<ScheduleName> {
    let (id, name) = (id?.into(), name?);
    Some(ScheduleName { id, name })
}

/// The columns of the last test restore, if there was one.
pub(super) fn test_restore(
    ended_at: Option<DateTime<Utc>>,
    is_good: Option<bool>,
    holds: Option<bool>,
    seconds: Option<f64>,
) -> Option<TestRestore> {
    Some(TestRestore {
        ended_at: ended_at?,
        is_good: is_good?,
        holds: holds?,
        seconds: seconds?,
    })
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
            bytes: None,
            error: None,
            seen_at: DateTime::UNIX_EPOCH,
            checked_at: None,
            bad_since: None,
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
            assert_eq!(proof(&copies, None), expected, "{copies:?}");
        }
    }

    #[test]
    fn a_test_restore_proves_what_is_whole_and_fails_whatever_is_there() {
        let last = |is_good, holds| TestRestore {
            ended_at: DateTime::UNIX_EPOCH,
            is_good,
            holds,
            seconds: 1.0,
        };
        let good = copy(CopyState::Stored, true);
        let missing = copy(CopyState::Missing, false);
        for (copies, last, expected) in [
            (vec![good.clone()], last(true, true), Proof::Proven),
            (vec![good.clone()], last(true, false), Proof::Checked),
            (vec![good.clone()], last(false, false), Proof::Failed),
            (
                vec![good.clone(), missing.clone()],
                last(true, true),
                Proof::Stored,
            ),
            (
                vec![good, missing.clone()],
                last(false, false),
                Proof::Failed,
            ),
            (vec![missing], last(true, true), Proof::Lost),
        ] {
            let found = proof(&copies, Some(&last));
            assert_eq!(found, expected, "{copies:?} {last:?}");
        }
    }

    #[test]
    fn a_backup_is_at_risk_with_its_last_good_copy_and_not_with_its_only_one() {
        use CopyState::{Damaged, Deleted, Missing, Pending, Stored};
        let names: [StorageName; 3] = ["one", "two", "three"].map(|name| name.parse().unwrap());
        let last = |name: &StorageName| Risk::LastCopy {
            storage: name.clone(),
        };
        for (states, expected) in [
            (vec![], Some(Risk::Lost)),
            (vec![Damaged], Some(Risk::Lost)),
            (vec![Missing, Damaged, Pending], Some(Risk::Lost)),
            (vec![Stored], None),
            (vec![Stored, Pending], None),
            (vec![Stored, Deleted], None),
            (vec![Stored, Stored, Damaged], None),
            (vec![Missing, Stored], Some(last(&names[1]))),
            (vec![Stored, Damaged, Missing], Some(last(&names[0]))),
        ] {
            let copies = names.iter().zip(states.iter().copied());
            assert_eq!(risk(copies), expected, "{states:?}");
        }
    }
}
