//! The catalog from nothing: what the storages say of themselves, with no control database at hand.

use futures::stream::{BoxStream, StreamExt};

use super::{CopyState, EnvelopeFormat, MAX_MANIFEST_BYTES, Manifest, ManifestError, check_seal};
use crate::{
    crypto::{EnvelopeError, HEADER_BYTES, Keyring, ManifestKey, OpenOptions, Opener},
    storage::{Environment, Folder, Found, ObjectKey, Storage, StorageError},
};

/// Manifests that are read side by side: a storage far away answers each in its own time.
const AT_ONCE: usize = 16;

/// A manifest that lies on a storage.
#[derive(Debug)]
pub struct FoundManifest {
    pub folder: Folder,
    /// Why it tells nothing, if it doesn't.
    pub manifest: Result<Manifest, ManifestError>,
    /// The file's exact text.
    pub text: String,
    /// Its copy on this storage, by existence and size.
    pub copy: CopyState,
    pub seal: Seal,
}

/// What is known of a manifest's seal.
#[derive(Debug)]
pub enum Seal {
    /// Made with the key of the very object it describes.
    Good,
    /// The backup isn't sealed with envelope v2: the manifest can be taken for a hint only.
    Absent,
    /// No key at hand fits, or there is no object to open: a hint only.
    Unchecked,
    /// Not to be believed.
    Refused(ManifestError),
}

/// A folder with a manifest, and what came of reading it.
#[derive(Debug)]
pub struct Seen {
    pub folder: Folder,
    pub found: Result<FoundManifest, StorageError>,
}

/// Every manifest of an environment, each checked as far as the keys reach, in the storage's own order and a few at once.
/// An error of the stream itself means that the rest couldn't be listed.
pub async fn walk(
    storage: &Storage,
    environment: &Environment,
    keyring: &Keyring,
) -> Result<BoxStream<'static, Result<Seen, StorageError>>, StorageError> {
    let (storage, keyring) = (storage.clone(), keyring.clone());
    let folders = storage.complete_folders(environment).await?;
    let looks = folders.map(move |found| {
        let (storage, keyring) = (storage.clone(), keyring.clone());
        async move {
            let found = found?;
            let folder = found.folder.clone();
            let found = look(&storage, found, &keyring).await;
            Ok(Seen { folder, found })
        }
    });
    Ok(looks.buffered(AT_ONCE).boxed())
}

/// The same at once, oldest first. One that can't be read is an error.
pub async fn scan(
    storage: &Storage,
    environment: &Environment,
    keyring: &Keyring,
) -> Result<Vec<FoundManifest>, StorageError> {
    let mut manifests = Vec::new();
    let mut seen = walk(storage, environment, keyring).await?;
    while let Some(seen) = seen.next().await {
        manifests.push(seen?.found?);
    }
    manifests.sort_by_cached_key(|found| (found.folder.stamp(), found.folder.to_string()));
    Ok(manifests)
}

async fn look(
    storage: &Storage,
    found: Found,
    keyring: &Keyring,
) -> Result<FoundManifest, StorageError> {
    let key = ObjectKey::Manifest {
        folder: found.folder.clone(),
    };
    let bytes = storage.read_small(&key, MAX_MANIFEST_BYTES).await?;
    let manifest = Manifest::parse_in(&found.folder, &bytes);
    let (copy, seal) = match &manifest {
        Err(_) => (CopyState::Damaged, Seal::Unchecked),
        Ok(manifest) => {
            let copy = match data_bytes(storage, &found, manifest).await? {
                None => CopyState::Missing,
                Some(there) if there == manifest.envelope.bytes => CopyState::Stored,
                Some(_) => CopyState::Damaged,
            };
            (copy, seal(storage, manifest, &bytes, copy, keyring).await?)
        }
    };
    Ok(FoundManifest {
        folder: found.folder,
        manifest,
        text: String::from_utf8_lossy(&bytes).into_owned(),
        copy,
        seal,
    })
}

/// The size of the data object; a listing that doesn't show it doesn't prove that it is gone.
async fn data_bytes(
    storage: &Storage,
    found: &Found,
    manifest: &Manifest,
) -> Result<Option<u64>, StorageError> {
    if let Some(bytes) = found.bytes_of(manifest.object_name()) {
        return Ok(Some(bytes));
    }
    match storage.head(&manifest.data_key()).await {
        Ok(info) => Ok(Some(info.bytes)),
        Err(StorageError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn seal(
    storage: &Storage,
    manifest: &Manifest,
    bytes: &[u8],
    copy: CopyState,
    keyring: &Keyring,
) -> Result<Seal, StorageError> {
    if manifest.envelope.format != EnvelopeFormat::Kbk2 {
        return Ok(Seal::Absent);
    }
    if copy == CopyState::Missing || keyring.is_empty() {
        return Ok(Seal::Unchecked);
    }
    let checked = match manifest_key(storage, manifest, keyring).await? {
        Ok(key) => check_seal(bytes, &key),
        Err(EnvelopeError::NoMatchingKey { .. }) => return Ok(Seal::Unchecked),
        Err(error) => Err(ManifestError::Seal(error)),
    };
    Ok(checked.map_or_else(Seal::Refused, |()| Seal::Good))
}

/// The key that the data object's header yields.
async fn manifest_key(
    storage: &Storage,
    manifest: &Manifest,
    keyring: &Keyring,
) -> Result<Result<ManifestKey, EnvelopeError>, StorageError> {
    let header_bytes = HEADER_BYTES as u64;
    let header = storage
        .read_range(&manifest.data_key(), 0..header_bytes)
        .await?;
    let sidecar = match manifest.sidecar_key() {
        // One byte more than a header, so that a wrong length is seen as such.
        Some(key) if storage.exists(&key).await? => Some(
            storage
                .read_range(&key, 0..header_bytes + 1)
                .await?
                .to_vec(),
        ),
        _ => None,
    };
    let options = OpenOptions {
        sidecar,
        ..OpenOptions::default()
    };
    let mut opener = Opener::new(keyring, options);
    // A passphrase may have to be derived.
    let unlocking = tokio::task::spawn_blocking(move || {
        opener.push(&header, &mut Vec::new())?;
        opener
            .manifest_key()
            .ok_or(EnvelopeError::Truncated("inside the header"))
    });
    Ok(unlocking
        .await
        .unwrap_or_else(|ended| std::panic::resume_unwind(ended.into_panic())))
}
