//! `drain`: workers are asked to go, and it is waited for until they have gone.

use std::{collections::BTreeSet, time::Duration};

use kanbu_backup::{
    control::ControlDb,
    fault::Failure,
    id::WorkerId,
    queue::{self, WorkerState, WorkerView},
};
use serde_json::json;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::VerbError;
use crate::{cli::Drain, exit::Exit, output::Output, session::Session};

const LOOK_EVERY: Duration = Duration::from_millis(300);

const GONE: &str = "gone";

/// Who asks, for people.
const BY: &str = "cli";

pub async fn run(args: Drain, session: &Session) -> Result<Exit, Failure> {
    let db = session.control().await?;
    let out = session.out;
    let meant = meant(&args, &queue::workers(&db).await?)?;
    if args.dry_run {
        return Ok(answer(
            &meant,
            "would_drain",
            "would be asked to go",
            Exit::Done,
            out,
        ));
    }
    let mut asked = BTreeSet::new();
    for worker in &meant {
        if queue::drain(&db, worker.id, BY).await? {
            asked.insert(worker.id);
            out.message(&format!("asked {} to go", told(worker)));
        }
    }
    if args.no_wait {
        return Ok(answer(
            &meant,
            "draining",
            "are asked to go",
            Exit::Done,
            out,
        ));
    }
    let mut left = Vec::new();
    let all_gone = until_gone(&asked, &mut left, &db, out);
    match timeout(args.timeout.unwrap_or(Duration::MAX), all_gone).await {
        Ok(gone) => {
            let silent = gone?;
            Ok(ended(&meant, &silent, out))
        }
        Err(_) => Ok(answer(&left, "draining", "still work", Exit::Waited, out)),
    }
}

/// The workers that are named, or all that haven't gone.
fn meant(args: &Drain, workers: &[WorkerView]) -> Result<Vec<WorkerView>, VerbError> {
    let here = |worker: &&WorkerView| worker.state != WorkerState::Gone;
    if args.all {
        return Ok(workers.iter().filter(here).cloned().collect());
    }
    let mut meant: Vec<WorkerView> = Vec::new();
    for text in &args.workers {
        let by_name = workers.iter().filter(here).filter(|w| w.name == *text);
        let mut found: Vec<_> = by_name.collect();
        if found.is_empty() {
            found.extend(workers.iter().filter(|worker| is_id(worker.id, text)));
            if found.len() > 1 {
                return Err(VerbError::SeveralWorkers {
                    text: text.clone(),
                    count: found.len(),
                });
            }
        }
        if found.is_empty() {
            return Err(VerbError::UnknownWorker(text.clone()));
        }
        meant.extend(found.into_iter().cloned());
    }
    Ok(meant)
}

/// A whole id, or at least four of its last digits.
fn is_id(id: WorkerId, text: &str) -> bool {
    let text = text.to_ascii_lowercase().replace('-', "");
    text.len() >= 4 && id.as_uuid().simple().to_string().ends_with(&text)
}

/// Until every worker asked has gone, or is silent and can't say so; those are the answer. `left` is who is waited for.
async fn until_gone(
    asked: &BTreeSet<WorkerId>,
    left: &mut Vec<WorkerView>,
    db: &ControlDb,
    out: Output,
) -> Result<Vec<WorkerView>, Failure> {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let mut workers = match queue::workers(db).await {
            Ok(workers) => workers,
            Err(error) if error.is_transient() => {
                out.message(&format!("{error}; looking again"));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        workers.retain(|worker| asked.contains(&worker.id) && worker.state != WorkerState::Gone);
        if workers.iter().all(|w| w.state == WorkerState::Silent) {
            return Ok(workers);
        }
        *left = workers;
    }
}

fn ended(meant: &[WorkerView], silent: &[WorkerView], out: Output) -> Exit {
    for worker in silent {
        let text = format!(
            "{} has not been heard of since {} and is not waited for; what it held is taken over when its leases end",
            told(worker),
            super::list::local(worker.last_seen_at)
        );
        out.warning("worker.silent", &text);
    }
    let exit = if silent.is_empty() {
        Exit::Done
    } else {
        Exit::Findings
    };
    answer(meant, GONE, "have gone", exit, out)
}

fn told(worker: &WorkerView) -> String {
    format!("worker {} ({})", worker.name, worker.id.short())
}

/// The one result: whom it is about, and what they work on unless they have gone.
fn answer(workers: &[WorkerView], state: &str, text: &str, exit: Exit, out: Output) -> Exit {
    let mut lines = vec![format!("{} workers {text}", workers.len())];
    let mut rows = Vec::new();
    for worker in workers {
        let mut row = json!({ "worker": worker.id, "name": worker.name });
        if state != GONE {
            row["running"] = json!(worker.running);
            lines.push(format!("  {}: {}", told(worker), held(worker)));
        }
        rows.push(row);
    }
    out.result(
        json!({ "state": state, "workers": rows }),
        &lines.join("\n"),
    );
    exit
}

fn held(worker: &WorkerView) -> String {
    let held = worker.running.iter();
    let held: Vec<_> = held
        .map(|held| {
            format!(
                "{} of {} (job {})",
                held.kind,
                held.subject,
                held.job.short()
            )
        })
        .collect();
    if held.is_empty() {
        "nothing".to_owned()
    } else {
        held.join(", ")
    }
}
