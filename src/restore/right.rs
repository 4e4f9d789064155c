//! The right of one restore to write to one database: its lease, and the lock on the server that fences others off.
//!
//! The lease alone is not enough: a worker that freezes wakes up without it and doesn't know. The lock's connection is
//! ended by whoever comes next, and with it goes everything that the sleeper had begun.

use std::sync::Arc;

use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    control::ControlDb,
    execution::{self, Lease},
    fault::{Failure, Fault},
    id::ExecutionId,
    pg::{
        cluster::Cluster,
        guard::{Guard, Over, marked},
        restore as pg,
    },
};

/// Held from before the first look at the server until the end.
#[derive(Debug)]
pub(super) struct Right {
    pub(super) guard: Guard,
    pub(super) lease: Arc<Lease>,
}

impl Right {
    /// Fences off who was there before, and removes what earlier executions of the same job left half made.
    pub(super) async fn take(
        cluster: &Cluster,
        database: &str,
        catalog: Option<&ControlDb>,
        lease: &Arc<Lease>,
    ) -> Result<Self, Failure> {
        let over = over(catalog, None);
        let guard = Guard::take(cluster, database, lease.execution(), &*over).await?;
        if let Some(catalog) = catalog {
            clear_earlier(cluster, catalog, lease).await?;
        }
        Ok(Self {
            guard,
            lease: Arc::clone(lease),
        })
    }

    /// Why the work must stop, if it must.
    pub(super) fn stopped(&self) -> Result<(), Failure> {
        self.lease.stopped()?;
        Ok(self.guard.held()?)
    }

    /// The same after a renewal of the lease: before what can't be taken back.
    pub(super) async fn check(&self) -> Result<(), Failure> {
        self.lease.check().await?;
        Ok(self.guard.held()?)
    }

    /// Fires with the lease's own token, and when the lock is lost. Ends with its guard.
    pub(super) fn cancelled(&self) -> (CancellationToken, DropGuard) {
        let either = self.lease.cancelled().child_token();
        let (lost, ended) = (self.guard.lost().clone(), either.clone());
        tokio::spawn(async move {
            tokio::select! { () = lost.cancelled() => ended.cancel(), () = ended.cancelled() => {} }
        });
        (either.clone(), either.drop_guard())
    }

    /// A lock that was lost explains whatever failed after it, which is told with it.
    pub(super) async fn explain(&self, failure: Failure) -> Failure {
        if self.lease.stopped().is_err() {
            return failure;
        }
        let Err(lost) = self.guard.ask().await else {
            return failure;
        };
        let lost = Failure::from(lost);
        // Work that was stopped for this reason has no other one.
        if failure.fault == Fault::Cancelled || failure.code == lost.code {
            return lost;
        }
        Failure {
            message: format!("{}: {}", lost.message, failure.message),
            ..lost
        }
    }
}

/// Which executions are over, by the rows of our own: of others nothing is known. `own` is over for itself, when a lock
/// that it lost has to be taken again.
pub(super) fn over(catalog: Option<&ControlDb>, own: Option<ExecutionId>) -> Box<Over<'static>> {
    let catalog = catalog.cloned();
    Box::new(move |asked| {
        let catalog = catalog.clone();
        Box::pin(async move {
            let mut over = match catalog {
                Some(catalog) => execution::store::over(&catalog, &asked).await?,
                None => Vec::new(),
            };
            over.extend(own.filter(|own| asked.contains(own)));
            Ok(over)
        })
    })
}

async fn clear_earlier(
    cluster: &Cluster,
    catalog: &ControlDb,
    lease: &Lease,
) -> Result<(), Failure> {
    let earlier = execution::store::earlier_executions(catalog, lease.job()).await?;
    if earlier.is_empty() {
        return Ok(());
    }
    for (name, execution) in marked(cluster).await? {
        if earlier.contains(&execution) {
            pg::drop_database(cluster, &name, execution).await?;
            lease.log(format!(
                "dropped {name}, which an earlier attempt left half made"
            ));
        }
    }
    Ok(())
}
