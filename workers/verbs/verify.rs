//! `verify`: read copies again.

use std::collections::BTreeSet;

use kanbu_backup::{
    catalog::{self, Filter},
    control::ControlDb,
    fault::Failure,
    job::{self, Job, Subject, VerifyLevel},
    queue::ExecutionView,
};
use serde_json::{Value, json};

use super::{follow, list};
use crate::{
    cli::{Follow, Verify},
    exit::Exit,
    output::Output,
    session::Session,
};

pub async fn run(args: Verify, session: &Session) -> Result<Exit, Failure> {
    let db = session.control().await?;
    let requests = requests(&args, &db).await?;
    if let [only] = requests.as_slice() {
        return one(only.clone(), args.follow, &db, session.out).await;
    }
    let mut exit = Exit::Done;
    let subjects = requests.len();
    for request in requests {
        let this = one(request, args.follow, &db, session.out.part()).await?;
        // The worst finding decides; an earlier one must not be hidden by a later success.
        if exit == Exit::Done || this == Exit::Integrity {
            exit = this;
        }
    }
    session.out.result(
        json!({ "subjects": subjects, "exit": exit.code() }),
        &format!("{subjects} subjects"),
    );
    Ok(exit)
}

async fn one(
    request: job::Verify,
    follow: Follow,
    db: &ControlDb,
    out: Output,
) -> Result<Exit, Failure> {
    Ok(
        match follow::run(Job::Verify(request), follow, db, out).await? {
            follow::Fate::Left(exit) => exit,
            follow::Fate::Ended(execution) => ended(&execution, out),
        },
    )
}

/// One job for the named backup, or one for every subject that has backups.
async fn requests(args: &Verify, db: &ControlDb) -> Result<Vec<job::Verify>, Failure> {
    let level = if args.quick {
        VerifyLevel::Quick
    } else {
        VerifyLevel::Checked
    };
    if let Some(text) = &args.id {
        let artifact = list::meant(text, args.kind, db).await?;
        return Ok(vec![job::Verify {
            artifact: Some(artifact.id),
            level,
            ..job::Verify::of(artifact.subject)
        }]);
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
    Ok(subjects
        .into_iter()
        .map(|subject| job::Verify {
            level,
            ..job::Verify::of(subject)
        })
        .collect())
}

fn ended(execution: &ExecutionView, out: Output) -> Exit {
    let exit = follow::verdict(execution, out);
    let found = execution.result.clone().unwrap_or(Value::Null);
    let count = |name: &str| found[name].as_u64().unwrap_or_default();
    let (good, bad) = (count("good"), count("bad"));
    if execution.outcome.is_some() && !found.is_null() {
        let text = format!(
            "{good} good, {bad} bad copies, in {}",
            follow::seconds(execution)
        );
        out.result(
            follow::result(execution, &json!({ "good": good, "bad": bad })),
            &text,
        );
    }
    if bad > 0 { Exit::Integrity } else { exit }
}
