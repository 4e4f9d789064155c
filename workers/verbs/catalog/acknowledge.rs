//! `catalog acknowledge ID`: somebody has looked at what a content alarm says; what it held may go again.

use kanbu_backup::{catalog, fault::Failure};
use serde_json::json;

use crate::{cli::Acknowledge, exit::Exit, session::Session, verbs::list};

pub(super) async fn run(args: &Acknowledge, session: &Session) -> Result<Exit, Failure> {
    let db = session.control().await?;
    let artifact = list::meant(&args.id, None, &db).await?;
    let reason = args.reason.as_deref().unwrap_or("looked at");
    catalog::acknowledge(&db, artifact.id, "cli", reason).await?;
    session.out.result(
        json!({ "artifact": artifact.id }),
        &format!(
            "the alarm of backup {} is acknowledged",
            artifact.id.short()
        ),
    );
    Ok(Exit::Done)
}
