//! The way back: zstd or gzip to content. Data that ends in the middle, or goes on after its end, is an error.

use std::io;

use flate2::{Decompress, FlushDecompress, Status};
use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

use super::{
    PipelineError,
    stage::{Halt, Sink, Stage, StageSummary, Through, size},
};

/// How stored content is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    Zstd,
    Gzip,
    None,
}

const STEP_BYTES: usize = 128 * 1024;
const ZSTD: &str = "zstd";
const GZIP: &str = "gzip";

/// The stage for a recorded compression; without a record the first bytes tell.
pub(super) fn stage(recorded: Option<Compression>) -> Result<Box<dyn Stage>, PipelineError> {
    Ok(match recorded {
        Some(Compression::Zstd) => Box::new(UnzstdStage::new()?),
        Some(Compression::Gzip) => Box::new(GunzipStage::new()),
        Some(Compression::None) => Box::<Through>::default(),
        None => Box::new(Guess::FirstBytes(Vec::with_capacity(MAGIC_BYTES))),
    })
}

struct UnzstdStage {
    decoder: Decoder<'static>,
    step: Vec<u8>,
    count: StageSummary,
    at_end_of_frame: bool,
}

impl UnzstdStage {
    fn new() -> Result<Self, PipelineError> {
        Ok(Self {
            decoder: Decoder::new().map_err(undecodable(ZSTD))?,
            step: Vec::with_capacity(STEP_BYTES),
            count: StageSummary { taken: 0, given: 0 },
            at_end_of_frame: false,
        })
    }
}

fn undecodable(format: &'static str) -> impl Fn(io::Error) -> PipelineError {
    move |source| PipelineError::Undecodable { format, source }
}

impl Stage for UnzstdStage {
    fn push(&mut self, bytes: &[u8], sink: &mut dyn Sink) -> Result<(), Halt> {
        let mut input = InBuffer::around(bytes);
        let mut output_was_full = false;
        while input.pos() < bytes.len() || output_was_full {
            self.step.clear();
            let wanted = self
                .decoder
                .run(&mut input, &mut OutBuffer::around(&mut self.step))
                .map_err(undecodable(ZSTD))?;
            self.at_end_of_frame = wanted == 0;
            // A finished frame has given everything; asking again would begin the next one.
            output_was_full = !self.at_end_of_frame && self.step.len() == self.step.capacity();
            self.count.given += size(&self.step);
            sink.accept(&self.step)?;
        }
        self.count.taken += size(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>, _: &mut dyn Sink) -> Result<StageSummary, Halt> {
        if self.at_end_of_frame {
            Ok(self.count)
        } else {
            Err(PipelineError::CompressedTruncated { format: ZSTD }.into())
        }
    }
}

struct GunzipStage {
    decoder: Decompress,
    step: Vec<u8>,
    count: StageSummary,
    at_end_of_member: bool,
}

impl GunzipStage {
    fn new() -> Self {
        Self {
            decoder: Decompress::new_gzip(15),
            step: Vec::with_capacity(STEP_BYTES),
            count: StageSummary { taken: 0, given: 0 },
            at_end_of_member: false,
        }
    }

    /// Decodes into `step` and returns how many bytes of `input` that took.
    fn advance(&mut self, input: &[u8]) -> Result<usize, PipelineError> {
        if self.at_end_of_member {
            self.decoder.reset(true);
            self.at_end_of_member = false;
        }
        let before = self.decoder.total_in();
        self.step.clear();
        let status = self
            .decoder
            .decompress_vec(input, &mut self.step, FlushDecompress::None)
            .map_err(|error| undecodable(GZIP)(error.into()))?;
        self.at_end_of_member = matches!(status, Status::StreamEnd);
        let used = self.decoder.total_in() - before;
        Ok(usize::try_from(used).map_or(input.len(), |used| used.min(input.len())))
    }
}

impl Stage for GunzipStage {
    fn push(&mut self, bytes: &[u8], sink: &mut dyn Sink) -> Result<(), Halt> {
        let mut rest = bytes;
        let mut output_was_full = false;
        while !rest.is_empty() || output_was_full {
            let used = self.advance(rest)?;
            rest = &rest[used..];
            output_was_full = !self.at_end_of_member && self.step.len() == self.step.capacity();
            self.count.given += size(&self.step);
            sink.accept(&self.step)?;
        }
        self.count.taken += size(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>, _: &mut dyn Sink) -> Result<StageSummary, Halt> {
        if self.at_end_of_member {
            Ok(self.count)
        } else {
            Err(PipelineError::CompressedTruncated { format: GZIP }.into())
        }
    }
}

pub(super) const MAGIC_BYTES: usize = 4;

/// Looks at the first bytes, then is what they say.
enum Guess {
    FirstBytes(Vec<u8>),
    Known(Box<dyn Stage>),
}

pub(super) fn by_magic(first: &[u8]) -> Compression {
    match first {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        [0x1f, 0x8b, ..] => Compression::Gzip,
        _ => Compression::None,
    }
}

impl Guess {
    fn settle(first: &[u8], sink: &mut dyn Sink) -> Result<Box<dyn Stage>, Halt> {
        let mut known = stage(Some(by_magic(first)))?;
        known.push(first, sink)?;
        Ok(known)
    }
}

impl Stage for Guess {
    fn push(&mut self, bytes: &[u8], sink: &mut dyn Sink) -> Result<(), Halt> {
        match self {
            Self::Known(known) => known.push(bytes, sink),
            Self::FirstBytes(first) => {
                let missing = MAGIC_BYTES.saturating_sub(first.len()).min(bytes.len());
                let (more, rest) = bytes.split_at(missing);
                first.extend_from_slice(more);
                if first.len() == MAGIC_BYTES {
                    let mut known = Self::settle(first, sink)?;
                    known.push(rest, sink)?;
                    *self = Self::Known(known);
                }
                Ok(())
            }
        }
    }

    fn finish(self: Box<Self>, sink: &mut dyn Sink) -> Result<StageSummary, Halt> {
        match *self {
            Self::Known(known) => known.finish(sink),
            Self::FirstBytes(first) => Self::settle(&first, sink)?.finish(sink),
        }
    }
}
