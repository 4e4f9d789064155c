//! What dead workers left behind, at the start and whenever a lease was lost: dumps inside the database's container, which
//! don't end with their connection; half-made databases, and exchanges of a live database's name that are settled.

use std::sync::Arc;

use kanbu_backup::{
    backup::{DatabaseSource, Sources},
    control::ControlDb,
    execution,
    fault::Failure,
    pg::docker,
    queue::Leftovers,
    restore,
};
use tracing::{info, warn};

pub(super) fn of(sources: &Sources, restore: &restore::Deps, db: &ControlDb) -> Leftovers {
    let databases: Vec<_> = sources
        .databases
        .iter()
        .filter(|source| source.through_docker())
        .cloned()
        .collect();
    let (databases, restore, db) = (Arc::new(databases), restore.clone(), db.clone());
    Arc::new(move || {
        let (databases, restore, db) = (Arc::clone(&databases), restore.clone(), db.clone());
        Box::pin(async move {
            tidy(&restore).await;
            for database in databases.iter() {
                if let Err(failure) = end(database, &db).await {
                    warn!(subject = %database.subject, %failure, "could not look for what dead workers left");
                }
            }
        })
    })
}

/// What restores left on the server; also what was kept long enough.
pub(crate) async fn tidy(deps: &restore::Deps) {
    let Some(target) = &deps.target else {
        return;
    };
    match restore::tidy(target, &deps.catalog).await {
        Ok(tidied) => {
            for restore::Tidied { database, text } in tidied {
                info!(database, "{text}");
            }
        }
        Err(failure) => {
            warn!(%failure, "what restores left on the server could not be put in order");
        }
    }
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
