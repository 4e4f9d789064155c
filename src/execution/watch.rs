//! From the streams' ticks to the progress that people see, and from a stream's last question to the lease.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::Notify, time::timeout};

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
    /// Says that a part of the work has begun. What is to be done in it counts as nothing done until a stream says more.
    pub fn begin(self: &Arc<Self>, phase: Phase, total: Option<Total>) -> Leg {
        self.report(Progress {
            phase,
            ..Progress::default()
        });
        Leg {
            lease: Arc::clone(self),
            meter: Arc::new(Mutex::new(Meter::new(phase, total))),
        }
    }

    /// A part of the work that takes one stream; see [`Leg::watch`].
    pub fn watch(self: &Arc<Self>, phase: Phase, total: Option<Total>) -> Watch {
        self.begin(phase, total).watch()
    }
}

/// One phase of the work: of one stream, or of several whose bytes add up, side by side or one after the other.
#[derive(Clone, Debug)]
pub struct Leg {
    lease: Arc<Lease>,
    meter: Arc<Mutex<Meter>>,
}

impl Leg {
    /// Lets a stream run under the lease: it stops with it, reports to it, and asks it before anything is completed.
    pub fn watch(&self) -> Watch {
        let (reporter, gatekeeper) = (Arc::clone(&self.lease), Arc::clone(&self.lease));
        let meter = Arc::clone(&self.meter);
        let stream = locked(&meter).add_stream();
        let tick = move |tick: Tick| {
            // Reported under the meter's lock, or two threads could report in the wrong order.
            let mut meter = locked(&meter);
            reporter.report(meter.progress(stream, tick));
        };
        let gate = move || -> futures::future::BoxFuture<'static, _> {
            Box::pin(async move { gatekeeper.check().await })
        };
        Watch::new(self.lease.cancelled().clone(), Arc::new(tick)).with_gate(Box::new(gate))
    }
}

/// Runs a reading stream, and stops it when it has moved nothing for `patience`: then there is no result. A storage that
/// hangs in the middle of a reading would otherwise be waited for until the execution's deadline.
pub async fn unless_stalled<R: Future>(
    watch: Watch,
    patience: Duration,
    read: impl FnOnce(Watch) -> R,
) -> Option<R::Output> {
    let Watch { cancel, tick, gate } = watch;
    let stop = cancel.child_token();
    let _stops_when_dropped = stop.clone().drop_guard();
    let moved = Arc::new(Notify::new());
    let teller = Arc::clone(&moved);
    let telling = move |now: Tick| {
        teller.notify_one();
        tick(now);
    };
    let read = read(Watch::new(stop, Arc::new(telling)).with_gate(gate));
    let stalled = async { while timeout(patience, moved.notified()).await.is_ok() {} };
    tokio::select! {
        biased;
        done = read => Some(done),
        () = stalled => None,
    }
}

fn locked(meter: &Mutex<Meter>) -> std::sync::MutexGuard<'_, Meter> {
    meter.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Meter {
    phase: Phase,
    total: Option<Total>,
    /// How far each stream is. One that begins anew, as a reader of envelope v1 does, stays where it was until it is
    /// further: done bytes never become fewer.
    streams: Vec<Tick>,
    samples: VecDeque<(Instant, u64)>,
}

impl Meter {
    fn new(phase: Phase, total: Option<Total>) -> Self {
        Self {
            phase,
            total,
            streams: Vec::new(),
            samples: VecDeque::from([(Instant::now(), 0)]),
        }
    }

    fn add_stream(&mut self) -> usize {
        self.streams.push(Tick::default());
        self.streams.len() - 1
    }

    /// Told at every tick: the one that is left out may be the last before a long silence.
    fn progress(&mut self, stream: usize, tick: Tick) -> Progress {
        let sum = self.advance(stream, tick);
        let done = self.done(sum);
        let rate = self.rate(Instant::now(), done);
        let (total_bytes, total_is_estimate) = match self.total {
            Some(Total::Known(total)) => (Some(total), false),
            Some(Total::Estimate(total)) => (Some(total.max(done)), true),
            None => (None, false),
        };
        Progress {
            phase: self.phase,
            done_bytes: done,
            total_bytes,
            total_is_estimate,
            stored_bytes: sum.stored_bytes,
            rate_bps: rate,
            message: None,
        }
    }

    /// All streams together.
    fn advance(&mut self, stream: usize, tick: Tick) -> Tick {
        if let Some(known) = self.streams.get_mut(stream) {
            known.content_bytes = known.content_bytes.max(tick.content_bytes);
            known.stored_bytes = known.stored_bytes.max(tick.stored_bytes);
        }
        self.streams.iter().fold(Tick::default(), |sum, tick| Tick {
            content_bytes: sum.content_bytes + tick.content_bytes,
            stored_bytes: sum.stored_bytes + tick.stored_bytes,
        })
    }

    /// Bytes a second over the window, until now. A first burst is spread over the distance of two samples.
    fn rate(&mut self, now: Instant, done: u64) -> u64 {
        let is_recent = |(last, _): &(Instant, u64)| now - *last < SAMPLE_EVERY;
        if !self.samples.back().is_some_and(is_recent) {
            self.samples.push_back((now, done));
        }
        let is_past = |(first, _): &(Instant, u64)| now - *first > WINDOW;
        while self.samples.len() > 2 && self.samples.front().is_some_and(is_past) {
            self.samples.pop_front();
        }
        self.samples.front().map_or(0, |(since, before)| {
            ByteSize(done.saturating_sub(*before))
                .per_second((now - *since).max(SAMPLE_EVERY))
                .0
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
            | Phase::Swap
            | Phase::Record => tick.stored_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;

    fn at(bytes: u64) -> Tick {
        Tick {
            content_bytes: bytes,
            stored_bytes: bytes,
        }
    }

    /// A meter whose last sample is two seconds old.
    fn meter(phase: Phase, total: Total) -> Meter {
        let mut meter = Meter::new(phase, Some(total));
        rest(&mut meter);
        meter
    }

    fn rest(meter: &mut Meter) {
        let done = meter.samples.back().map_or(0, |(_, done)| *done);
        let past = Instant::now().checked_sub(Duration::from_secs(2)).unwrap();
        meter.samples = VecDeque::from([(past, done)]);
    }

    #[test]
    fn an_estimate_that_falls_short_moves_the_end_and_not_the_bar() {
        let mut meter = meter(Phase::Dump, Total::Estimate(100));
        let stream = meter.add_stream();
        let tick = Tick {
            content_bytes: 400,
            stored_bytes: 50,
        };
        let progress = meter.progress(stream, tick);
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

    #[test]
    fn the_streams_of_a_phase_add_up_and_never_go_back() {
        let mut meter = meter(Phase::ReadBack, Total::Known(200));
        let (first, second) = (meter.add_stream(), meter.add_stream());
        let mut done = Vec::new();
        for (stream, bytes) in [(first, 60), (second, 30), (first, 10), (second, 40)] {
            rest(&mut meter);
            done.push(meter.progress(stream, at(bytes)).done_bytes);
        }
        assert_eq!(done, [60, 90, 90, 100]);
    }

    #[test]
    fn what_moves_right_after_the_start_is_told_though_nothing_follows() {
        let mut meter = Meter::new(Phase::Dump, None);
        let stream = meter.add_stream();
        assert_eq!(meter.progress(stream, at(99)).done_bytes, 99);
        let progress = meter.progress(stream, at(100));
        assert_eq!((progress.done_bytes, progress.rate_bps), (100, 400));
    }

    #[test]
    fn a_late_tick_of_an_earlier_phase_does_not_bring_it_back() {
        let (rechecks, _unanswered) = tokio::sync::mpsc::channel(1);
        let ids = (crate::id::ExecutionId::new(), crate::id::JobId::new());
        let (lease, seat) = Lease::grant(ids.0, ids.1, 1, rechecks);
        let lease = Arc::new(lease);
        let check = lease.watch(Phase::Check, Some(Total::Known(10)));
        lease.begin(Phase::Load, None);
        (check.tick)(at(10));
        assert_eq!(seat.progress().phase, Phase::Load);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_moves_nothing_is_stopped_and_one_that_does_is_not() {
        let patience = Duration::from_mins(1);
        let watch = || Watch::new(CancellationToken::new(), Arc::new(|_| {}));
        let mut handed = None;
        let hung = unless_stalled(watch(), patience, |watch| {
            handed = Some(watch.cancel.clone());
            std::future::pending::<()>()
        });
        assert!(hung.await.is_none());
        assert!(handed.unwrap().is_cancelled());
        let slow = unless_stalled(watch(), patience, |watch| async move {
            for bytes in 0..5 {
                let _ = timeout(Duration::from_secs(50), std::future::pending::<()>()).await;
                (watch.tick)(at(bytes));
            }
        });
        assert!(slow.await.is_some());
    }
}
