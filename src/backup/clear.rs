//! Removing what no backup came of, as far as its storage still listens; the sweep is for what then is left.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::time::timeout;

use crate::{
    execution::Lease,
    storage::{Folder, Storage},
};

/// How long one storage may take. The worker waits for it after a cancel, too.
const CLEAR_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a backup that succeeded elsewhere waits for a storage that gave no answer before. It may go on after that.
const LINGER: Duration = Duration::from_millis(400);

/// Removes a folder from these storages, the best it can.
pub(super) async fn clear(
    folder: &Folder,
    storages: impl Iterator<Item = &Storage>,
    lease: &Arc<Lease>,
) {
    join_all(storages.map(|storage| clear_one(folder, storage, lease))).await;
}

/// The same for storages that have stalled: nobody waits for them once more.
pub(super) async fn clear_beside(
    folder: &Folder,
    storages: impl Iterator<Item = &Storage>,
    lease: &Arc<Lease>,
) {
    let clearing = storages.map(|storage| {
        let (folder, storage, lease) = (folder.clone(), storage.clone(), Arc::clone(lease));
        let clearing = tokio::spawn(async move { clear_one(&folder, &storage, &lease).await });
        async move {
            // Late or not, it only logs what it can't do.
            let _done = timeout(LINGER, clearing).await;
        }
    });
    join_all(clearing).await;
}

async fn clear_one(folder: &Folder, storage: &Storage, lease: &Lease) {
    let left = match timeout(CLEAR_TIMEOUT, storage.delete_folder(folder)).await {
        Ok(Ok(_)) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in time".to_owned(),
    };
    lease.log(format!(
        "{}: {folder} could not be removed and is left to the sweep: {left}",
        storage.name()
    ));
}
