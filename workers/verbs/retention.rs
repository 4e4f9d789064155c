//! `retention`: what the policies keep and what they let go, shown beforehand, done at once, and told afterwards.

mod journal;
mod preview;

use kanbu_backup::{
    catalog,
    control::ControlDb,
    fault::Failure,
    job::{self, Job, Subject},
    queue::ExecutionView,
};
use serde_json::Value;

use super::{VerbError, follow};
use crate::{
    cli::{Apply, Retention, Whose},
    exit::Exit,
    output::Output,
    session::Session,
};

pub async fn run(args: Retention, session: &Session) -> Result<Exit, Failure> {
    match args {
        Retention::Preview(args) => preview::run(&args, session).await,
        Retention::Apply(args) => apply(args, session).await,
        Retention::Log { subject, limit } => journal::run(subject.as_ref(), limit, session).await,
    }
}

/// What somebody means, each as a request of its own.
async fn meant(whose: &Whose, db: &ControlDb) -> Result<Vec<job::Prune>, Failure> {
    if let Some(name) = &whose.schedule {
        let known = catalog::schedule_named(db, name).await?;
        let (schedule, subject) = known.ok_or_else(|| VerbError::UnknownSchedule(name.clone()))?;
        let schedule = Some(schedule);
        return Ok(vec![job::Prune { subject, schedule }]);
    }
    let subjects: Vec<Subject> = match &whose.subject {
        Some(subject) => vec![subject.clone()],
        None => catalog::subjects(db).await?,
    };
    Ok(subjects.into_iter().map(job::Prune::of).collect())
}

async fn apply(args: Apply, session: &Session) -> Result<Exit, Failure> {
    let db = session.control().await?;
    let requests = meant(&args.whose, &db).await?;
    if args.dry_run {
        return preview::show(&requests, &preview::Question::now(), &db, session).await;
    }
    let count = requests.len();
    let out = if count == 1 {
        session.out
    } else {
        session.out.part()
    };
    let mut exit = Exit::Done;
    for request in requests {
        let fate = follow::run(Job::Prune(request), args.follow, &db, out).await?;
        let this = match fate {
            follow::Fate::Left(exit) => exit,
            follow::Fate::Ended(execution) => ended(&execution, out),
        };
        if exit == Exit::Done {
            exit = this;
        }
    }
    if count != 1 {
        session.out.result(
            serde_json::json!({ "subjects": count, "exit": exit.code() }),
            &format!("{count} subjects"),
        );
    }
    Ok(exit)
}

fn ended(execution: &ExecutionView, out: Output) -> Exit {
    let exit = follow::verdict(execution, out);
    let found = execution.result.clone().unwrap_or(Value::Null);
    if !found.is_null() && execution.outcome.is_some() {
        let count = |name: &str| found[name].as_u64().unwrap_or_default();
        let text = format!(
            "{} deleted, {} spared, {} not deleted yet, in {}",
            count("deleted"),
            count("spared"),
            count("pending"),
            follow::seconds(execution)
        );
        out.result(follow::result(execution, &found), &text);
    }
    exit
}
