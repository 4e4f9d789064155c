//! `backup`: start a backup and follow it.

use std::sync::Arc;

use kanbu_backup::{
    backup,
    bytes::ByteSize,
    catalog,
    control::ControlDb,
    execution::Lease,
    fault::Failure,
    job::{self, Job, Scope, Subject},
    queue::ExecutionView,
    storage::StorageName,
};
use serde_json::json;

use super::{VerbError, follow};
use crate::{
    cli::{Backup, What},
    exit::Exit,
    output::Output,
    session::Session,
    wiring,
};

pub async fn run(args: Backup, session: &Session) -> Result<Exit, Failure> {
    let configured = wiring::subjects(&session.config)?;
    let subject = subject(args.what, args.subject.as_deref(), &configured)?;
    let request = job::Backup {
        label: args.label,
        pin: args.pin,
        ..job::Backup::of(subject)
    };
    let db = session.control().await?;
    if args.dry_run {
        return dry_run(&request, session, db).await;
    }
    match follow::run(Job::Backup(request), args.follow, &db, session.out).await? {
        follow::Fate::Left(exit) => Ok(exit),
        follow::Fate::Ended(execution) => ended(&execution, &db, session.out).await,
    }
}

async fn dry_run(request: &job::Backup, session: &Session, db: ControlDb) -> Result<Exit, Failure> {
    let deps = wiring::deps(&session.config, db).await?.backup;
    let plan = backup::plan(request, &deps, &Arc::new(Lease::unattended()))?;
    session.out.document("plan", &plan, || {
        let storages: Vec<_> = plan.storages.iter().map(StorageName::as_str).collect();
        format!(
            "would back up {} to {} as {}, {} and {}, envelope {}",
            plan.subject,
            storages.join(", "),
            plan.folder,
            plan.content,
            plan.compression,
            plan.envelope
        )
    });
    Ok(Exit::Done)
}

/// The one that is meant: by name, or the only one of its sort; of source trees the first, Kanbu's own.
pub(super) fn subject(
    what: What,
    name: Option<&str>,
    configured: &[Subject],
) -> Result<Subject, VerbError> {
    let (word, scope) = match what {
        What::Database => ("database", Scope::Database),
        What::Source => ("source", Scope::Source),
    };
    let subjects: Vec<_> = configured
        .iter()
        .filter(|subject| subject.scope() == scope)
        .collect();
    match (name, subjects.as_slice()) {
        (Some(name), all) => all
            .iter()
            .find(|subject| subject.name() == name)
            .map(|subject| (*subject).clone())
            .ok_or_else(|| VerbError::UnknownSubject {
                what: word,
                name: name.to_owned(),
            }),
        (None, []) => Err(VerbError::NoSubject(word)),
        (None, [only]) => Ok((*only).clone()),
        (None, all) => {
            let names: Vec<_> = all.iter().map(|subject| subject.name()).collect();
            Err(VerbError::SeveralSubjects {
                what: word,
                names: names.join(", "),
            })
        }
    }
}

async fn ended(execution: &ExecutionView, db: &ControlDb, out: Output) -> Result<Exit, Failure> {
    let exit = follow::verdict(execution, out);
    let Some(id) = execution.artifact else {
        return Ok(exit);
    };
    let Some(artifact) = catalog::get(db, id).await? else {
        return Ok(exit);
    };
    let good = artifact.stored_copies().count();
    let mark = if exit == Exit::Done { "✔" } else { "!" };
    let text = format!(
        "{mark} {} {} {} in {}, read back on {good} of {} storages, {}",
        id.short(),
        artifact.proof,
        ByteSize(artifact.stored_bytes),
        follow::seconds(execution),
        artifact.copies.len(),
        artifact
            .key_id
            .map_or_else(|| "not encrypted".to_owned(), |key| format!("key {key}")),
    );
    let more = json!({
        "artifact": id,
        "proof": artifact.proof,
        "bytes": artifact.stored_bytes,
        "sha256": artifact.sha256(),
        "copies": good,
    });
    out.result(follow::result(execution, &more), &text);
    Ok(exit)
}
