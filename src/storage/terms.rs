//! What may be asked of one storage: how much at a time, how fast, and whether backups wait for it.
//!
//! They hold for all clones of an open storage, so for everything that one process does there.

use std::{
    num::{NonZeroU64, NonZeroUsize},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{Storage, StorageError};

/// Bytes that one reader or writer lets go at a time, so that a large part doesn't make a small one wait for all of it.
const QUANTUM: u64 = 64 * 1024;

/// What is configured of a storage beside its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Backups are streamed to it. Otherwise it gets its copies afterwards, from another storage.
    pub live: bool,
    /// Jobs at work there at a time; any number if none.
    pub concurrency: Option<NonZeroUsize>,
    /// Bytes in a second, up and down together; as many as there are if none.
    pub bandwidth: Option<NonZeroU64>,
    /// Parts of one upload on their way at a time.
    pub parts: NonZeroUsize,
}

impl Default for Terms {
    fn default() -> Self {
        const TWO: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);
        Self {
            live: true,
            concurrency: None,
            bandwidth: None,
            parts: TWO,
        }
    }
}

/// The terms at work.
#[derive(Debug)]
pub(super) struct Limiter {
    pub(super) terms: Terms,
    turns: Option<Arc<Semaphore>>,
    throttle: Option<Throttle>,
}

impl Limiter {
    pub(super) fn new(terms: Terms) -> Self {
        let turns = |number: NonZeroUsize| {
            Arc::new(Semaphore::new(number.get().min(Semaphore::MAX_PERMITS)))
        };
        Self {
            terms,
            turns: terms.concurrency.map(turns),
            throttle: terms.bandwidth.map(Throttle::new),
        }
    }

    /// Waits until so many bytes may go up or down.
    pub(super) async fn pass(&self, bytes: u64) {
        if let Some(throttle) = &self.throttle {
            throttle.pass(bytes).await;
        }
    }
}

/// Spreads bytes over time, fairly among those who wait.
#[derive(Debug)]
struct Throttle {
    rate: NonZeroU64,
    /// When all that was let go so far is through at that rate.
    free_at: Mutex<Instant>,
}

impl Throttle {
    fn new(rate: NonZeroU64) -> Self {
        Self {
            rate,
            free_at: Mutex::new(Instant::now()),
        }
    }

    async fn pass(&self, bytes: u64) {
        let mut left = bytes;
        while left > 0 {
            let now = left.min(QUANTUM);
            sleep_until(self.reserve(now)).await;
            left -= now;
        }
    }

    /// When the next bytes may begin.
    fn reserve(&self, bytes: u64) -> Instant {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.rate.get());
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = Instant::now().max(*free_at);
        *free_at = begin + takes;
        begin
    }
}

/// The parts of one upload that its storage's own bandwidth limit holds back: what waits for leave is not hung.
#[derive(Debug, Default)]
pub(super) struct HeldBack {
    waiting: AtomicUsize,
    let_go: Mutex<Option<Instant>>,
}

impl HeldBack {
    /// Waits until the part may go.
    pub(super) async fn pass(&self, limiter: &Limiter, bytes: u64) {
        if limiter.throttle.is_none() {
            return;
        }
        let _counted = Waiting::one_more(&self.waiting);
        limiter.pass(bytes).await;
        *self.let_go.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Since when the storage owes an answer to one of `parts` parts on their way: it can't while all of them wait here.
    pub(super) fn owes_since(&self, parts: usize) -> Option<Instant> {
        if self.waiting.load(Ordering::Relaxed) >= parts {
            return Some(Instant::now());
        }
        *self.let_go.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts one more for as long as it lives: a part that is dropped while it waits doesn't wait any more.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn one_more(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The right of one job to work on some storages. Ends when dropped.
#[derive(Debug)]
#[must_use = "the turn is over when it is dropped"]
pub struct Turn {
    _permits: Vec<OwnedSemaphorePermit>,
}

impl Turn {
    /// Waits until there is room for one more on each of them. All that a job needs is taken at once and in one order,
    /// that of their names: two jobs that each held what the other waits for would wait for ever.
    /// `None` once the order to stop has come.
    pub async fn at<'a>(
        storages: impl IntoIterator<Item = &'a Storage>,
        stop: &CancellationToken,
    ) -> Option<Self> {
        let mut storages: Vec<&Storage> = storages.into_iter().collect();
        storages.sort_by(|one, other| one.name().cmp(other.name()));
        let mut permits = Vec::new();
        for storage in storages {
            let Some(turns) = &storage.limiter().turns else {
                continue;
            };
            let free = Arc::clone(turns).acquire_owned();
            let permit = stop.run_until_cancelled(free).await?;
            // Nobody closes them.
            permits.extend(permit);
        }
        Some(Self { _permits: permits })
    }
}

/// The same bytes, no faster than the storage's bandwidth allows.
pub(super) fn paced(
    storage: &Storage,
    content: BoxStream<'static, Result<Bytes, StorageError>>,
) -> BoxStream<'static, Result<Bytes, StorageError>> {
    if storage.limiter().throttle.is_none() {
        return content;
    }
    let storage = storage.clone();
    let wait = move |chunk: Result<Bytes, StorageError>| {
        let storage = storage.clone();
        async move {
            if let Ok(bytes) = &chunk {
                storage.limiter().pass(bytes.len() as u64).await;
            }
            chunk
        }
    };
    content.then(wait).boxed()
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::storage::{Place, Role, StorageConfig};

    const RATE: u64 = 1 << 20;

    fn throttled() -> Limiter {
        Limiter::new(Terms {
            bandwidth: NonZeroU64::new(RATE),
            ..Terms::default()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_go_no_faster_than_they_may_whoever_sends_them() {
        let limiter = throttled();
        let began = Instant::now();
        futures::join!(limiter.pass(6 * RATE), limiter.pass(4 * RATE));
        let took = began.elapsed();
        // The last quantum goes when its time begins.
        let least = Duration::from_secs(10) - Duration::from_millis(100);
        assert!(took >= least && took <= Duration::from_secs(10), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_reader_does_not_wait_for_a_whole_part() {
        let limiter = throttled();
        let began = Instant::now();
        let small = async {
            limiter.pass(QUANTUM).await;
            began.elapsed()
        };
        let ((), took) = futures::join!(limiter.pass(16 * RATE), small);
        assert!(took <= Duration::from_secs(1), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_held_back_owes_nothing_until_it_is_let_go() {
        let (limiter, held) = (throttled(), HeldBack::default());
        assert_eq!(held.owes_since(1), None);
        limiter.pass(100 * RATE).await;
        let began = Instant::now();
        let mut part = Box::pin(held.pass(&limiter, RATE));
        assert!(part.as_mut().now_or_never().is_none());
        tokio::time::advance(Duration::from_millis(10)).await;
        assert_eq!(held.owes_since(1), Some(Instant::now()), "all of them wait");
        assert_eq!(held.owes_since(2), None, "one of two is on its way");
        part.await;
        let let_go = held.owes_since(1).unwrap();
        assert!(let_go > began && let_go == Instant::now());
        let dropped = Box::pin(held.pass(&limiter, 100 * RATE));
        dropped.now_or_never();
        assert_eq!(held.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_storage_takes_as_many_jobs_at_a_time_as_it_may() {
        let place = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| {
            Storage::open(&StorageConfig {
                name: name.parse().unwrap(),
                role: Role::Replica,
                place: Place::Local {
                    directory: place.path().join(name),
                },
                terms: Terms {
                    concurrency: NonZeroUsize::new(1),
                    ..Terms::default()
                },
            })
            .unwrap()
        });
        let stop = CancellationToken::new();
        let turn_at = async |storages: &[&Storage]| Turn::at(storages.iter().copied(), &stop).await;
        let first = turn_at(&[&one]).await;
        assert!(
            turn_at(&[&two.clone(), &one.clone()])
                .now_or_never()
                .is_none()
        );
        let other = turn_at(&[&two]).now_or_never().expect("nobody is there");
        drop((first, other));
        let both = turn_at(&[&two, &one]).now_or_never().flatten();
        assert!(both.is_some());
        stop.cancel();
        let told_to_stop = turn_at(&[&one]).now_or_never();
        assert!(told_to_stop.is_some_and(|turn| turn.is_none()));
    }
}
