//! What one backup will do, as a value: shown by `--dry-run`, logged, and compared in tests.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{BackupError, Deps};
use crate::{
    catalog::{ArtifactKind, Compression, Content, EnvelopeFormat, object_name},
    execution::Lease,
    job::{Backup, Scope, Subject},
    storage::{Folder, ObjectKey, StorageName},
};

/// How backups are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Custom-format dump or tar, zstd, envelope v2.
    #[default]
    Native,
    /// Plain SQL or tar, gzip, envelope v1: what an un-migrated Kanbu reads.
    Kanbu,
}

/// Everything decided before anything is touched.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    pub subject: Subject,
    pub kind: ArtifactKind,
    pub created_at: DateTime<Utc>,
    pub folder: Folder,
    pub content: Content,
    pub compression: Compression,
    pub envelope: EnvelopeFormat,
    pub storages: Vec<StorageName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    pub pin: bool,
    /// Made before a live database gives way.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub safety: bool,
}

/// Decides what `request` means with these settings, under the execution of `lease`.
pub fn plan(request: &Backup, deps: &Deps, lease: &Arc<Lease>) -> Result<Plan, BackupError> {
    let kind = match request.subject.scope() {
        Scope::Database => ArtifactKind::Database,
        Scope::Source => ArtifactKind::Source,
        Scope::Cluster | Scope::Directory => {
            return Err(BackupError::NotASource(request.subject.clone()));
        }
    };
    if deps.storages.is_empty() {
        return Err(BackupError::NoStorage);
    }
    deps.sources.require(&request.subject)?;
    let (content, compression) = form(kind, deps.format);
    let environment = deps.environment.clone();
    let (created_at, execution) = (deps.clock.now(), lease.execution());
    let folder = match kind {
        ArtifactKind::Database => Folder::of_database(environment, created_at, execution),
        ArtifactKind::Source => Folder::of_source(environment, created_at, execution),
    };
    Ok(Plan {
        subject: request.subject.clone(),
        kind,
        created_at,
        folder,
        content,
        compression,
        envelope: envelope(deps),
        storages: deps
            .storages
            .iter()
            .map(|storage| storage.name().clone())
            .collect(),
        label: request.label.clone(),
        pin: request.pin,
        safety: false,
    })
}

fn form(kind: ArtifactKind, format: Format) -> (Content, Compression) {
    match (kind, format) {
        (ArtifactKind::Database, Format::Native) => (Content::PgDumpCustom, Compression::Zstd),
        (ArtifactKind::Database, Format::Kanbu) => (Content::Sql, Compression::Gzip),
        (ArtifactKind::Source, Format::Native) => (Content::Tar, Compression::Zstd),
        (ArtifactKind::Source, Format::Kanbu) => (Content::Tar, Compression::Gzip),
    }
}

fn envelope(deps: &Deps) -> EnvelopeFormat {
    match (deps.keyring.has_active(), deps.format) {
        (false, _) => EnvelopeFormat::None,
        (true, Format::Native) => EnvelopeFormat::Kbk2,
        (true, Format::Kanbu) => EnvelopeFormat::KanbuV1,
    }
}

impl Plan {
    /// The same, made before a live database gives way.
    #[must_use]
    pub fn for_safety(self) -> Self {
        Self {
            safety: true,
            ..self
        }
    }

    /// Where the bytes go, on every storage.
    pub(super) fn data_key(&self) -> ObjectKey {
        let name = object_name(self.content, self.compression, self.envelope);
        ObjectKey::Data {
            folder: self.folder.clone(),
            name,
        }
    }

    pub(super) fn manifest_key(&self) -> ObjectKey {
        ObjectKey::Manifest {
            folder: self.folder.clone(),
        }
    }
}
