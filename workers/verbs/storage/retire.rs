//! `storage rm`: the copies on a storage are forgotten, unless one of them is the last good one of its backup.

use kanbu_backup::{
    bytes::ByteSize,
    catalog::{self, Retirement},
    fault::Failure,
    storage::{Storage, StorageName},
};
use serde_json::json;

use super::{configured, unknown};
use crate::{cli::Retire, exit::Exit, session::Session, verbs::VerbError};

pub(super) async fn run(args: &Retire, session: &Session) -> Result<Exit, Failure> {
    let (db, out) = (session.control().await?, session.out);
    let settings = &session.config.storage;
    let name: StorageName = args.name.parse().map_err(|_| unknown(&args.name))?;
    let config = settings.get(&name);
    if config.is_none() && !catalog::holdings(&db).await?.contains_key(&name) {
        return Err(unknown(&args.name).into());
    }
    let plan = catalog::plan_retirement(&db, &name).await?;
    if args.dry_run {
        out.document("plan", &plan, || describe(&plan, args.purge));
        return Ok(if plan.last > 0 {
            Exit::Refused
        } else {
            Exit::Done
        });
    }
    if args.confirm.as_deref() != Some(args.name.as_str()) {
        return Err(VerbError::StorageNotConfirmed(describe(&plan, args.purge)).into());
    }
    let gone = if args.purge {
        let storage = Storage::open_existing(configured(&args.name, settings)?)?;
        catalog::purge(&db, &storage).await?
    } else {
        catalog::retire(&db, &name).await?
    };
    if config.is_some() {
        let text = format!("{name} is still configured: take it out, or new backups go there, too");
        out.warning("storage.still_configured", &text);
    }
    let done = if args.purge { "deleted" } else { "forgot" };
    out.result(
        json!({ "storage": name, "copies": gone, "purged": args.purge }),
        &format!("{done} {gone} copies on {name}"),
    );
    Ok(Exit::Done)
}

fn describe(plan: &Retirement, purge: bool) -> String {
    let Retirement {
        storage,
        copies,
        bytes,
        last,
        last_of,
    } = plan;
    let (verb, objects) = if purge {
        ("deletes", "with their objects")
    } else {
        ("forgets", "and leaves their objects")
    };
    let plan = format!(
        "{verb} {copies} copies ({}) on {storage} {objects}",
        ByteSize(*bytes)
    );
    if *last == 0 {
        return plan;
    }
    let ids: Vec<String> = last_of.iter().map(|id| id.short()).collect();
    let ids = ids.join(", ");
    format!("{plan}; refused, because {last} of them are the last good ones: {ids}")
}
