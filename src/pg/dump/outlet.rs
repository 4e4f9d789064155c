//! Where a dump's bytes leave: gathered to chunks, watched for the format's marks, handed to the next stage.

use bytes::BytesMut;
use tokio_util::sync::CancellationToken;

use super::{Completeness, DumpFormat, DumpReport};
use crate::{
    fault::Failure,
    pg::error::PgError,
    pipeline::{CHUNK_BYTES, FeedSender, Message},
};

/// The sending half of a dump.
#[derive(Debug)]
pub(super) struct Outlet {
    sender: FeedSender,
    seen: Completeness,
    /// Fires when the dump shall stop; everything that waits in a dump waits for this too.
    pub(super) cancel: CancellationToken,
    /// Bytes not handed on yet.
    pub(super) buffer: BytesMut,
    bytes: u64,
}

/// Why a dump ends before its data does.
#[derive(Debug)]
pub(super) enum Stop {
    Cancelled,
    /// The next stage is gone; nobody listens.
    Gone,
    Failed(PgError),
}

impl From<PgError> for Stop {
    fn from(error: PgError) -> Self {
        Self::Failed(error)
    }
}

impl Outlet {
    pub(super) fn new(sender: FeedSender, format: DumpFormat, cancel: CancellationToken) -> Self {
        let seen = Completeness::new(format);
        let buffer = BytesMut::with_capacity(CHUNK_BYTES);
        Self {
            sender,
            seen,
            cancel,
            buffer,
            bytes: 0,
        }
    }

    /// Hands the buffer on when it holds a whole chunk.
    pub(super) async fn hand_over_full(&mut self) -> Result<(), Stop> {
        while self.buffer.len() >= CHUNK_BYTES {
            self.hand_over(CHUNK_BYTES).await?;
        }
        Ok(())
    }

    /// Hands on what is left, after which only the end may be said.
    pub(super) async fn hand_over_rest(&mut self) -> Result<(), Stop> {
        self.hand_over_full().await?;
        match self.buffer.len() {
            0 => Ok(()),
            rest => self.hand_over(rest).await,
        }
    }

    /// The marks of the format are there.
    pub(super) fn check_whole(&self) -> Result<(), Stop> {
        Ok(self.seen.verdict()?)
    }

    pub(super) fn report(&self, stderr: String) -> DumpReport {
        let warnings = stderr
            .lines()
            .filter(|line| line.contains("warning:"))
            .map(str::to_owned)
            .collect();
        let header = self.seen.header();
        DumpReport {
            bytes: self.bytes,
            header,
            warnings,
            stderr,
        }
    }

    /// The last message.
    pub(super) async fn end(self, result: Result<(), Stop>) {
        let message = match result {
            Ok(()) => Message::End,
            Err(Stop::Cancelled) => Message::Fail(Failure::cancelled()),
            Err(Stop::Failed(error)) => Message::Fail(error.into()),
            Err(Stop::Gone) => return,
        };
        if self.sender.send(message).await.is_err() {
            tracing::debug!("a dump ended after its reader had gone");
        }
    }

    async fn hand_over(&mut self, length: usize) -> Result<(), Stop> {
        let chunk = self.buffer.split_to(length).freeze();
        self.seen.see(&chunk);
        self.bytes += chunk.len() as u64;
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(Stop::Cancelled),
            sent = self.sender.send(Message::Data(chunk)) => sent.map_err(|_| Stop::Gone),
        }
    }
}
