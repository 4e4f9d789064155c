//! `verify`: read copies again, restore backups in a test, and say how all of them stand.

use std::collections::BTreeSet;

use kanbu_backup::{
    catalog::{self, ArtifactKind, ArtifactView, CatalogError, Filter},
    control::ControlDb,
    fault::Failure,
    job::{self, Job, Subject, VerifyLevel},
    queue::ExecutionView,
};
use serde_json::{Value, json};

use super::{follow, list, test_restore, time};
use crate::{
    cli::{Follow, Level, Verify, What},
    exit::Exit,
    output::{Output, Table},
    session::Session,
};

pub async fn run(args: Verify, session: &Session) -> Result<Exit, Failure> {
    let db = session.control().await?;
    if args.which.stats {
        return statistics(&db, session.out).await;
    }
    let requests = requests(&args, &db, session).await?;
    if let [only] = requests.as_slice() {
        return one(only.clone(), args.follow, &db, session.out).await;
    }
    let mut exit = Exit::Done;
    let count = requests.len();
    for request in requests {
        let this = one(request, args.follow, &db, session.out.part()).await?;
        // The worst finding decides; an earlier one must not be hidden by a later success.
        if exit == Exit::Done || this == Exit::Integrity {
            exit = this;
        }
    }
    let what = if args.which.pending {
        "backups"
    } else {
        "subjects"
    };
    session.out.result(
        json!({ what: count, "exit": exit.code() }),
        &format!("{count} {what}"),
    );
    Ok(exit)
}

async fn one(
    request: job::Verify,
    follow: Follow,
    db: &ControlDb,
    out: Output,
) -> Result<Exit, Failure> {
    let is_proof = request.level == VerifyLevel::Proven;
    Ok(
        match follow::run(Job::Verify(request), follow, db, out).await? {
            follow::Fate::Left(exit) => exit,
            follow::Fate::Ended(execution) if is_proof => test_restore::ended(&execution, out),
            follow::Fate::Ended(execution) => ended(&execution, out),
        },
    )
}

/// One job for the named backup, for each that is pending, or for every subject that has backups.
async fn requests(
    args: &Verify,
    db: &ControlDb,
    session: &Session,
) -> Result<Vec<job::Verify>, Failure> {
    let older_than = args.older_than.as_deref().map(time::seconds).transpose()?;
    let level = level(args);
    let checks = match level {
        VerifyLevel::Proven => test_restore::checks(args.checks.as_deref(), &session.config)?,
        VerifyLevel::Quick | VerifyLevel::Checked => Vec::new(),
    };
    let of = |subject: Subject| job::Verify {
        level,
        repair: args.repair,
        sample: args.sample,
        older_than,
        checks: test_restore::checks_of(&subject, &checks),
        ..job::Verify::of(subject)
    };
    let of_one = |artifact, subject| job::Verify {
        artifact: Some(artifact),
        ..of(subject)
    };
    if let Some(text) = &args.which.id {
        let artifact = meant(text, args.kind, db).await?;
        return Ok(vec![of_one(artifact.id, artifact.subject)]);
    }
    if args.which.pending {
        let ladder = catalog::ladder(db).await?;
        let pending = ladder.pending();
        let requests = pending.map(|rung| of_one(rung.artifact, rung.subject.clone()));
        return Ok(requests.collect());
    }
    let filter = Filter {
        kind: args.kind.map(list::kind),
        include_lost: true,
        ..Filter::default()
    };
    let artifacts = catalog::list(db, &filter).await?;
    let subjects: BTreeSet<Subject> = artifacts
        .into_iter()
        .map(|artifact| artifact.subject)
        .collect();
    Ok(subjects.into_iter().map(of).collect())
}

fn level(args: &Verify) -> VerifyLevel {
    match args.level {
        None if args.quick => VerifyLevel::Quick,
        Some(Level::Quick) => VerifyLevel::Quick,
        Some(Level::Checked) | None => VerifyLevel::Checked,
        Some(Level::Proven) => VerifyLevel::Proven,
    }
}

/// How many backups stand where. Looks at rows alone.
async fn statistics(db: &ControlDb, out: Output) -> Result<Exit, Failure> {
    let found = catalog::ladder(db).await?.statistics();
    out.document("verification", &found, || {
        let mut table = Table::new(&["BACKUPS", "COUNT"]).right(1);
        let mut line = |name: &str, value: String| table.row([name.to_owned(), value]);
        line("all", found.total.to_string());
        line("verified", found.verified.to_string());
        line("failed", found.failed.to_string());
        line("pending", found.pending.to_string());
        for (proof, count) in found.by_proof.iter().rev() {
            line(&format!("  {proof}"), count.to_string());
        }
        let last = found
            .last_verified_at
            .map_or("never".to_owned(), list::local);
        format!("{}\nlast verified: {last}", table.text())
    });
    Ok(if found.failed > 0 {
        Exit::Findings
    } else {
        Exit::Done
    })
}

/// The newest backup is also looked at when no good copy of it is left: that is when somebody wants to know.
pub(super) async fn meant(
    text: &str,
    kind: Option<What>,
    db: &ControlDb,
) -> Result<ArtifactView, Failure> {
    let kind = match (text, kind) {
        ("latest-source", _) | ("latest", Some(What::Source)) => ArtifactKind::Source,
        ("latest" | "latest-database", _) => ArtifactKind::Database,
        _ => return list::meant(text, kind, db).await,
    };
    let newest = Filter {
        kind: Some(kind),
        limit: Some(1),
        include_lost: true,
        ..Filter::default()
    };
    let artifact = catalog::list(db, &newest).await?.pop();
    artifact.ok_or_else(|| CatalogError::NotFound(text.to_owned()).into())
}

fn ended(execution: &ExecutionView, out: Output) -> Exit {
    let exit = follow::verdict(execution, out);
    let found = execution.result.clone().unwrap_or(Value::Null);
    let count = |name: &str| found[name].as_u64().unwrap_or_default();
    let (good, bad, repaired) = (count("good"), count("bad"), count("repaired"));
    if execution.outcome.is_some() && !found.is_null() {
        let mended = match repaired {
            0 => String::new(),
            some => format!(" ({some} made anew)"),
        };
        let text = format!(
            "{good} good{mended}, {bad} bad copies, in {}",
            follow::seconds(execution)
        );
        let counts = json!({ "good": good, "bad": bad, "repaired": repaired });
        out.result(follow::result(execution, &counts), &text);
    }
    if bad > 0 { Exit::Integrity } else { exit }
}
