//! Folders as they lie on a storage: finding them, and deleting one in the order that keeps the promise of the manifest.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use object_store::{ObjectMeta, path::Path};

use super::{Environment, Folder, ObjectKey, Storage, StorageError};

const MANIFEST: &str = "manifest.json";
const SIDECAR_SUFFIX: &str = ".khdr";

/// One execution's folder as it lies on a storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub folder: Folder,
    /// Names and sizes in bytes.
    pub objects: Vec<(String, u64)>,
    /// Files of uploads that are under way or died. No objects: nobody reads them.
    pub staging: Vec<(String, u64)>,
    /// Otherwise the folder is debris, or a backup in the making.
    pub has_manifest: bool,
}

impl Found {
    /// The size of one of its objects.
    pub fn bytes_of(&self, name: &str) -> Option<u64> {
        self.objects
            .iter()
            .find(|(object, _)| object == name)
            .map(|(_, bytes)| *bytes)
    }
}

impl Storage {
    /// Every execution's folder of an environment, oldest first; also those that hold only debris. What has no folder's
    /// name is nobody's business here.
    pub async fn folders(&self, environment: &Environment) -> Result<Vec<Found>, StorageError> {
        let scope = environment.clone();
        let directories = self.blocking(move |d| d.folders(&scope)).await;
        let directories =
            directories.map_err(|error| StorageError::from_io(self.name(), environment, error))?;
        let mut found: BTreeMap<(DateTime<Utc>, String), Found> = BTreeMap::new();
        for (folder, staging) in directories {
            entry(&mut found, folder).staging = staging;
        }
        for meta in self.list(environment.as_str()).await? {
            let location = meta.location.to_string();
            if let Some((parent, name)) = location.rsplit_once('/')
                && let Ok(folder) = parent.parse::<Folder>()
                && folder.to_string() == parent
            {
                let found = entry(&mut found, folder);
                found.has_manifest |= name == MANIFEST;
                found.objects.push((name.to_owned(), meta.size));
            }
        }
        for found in found.values_mut() {
            found.objects.sort();
            found.staging.sort();
        }
        Ok(found.into_values().collect())
    }

    /// Deletes a folder and all that is in it, in the order that never leaves a manifest without its data: the manifest,
    /// sidecars, data, staging files, the directory. Can be repeated after a crash. Returns how many objects went.
    pub async fn delete_folder(&self, folder: &Folder) -> Result<u64, StorageError> {
        let objects = self.list(&folder.to_string()).await?;
        let mut paths: Vec<Path> = objects.into_iter().map(|meta| meta.location).collect();
        paths.sort_by_key(rank);
        let mut deleted = 0;
        for path in &paths {
            self.delete_at(path).await?;
            deleted += 1;
        }
        let emptied = folder.clone();
        let removed = self.blocking(move |d| d.remove_folder(&emptied)).await;
        removed.map_err(|error| StorageError::from_io(self.name(), folder, error))?;
        Ok(deleted)
    }

    /// The keys of all objects that lie where `key` would.
    pub(super) async fn list_beside(&self, key: &ObjectKey) -> Result<Vec<String>, StorageError> {
        let key = key.to_string();
        let parent = key.rsplit_once('/').map_or("", |(parent, _)| parent);
        let objects = self.list(parent).await?;
        Ok(objects
            .iter()
            .map(|meta| meta.location.to_string())
            .collect())
    }

    /// All objects below a prefix. An error anywhere in it is an error, never a shorter list.
    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StorageError> {
        self.present(&prefix).await?;
        let listing = self.store().list(Some(&Path::from(prefix)));
        let objects = listing.try_collect().await;
        objects.map_err(|error| self.error(&prefix, &error))
    }
}

fn entry(found: &mut BTreeMap<(DateTime<Utc>, String), Found>, folder: Folder) -> &mut Found {
    found
        .entry((folder.stamp(), folder.to_string()))
        .or_insert_with(|| Found {
            folder,
            objects: Vec::new(),
            staging: Vec::new(),
            has_manifest: false,
        })
}

/// The order of deletion within a folder.
fn rank(path: &Path) -> u8 {
    match path.filename() {
        Some(MANIFEST) => 0,
        Some(name) if name.ends_with(SIDECAR_SUFFIX) => 1,
        _ => 2,
    }
}
