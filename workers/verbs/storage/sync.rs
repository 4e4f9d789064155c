//! `storage sync`: the copies that a storage lacks are made from good ones, by Verify jobs that repair.

use std::collections::BTreeMap;

use kanbu_backup::{
    catalog::{self, Lack},
    fault::Failure,
    job::{Job, Subject, Verify, VerifyLevel},
    queue::ExecutionView,
};
use serde_json::json;

use super::configured;
use crate::{
    cli::Sync,
    exit::Exit,
    output::{Output, Table},
    session::Session,
    verbs::follow,
};

pub(super) async fn run(args: Sync, session: &Session) -> Result<Exit, Failure> {
    let name = &configured(&args.name, &session.config.storage)?.name;
    let (db, out) = (session.control().await?, session.out);
    let lacking = catalog::lacking(&db, name).await?;
    if args.dry_run {
        out.document("lacking", &lacking, || text(&args.name, &lacking));
        return Ok(Exit::Done);
    }
    let mut exit = Exit::Done;
    for request in requests(&lacking) {
        let fate = follow::run(Job::Verify(request), args.follow, &db, out.part()).await?;
        let this = match fate {
            follow::Fate::Left(exit) => exit,
            follow::Fate::Ended(execution) => ended(&execution, out.part()),
        };
        if matches!(this, Exit::Waited | Exit::Interrupted | Exit::Terminated) {
            return Ok(this);
        }
        if exit == Exit::Done {
            exit = this;
        }
    }
    if args.follow.no_wait {
        let text = format!("{} copies are to be made on {}", lacking.len(), args.name);
        out.result(json!({ "lacking": lacking.len() }), &text);
        return Ok(exit);
    }
    let left = catalog::lacking(&db, name).await?;
    summary(&args.name, &lacking, &left, out);
    Ok(match exit {
        Exit::Done if !left.is_empty() => Exit::Findings,
        exit => exit,
    })
}

/// One job for each subject; for its only backup that lacks a copy, just that one.
fn requests(lacking: &[Lack]) -> Vec<Verify> {
    let mut subjects: BTreeMap<&Subject, Vec<&Lack>> = BTreeMap::new();
    for lack in lacking.iter().filter(|lack| lack.has_source) {
        subjects.entry(&lack.subject).or_default().push(lack);
    }
    let request = |(subject, lacks): (&Subject, Vec<&Lack>)| Verify {
        artifact: match lacks[..] {
            [only] => Some(only.artifact),
            _ => None,
        },
        level: VerifyLevel::Quick,
        repair: true,
        ..Verify::of(subject.clone())
    };
    subjects.into_iter().map(request).collect()
}

fn ended(execution: &ExecutionView, out: Output) -> Exit {
    let exit = follow::verdict(execution, out);
    if execution.outcome.is_some() {
        let text = format!("looked through in {}", follow::seconds(execution));
        out.result(follow::result(execution, &json!({})), &text);
    }
    exit
}

fn summary(name: &str, before: &[Lack], after: &[Lack], out: Output) {
    let made = before.len().saturating_sub(after.len());
    let lost = after.iter().filter(|lack| !lack.has_source).count();
    let text = match before.len() {
        0 => format!("{name} lacks nothing"),
        count => format!("{name}: {made} of {count} copies were made"),
    };
    let text = match lost {
        0 => text,
        lost => format!("{text}; {lost} backups have no good copy anywhere"),
    };
    out.result(
        json!({ "lacking": before.len(), "made": made, "left": after.len(), "without_source": lost }),
        &text,
    );
}

fn text(name: &str, lacking: &[Lack]) -> String {
    if lacking.is_empty() {
        return format!("{name} lacks nothing");
    }
    let mut table = Table::new(&["ID", "SUBJECT", "COPY THERE", "GOOD COPY ELSEWHERE"]);
    for lack in lacking {
        table.row([
            lack.artifact.short(),
            lack.subject.to_string(),
            lack.state.map_or("none", |state| state.as_str()).to_owned(),
            if lack.has_source { "yes" } else { "NO" }.to_owned(),
        ]);
    }
    table.text()
}
