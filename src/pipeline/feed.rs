//! The queue between two stages, and the rule that end of data is a message.
//!
//! A source that breaks closes its channel. If a closed channel meant "end", the next stage would seal a valid final chunk
//! over half a dump: authentic and cut off. So the end is said, and silence is a failure.

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::fault::{Failure, Fault};

/// What a source hands on at most at once.
pub const CHUNK_BYTES: usize = 256 * 1024;

/// Chunks that may wait between two stages.
const CAPACITY: usize = 4;

/// One step of a stream.
#[derive(Debug)]
pub enum Message {
    Data(Bytes),
    /// The source ended well: its exit status is known and zero, its end mark was seen.
    End,
    Fail(Failure),
}

/// A stage's input.
#[derive(Debug)]
pub struct Feed(mpsc::Receiver<Message>);

/// A stage's output.
#[derive(Clone, Debug)]
pub struct FeedSender(mpsc::Sender<Message>);

/// The next stage is gone; it knows why.
#[derive(Debug, thiserror::Error)]
#[error("the next stage of the stream is gone")]
pub struct Gone;

/// A bounded queue between two stages.
pub fn feed() -> (FeedSender, Feed) {
    let (sender, receiver) = mpsc::channel(CAPACITY);
    (FeedSender(sender), Feed(receiver))
}

impl Feed {
    /// The next message. A channel that closes without `End` or `Fail` is a failure of the stage before.
    pub async fn next(&mut self) -> Message {
        self.0
            .recv()
            .await
            .unwrap_or_else(|| Message::Fail(vanished()))
    }

    /// The same from a thread that may block.
    pub fn blocking_next(&mut self) -> Message {
        self.0
            .blocking_recv()
            .unwrap_or_else(|| Message::Fail(vanished()))
    }
}

fn vanished() -> Failure {
    Failure::new(
        Fault::Transient,
        "pipeline.source_vanished",
        "a stage of the stream stopped without saying whether its data is complete",
    )
}

impl FeedSender {
    pub async fn send(&self, message: Message) -> Result<(), Gone> {
        self.0.send(message).await.map_err(|_| Gone)
    }

    pub fn blocking_send(&self, message: Message) -> Result<(), Gone> {
        self.0.blocking_send(message).map_err(|_| Gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_channel_that_closes_without_an_end_is_a_failure() {
        let (sender, mut input) = feed();
        sender
            .send(Message::Data(Bytes::from_static(b"half")))
            .await
            .unwrap();
        drop(sender);
        assert!(matches!(input.next().await, Message::Data(_)));
        let Message::Fail(failure) = input.next().await else {
            panic!("a silent end was accepted")
        };
        assert_eq!(failure.code, "pipeline.source_vanished");
    }
}
