//! The compressor: zstd with bounded memory, gzip as Kanbu's files want it, or nothing.
//!
//! zstd's own choices break the memory limit of 64 MiB: with workers its jobs are four windows each, and from level 10 on
//! its tables alone come near the limit. So the job size is always set, and high levels get one worker and capped tables.

use std::io::Write;

use flate2::{Compression as GzipLevel, GzBuilder, write::GzEncoder};
use zstd::stream::raw::{CParameter, Encoder, InBuffer, Operation, OutBuffer};

use super::{
    PipelineError,
    stage::{Halt, Sink, Stage, StageSummary, Through, size},
};

/// How a backup is to be compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionSpec {
    /// `workers` is what the run would like; memory sets the limit: two threads up to level 6, one above, 0 for none at all.
    Zstd {
        level: i32,
        workers: u32,
    },
    Gzip {
        level: u32,
    },
    None,
}

/// What one zstd worker takes at a time. 1 MiB would save 7 MiB of memory and cost 10 % of time.
const JOB_BYTES: u32 = 2 << 20;
const MAX_WORKERS: u32 = 2;
/// Above this level two workers and 16 MiB parts do not fit together, and nobody knows beforehand how far parts will grow.
const LAST_LEVEL_OF_TWO_WORKERS: i32 = 6;
/// Above this level the tables are capped.
const LAST_LEVEL_UNCAPPED: i32 = 9;

const STEP_BYTES: usize = 128 * 1024;

/// The stage for a spec.
pub(super) fn stage(spec: CompressionSpec) -> Result<Box<dyn Stage>, PipelineError> {
    Ok(match spec {
        CompressionSpec::Zstd { level, workers } => Box::new(ZstdStage::new(level, workers)?),
        CompressionSpec::Gzip { level } => Box::new(GzipStage::new(level)),
        CompressionSpec::None => Box::<Through>::default(),
    })
}

struct ZstdStage {
    encoder: Encoder<'static>,
    step: Vec<u8>,
    count: StageSummary,
}

impl ZstdStage {
    fn new(level: i32, workers: u32) -> Result<Self, PipelineError> {
        let mut encoder = Encoder::new(level).map_err(PipelineError::Compress)?;
        for parameter in parameters(level, workers) {
            encoder
                .set_parameter(parameter)
                .map_err(PipelineError::Compress)?;
        }
        Ok(Self {
            encoder,
            step: Vec::with_capacity(STEP_BYTES),
            count: StageSummary { taken: 0, given: 0 },
        })
    }

    fn hand_on(&mut self, sink: &mut dyn Sink) -> Result<(), Halt> {
        self.count.given += size(&self.step);
        let handed = sink.accept(&self.step);
        self.step.clear();
        handed
    }
}

fn parameters(level: i32, workers: u32) -> Vec<CParameter> {
    let mut parameters = vec![CParameter::ChecksumFlag(true)];
    let most = if level <= LAST_LEVEL_OF_TWO_WORKERS {
        MAX_WORKERS
    } else {
        1
    };
    let workers = workers.min(most);
    if workers > 0 {
        parameters.extend([
            CParameter::NbWorkers(workers),
            CParameter::JobSize(JOB_BYTES),
        ]);
    }
    if level > LAST_LEVEL_UNCAPPED {
        parameters.extend([
            CParameter::WindowLog(21),
            CParameter::ChainLog(20),
            CParameter::HashLog(20),
        ]);
    }
    parameters
}

impl Stage for ZstdStage {
    fn push(&mut self, bytes: &[u8], sink: &mut dyn Sink) -> Result<(), Halt> {
        let mut input = InBuffer::around(bytes);
        while input.pos() < bytes.len() {
            self.encoder
                .run(&mut input, &mut OutBuffer::around(&mut self.step))
                .map_err(PipelineError::Compress)?;
            if !self.step.is_empty() {
                self.hand_on(sink)?;
            }
        }
        self.count.taken += size(bytes);
        Ok(())
    }

    fn finish(mut self: Box<Self>, sink: &mut dyn Sink) -> Result<StageSummary, Halt> {
        loop {
            let left = self
                .encoder
                .finish(&mut OutBuffer::around(&mut self.step), true)
                .map_err(PipelineError::Compress)?;
            self.hand_on(sink)?;
            if left == 0 {
                return Ok(self.count);
            }
        }
    }
}

struct GzipStage {
    encoder: GzEncoder<Vec<u8>>,
    count: StageSummary,
}

impl GzipStage {
    /// Without a name and a time, so that the same content gives the same bytes.
    fn new(level: u32) -> Self {
        let level = GzipLevel::new(level.min(9));
        Self {
            encoder: GzBuilder::new()
                .mtime(0)
                .write(Vec::with_capacity(STEP_BYTES), level),
            count: StageSummary { taken: 0, given: 0 },
        }
    }

    fn hand_on(&mut self, sink: &mut dyn Sink) -> Result<(), Halt> {
        let step = self.encoder.get_mut();
        if step.is_empty() {
            return Ok(());
        }
        self.count.given += size(step);
        let handed = sink.accept(step);
        step.clear();
        handed
    }
}

impl Stage for GzipStage {
    fn push(&mut self, bytes: &[u8], sink: &mut dyn Sink) -> Result<(), Halt> {
        for step in bytes.chunks(STEP_BYTES) {
            self.encoder
                .write_all(step)
                .map_err(PipelineError::Compress)?;
            self.hand_on(sink)?;
        }
        self.count.taken += size(bytes);
        Ok(())
    }

    fn finish(mut self: Box<Self>, sink: &mut dyn Sink) -> Result<StageSummary, Halt> {
        self.encoder.try_finish().map_err(PipelineError::Compress)?;
        self.hand_on(sink)?;
        Ok(self.count)
    }
}
