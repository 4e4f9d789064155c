//! `rollback`: the database that a restore replaced is live again, within seconds.

use kanbu_backup::{
    catalog::Replacement,
    fault::Failure,
    job::{self, Job, RestoreInto},
    queue::ExecutionView,
    restore,
};

use super::{VerbError, follow};
use crate::{cli::Rollback, exit::Exit, output::Output, session::Session};

pub async fn run(args: Rollback, session: &Session) -> Result<Exit, Failure> {
    let db = session.control().await?;
    let found = restore::replacement(&db, &args.id).await?;
    require_confirmed(&found, args.confirm.as_deref(), session)?;
    let into = RestoreInto::Rollback {
        name: found.database,
        restore: found.execution,
    };
    let request = job::Restore {
        confirm: args.confirm,
        ..job::Restore::of(found.artifact, into)
    };
    match follow::run(Job::Restore(request), args.follow, &db, session.out).await? {
        follow::Fate::Left(exit) => Ok(exit),
        follow::Fate::Ended(execution) => Ok(ended(&execution, session.out)),
    }
}

fn require_confirmed(
    found: &Replacement,
    given: Option<&str>,
    session: &Session,
) -> Result<(), VerbError> {
    let (environment, live) = (&session.config.storage.environment, &found.database);
    let wanted = format!("{environment}/{live}");
    if given == Some(wanted.as_str()) {
        return Ok(());
    }
    Err(VerbError::NobodyConfirmed {
        what: format!(
            "gives {live} on {environment} back to the database that restore {} replaced; what was written since then stays in {}",
            found.execution.short(),
            found.undone_name
        ),
        again: format!(
            "to go on: kanbu-backup rollback {} --confirm {wanted}",
            found.execution.short()
        ),
    })
}

fn ended(execution: &ExecutionView, out: Output) -> Exit {
    let exit = follow::verdict(execution, out);
    if let (Exit::Done | Exit::Findings, Some(found)) = (exit, &execution.result) {
        let rollback = &found["rollback"];
        let text = format!(
            "✔ {} is the old database again; it was closed for {} ms. What was live until now is kept for {} days as {}",
            found["database"].as_str().unwrap_or_default(),
            rollback["pause_ms"],
            rollback["keep_days"],
            rollback["kept_as"].as_str().unwrap_or_default(),
        );
        out.result(follow::result(execution, found), &text);
    }
    exit
}
