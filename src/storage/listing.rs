//! Folders as they lie on a storage: finding them, and deleting one in the order that keeps the promise of the manifest.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use object_store::{ObjectMeta, path::Path};

use super::{Environment, Folder, ObjectKey, Storage, StorageError, backend::Backend};

const MANIFEST: &str = "manifest.json";

/// One execution's folder as it lies on a storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub folder: Folder,
    /// Names and sizes in bytes.
    pub objects: Vec<(String, u64)>,
    /// Uploads that are under way or died, with their bytes where the storage tells them. No objects: nobody reads them.
    pub staging: Vec<(String, u64)>,
    /// Otherwise the folder is debris, or a backup in the making.
    pub has_manifest: bool,
}

impl Found {
    pub(super) fn empty(folder: Folder) -> Self {
        Self {
            folder,
            objects: Vec::new(),
            staging: Vec::new(),
            has_manifest: false,
        }
    }

    pub(super) fn add(&mut self, name: String, bytes: u64) {
        self.has_manifest |= name == MANIFEST;
        self.objects.push((name, bytes));
    }

    /// The size of one of its objects.
    pub fn bytes_of(&self, name: &str) -> Option<u64> {
        self.objects
            .iter()
            .find(|(object, _)| object == name)
            .map(|(_, bytes)| *bytes)
    }
}

impl Storage {
    /// Every execution's folder of an environment, oldest first; also those that hold only debris, as far as the storage
    /// shows it without a list of unfinished uploads. What has no folder's name is nobody's business here.
    pub async fn folders(&self, environment: &Environment) -> Result<Vec<Found>, StorageError> {
        let scope = environment.clone();
        let directories = self.on_disk(move |d| d.folders(&scope)).await;
        let directories =
            directories.map_err(|error| StorageError::from_io(self.name(), environment, error))?;
        let mut found: BTreeMap<(DateTime<Utc>, String), Found> = BTreeMap::new();
        for (folder, staging) in directories {
            entry(&mut found, folder).staging = staging;
        }
        for meta in self.list(environment.as_str()).await? {
            if let Some((folder, name)) = placed(&meta) {
                entry(&mut found, folder).add(name, meta.size);
            }
        }
        for found in found.values_mut() {
            found.objects.sort();
            found.staging.sort();
        }
        Ok(found.into_values().collect())
    }

    /// Adds what a storage lists apart from its objects: uploads that were begun and never ended.
    pub(super) async fn add_unfinished(
        &self,
        environment: &Environment,
        folders: &mut Vec<Found>,
    ) -> Result<(), StorageError> {
        let Backend::Bucket(Some(uploads)) = self.backend() else {
            return Ok(());
        };
        let unfinished = uploads.list(environment.as_str()).await;
        let unfinished = unfinished.map_err(|error| self.error(environment, &error))?;
        let mut found = BTreeMap::new();
        for folder in folders.drain(..) {
            found.insert((folder.folder.stamp(), folder.folder.to_string()), folder);
        }
        for upload in unfinished {
            if let Some((parent, name)) = upload.key.rsplit_once('/')
                && let Ok(folder) = parent.parse::<Folder>()
                && folder.to_string() == parent
            {
                entry(&mut found, folder).staging.push((name.to_owned(), 0));
            }
        }
        *folders = found.into_values().collect();
        Ok(())
    }

    /// Drops what uploads into a folder were begun and never ended: for whoever alone may write to it now, and begins anew.
    pub async fn clear_unfinished(&self, folder: &Folder) -> Result<(), StorageError> {
        let staged = folder.clone();
        let removed = self.on_disk(move |d| d.remove_staging(&staged)).await;
        removed.map_err(|error| StorageError::from_io(self.name(), folder, error))?;
        self.abort_unfinished(folder).await
    }

    /// Drops the uploads into a folder that were begun and never ended, where the storage shows them.
    pub(super) async fn abort_unfinished(&self, folder: &Folder) -> Result<(), StorageError> {
        let Backend::Bucket(Some(uploads)) = self.backend() else {
            return Ok(());
        };
        let aborted = async {
            for upload in uploads.list(&folder.to_string()).await? {
                uploads.abort(&upload).await?;
            }
            Ok(())
        };
        aborted.await.map_err(|error| self.error(folder, &error))
    }

    /// Deletes a folder and all that is in it, in the order that never leaves a manifest without its data: the manifest,
    /// all other objects, staging files, the directory. Can be repeated after a crash. Returns how many objects went.
    pub async fn delete_folder(&self, folder: &Folder) -> Result<u64, StorageError> {
        let objects = self.list(&folder.to_string()).await?;
        let mut paths: Vec<Path> = objects.into_iter().map(|meta| meta.location).collect();
        paths.sort_by_key(|path| !is_manifest(path));
        let manifests = paths.partition_point(is_manifest);
        let rest = paths.split_off(manifests);
        let mut deleted = self.delete_all(paths).await?;
        deleted += self.delete_all(rest).await?;
        let emptied = folder.clone();
        let removed = self.on_disk(move |d| d.remove_folder(&emptied)).await;
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
        .or_insert_with(|| Found::empty(folder))
}

/// The folder an object lies in and its name there, if it is one of ours.
pub(super) fn placed(meta: &ObjectMeta) -> Option<(Folder, String)> {
    let location = meta.location.to_string();
    let (parent, name) = location.rsplit_once('/')?;
    let folder: Folder = parent.parse().ok()?;
    (folder.to_string() == parent).then(|| (folder, name.to_owned()))
}

fn is_manifest(path: &Path) -> bool {
    path.filename() == Some(MANIFEST)
}
