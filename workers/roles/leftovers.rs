//! What dead workers left running inside the database's container is ended. Their children on a host die with them, but
//! closing a connection to Docker doesn't stop what it started.

use std::sync::Arc;

use kanbu_backup::{
    backup::{DatabaseSource, Sources},
    control::ControlDb,
    execution,
    fault::Failure,
    pg::docker,
    queue::Leftovers,
};
use tracing::{info, warn};

/// `None` where no database is reached through Docker.
pub(super) fn of(sources: &Sources, db: &ControlDb) -> Option<Leftovers> {
    let databases: Vec<_> = sources
        .databases
        .iter()
        .filter(|source| source.through_docker())
        .cloned()
        .collect();
    if databases.is_empty() {
        return None;
    }
    let (databases, db) = (Arc::new(databases), db.clone());
    Some(Arc::new(move || {
        let (databases, db) = (Arc::clone(&databases), db.clone());
        Box::pin(async move {
            for database in databases.iter() {
                if let Err(failure) = end(database, &db).await {
                    warn!(subject = %database.subject, %failure, "could not look for what dead workers left");
                }
            }
        })
    }))
}

async fn end(database: &DatabaseSource, db: &ControlDb) -> Result<(), Failure> {
    let lost = execution::store::lost(db).await?;
    if lost.is_empty() {
        return Ok(());
    }
    let container = docker::find(&database.containers).await?;
    let ended = docker::end_leftovers(&container, &lost).await?;
    if ended > 0 {
        info!(subject = %database.subject, processes = ended, "ended what dead workers left in the container");
    }
    Ok(())
}
