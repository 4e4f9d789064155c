//! How fast each storage of a run is, and which one holds the others up.
//!
//! Storages share the memory for parts, so that in the end all of them move as much as the slowest: what each moved tells
//! nothing. A rate here is bytes over the time in which the storage had parts on their way. A replica is too slow when the
//! run would go at least twice as fast without it; the primary may throttle the run, for it is the one that must have it.

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

/// Bytes, and the time that went into them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Effort {
    bytes: u64,
    time: Duration,
}

impl Effort {
    fn since(self, earlier: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(earlier.bytes),
            time: self.time.saturating_sub(earlier.time),
        }
    }
}

#[derive(Debug, Default)]
struct Counted {
    effort: Effort,
    busy_since: Option<Instant>,
}

/// Counts one party's effort. Clones count together.
#[derive(Clone, Debug, Default)]
pub(super) struct Gauge(Arc<Mutex<Counted>>);

impl Gauge {
    /// There is something to do.
    pub(super) fn begin(&self) {
        self.counted().busy_since.get_or_insert_with(Instant::now);
    }

    /// Something was done.
    pub(super) fn moved(&self, bytes: u64) {
        self.counted().effort.bytes += bytes;
    }

    /// There is nothing more to do.
    pub(super) fn rest(&self) {
        let mut counted = self.counted();
        if let Some(since) = counted.busy_since.take() {
            counted.effort.time += since.elapsed();
        }
    }

    fn effort(&self) -> Effort {
        let counted = self.counted();
        let running = counted.busy_since.map(|since| since.elapsed());
        Effort {
            time: counted.effort.time + running.unwrap_or_default(),
            ..counted.effort
        }
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
    let look = || -> Vec<Effort> { runners.iter().map(|r| r.gauge.effort()).collect() };
    let mut ticks = interval_at(Instant::now() + slowness.window, slowness.window);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut before, mut waited_before) = (look(), waits.effort());
    let mut reference = None;
    loop {
        ticks.tick().await;
        let (now, waited) = (look(), waits.effort());
        let window: Vec<(&Runner, Effort)> = runners
            .iter()
            .zip(now.iter().zip(&before))
            .map(|(runner, (now, before))| (runner, now.since(*before)))
            .collect();
        let primary = window.iter().find(|(runner, _)| runner.is_primary);
        reference = primary.and_then(|(_, effort)| judge(*effort, reference, slowness.window));
        let replicas = window
            .iter()
            .filter(|(runner, _)| !runner.is_primary && !runner.too_slow.is_cancelled())
            .map(|(runner, effort)| (*runner, *effort));
        let waited_for = waited.since(waited_before).time;
        if let Some(reference) = reference
            && let Some(slowest) = too_slow(replicas, reference, waited_for, slowness)
        {
            slowest.too_slow.cancel();
        }
        (before, waited_before) = (now, waited);
    }
}

/// What replicas are compared with: the primary's effort in this window. One that had nothing to do, because all of the
/// memory was with others, is as fast as it was before; one that had and moved nothing is another's affair.
fn judge(primary: Effort, before: Option<Effort>, window: Duration) -> Option<Effort> {
    if primary.bytes > 0 {
        Some(primary)
    } else {
        before.filter(|_| primary.time * 2 < window)
    }
}

/// The slowest of the replicas that are below their share of the primary's rate, if the stream waited longer than half of
/// the window.
fn too_slow<R>(
    replicas: impl Iterator<Item = (R, Effort)>,
    primary: Effort,
    waited: Duration,
    slowness: Slowness,
) -> Option<R> {
    if waited * 2 < slowness.window {
        return None;
    }
    replicas
        // What had nothing to do keeps nobody waiting.
        .filter(|(_, effort)| !effort.time.is_zero())
        .filter(|(_, effort)| is_below(*effort, primary, slowness.percent))
        .reduce(|slowest, next| {
            if is_below(next.1, slowest.1, 100) {
                next
            } else {
                slowest
            }
        })
        .map(|(replica, _)| replica)
}

/// Whether one rate is below so many percent of another.
fn is_below(one: Effort, other: Effort, percent: u32) -> bool {
    // bytes / time < bytes / time * percent / 100, without dividing.
    let scaled = |effort: Effort, time: Duration| u128::from(effort.bytes) * time.as_micros();
    scaled(one, other.time) * 100 < scaled(other, one.time) * u128::from(percent)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);
    const MIB: u64 = 1 << 20;

    fn effort(mib: u64, seconds: u64) -> Effort {
        Effort {
            bytes: mib * MIB,
            time: Duration::from_secs(seconds),
        }
    }

    fn judged(primary: Effort, replicas: &[Effort], waited: u64) -> Option<usize> {
        let waited = Duration::from_secs(waited);
        let replicas = replicas.iter().copied().enumerate();
        too_slow(replicas, primary, waited, Slowness::default())
    }

    #[test]
    fn a_replica_is_too_slow_when_the_run_waits_for_it_and_would_be_twice_as_fast_without() {
        // All of them moved 60 MiB, for they share the parts; what differs is the time it took.
        for (what, primary, replicas, waited, expected) in [
            ("as fast", effort(60, 30), vec![effort(60, 30)], 50, None),
            (
                "half as fast",
                effort(60, 30),
                vec![effort(60, 60)],
                50,
                None,
            ),
            (
                "below half",
                effort(60, 29),
                vec![effort(60, 60)],
                50,
                Some(0),
            ),
            (
                "not waited for",
                effort(60, 1),
                vec![effort(60, 60)],
                29,
                None,
            ),
            (
                "the slowest",
                effort(60, 1),
                vec![effort(60, 50), effort(60, 60)],
                50,
                Some(1),
            ),
            (
                "one of two",
                effort(60, 10),
                vec![effort(60, 11), effort(60, 60)],
                50,
                Some(1),
            ),
            (
                "nothing moved",
                effort(60, 1),
                vec![effort(0, 60)],
                60,
                Some(0),
            ),
        ] {
            assert_eq!(judged(primary, &replicas, waited), expected, "{what}");
        }
    }

    #[test]
    fn a_replica_that_waits_itself_is_never_too_slow() {
        assert_eq!(judged(effort(60, 60), &[effort(0, 0)], 60), None);
        assert_eq!(judged(effort(60, 60), &[effort(60, 1)], 60), None);
    }

    #[test]
    fn a_primary_that_had_nothing_to_do_is_as_fast_as_before_and_one_that_hangs_says_nothing() {
        let fast = Some(effort(60, 1));
        assert_eq!(judge(effort(60, 30), fast, MINUTE), Some(effort(60, 30)));
        assert_eq!(judge(effort(0, 0), fast, MINUTE), fast);
        assert_eq!(judge(effort(0, 60), fast, MINUTE), None);
        assert_eq!(judge(effort(0, 0), None, MINUTE), None);
    }

    #[test]
    fn with_no_percent_nothing_is_too_slow() {
        let never = Slowness {
            window: MINUTE,
            percent: 0,
        };
        let replicas = [(0, effort(0, 60))].into_iter();
        assert_eq!(too_slow(replicas, effort(60, 1), MINUTE, never), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_replica_is_told_to_drop_out_after_a_window_and_the_primary_never() {
        let runner = |is_primary| Runner {
            is_primary,
            gauge: Gauge::default(),
            too_slow: CancellationToken::new(),
        };
        let (primary, fast, slow) = (runner(true), runner(false), runner(false));
        let stream = Gauge::default();
        stream.begin();
        for (runner, seconds) in [(&primary, 1), (&fast, 1), (&slow, 50)] {
            runner.gauge.begin();
            tokio::time::advance(Duration::from_secs(seconds)).await;
            runner.gauge.moved(60 * MIB);
            runner.gauge.rest();
        }
        let runners = vec![primary.clone(), fast.clone(), slow.clone()];
        // Nothing of the past counts: only what is done from now on.
        let watching = tokio::spawn(drop_the_slow(runners, stream, Slowness::default()));
        tokio::task::yield_now().await;
        for (runner, seconds) in [(&primary, 1), (&fast, 1), (&slow, 50)] {
            runner.gauge.begin();
            tokio::time::advance(Duration::from_secs(seconds)).await;
            runner.gauge.moved(60 * MIB);
            runner.gauge.rest();
            assert!(!slow.too_slow.is_cancelled(), "before the window is over");
        }
        tokio::time::advance(Duration::from_secs(8)).await;
        slow.too_slow.cancelled().await;
        assert!(!primary.too_slow.is_cancelled() && !fast.too_slow.is_cancelled());
        watching.abort();
    }
}
