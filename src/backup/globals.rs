//! The cluster's globals beside a database: dumped while the database is, kept in the manifest.

use serde_json::{Value, json};
use tokio::task::spawn_blocking;
use tokio_util::task::AbortOnDropHandle;

use super::{BackupError, warnings};
use crate::{
    catalog::KeptGlobals,
    crypto::Keyring,
    execution::Warning,
    fault::Failure,
    id::ExecutionId,
    pg::{
        cluster::Cluster,
        dump::Route,
        globals::{Globals, dump_globals},
    },
};

/// Globals that are being dumped. Dropping it ends that.
pub(super) struct Dumping(AbortOnDropHandle<Result<Value, Failure>>);

impl Dumping {
    pub(super) fn start(
        route: &Route,
        cluster: &Cluster,
        execution: ExecutionId,
        keyring: &Keyring,
    ) -> Self {
        let (route, cluster, keyring) = (route.clone(), cluster.clone(), keyring.clone());
        Self(AbortOnDropHandle::new(tokio::spawn(async move {
            let globals = dump_globals(&route, &cluster, execution, keyring.has_active()).await?;
            kept(globals, keyring).await
        })))
    }

    /// For the manifest. That there are none is no reason to lose a backup.
    pub(super) async fn told(self, warnings: &mut Vec<Warning>) -> Option<Value> {
        let done = self.0.await.unwrap_or_else(|_| Err(Failure::cancelled()));
        done.inspect_err(|reason| warnings.push(warnings::no_globals(reason)))
            .ok()
    }
}

async fn kept(globals: Globals, keyring: Keyring) -> Result<Value, Failure> {
    if !globals.with_passwords {
        return Ok(json!(KeptGlobals::Sql(globals.sql)));
    }
    let sealing = spawn_blocking(move || KeptGlobals::sealed(&globals.sql, &keyring));
    let sealed = sealing.await.map_err(|_| BackupError::Derivation)??;
    Ok(json!(sealed))
}
