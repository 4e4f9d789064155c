//! `enqueue KIND`: a job of any kind, by the same checks as from SQL.

use kanbu_backup::{
    clock::{Clock, SystemClock},
    control::ControlDb,
    fault::{Failure, chain},
    job::{Job, Kind},
    queue::{self, Enqueued, ExecutionView, NewJob},
};
use serde_json::{Map, Value, json};

use super::{VerbError, follow, time};
use crate::{
    cli::{Enqueue, Follow},
    exit::Exit,
    output::Output,
    session::Session,
};

pub async fn run(args: Enqueue, session: &Session) -> Result<Exit, Failure> {
    let job = job(&args)?;
    let run_at = args
        .run_at
        .as_deref()
        .map(|text| time::ahead(text, SystemClock.now()))
        .transpose()?;
    let new = NewJob {
        request_key: args.request_key,
        priority: args.priority,
        run_at,
        max_attempts: args.max_attempts,
        ..follow::request(job)
    };
    let db = session.control().await?;
    if args.dry_run {
        return dry_run(&new, &db, session.out).await;
    }
    // Nobody waits for what is to begin later.
    let follow = Follow {
        no_wait: args.follow.no_wait || run_at.is_some(),
        ..args.follow
    };
    match follow::submit(&new, follow, &db, session.out).await? {
        follow::Fate::Left(exit) => Ok(exit),
        follow::Fate::Ended(execution) => Ok(ended(&execution, session.out)),
    }
}

/// The request that the words add up to. Every kind but a restore, whose target says it, names its subject.
fn job(args: &Enqueue) -> Result<Job, VerbError> {
    let mut payload: Map<String, Value> = args
        .options
        .clone()
        .unwrap_or_else(|| args.option.iter().cloned().collect());
    if let Some(subject) = &args.subject
        && args.kind != Kind::Restore
    {
        payload.insert("subject".to_owned(), json!(subject));
    }
    let job = Job::from_payload(args.kind, Value::Object(payload))
        .map_err(|error| VerbError::Unusable(chain(&error)))?;
    match &args.subject {
        Some(subject) if args.kind == Kind::Restore && *subject != job.subject() => {
            let text = format!("this restore is about {}, not {subject}", job.subject());
            Err(VerbError::Unusable(text))
        }
        _ => Ok(job),
    }
}

async fn dry_run(new: &NewJob, db: &ControlDb, out: Output) -> Result<Exit, Failure> {
    let subject = new.job.subject();
    let open = match queue::rehearse(db, new).await? {
        Enqueued::New(_) => None,
        Enqueued::AlreadyOpen(job) => Some(job),
    };
    let fields = json!({
        "kind": new.job.kind(),
        "subject": subject,
        "payload": new.job.payload(),
        "priority": new.priority,
        "run_at": new.run_at,
        "max_attempts": new.max_attempts,
        "request_key": new.request_key,
        "already_open": open,
    });
    out.document("job", &fields, || match open {
        Some(job) => format!("would join job {}, which asks for the same", job.short()),
        None => format!(
            "would enqueue a {} job of {subject}: {}",
            new.job.kind(),
            new.job.payload()
        ),
    });
    Ok(Exit::Done)
}

fn ended(execution: &ExecutionView, out: Output) -> Exit {
    let exit = follow::verdict(execution, out);
    if exit == Exit::Done || exit == Exit::Findings {
        let more = json!({ "artifact": execution.artifact, "result": execution.result });
        let text = format!(
            "job {} has ended in {}",
            execution.job.short(),
            follow::seconds(execution)
        );
        out.result(follow::result(execution, &more), &text);
    }
    exit
}
