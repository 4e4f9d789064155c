//! Delivering endings: gathered into one statement per turn, and repeated until the database answers.
//!
//! No ending waits behind another that the database refuses by rule, and no claim waits behind an ending. What is refused
//! is said and left to the end of its lease.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    Answer, Ending, QueueError,
    backoff::{Patience, gather},
    finish::finish_many,
    finish::publish,
    keeper::Keeper,
};
use crate::{control::ControlDb, id::ExecutionId};

/// Most endings in one statement.
const BATCH: usize = 100;

/// The one who closes the executions of a process.
#[derive(Debug)]
pub(super) struct Closer {
    db: ControlDb,
    keeper: Arc<Keeper>,
    endings: mpsc::UnboundedReceiver<Ending>,
    pending: Vec<Ending>,
}

impl Closer {
    /// The closer and its letter box. No more letters can lie there than the process has slots.
    pub(super) fn new(db: ControlDb, keeper: Arc<Keeper>) -> (Self, mpsc::UnboundedSender<Ending>) {
        let (post, endings) = mpsc::unbounded_channel();
        let closer = Self {
            db,
            keeper,
            endings,
            pending: Vec::new(),
        };
        (closer, post)
    }

    /// Delivers until `last_call`, then what is there.
    pub(super) async fn run(mut self, last_call: CancellationToken) {
        let mut patience = Patience::new();
        loop {
            if self.pending.is_empty() {
                let ending = tokio::select! {
                    biased;
                    ending = self.endings.recv() => ending,
                    () = last_call.cancelled() => self.endings.try_recv().ok(),
                };
                let Some(ending) = ending else { return };
                self.pending.push(ending);
            }
            gather(&mut self.pending, BATCH, || self.endings.try_recv().ok()).await;
            match self.deliver().await {
                Ok(()) => patience = Patience::new(),
                Err(error) => {
                    tracing::warn!(%error, pending = self.pending.len(), "endings wait for the control database");
                    patience.pause().await;
                }
            }
        }
    }

    /// One turn; an error means that the database has yet to answer for what is still pending.
    async fn deliver(&mut self) -> Result<(), QueueError> {
        let (publications, plain): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|ending| ending.effects().is_some());
        let mut troubled = None;
        for batch in plain.chunks(BATCH) {
            let batch: Vec<&Ending> = batch.iter().collect();
            match finish_many(&self.db, &batch).await {
                Ok(answers) => answers
                    .into_iter()
                    .for_each(|(execution, answer)| self.done(execution, answer)),
                Err(error) if error.is_transient() => {
                    self.pending.extend(batch.into_iter().cloned());
                    troubled = Some(error);
                }
                // One of them is refused by rule: the others shall not suffer for it.
                Err(_) => {
                    for ending in batch {
                        troubled = self.deliver_alone(ending.clone()).await.or(troubled);
                    }
                }
            }
        }
        for ending in publications {
            troubled = self.deliver_alone(ending).await.or(troubled);
        }
        troubled.map_or(Ok(()), Err)
    }

    async fn deliver_alone(&mut self, ending: Ending) -> Option<QueueError> {
        match publish(&self.db, &ending).await {
            Ok(answer) => self.done(ending.execution, answer),
            Err(error) if error.is_transient() => {
                self.pending.push(ending);
                return Some(error);
            }
            Err(error) => {
                tracing::error!(
                    execution.id = %ending.execution, %error,
                    "the end of an execution can't be recorded; it is left to run out"
                );
                self.keeper.forget(ending.execution);
            }
        }
        None
    }

    fn done(&self, execution: ExecutionId, answer: Answer) {
        match answer {
            Answer::Closed | Answer::Already => {}
            Answer::Lost => {
                tracing::warn!(execution.id = %execution, "fenced out: the lease had run out before the end");
            }
        }
        self.keeper.forget(execution);
    }
}
