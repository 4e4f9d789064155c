//! `test-restore`: a backup is restored where that harms nobody, compared, and removed again.

use std::{fs, path::Path};

use kanbu_backup::{
    config::Config,
    fault::Failure,
    job::{self, Job, Scope, Subject},
    queue::ExecutionView,
    verify::statements,
};
use serde_json::Value;

use super::{VerbError, follow, verify};
use crate::{cli::TestRestore, exit::Exit, output::Output, session::Session};

pub async fn run(args: TestRestore, session: &Session) -> Result<Exit, Failure> {
    let db = session.control().await?;
    let checks = checks(args.checks.as_deref(), &session.config)?;
    let artifact = verify::meant(&args.id, args.kind, &db).await?;
    let request = job::Verify {
        artifact: Some(artifact.id),
        checks: checks_of(&artifact.subject, &checks),
        keep: args.keep,
        ..job::Verify::proof_of(artifact.subject)
    };
    match follow::run(Job::Verify(request), args.follow, &db, session.out).await? {
        follow::Fate::Left(exit) => Ok(exit),
        follow::Fate::Ended(execution) => Ok(ended(&execution, session.out)),
    }
}

/// The statements of the file that was named here or in the settings.
pub(crate) fn checks(named: Option<&Path>, config: &Config) -> Result<Vec<String>, Failure> {
    let Some(path) = named.or(config.worker.proof.checks_file.as_deref()) else {
        return Ok(Vec::new());
    };
    let unreadable = |error| VerbError::File("read", path.to_owned(), error);
    let text = fs::read_to_string(path).map_err(unreadable)?;
    Ok(statements(&text)?)
}

/// Only what is restored into a database can be asked.
pub(super) fn checks_of(subject: &Subject, checks: &[String]) -> Vec<String> {
    match subject.scope() {
        Scope::Database | Scope::Cluster => checks.to_vec(),
        Scope::Source | Scope::Directory => Vec::new(),
    }
}

/// What a test restore means for whoever waits; says what was found.
pub(super) fn ended(execution: &ExecutionView, out: Output) -> Exit {
    let exit = follow::verdict(execution, out);
    let Some(found) = execution
        .result
        .as_ref()
        .filter(|found| found["artifact"].is_string())
    else {
        return exit;
    };
    if found["proven"] == Value::Bool(true) {
        out.result(follow::result(execution, found), &text(found));
    } else if let Some(database) = found["database"].as_str() {
        out.message(&format!("database {database} was kept"));
    }
    exit
}

fn text(found: &Value) -> String {
    let id = found["artifact"].as_str().unwrap_or_default();
    let short = &id[id.len().saturating_sub(8)..];
    let what = match found["files"].as_u64() {
        Some(files) => format!("{files} files"),
        None => format!("{} tables with {} rows", found["tables"], found["rows"]),
    };
    let seconds = found["seconds"].as_f64().unwrap_or_default();
    let kept = found["database"]
        .as_str()
        .map(|database| format!("; database {database} was kept"))
        .unwrap_or_default();
    format!("✔ backup {short} is proven: {what}, restored in {seconds:.1} s{kept}")
}
