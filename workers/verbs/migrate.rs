//! `migrate db`: applies the control database's migrations and ends. The roles do the same under the same lock.

use kanbu_backup::fault::Failure;
use serde_json::json;

use crate::{exit::Exit, session::Session, wiring};

pub async fn run(session: &Session) -> Result<Exit, Failure> {
    let db = session.control().await?;
    wiring::prepare(&session.config, &db).await?;
    session.out.result(
        json!({ "outcome": "migrated" }),
        "the control database is up to date",
    );
    Ok(Exit::Done)
}
