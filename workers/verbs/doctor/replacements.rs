//! Exchanges of a live database's name that nobody finished: `doctor` settles them as the next worker would, and says how.

use kanbu_backup::{
    control::ControlDb,
    fault::Failure,
    restore::{self, Tidied},
};

use super::finding::Finding;
use crate::{session::Session, wiring};

const WHAT: &str = "restores";

pub(super) async fn look(db: &ControlDb, session: &Session) -> Vec<Finding> {
    match tidied(db, session).await {
        Ok(tidied) if tidied.is_empty() => {
            vec![Finding::good(WHAT, "none was left half done")]
        }
        Ok(tidied) => tidied
            .into_iter()
            .map(|Tidied { text, .. }| Finding::warning(WHAT, text, "nothing is left to do"))
            .collect(),
        Err(failure) => vec![Finding::bad(WHAT, &failure)],
    }
}

async fn tidied(db: &ControlDb, session: &Session) -> Result<Vec<Tidied>, Failure> {
    let toolsets = wiring::toolsets(&session.config.protected).await;
    match wiring::target(&session.config, &toolsets)? {
        Some(target) => restore::tidy(&target, db).await,
        None => Ok(Vec::new()),
    }
}
