//! HOW a job waits and is won: the only writer of `job` and `execution`. What a backup is, it does not know.
//!
//! Invariant: a running job has exactly one open execution, and an execution is written by the holder of its lease alone
//! ([`invariants`] asks). Exclusion and fencing are constraints and predicates in the database, not agreements between
//! processes; everything here may die at any line.
//!
//! A job enters by [`enqueue`] in the caller's transaction. A [`Crew`] claims it (`lane`, `claim`), keeps its lease
//! (`keeper`, `renew`), runs the handler (`perform`) and closes the execution (`closer`, `finish`); what dead workers left is
//! closed by `reap`. `presence` is a worker's round, in which it hears that it shall go; `wake` knows when to look; `history`
//! forgets. apalis is met in `apalis` and `crew` alone.

mod apalis;
pub(crate) mod backoff;
mod claim;
mod closer;
mod control;
mod crew;
mod drain;
mod enqueue;
mod error;
mod finish;
mod follow;
mod history;
mod keeper;
mod lane;
mod perform;
mod presence;
mod read;
mod reap;
mod renew;
mod state;
mod stats;
mod subjects;
mod terms;
mod wake;
mod wire;

pub use self::{
    claim::{Claim, Claimed, claim, recover},
    control::{Cancelled, Retried, cancel, limit_running, pause, rehearse, resume, retry, run_now},
    crew::{Crew, Handler},
    drain::{Held, WorkerView, drain, workers},
    enqueue::{Dedupe, Enqueued, NewJob, enqueue, submit},
    error::{QueueError, Refusal},
    finish::{Answer, Close, Ending, finish_many, publish},
    follow::follow,
    history::{History, thin},
    read::{
        Blocked, CurrentExecution, DeadJob, JobFilter, JobView, Violation, WaitingJob, dead,
        invariants, job, jobs, resolve, waiting,
    },
    reap::{Leftovers, Reaped, reap},
    renew::{Renewal, Renewed, renew},
    state::{JobState, Origin, WorkerState},
    stats::{KindStats, Overdue, Pause, overdue, pauses, stats},
    subjects::register_subjects,
    terms::{LeaseTerms, Limits},
};
pub use crate::execution::store::{ExecutionView, earlier_executions, executions};
