//! `restore`: into a new database or an empty directory, by the service or without any; or in the live database's place.

use std::{
    path::{Path, PathBuf, absolute},
    sync::Arc,
};

use chrono::TimeDelta;
use kanbu_backup::{
    catalog::{ArtifactKind, ArtifactView},
    clock::{Clock, SystemClock},
    control::ControlDb,
    crypto::Keyring,
    execution::{Effects, Lease},
    fault::Failure,
    job::{self, Job, RestoreInto},
    queue::ExecutionView,
    restore::{self, DatabaseTarget, Destination, Origin, RestoreError, Verdict, Wanted},
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
    if args.part.globals {
        return restore_globals::run(&args, session).await;
    }
    if let Some(from) = args.from.clone() {
        return Box::pin(offline(&from, &args, session)).await;
    }
    let db = session.control().await?;
    let artifact = list::meant(&args.id, args.kind, &db).await?;
    let into = if args.replacing.replace {
        live(&artifact, session)?
    } else {
        into(artifact.kind, args.into.as_deref(), &artifact.id.short())?
    };
    let wanted = wanted(&args)?;
    if args.dry_run {
        return dry_run_of((&artifact, &into), wanted, &args, session, db).await;
    }
    if let RestoreInto::Live { name } = &into {
        require_confirmed(&artifact, name, args.replacing.confirm.as_deref(), session)?;
    }
    let request = job::Restore {
        storage: args.storage,
        no_owner: args.no_owner,
        keep: args.keep,
        tables: args.part.tables,
        schemas: args.part.schemas,
        jobs: args.part.jobs,
        confirm: args.replacing.confirm,
        no_safety_backup: args.replacing.reason,
        keep_old_days: args
            .replacing
            .keep_old_days
            .and_then(|days| days.try_into().ok()),
        ..job::Restore::of(artifact.id, into)
    };
    match follow::run(Job::Restore(request), args.follow, &db, session.out).await? {
        follow::Fate::Left(exit) => Ok(exit),
        follow::Fate::Ended(execution) => Ok(ended(&execution, session.out)),
    }
}

/// The one database that can be replaced is the one that is protected.
fn live(artifact: &ArtifactView, session: &Session) -> Result<RestoreInto, VerbError> {
    match artifact.kind {
        ArtifactKind::Database => Ok(RestoreInto::Live {
            name: session.config.protected.database.clone(),
        }),
        ArtifactKind::Source => Err(VerbError::Unusable(
            "only a database can be replaced; name an empty directory with --into".to_owned(),
        )),
    }
}

/// What has to be typed, and what is lost by it.
fn require_confirmed(
    artifact: &ArtifactView,
    live: &str,
    given: Option<&str>,
    session: &Session,
) -> Result<(), VerbError> {
    let environment = &session.config.storage.environment;
    let wanted = format!("{environment}/{live}");
    if given == Some(wanted.as_str()) {
        return Ok(());
    }
    let lost = SystemClock.now() - artifact.created_at;
    let short = artifact.id.short();
    Err(VerbError::NobodyConfirmed {
        what: format!(
            "replaces database {live} on {environment} by the backup of {}, and what was written in the {} since then would not be in it",
            list::local(artifact.created_at),
            lasting(lost)
        ),
        again: format!(
            "to go on: kanbu-backup restore {short} --replace --confirm {wanted}; safer: kanbu-backup restore {short} (loads into kanbu_restore_{short})"
        ),
    })
}

/// `8h 12m`
fn lasting(time: TimeDelta) -> String {
    let (days, hours, minutes) = (
        time.num_days(),
        time.num_hours() % 24,
        time.num_minutes() % 60,
    );
    match (days, hours) {
        (0, 0) => format!("{minutes}m"),
        (0, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

fn wanted(args: &Restore) -> Result<Wanted, RestoreError> {
    let part = &args.part;
    Wanted::named(&part.tables, &part.schemas, part.jobs)
}

async fn dry_run_of(
    (artifact, into): (&ArtifactView, &RestoreInto),
    wanted: Wanted,
    args: &Restore,
    session: &Session,
    db: ControlDb,
) -> Result<Exit, Failure> {
    let storages = wiring::storages(&session.config.storage)?;
    let origin = Origin::of_artifact(artifact.id, args.storage.as_deref(), &storages, &db).await?;
    let origin = origin.wanting(wanted);
    let destination = Destination::of(into, args.no_owner)?;
    let keyring = wiring::keyring(&session.config.encryption)?;
    dry_run(&origin, &destination, (&keyring, Some(&db)), session).await
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

/// The plan is shown whatever it says; what fails in it is the end of this, too.
async fn dry_run(
    origin: &Origin,
    destination: &Destination,
    (keyring, catalog): (&Keyring, Option<&ControlDb>),
    session: &Session,
) -> Result<Exit, Failure> {
    let target = target(session).await?;
    let parts = restore::Parts {
        target: target.as_ref(),
        keyring,
        catalog,
    };
    let plan = restore::plan(origin, destination, parts).await;
    session.out.document("plan", &plan, || shown(&plan));
    plan.require()?;
    Ok(Exit::Done)
}

fn shown(plan: &restore::Plan) -> String {
    let head = format!(
        "would check every byte of {}, then restore it into {}",
        plan.from, plan.into
    );
    let checks = plan.checks.iter().map(|check| {
        let mark = match check.verdict {
            Verdict::Pass => "✔",
            Verdict::Warn => "!",
            Verdict::Fail => "✘",
        };
        format!("{mark} {}: {}", check.name, check.text)
    });
    std::iter::once(head)
        .chain(checks)
        .collect::<Vec<_>>()
        .join("\n")
}

/// With a file or a storage's directory and a key: no service, no control database.
async fn offline(from: &Path, args: &Restore, session: &Session) -> Result<Exit, Failure> {
    let keyring = wiring::keyring(&session.config.encryption)?;
    let origin = wiring::origin(from, &args.id, args.kind.map(list::kind), &keyring).await?;
    let origin = origin.wanting(wanted(args)?);
    let named = args.into.clone().ok_or_else(|| {
        VerbError::Unusable("name the new database or the empty directory with --into".to_owned())
    })?;
    let destination = Destination::of(
        &into(origin.content.kind(), Some(&named), "")?,
        args.no_owner,
    )?;
    if args.dry_run {
        return dry_run(&origin, &destination, (&keyring, None), session).await;
    }
    let target = target(session).await?;
    let lease = Arc::new(Lease::unattended());
    let parts = restore::Parts {
        target: target.as_ref(),
        keyring: &keyring,
        catalog: None,
    };
    let effects = if args.keep {
        restore::perform_and_keep(origin, &destination, parts, &lease).await?
    } else {
        restore::perform(origin, &destination, parts, &lease).await?
    };
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
    if let Some(kept) = found["replacement"]["kept_as"].as_str() {
        return format!(
            "✔ {} now holds the backup, {} tables with {} rows; it was closed for {} ms. The old database is kept for {} days as {kept}; back: kanbu-backup rollback {}",
            found["database"].as_str().unwrap_or_default(),
            found["tables"],
            found["rows"],
            found["replacement"]["pause_ms"],
            found["replacement"]["keep_days"],
            found["replacement"]["restore"].as_str().unwrap_or_default(),
        );
    }
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
