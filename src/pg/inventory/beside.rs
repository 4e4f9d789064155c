//! The inventory of what a dump holds: taken in the dump's own snapshot while it runs.
//!
//! Invariant: the transaction that exported the snapshot stays open until the dump has ended, for nobody tells when
//! `pg_dump` has taken it over, and no longer, but for what is left of the budget of the counts. It ends with its owner.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Inventory, SequenceValue, count, session::Session};
use crate::{
    id::ExecutionId,
    pg::{
        cluster::Cluster,
        dump::{DumpHandle, DumpReport, Route},
        error::PgError,
    },
};

/// A transaction whose snapshot a dump can share.
#[derive(Debug)]
pub struct Snapshot {
    session: Session,
    name: String,
    /// Read before the dump can have read them.
    sequences: Vec<SequenceValue>,
}

impl Snapshot {
    /// On the way that the dump will go.
    pub async fn export(
        route: &Route,
        cluster: &Cluster,
        execution: ExecutionId,
    ) -> Result<Self, PgError> {
        let (mut session, name) = Session::exporting(route, cluster, execution).await?;
        let sequences = count::sequences(&mut session).await?;
        Ok(Self {
            session,
            name,
            sequences,
        })
    }

    /// For `pg_dump --snapshot`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes the inventory while the dump runs.
    pub fn beside(self, dump: DumpHandle, budget: Duration, cancel: &CancellationToken) -> Beside {
        let stop = cancel.child_token();
        let task = tokio::spawn(self.run(dump, budget, stop.clone()));
        Beside {
            task,
            _stop: stop.drop_guard(),
        }
    }
}

/// An inventory that is being taken. Dropping it ends that.
#[derive(Debug)]
pub struct Beside {
    task: JoinHandle<Option<Taken>>,
    _stop: DropGuard,
}

/// What a dump was, and what must be in it.
#[derive(Debug)]
pub struct Taken {
    pub dump: Option<DumpReport>,
    pub inventory: Result<Inventory, PgError>,
}

impl Beside {
    /// When the dump has ended and the inventory is taken. `None` when it was cancelled.
    pub async fn taken(self) -> Option<Taken> {
        self.task.await.ok().flatten()
    }
}

impl Snapshot {
    async fn run(
        mut self,
        dump: DumpHandle,
        budget: Duration,
        stop: CancellationToken,
    ) -> Option<Taken> {
        let work = self.take(dump, budget);
        let Some(taken) = stop.run_until_cancelled(work).await else {
            self.session.abandon().await;
            return None;
        };
        match &taken.inventory {
            Ok(_) => self.session.close().await,
            // Perhaps it is still busy with what failed.
            Err(_) => drop(self.session),
        }
        Some(taken)
    }

    async fn take(&mut self, dump: DumpHandle, budget: Duration) -> Taken {
        let mut inventory = self.session.inventory(budget).await;
        let dump = dump.report().await;
        if let Ok(taken) = &mut inventory {
            taken.sequences = std::mem::take(&mut self.sequences);
            if let Err(error) = count::moved(&mut self.session, &mut taken.sequences).await {
                inventory = Err(error);
            }
        }
        Taken { dump, inventory }
    }
}
