//! Backups that an earlier import finished and could not enter: found again by the file's own time, and taken as they are.

use std::collections::HashMap;

use futures::TryStreamExt;

use super::{Deps, Examined};
use crate::{
    catalog::{MAX_MANIFEST_BYTES, Manifest, adopt},
    fault::Failure,
    storage::{Folder, ObjectKey},
};

/// The complete folders of the storage, listed once when the first file needs them.
#[derive(Debug, Default)]
pub struct Stranded {
    by_time: Option<HashMap<String, Vec<Folder>>>,
}

/// Kind and second: all of a folder's path but the execution's id.
fn time_of(folder: &Folder) -> String {
    let path = folder.to_string();
    let time = path.rsplit_once('_').map(|(time, _)| time);
    time.unwrap_or(&path).to_owned()
}

impl Stranded {
    /// A backup of exactly this file that the catalog doesn't know, with its manifest's exact text.
    pub(super) async fn find(
        &mut self,
        examined: &Examined,
        deps: &Deps,
    ) -> Result<Option<(Manifest, String)>, Failure> {
        let wanted = time_of(&folder_of(examined, deps));
        let Some(folders) = self.list(deps).await?.get(&wanted).cloned() else {
            return Ok(None);
        };
        let executions: Vec<_> = folders.iter().map(Folder::execution).collect();
        let entered = adopt::entered(&deps.catalog, &executions).await?;
        for folder in folders {
            if entered.contains(&folder.execution()) {
                continue;
            }
            if let Some(found) = complete(&folder, examined, deps).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    async fn list(&mut self, deps: &Deps) -> Result<&HashMap<String, Vec<Folder>>, Failure> {
        if self.by_time.is_none() {
            let mut listed: HashMap<String, Vec<Folder>> = HashMap::new();
            let mut complete = deps.storage.complete_folders(&deps.environment).await?;
            while let Some(found) = complete.try_next().await? {
                let time = time_of(&found.folder);
                listed.entry(time).or_default().push(found.folder);
            }
            self.by_time = Some(listed);
        }
        Ok(self.by_time.get_or_insert_default())
    }
}

fn folder_of(examined: &Examined, deps: &Deps) -> Folder {
    use crate::{catalog::ArtifactKind, id::ExecutionId};
    let (environment, stamp) = (deps.environment.clone(), examined.created_at);
    match examined.content.kind() {
        ArtifactKind::Database => Folder::of_database(environment, stamp, ExecutionId::new()),
        ArtifactKind::Source => Folder::of_source(environment, stamp, ExecutionId::new()),
    }
}

/// The manifest of a folder, if it is of this very file and its data is there.
async fn complete(
    folder: &Folder,
    examined: &Examined,
    deps: &Deps,
) -> Result<Option<(Manifest, String)>, Failure> {
    let key = ObjectKey::Manifest {
        folder: folder.clone(),
    };
    let bytes = deps.storage.read_small(&key, MAX_MANIFEST_BYTES).await?;
    let Ok(manifest) = Manifest::parse_in(folder, &bytes) else {
        return Ok(None);
    };
    let same = manifest.stored_sha256 == examined.read.stored_sha256
        && manifest.subject == examined.subject;
    if !same || deps.storage.head(&manifest.data_key()).await?.bytes != manifest.envelope.bytes {
        return Ok(None);
    }
    Ok(Some((
        manifest,
        String::from_utf8_lossy(&bytes).into_owned(),
    )))
}
