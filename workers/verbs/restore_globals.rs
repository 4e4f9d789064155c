//! `restore ID --globals`: the roles that a backup's database needs and the server lacks.

use kanbu_backup::{
    fault::Failure,
    pg::globals::{self, RolesMade},
};
use serde_json::json;

use super::{VerbError, get, list};
use crate::{
    cli::Restore,
    exit::Exit,
    output::{Output, extended},
    session::Session,
    wiring,
};

pub(super) async fn run(args: &Restore, session: &Session) -> Result<Exit, Failure> {
    let db = session.control().await?;
    let artifact = list::meant(&args.id, args.kind, &db).await?;
    let sql = get::read_globals(&artifact.manifest()?, session).await?;
    let target = wiring::target(&session.config, &[])?.ok_or_else(|| {
        VerbError::Unusable("without DATABASE_URL there is no server to make roles on".to_owned())
    })?;
    if args.dry_run {
        session
            .out
            .document("plan", &json!({ "globals": artifact.id }), || {
                format!("would create the missing roles on {}", target.cluster)
            });
        return Ok(Exit::Done);
    }
    let made = globals::create_missing_roles(&target.cluster, &sql).await?;
    Ok(told(&made, session.out))
}

fn told(made: &RolesMade, out: Output) -> Exit {
    for reason in &made.refused {
        out.warning("globals.refused", reason);
    }
    for name in &made.tablespaces {
        let text = format!("tablespace {name} is left to you: it needs a directory on the server");
        out.warning("globals.tablespace", &text);
    }
    let (outcome, exit) = if made.refused.is_empty() {
        ("succeeded", Exit::Done)
    } else {
        ("degraded", Exit::Findings)
    };
    let text = format!(
        "created {} roles ({}), left {} as they are",
        made.created.len(),
        made.created.join(", "),
        made.existing.len()
    );
    out.result(extended(json!({ "outcome": outcome }), json!(made)), &text);
    exit
}
