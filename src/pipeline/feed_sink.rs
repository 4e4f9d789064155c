//! The sink at the end of a stage's thread: gathers output into chunks and queues them for the next stage.

use super::{
    CHUNK_BYTES, FeedSender, Message,
    buffers::{Buffer, Pool},
    stage::{Halt, Sink},
};
use crate::fault::Failure;

pub(super) struct FeedSink {
    sender: FeedSender,
    filling: Option<Buffer>,
    pool: Pool,
}

impl FeedSink {
    pub(super) fn new(sender: FeedSender) -> Self {
        Self {
            sender,
            filling: None,
            pool: Pool::default(),
        }
    }

    fn send(&self, buffer: Buffer) -> Result<(), Halt> {
        Ok(self.sender.blocking_send(Message::Data(buffer.freeze()))?)
    }

    /// Says that the data is complete.
    pub(super) fn end(mut self) -> Result<(), Halt> {
        if let Some(rest) = self.filling.take() {
            self.send(rest)?;
        }
        Ok(self.sender.blocking_send(Message::End)?)
    }

    /// Says that it isn't. Nobody may be left to hear it.
    pub(super) fn fail(self, failure: Failure) {
        let _gone = self.sender.blocking_send(Message::Fail(failure));
    }
}

impl Sink for FeedSink {
    fn accept(&mut self, bytes: &[u8]) -> Result<(), Halt> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let mut buffer = self
                .filling
                .take()
                .unwrap_or_else(|| self.pool.take(CHUNK_BYTES));
            let (now, later) = rest.split_at(rest.len().min(CHUNK_BYTES - buffer.len()));
            buffer.extend(now);
            rest = later;
            if buffer.len() == CHUNK_BYTES {
                self.send(buffer)?;
            } else {
                self.filling = Some(buffer);
            }
        }
        Ok(())
    }
}
