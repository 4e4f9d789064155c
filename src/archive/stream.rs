//! The blocking ends of a feed: a writer that cuts a stream into chunks, a reader that joins them again.
//!
//! Both give up when the work is cancelled, even while they wait for the other side. `tar` only knows `io::Error`, so the
//! real reason is kept here and asked for afterwards.

use std::io::{self, Read, Write};

use bytes::{Buf, Bytes, BytesMut};
use futures::FutureExt;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::ArchiveError;
use crate::{
    fault::Failure,
    pipeline::{CHUNK_BYTES, Feed, FeedSender, Message},
};

/// Why a writer takes no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopped {
    /// The next stage is gone and knows why.
    Gone,
    Cancelled,
    /// The stream is complete or has failed; what comes now is `tar` tidying up.
    Closed,
}

pub(super) struct FeedWriter {
    sender: FeedSender,
    cancel: CancellationToken,
    runtime: Handle,
    chunk: BytesMut,
    stopped: Option<Stopped>,
}

impl FeedWriter {
    pub(super) fn new(sender: FeedSender, cancel: CancellationToken, runtime: Handle) -> Self {
        Self {
            sender,
            cancel,
            runtime,
            chunk: BytesMut::with_capacity(CHUNK_BYTES),
            stopped: None,
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.is_some()
    }

    /// Stops between two entries that need no writing.
    pub(super) fn check(&mut self) -> io::Result<()> {
        if self.stopped.is_none() && self.cancel.is_cancelled() {
            self.stopped = Some(Stopped::Cancelled);
        }
        match self.stopped {
            Some(_) => Err(io::Error::other("the stream was stopped")),
            None => Ok(()),
        }
    }

    /// Says that the data is complete.
    pub(super) fn end(&mut self) {
        if self.pass_on().is_ok() {
            // Whoever doesn't take the end any more has its own reason for that.
            let _ = self.send(Message::End);
        }
        self.stopped = Some(Stopped::Closed);
    }

    /// Says that the data is not complete, and why; nothing of what is still held back follows.
    pub(super) fn fail(&mut self, error: ArchiveError) {
        match self.stopped {
            None => {
                let _ = self.send(Message::Fail(error.into()));
            }
            // Who cancels may have stopped listening, so this doesn't wait for room in the queue; without the message
            // the feed ends in silence, which is a failure, too.
            Some(Stopped::Cancelled) => {
                let _ = self
                    .sender
                    .send(Message::Fail(Failure::cancelled()))
                    .now_or_never();
            }
            Some(Stopped::Gone | Stopped::Closed) => {}
        }
        self.stopped = Some(Stopped::Closed);
    }

    fn send(&mut self, message: Message) -> io::Result<()> {
        let stopped = self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => Some(Stopped::Cancelled),
                sent = self.sender.send(message) => sent.err().map(|_| Stopped::Gone),
            }
        });
        self.stopped = stopped;
        self.check()
    }

    fn pass_on(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = self.chunk.split().freeze();
        self.chunk.reserve(CHUNK_BYTES);
        self.send(Message::Data(chunk))
    }
}

impl Write for FeedWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.check()?;
        let room = CHUNK_BYTES - self.chunk.len();
        let taken = &data[..data.len().min(room)];
        self.chunk.extend_from_slice(taken);
        if self.chunk.len() == CHUNK_BYTES {
            self.pass_on()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) struct FeedReader {
    feed: Feed,
    cancel: CancellationToken,
    runtime: Handle,
    chunk: Bytes,
    ended: bool,
    failure: Option<Failure>,
}

impl FeedReader {
    pub(super) fn new(feed: Feed, cancel: CancellationToken, runtime: Handle) -> Self {
        Self {
            feed,
            cancel,
            runtime,
            chunk: Bytes::new(),
            ended: false,
            failure: None,
        }
    }

    /// What stands behind an error of `tar`: the feed's own failure, an early end, or nonsense in the data.
    pub(super) fn reason(&mut self, error: io::Error) -> Failure {
        match self.failure.take() {
            Some(failure) => failure,
            None if self.ended => ArchiveError::Truncated.into(),
            None => ArchiveError::Damaged(error).into(),
        }
    }

    /// Fails unless the feed itself says that its data is complete, and the rest of it is the end of an archive: another
    /// block of zeros at least, and nothing but zeros. `tar` has read the first one, or met the end of the data.
    pub(super) fn expect_end(&mut self) -> Result<(), Failure> {
        let mut zeros = 0_usize;
        let mut block = [0; 512];
        loop {
            match self.read(&mut block) {
                Ok(0) if zeros < block.len() => return Err(ArchiveError::Truncated.into()),
                Ok(0) => return Ok(()),
                Ok(read) if block[..read].iter().all(|byte| *byte == 0) => zeros += read,
                Ok(_) => {
                    let error = io::Error::other("data follows its end mark");
                    return Err(ArchiveError::Damaged(error).into());
                }
                Err(error) => return Err(self.reason(error)),
            }
        }
    }

    fn next(&mut self) -> io::Result<()> {
        let message = self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => Message::Fail(Failure::cancelled()),
                message = self.feed.next() => message,
            }
        });
        match message {
            Message::Data(chunk) => self.chunk = chunk,
            Message::End => self.ended = true,
            Message::Fail(failure) => {
                self.failure = Some(failure);
                return Err(io::Error::other("the stream failed"));
            }
        }
        Ok(())
    }
}

impl Read for FeedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() && !self.ended {
            self.next()?;
        }
        let taken = self.chunk.len().min(buffer.len());
        self.chunk.copy_to_slice(&mut buffer[..taken]);
        Ok(taken)
    }
}
