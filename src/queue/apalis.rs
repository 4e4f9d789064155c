//! The seam to apalis: its worker loop and its layers drive our lanes through its `Persistence` trait.
//!
//! The one idea: the apalis task id *is* the execution id, so that every write is fenced by construction and no part of
//! apalis has to know about it. apalis's own rules bind us in three ways. Any error from these methods ends the worker, so
//! there is none. What a fetch returns beyond the free slots blocks everything else, so a [`Lane`] never claims more.
//! Acknowledgements wait behind a fetch, so endings don't travel through apalis at all; see [`super::closer`].

use std::{
    convert::Infallible,
    task::{Context, Poll},
    time::Duration,
};

use apalis_codec::json::JsonCodec;
use apalis_core::{
    backend::{
        Backend, BackendConfig,
        finalize::Ephemeral,
        persistence::{Persisted, Persistence, TaskEvent, TaskPersistLayer},
    },
    error::WorkerError,
    task::{Task, builder::TaskBuilder, task_id::TaskId},
    worker::{builder::WorkerBuilder, context::WorkerContext},
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::lane::{Assignment, Lane};

/// apalis's heartbeat does nothing here: leases and the reaper have tasks of their own.
const HEARTBEAT: Duration = Duration::from_hours(1);

/// Works in a lane until `stop`, then until what was begun there has ended.
pub(super) async fn work(lane: Lane, stop: CancellationToken) -> Result<(), WorkerError> {
    let name = format!("kanbu-backup-{}", lane.kind());
    let worker = WorkerBuilder::new(name)
        .backend(LaneBackend::new(lane))
        .build(|assignment: Assignment| assignment.carry_out());
    let stopped = async move {
        stop.cancelled().await;
        Ok::<(), WorkerError>(())
    };
    worker.run_until(stopped).await
}

impl Persistence for Lane {
    type Compact = Assignment;
    type Response = Value;
    type Error = Infallible;

    async fn register(&mut self, _: &WorkerContext) -> Result<(), Infallible> {
        Ok(())
    }

    async fn heartbeat(&mut self, _: &WorkerContext) -> Result<(), Infallible> {
        Ok(())
    }

    async fn fetch_next(&mut self, _: &WorkerContext) -> Result<Vec<Task<Assignment>>, Infallible> {
        let tasks = self.next().await.into_iter().map(|assignment| {
            let id = TaskId::from_string(assignment.execution().to_string());
            TaskBuilder::new(assignment).task_id(id).build()
        });
        Ok(tasks.collect())
    }

    /// Dropping an assignment that wasn't started gives it back.
    async fn reenqueue_abandoned(
        &mut self,
        tasks: Vec<Task<Assignment>>,
        _: &WorkerContext,
    ) -> Result<u64, Infallible> {
        let count = tasks.len() as u64;
        drop(tasks);
        Ok(count)
    }

    async fn handle_events(
        &mut self,
        _: Vec<TaskEvent<Value>>,
        _: &WorkerContext,
    ) -> Result<(), Infallible> {
        Ok(())
    }

    /// Jobs enter by SQL, in the caller's own transaction, and never through apalis.
    async fn push_tasks(&mut self, _: Vec<Task<Assignment>>) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Hands apalis's own state machine our lane.
struct LaneBackend {
    persisted: Persisted<Lane>,
}

impl LaneBackend {
    fn new(lane: Lane) -> Self {
        Self {
            persisted: Persisted::new(lane),
        }
    }
}

impl Backend for LaneBackend {
    type Task = Task<Assignment>;
    type Error = Infallible;

    fn poll_ready(
        &mut self,
        cx: &mut Context<'_>,
        worker: &WorkerContext,
    ) -> Poll<Result<(), Infallible>> {
        self.persisted.poll_ready(cx, worker, HEARTBEAT)
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        worker: &WorkerContext,
    ) -> Poll<Option<Result<Task<Assignment>, Infallible>>> {
        self.persisted.poll_next(cx, worker)
    }

    fn poll_close(
        &mut self,
        cx: &mut Context<'_>,
        worker: &WorkerContext,
    ) -> Poll<Result<(), Infallible>> {
        self.persisted.poll_close(cx, worker)
    }
}

impl BackendConfig for LaneBackend {
    type Args = Assignment;
    type Id = String;
    type Kind = Ephemeral;
    type Config = ();
    type Layer = TaskPersistLayer<JsonCodec<Value>, Value>;

    fn config(&self) -> &() {
        &()
    }

    /// The layer sends neither results nor locks: both are switched off unless asked for.
    fn middleware(&mut self, _: &mut WorkerContext) -> Self::Layer {
        self.persisted.layer(JsonCodec::default(), 1)
    }
}
