//! What every step of the stream has in common: bytes are pushed in, bytes come out into a sink, and the end is said.
//!
//! Output goes to a sink, not into a buffer that is returned: a few compressed bytes may become gigabytes, and only a sink
//! can make the step wait. `finish` runs on an explicit end of data and nowhere else.

use super::{Gone, PipelineError};
use crate::fault::{Classified, Failure};

/// Why a stage stopped before its end.
#[derive(Debug)]
pub(super) enum Halt {
    /// The next stage is gone; it knows why.
    Gone,
    /// The run was told to stop; who told it knows why.
    Stopped,
    Failed(Failure),
}

impl From<Gone> for Halt {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl<E: Classified> From<E> for Halt {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Halt> for Failure {
    /// At the end of a run of its own, where a consumer that went away is one more order to stop.
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Gone | Halt::Stopped => Self::cancelled(),
            Halt::Failed(failure) => failure,
        }
    }
}

/// Where a stage's output goes. May block until there is room.
pub(super) trait Sink {
    fn accept(&mut self, bytes: &[u8]) -> Result<(), Halt>;
}

/// What went in and what came out, as the stage itself counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StageSummary {
    pub(super) taken: u64,
    pub(super) given: u64,
}

/// One transformation of the stream.
pub(super) trait Stage: Send {
    fn push(&mut self, bytes: &[u8], sink: &mut dyn Sink) -> Result<(), Halt>;

    /// The data is complete: writes what was held back, and counts.
    fn finish(self: Box<Self>, sink: &mut dyn Sink) -> Result<StageSummary, Halt>;
}

/// The next stage as a sink, where two share a thread.
pub(super) struct IntoStage<'a> {
    pub(super) stage: &'a mut dyn Stage,
    pub(super) sink: &'a mut dyn Sink,
}

impl Sink for IntoStage<'_> {
    fn accept(&mut self, bytes: &[u8]) -> Result<(), Halt> {
        self.stage.push(bytes, self.sink)
    }
}

/// The stage that changes nothing: no compression, or no envelope.
#[derive(Debug, Default)]
pub(super) struct Through {
    bytes: u64,
}

impl Stage for Through {
    fn push(&mut self, bytes: &[u8], sink: &mut dyn Sink) -> Result<(), Halt> {
        self.bytes += size(bytes);
        sink.accept(bytes)
    }

    fn finish(self: Box<Self>, _: &mut dyn Sink) -> Result<StageSummary, Halt> {
        Ok(StageSummary {
            taken: self.bytes,
            given: self.bytes,
        })
    }
}

/// A length as it is counted over files.
pub(super) fn size(bytes: &[u8]) -> u64 {
    bytes.len() as u64
}

/// What one side counted as given, the other must have counted as taken.
pub(super) fn agree(
    given: (&'static str, u64),
    taken: (&'static str, u64),
) -> Result<(), PipelineError> {
    if given.1 == taken.1 {
        return Ok(());
    }
    Err(PipelineError::CountsDisagree {
        giver: given.0,
        given: given.1,
        taker: taken.0,
        taken: taken.1,
    })
}
