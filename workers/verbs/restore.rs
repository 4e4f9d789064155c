//! `restore`: into a new database or an empty directory, by the service or without any.

use std::{
    path::{Path, PathBuf, absolute},
    sync::Arc,
};

use kanbu_backup::{
    catalog::ArtifactKind,
    execution::{Effects, Lease},
    fault::Failure,
    job::{self, Job, RestoreInto},
    queue::ExecutionView,
    restore::{self, DatabaseTarget, Destination, Origin},
};
use serde_json::{Value, json};

use super::{VerbError, follow, list, restore_globals};
use crate::{
    cli::Restore,
    exit::Exit,
    output::{Output, extended},
    session::Session,
    wiring,
};

pub async fn run(args: Restore, session: &Session) -> Result<Exit, Failure> {
    if args.globals {
        return restore_globals::run(&args, session).await;
    }
    if let Some(from) = args.from.clone() {
        return offline(&from, &args, session).await;
    }
    let db = session.control().await?;
    let artifact = list::meant(&args.id, args.kind, &db).await?;
    let into = into(artifact.kind, args.into.as_deref(), &artifact.id.short())?;
    if args.dry_run {
        let storages = wiring::storages(&session.config.storage)?;
        let origin =
            Origin::of_artifact(artifact.id, args.storage.as_deref(), &storages, &db).await?;
        return dry_run(&origin, &Destination::of(&into, args.no_owner), session).await;
    }
    let request = job::Restore {
        artifact: artifact.id,
        into,
        storage: args.storage,
        no_owner: args.no_owner,
    };
    match follow::run(Job::Restore(request), args.follow, &db, session.out).await? {
        follow::Fate::Left(exit) => Ok(exit),
        follow::Fate::Ended(execution) => Ok(ended(&execution, session.out)),
    }
}

async fn target(session: &Session) -> Result<Option<DatabaseTarget>, Failure> {
    let toolsets = wiring::toolsets(&session.config.protected).await;
    wiring::target(&session.config, &toolsets)
}

/// Where it goes: what was named, or a database whose name tells which backup it is.
fn into(kind: ArtifactKind, named: Option<&str>, short: &str) -> Result<RestoreInto, VerbError> {
    match (kind, named) {
        (ArtifactKind::Database, name) => {
            let name = name.map_or_else(|| format!("kanbu_restore_{short}"), str::to_owned);
            Ok(RestoreInto::Database { name })
        }
        (ArtifactKind::Source, Some(path)) => {
            let path =
                absolute(path).map_err(|error| VerbError::File("resolve", path.into(), error))?;
            directory(path)
        }
        (ArtifactKind::Source, None) => Err(VerbError::Unusable(
            "name the directory to restore into with --into".to_owned(),
        )),
    }
}

/// A job is JSON, and the working directory that a path begins with need not be text.
fn directory(path: PathBuf) -> Result<RestoreInto, VerbError> {
    if path.to_str().is_none() {
        let text = format!("the directory {} is not UTF-8", path.display());
        return Err(VerbError::Unusable(text));
    }
    Ok(RestoreInto::Directory { path })
}

async fn dry_run(
    origin: &Origin,
    destination: &Destination,
    session: &Session,
) -> Result<Exit, Failure> {
    let target = target(session).await?;
    restore::preflight(origin, destination, target.as_ref()).await?;
    let plan = json!({ "from": origin.describe(), "content": origin.content, "into": destination });
    session.out.document("plan", &plan, || {
        format!(
            "would check every byte of {}, then restore it into {destination}",
            origin.describe()
        )
    });
    Ok(Exit::Done)
}

/// With a file or a storage's directory and a key: no service, no control database.
async fn offline(from: &Path, args: &Restore, session: &Session) -> Result<Exit, Failure> {
    let keyring = wiring::keyring(&session.config.encryption)?;
    let origin = wiring::origin(from, &args.id, args.kind.map(list::kind), &keyring).await?;
    let named = args.into.clone().ok_or_else(|| {
        VerbError::Unusable("name the new database or the empty directory with --into".to_owned())
    })?;
    let destination = Destination::of(
        &into(origin.content.kind(), Some(&named), "")?,
        args.no_owner,
    );
    if args.dry_run {
        return dry_run(&origin, &destination, session).await;
    }
    let target = target(session).await?;
    let lease = Arc::new(Lease::unattended());
    let parts = restore::Parts {
        target: target.as_ref(),
        keyring: &keyring,
        catalog: None,
    };
    let effects = restore::perform(origin, &destination, parts, &lease).await?;
    Ok(told(&effects, session.out))
}

fn told(effects: &Effects, out: Output) -> Exit {
    for warning in &effects.warnings {
        out.warning(&warning.code, &warning.text);
    }
    out.result(result(&effects.result), &text(&effects.result));
    Exit::Done
}

fn ended(execution: &ExecutionView, out: Output) -> Exit {
    let exit = follow::verdict(execution, out);
    if let (Exit::Done | Exit::Findings, Some(found)) = (exit, &execution.result) {
        let text = format!("{} in {}", text(found), follow::seconds(execution));
        out.result(follow::result(execution, found), &text);
    }
    exit
}

fn result(found: &Value) -> Value {
    extended(json!({ "outcome": "succeeded" }), found.clone())
}

fn text(found: &Value) -> String {
    match found["directory"].as_str().map(PathBuf::from) {
        Some(directory) => format!(
            "✔ restored {} files into {}",
            found["files"],
            directory.display()
        ),
        None => format!(
            "✔ restored {} tables with {} rows into database {}",
            found["tables"],
            found["rows"],
            found["database"].as_str().unwrap_or_default()
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

    use super::*;

    #[test]
    fn a_directory_whose_name_is_no_text_is_refused() {
        let odd = Path::new(OsStr::from_bytes(b"/srv/\xff/new"));
        let refused = directory(odd.to_owned()).unwrap_err();
        assert!(refused.to_string().contains("not UTF-8"), "{refused}");
        assert!(directory("/srv/new".into()).is_ok());
    }
}
