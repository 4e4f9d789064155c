//! The two threads of a write: the compressor's, and beside it the one that hashes, seals and assembles parts.
//!
//! They answer with what they counted and hashed, or with the first thing that went wrong; whatever went wrong elsewhere as
//! a consequence (a closed queue, an order to stop) is not the answer if a cause is known.

use tokio::task::{JoinError, JoinHandle, spawn_blocking};

use super::{
    CHUNK_BYTES, Feed, Message, PipelineError, feed,
    feed_sink::FeedSink,
    parts::FanOut,
    stage::{Halt, Sink, Stage, StageSummary, agree, size},
    tally::{Tallied, Tally},
    watch::{Meter, Waiter},
};
/// A write's stages, made but not begun.
pub(super) struct Stages {
    pub(super) compress: Box<dyn Stage>,
    pub(super) seal: Box<dyn Stage>,
}

/// The threads at work.
pub(super) struct Stream {
    compress: JoinHandle<Result<StageSummary, Halt>>,
    seal: JoinHandle<Result<Sealed, Halt>>,
}

/// What the second thread has to tell.
struct Sealed {
    summary: StageSummary,
    payload: Tallied,
    stored: Tallied,
}

/// A stream that ended well, with counts that agree from stage to stage.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streamed {
    pub(super) content_bytes: u64,
    pub(super) payload: Tallied,
    pub(super) stored: Tallied,
}

impl Stream {
    pub(super) fn start(
        source: Feed,
        stages: Stages,
        fan_out: FanOut,
        meter: Meter,
        waiter: &Waiter,
    ) -> Self {
        let Stages { compress, seal } = stages;
        let (compressed, input) = feed();
        let (first, second) = (waiter.clone(), waiter.clone());
        Self {
            compress: spawn_blocking(move || {
                let sink = FeedSink::new(compressed);
                run_compress(source, compress, sink, &meter, &first)
            }),
            seal: spawn_blocking(move || run_seal(input, seal, fan_out, &second)),
        }
    }

    /// Waits for both threads. `Halt` tells nothing of a cause when there was none here.
    pub(super) async fn end(self) -> Result<Streamed, Halt> {
        let compressed = joined("compress", self.compress.await);
        let sealed = joined("seal", self.seal.await);
        match (compressed, sealed) {
            (Ok(summary), Ok(sealed)) => streamed(summary, &sealed),
            (Err(Halt::Failed(cause)), _) | (_, Err(Halt::Failed(cause))) => Err(cause.into()),
            (Err(halt), _) | (_, Err(halt)) => Err(halt),
        }
    }
}

fn joined<T>(stage: &'static str, ended: Result<Result<T, Halt>, JoinError>) -> Result<T, Halt> {
    ended.unwrap_or_else(|_| Err(PipelineError::StagePanicked { stage }.into()))
}

fn run_compress(
    mut source: Feed,
    stage: Box<dyn Stage>,
    mut sink: FeedSink,
    meter: &Meter,
    waiter: &Waiter,
) -> Result<StageSummary, Halt> {
    let mut given = 0;
    let summary = run(&mut source, stage, &mut sink, waiter, |bytes| {
        given += size(bytes);
        meter.content(size(bytes));
    })?;
    agree(("the source", given), ("the compressor", summary.taken))?;
    sink.end()?;
    Ok(summary)
}

fn run_seal(
    mut input: Feed,
    stage: Box<dyn Stage>,
    mut fan_out: FanOut,
    waiter: &Waiter,
) -> Result<Sealed, Halt> {
    let mut payload = Tally::default();
    let summary = run(&mut input, stage, &mut fan_out, waiter, |bytes| {
        payload.add(bytes);
    })?;
    Ok(Sealed {
        summary,
        payload: payload.finish(),
        stored: fan_out.finish()?,
    })
}

/// Pulls a stage's input through it, to its explicit end.
fn run(
    input: &mut Feed,
    mut stage: Box<dyn Stage>,
    sink: &mut dyn Sink,
    waiter: &Waiter,
    mut seen: impl FnMut(&[u8]),
) -> Result<StageSummary, Halt> {
    loop {
        match waiter.next(input)? {
            Message::Data(bytes) => {
                seen(&bytes);
                for piece in bytes.chunks(CHUNK_BYTES) {
                    stage.push(piece, sink)?;
                }
            }
            Message::End => return stage.finish(sink),
            Message::Fail(failure) => return Err(failure.into()),
        }
    }
}

fn streamed(compressed: StageSummary, sealed: &Sealed) -> Result<Streamed, Halt> {
    let Sealed {
        summary,
        payload,
        stored,
    } = sealed;
    agree(
        ("the compressor", compressed.given),
        ("the hash", payload.bytes),
    )?;
    agree(
        ("the compressor", compressed.given),
        ("the sealer", summary.taken),
    )?;
    agree(
        ("the sealer", summary.given),
        ("the storages", stored.bytes),
    )?;
    Ok(Streamed {
        content_bytes: compressed.taken,
        payload: *payload,
        stored: *stored,
    })
}
