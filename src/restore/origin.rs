//! The bytes a restore reads, and what must be true of them.

use std::{collections::VecDeque, fs::File, io::Read as _, path::Path};

use serde::Deserialize as _;

use super::{RestoreError, Wanted};
use crate::{
    catalog::{self, Content, CopyCheck, CopyState, Manifest},
    control::ControlDb,
    crypto::{self, HEADER_BYTES},
    execution::Total,
    fault::Failure,
    id::ArtifactId,
    job::Subject,
    pg::{
        dump::major_of,
        facts::{Facts, Shape},
        inventory::Inventory,
        restore::TableName,
    },
    pipeline::{Expected, Input, Sealed},
    storage::Storage,
};

/// One copy of a backup, or a file that somebody brought.
#[derive(Clone, Debug)]
pub struct Origin {
    pub input: Input,
    /// Further copies, which are as good as anybody knows.
    pub others: VecDeque<Input>,
    /// The backup that this is a copy of, where the catalog tells.
    pub backup: Option<(ArtifactId, Subject)>,
    pub expected: Expected,
    pub content: Content,
    /// The server and database that were dumped, where the manifest tells.
    pub server: Option<Facts>,
    /// What the dump must hold, where the manifest tells.
    pub expectations: Option<Inventory>,
    /// Of the `pg_dump` that dumped it, where the manifest tells.
    pub client_major: Option<u32>,
    /// Of the dump, before compression, where the manifest tells.
    pub content_bytes: Option<u64>,
    pub wanted: Wanted,
}

impl Origin {
    /// A good copy of a listed backup: on `wanted` alone, or on the first storage that has one, the primary before all,
    /// with the others to fall back on.
    pub async fn of_artifact(
        id: ArtifactId,
        wanted: Option<&str>,
        storages: &[Storage],
        catalog: &ControlDb,
    ) -> Result<Self, Failure> {
        let artifact = catalog::get(catalog, id)
            .await?
            .ok_or(RestoreError::NotFound(id))?;
        let is_wanted =
            |storage: &&Storage| wanted.is_none_or(|wanted| storage.name().as_str() == wanted);
        let mut eligible = storages.iter().filter(is_wanted).peekable();
        if let (Some(wanted), None) = (wanted, eligible.peek()) {
            return Err(RestoreError::NotConfigured(wanted.to_owned()).into());
        }
        let has_it = |storage: &&Storage| {
            artifact
                .stored_copies()
                .any(|copy| copy.storage == *storage.name())
        };
        let storages: Vec<_> = eligible.filter(has_it).collect();
        let (first, others) = storages.split_first().ok_or_else(|| RestoreError::NoCopy {
            artifact: id,
            storage: wanted.map(str::to_owned),
        })?;
        let manifest = artifact.manifest()?;
        Ok(Self {
            others: others
                .iter()
                .map(|other| object(other, &manifest))
                .collect(),
            backup: Some((id, artifact.subject)),
            ..Self::on_storage(first, &manifest)
        })
    }

    /// A file that somebody brought. What is in it, its own header or its name must tell.
    pub fn of_file(path: &Path) -> Result<Self, RestoreError> {
        let content = content_of_header(path).or_else(|| content_of_name(path));
        Ok(Self {
            input: Input::file(path),
            others: VecDeque::new(),
            backup: None,
            expected: Expected::default(),
            content: content.ok_or_else(|| RestoreError::UnknownContent(path.to_owned()))?,
            server: None,
            expectations: None,
            client_major: None,
            content_bytes: None,
            wanted: Wanted::default(),
        })
    }

    /// A copy whose manifest is at hand.
    pub fn on_storage(storage: &Storage, manifest: &Manifest) -> Self {
        Self {
            input: object(storage, manifest),
            others: VecDeque::new(),
            backup: None,
            expected: manifest.expected(),
            content: manifest.content,
            server: Facts::deserialize(&manifest.source["server"]).ok(),
            expectations: Inventory::deserialize(&manifest.source["expectations"]).ok(),
            client_major: manifest.source["client_version"]
                .as_str()
                .and_then(major_of),
            content_bytes: Some(manifest.content_bytes),
            wanted: Wanted::default(),
        }
    }

    /// The same, of which only this is wanted.
    #[must_use]
    pub fn wanting(self, wanted: Wanted) -> Self {
        Self { wanted, ..self }
    }

    /// The newest PostgreSQL that had a hand in the dump.
    pub(super) fn newest_major(&self) -> Option<u32> {
        let server = self.server.as_ref().map(Facts::major);
        server.max(self.client_major)
    }

    /// How the database was made that was dumped.
    pub(super) fn shape(&self) -> Shape {
        let server = self.server.as_ref();
        server
            .map(|server| server.shape.clone())
            .unwrap_or_default()
    }

    /// The end of the progress bar.
    pub(super) fn total(&self) -> Option<Total> {
        self.expected.stored_bytes.map(Total::Known)
    }

    /// Goes on with the next copy, if there is one.
    pub(super) fn fall_back(&mut self) -> bool {
        let next = self.others.pop_front();
        let is_there = next.is_some();
        if let Some(next) = next {
            self.input = next;
        }
        is_there
    }

    /// The row of this copy, if the failure of a full reading speaks of it and not of the way there.
    pub(super) fn found_bad(&self, failure: &Failure) -> Option<CopyCheck> {
        let (artifact, _) = self.backup.as_ref()?;
        let Input::Object { storage, .. } = &self.input else {
            return None;
        };
        Some(CopyCheck {
            artifact: *artifact,
            storage: storage.name().clone(),
            state: CopyState::told_by(failure)?,
            bytes: None,
            error: Some(failure.to_string()),
            full: true,
        })
    }

    /// Whether one reading is enough: whatever is handed on of envelope v2 is authentic, chunk by chunk, and several
    /// sessions don't wait until they have all of it. Nothing else is loaded before all of it was found right.
    pub(super) fn is_checked_while_loaded(&self) -> bool {
        self.wanted.jobs.is_some() && self.expected.sealed == Sealed::V2
    }

    /// The sizes of the tables, as far as they are known.
    pub(super) fn sizes(&self) -> Vec<(TableName, u64)> {
        let tables = self.expectations.iter().flat_map(|known| &known.tables);
        let named = tables.map(|told| {
            let (schema, table) = (told.schema.clone(), told.table.clone());
            (TableName { schema, table }, told.bytes)
        });
        named.collect()
    }

    /// For people: where the bytes are.
    pub fn describe(&self) -> String {
        match &self.input {
            Input::Object { storage, key, .. } => format!("{}:{key}", storage.name()),
            Input::File { path, .. } => path.display().to_string(),
        }
    }
}

fn object(storage: &Storage, manifest: &Manifest) -> Input {
    Input::Object {
        storage: storage.clone(),
        key: manifest.data_key(),
        sidecar: manifest.sidecar_key(),
    }
}

/// What an encrypted file says of itself. It isn't authenticated yet; if it lies, the load fails at the first byte.
fn content_of_header(path: &Path) -> Option<Content> {
    let mut head = Vec::with_capacity(HEADER_BYTES);
    File::open(path)
        .ok()?
        .take(HEADER_BYTES as u64)
        .read_to_end(&mut head)
        .ok()?;
    let metadata = crypto::inspect(&head).ok()?.metadata_unverified?;
    Content::from_word(&metadata.content?)
}

/// What the suffixes say, Kanbu's included: `.sql`, `.sql.gz.enc`, `.tar.gz`, `.pgc.zst`.
fn content_of_name(path: &Path) -> Option<Content> {
    let name = path.file_name()?.to_str()?;
    let mut suffixes = name.split('.').rev();
    suffixes.find_map(|suffix| match suffix {
        "sql" => Some(Content::Sql),
        "tar" => Some(Content::Tar),
        "pgc" | "dump" => Some(Content::PgDumpCustom),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_what_is_in_the_file() {
        for (name, content) in [
            (
                "kanbu_backup_2026-01-18T10-30-00.sql.gz.enc",
                Some(Content::Sql),
            ),
            (
                "kanbu_source_2026-01-18T14-30-00.tar.gz",
                Some(Content::Tar),
            ),
            ("dump.pgc.zst", Some(Content::PgDumpCustom)),
            ("notes.txt", None),
        ] {
            assert_eq!(content_of_name(Path::new(name)), content, "{name}");
        }
    }
}
