//! From the stream's ticks to the progress that people see, and from the stream's last question to the lease.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Lease, Phase, Progress};
use crate::{
    bytes::ByteSize,
    pipeline::{Tick, Watch},
};

/// The rate is measured over this much of the past.
const WINDOW: Duration = Duration::from_secs(5);

/// Two samples of the rate are at least this far apart.
const SAMPLE_EVERY: Duration = Duration::from_millis(250);

/// The end of a progress bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Total {
    Known(u64),
    /// A guess: the size of the database, of the last backup.
    Estimate(u64),
}

impl Lease {
    /// Lets a stream run under this lease: it stops with it, reports to it, and asks it before anything is completed.
    pub fn watch(self: &Arc<Self>, phase: Phase, total: Option<Total>) -> Watch {
        let (reporter, gatekeeper) = (Arc::clone(self), Arc::clone(self));
        let meter = Mutex::new(Meter::new(phase, total));
        let tick = move |tick: Tick| {
            let progress = meter
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .progress(tick);
            if let Some(progress) = progress {
                reporter.report(progress);
            }
        };
        self.report(Progress {
            phase,
            ..Progress::default()
        });
        let gate = move || -> futures::future::BoxFuture<'static, _> {
            Box::pin(async move { gatekeeper.check().await })
        };
        Watch::new(self.cancelled().clone(), Arc::new(tick)).with_gate(Box::new(gate))
    }
}

struct Meter {
    phase: Phase,
    total: Option<Total>,
    samples: VecDeque<(Instant, u64)>,
}

impl Meter {
    fn new(phase: Phase, total: Option<Total>) -> Self {
        Self {
            phase,
            total,
            samples: VecDeque::from([(Instant::now(), 0)]),
        }
    }

    /// `None` between two samples.
    fn progress(&mut self, tick: Tick) -> Option<Progress> {
        let (now, done) = (Instant::now(), self.done(tick));
        if self
            .samples
            .back()
            .is_some_and(|(last, _)| now - *last < SAMPLE_EVERY)
        {
            return None;
        }
        self.samples.push_back((now, done));
        while self.samples.len() > 2
            && self
                .samples
                .front()
                .is_some_and(|(first, _)| now - *first > WINDOW)
        {
            self.samples.pop_front();
        }
        let (since, before) = *self.samples.front()?;
        let (total_bytes, total_is_estimate) = match self.total {
            Some(Total::Known(total)) => (Some(total), false),
            Some(Total::Estimate(total)) => (Some(total.max(done)), true),
            None => (None, false),
        };
        Some(Progress {
            phase: self.phase,
            done_bytes: done,
            total_bytes,
            total_is_estimate,
            stored_bytes: tick.stored_bytes,
            rate_bps: ByteSize(done.saturating_sub(before))
                .per_second(now - since)
                .0,
            message: None,
        })
    }

    /// What the phase's total counts: bytes of the source, or bytes on the storage.
    fn done(&self, tick: Tick) -> u64 {
        match self.phase {
            Phase::Dump | Phase::Archive => tick.content_bytes,
            Phase::Connect
            | Phase::ReadBack
            | Phase::Check
            | Phase::Load
            | Phase::Unpack
            | Phase::Compare
            | Phase::Record => tick.stored_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_that_falls_short_moves_the_end_and_not_the_bar() {
        let mut meter = Meter::new(Phase::Dump, Some(Total::Estimate(100)));
        meter.samples = VecDeque::from([(
            Instant::now().checked_sub(Duration::from_secs(2)).unwrap(),
            0,
        )]);
        let progress = meter
            .progress(Tick {
                content_bytes: 400,
                stored_bytes: 50,
            })
            .unwrap();
        assert_eq!(
            (progress.done_bytes, progress.total_bytes),
            (400, Some(400))
        );
        assert!(progress.total_is_estimate);
        assert!(
            (190..=200).contains(&progress.rate_bps),
            "{}",
            progress.rate_bps
        );
    }
}
