//! Removing what no backup came of, as far as its storage still listens; the sweep is for what then is left.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::timeout;

use crate::{
    execution::Lease,
    storage::{Folder, Storage},
};

/// How long one storage may take. The worker waits for it after a cancel, too.
const CLEAR_TIMEOUT: Duration = Duration::from_secs(5);

/// Removes a folder from these storages, the best it can.
pub(super) async fn clear(
    folder: &Folder,
    storages: impl Iterator<Item = &Storage>,
    lease: &Lease,
) {
    join_all(storages.map(|storage| clear_one(folder, storage, lease))).await;
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
