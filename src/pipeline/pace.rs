//! How busy each storage of a run is, and which one holds the others up.
//!
//! Storages share the memory for parts, so that all of them move the same in the same time: bytes tell nothing about who is
//! slow. What tells is the time in which each had parts on their way. While a slow storage is busy, the others have nothing
//! to do; a storage that is busy a quarter of the time in which another is could go at four times its rate. No single part
//! has to end in time for that, however slow the line and however large the part. The primary may throttle the run, for it
//! is the one that must have it.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

/// When a replica is too slow for a run to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slowness {
    /// Looked at over this time.
    pub window: Duration,
    /// Percent of the primary's rate; 0 is never too slow.
    pub percent: u32,
}

impl Default for Slowness {
    fn default() -> Self {
        Self {
            window: Duration::from_mins(1),
            percent: 50,
        }
    }
}

#[derive(Debug, Default)]
struct Counted {
    busy: Duration,
    since: Option<Instant>,
    is_over: bool,
}

/// Counts the time in which one party had something to do. Clones count together.
#[derive(Clone, Debug, Default)]
pub(super) struct Gauge(Arc<Mutex<Counted>>);

impl Gauge {
    /// There is something to do.
    pub(super) fn begin(&self) {
        self.counted().since.get_or_insert_with(Instant::now);
    }

    /// There is nothing more to do for now.
    pub(super) fn rest(&self) {
        let mut counted = self.counted();
        if let Some(since) = counted.since.take() {
            counted.busy += since.elapsed();
        }
    }

    /// There will never be anything to do again.
    pub(super) fn end(&self) {
        self.rest();
        self.counted().is_over = true;
    }

    fn busy(&self) -> Duration {
        let counted = self.counted();
        let running = counted.since.map(|since| since.elapsed());
        counted.busy + running.unwrap_or_default()
    }

    fn is_over(&self) -> bool {
        self.counted().is_over
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One storage of a run, as far as its pace goes.
#[derive(Clone, Debug)]
pub(super) struct Runner {
    pub(super) is_primary: bool,
    pub(super) gauge: Gauge,
    /// The order to drop out for being too slow.
    pub(super) too_slow: CancellationToken,
}

/// Looks at every window of a run, and drops the slowest replica that is too slow: without it the next may be fast enough.
/// Ends with the run, by being dropped.
pub(super) async fn drop_the_slow(
    runners: Vec<Runner>,
    waits: Gauge,
    slowness: Slowness,
) -> Infallible {
    let look = || -> Vec<Duration> { runners.iter().map(|r| r.gauge.busy()).collect() };
    let mut ticks = interval_at(Instant::now() + slowness.window, slowness.window);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut before, mut waited_before) = (look(), waits.busy());
    loop {
        ticks.tick().await;
        let (now, waited) = (look(), waits.busy());
        let window: Vec<(&Runner, Duration)> = runners
            .iter()
            .zip(now.iter().zip(&before))
            .map(|(runner, (now, before))| (runner, now.saturating_sub(*before)))
            // Who has dropped out, or has everything, keeps nobody waiting and is no measure for others.
            .filter(|(runner, _)| !runner.gauge.is_over())
            .collect();
        let primary = window.iter().find(|(runner, _)| runner.is_primary);
        let replicas = window.iter().filter(|(runner, _)| !runner.is_primary);
        if let Some((_, primary)) = primary
            && let Some(slowest) = too_slow(
                replicas.copied(),
                *primary,
                waited.saturating_sub(waited_before),
                slowness,
            )
        {
            slowest.too_slow.cancel();
        }
        (before, waited_before) = (now, waited);
    }
}

/// The busiest of the replicas for which the run waits: the stream waited longer than half of the window, the replica was
/// busy for longer than that, and the primary only for so many percent of the replica's time.
fn too_slow<R>(
    replicas: impl Iterator<Item = (R, Duration)>,
    primary: Duration,
    waited: Duration,
    slowness: Slowness,
) -> Option<R> {
    let half = slowness.window / 2;
    if waited <= half {
        return None;
    }
    replicas
        .filter(|(_, busy)| *busy > half && primary * 100 < *busy * slowness.percent)
        .max_by_key(|(_, busy)| *busy)
        .map(|(replica, _)| replica)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(primary: u64, replicas: &[u64], waited: u64, percent: u32) -> Option<usize> {
        let seconds = Duration::from_secs;
        let replicas = replicas.iter().copied().map(seconds).enumerate();
        let slowness = Slowness {
            percent,
            ..Slowness::default()
        };
        too_slow(replicas, seconds(primary), seconds(waited), slowness)
    }

    #[test]
    fn a_replica_is_too_slow_when_the_run_waits_for_it_and_would_be_twice_as_fast_without() {
        for (what, primary, replicas, waited, expected) in [
            ("as fast", 60, &[60][..], 60, None),
            ("half as fast", 30, &[60], 60, None),
            ("below half", 29, &[60], 60, Some(0)),
            ("hanging, or at its first part still", 0, &[60], 60, Some(0)),
            ("not waited for", 1, &[60], 30, None),
            ("waiting itself, for a slow primary", 60, &[5], 60, None),
            (
                "waiting itself, for a primary that is just begun",
                0,
                &[5],
                60,
                None,
            ),
            ("the slowest of two", 1, &[50, 60], 60, Some(1)),
            ("beside a fast one", 10, &[11, 60], 60, Some(1)),
        ] {
            assert_eq!(judged(primary, replicas, waited, 50), expected, "{what}");
        }
        assert_eq!(judged(1, &[60], 60, 0), None, "with no percent nothing is");
    }

    fn runner(is_primary: bool) -> Runner {
        Runner {
            is_primary,
            gauge: Gauge::default(),
            too_slow: CancellationToken::new(),
        }
    }

    /// Has them busy one after another for so many seconds.
    async fn busy(turns: &[(&Runner, u64)]) {
        for (runner, seconds) in turns {
            runner.gauge.begin();
            tokio::time::advance(Duration::from_secs(*seconds)).await;
            runner.gauge.rest();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_replica_is_told_to_drop_out_after_a_window_and_the_primary_never() {
        let (primary, fast, slow) = (runner(true), runner(false), runner(false));
        let stream = Gauge::default();
        stream.begin();
        let minute = [(&primary, 1), (&fast, 1), (&slow, 50)];
        busy(&minute).await;
        let runners = vec![primary.clone(), fast.clone(), slow.clone()];
        // Nothing of the past counts: only what is done from now on.
        let watching = tokio::spawn(drop_the_slow(runners, stream, Slowness::default()));
        tokio::task::yield_now().await;
        busy(&minute).await;
        assert!(!slow.too_slow.is_cancelled(), "before the window is over");
        tokio::time::advance(Duration::from_secs(8)).await;
        slow.too_slow.cancelled().await;
        assert!(!primary.too_slow.is_cancelled() && !fast.too_slow.is_cancelled());
        watching.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_primary_nobody_is_too_slow() {
        let (primary, replica, stream) = (runner(true), runner(false), Gauge::default());
        stream.begin();
        replica.gauge.begin();
        primary.gauge.end();
        let runners = vec![primary.clone(), replica.clone()];
        let watching = drop_the_slow(runners, stream, Slowness::default());
        let three_windows = tokio::time::timeout(Duration::from_secs(181), watching);
        assert!(three_windows.await.is_err());
        assert!(!replica.too_slow.is_cancelled());
    }
}
