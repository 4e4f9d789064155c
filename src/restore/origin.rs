//! The bytes a restore reads, and what must be true of them.

use super::RestoreError;
use crate::{
    catalog::{self, Content, Manifest},
    control::ControlDb,
    execution::Total,
    fault::Failure,
    id::ArtifactId,
    pg::facts::Facts,
    pipeline::{Expected, Input},
    storage::Storage,
};

/// One copy of a backup, or a file that somebody brought.
#[derive(Clone, Debug)]
pub struct Origin {
    pub input: Input,
    pub expected: Expected,
    pub content: Content,
    /// The server and database that were dumped, where the manifest tells.
    pub server: Option<Facts>,
}

impl Origin {
    /// The first good copy of a listed backup, on `storage` if one is named.
    pub async fn of_artifact(
        id: ArtifactId,
        wanted: Option<&str>,
        storages: &[Storage],
        catalog: &ControlDb,
    ) -> Result<Self, Failure> {
        let artifact = catalog::get(catalog, id).await?.ok_or(RestoreError::NotFound(id))?;
        let no_copy = || RestoreError::NoCopy { artifact: id, storage: wanted.map(str::to_owned) };
        let storage = artifact
            .stored_copies()
            .map(|copy| copy.storage.as_str())
            .filter(|name| wanted.is_none_or(|wanted| *name == wanted))
            .find_map(|name| storages.iter().find(|storage| storage.name().as_str() == name))
            .ok_or_else(no_copy)?;
        Ok(Self::on_storage(storage, &artifact.manifest()?))
    }

    /// A copy whose manifest is at hand.
    pub fn on_storage(storage: &Storage, manifest: &Manifest) -> Self {
        Self {
            input: Input::Object {
                storage: storage.clone(),
                key: manifest.data_key(),
                sidecar: manifest.sidecar_key(),
            },
            expected: manifest.expected(),
            content: manifest.content,
            server: serde_json::from_value(manifest.source["server"].clone()).ok(),
        }
    }

    /// The end of the progress bar.
    pub(super) fn total(&self) -> Option<Total> {
        self.expected.stored_bytes.map(Total::Known)
    }

    /// For people: where the bytes are.
    pub fn describe(&self) -> String {
        match &self.input {
            Input::Object { storage, key, .. } => format!("{}:{key}", storage.name()),
            Input::File { path, .. } => path.display().to_string(),
        }
    }
}

