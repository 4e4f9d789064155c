//! Finding the backup that an execution finished and could not report.
//!
//! Between the manifest and the row lies a moment in which a worker may die. The backup exists all the same: the job's
//! next execution finds it here and reports it instead of dumping again.

use super::{MAX_MANIFEST_BYTES, Manifest};
use crate::{
    id::ExecutionId,
    storage::{Environment, ObjectKey, Storage, StorageError},
};

/// The newest complete backup that one of `executions` left on a storage, with its manifest's exact text.
///
/// Complete means: the manifest is sound and the data object has the size it names. The bytes and the seal are for the
/// caller to check, who has the keys. What isn't complete is passed over, with a warning in the log.
pub async fn find(
    storage: &Storage,
    environment: &Environment,
    executions: &[ExecutionId],
) -> Result<Option<(Manifest, String)>, StorageError> {
    if executions.is_empty() {
        return Ok(None);
    }
    let found = storage.folders(environment).await?;
    let candidates = found.into_iter().rev();
    for found in candidates.filter(|f| f.has_manifest && executions.contains(&f.folder.execution()))
    {
        let key = ObjectKey::Manifest {
            folder: found.folder.clone(),
        };
        let bytes = storage.read_small(&key, MAX_MANIFEST_BYTES).await?;
        match Manifest::parse_in(&found.folder, &bytes) {
            Ok(manifest)
                if found.bytes_of(manifest.object_name()) == Some(manifest.envelope.bytes) =>
            {
                return Ok(Some((
                    manifest,
                    String::from_utf8_lossy(&bytes).into_owned(),
                )));
            }
            Ok(_) => tracing::warn!(
                storage.name = %storage.name(), folder = %found.folder,
                "a manifest was found whose data object is missing or has another size; it is not adopted",
            ),
            Err(error) => tracing::warn!(
                storage.name = %storage.name(), folder = %found.folder, %error,
                "a manifest was found that can't be read; it is not adopted",
            ),
        }
    }
    Ok(None)
}
