//! What is the same for every contender: counting what has begun, and the two courses.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::sync::mpsc;

/// A worker that has nothing to do is given so long before the first single job.
const SETTLE: Duration = Duration::from_secs(2);

/// The line to which handlers report as the first thing they do.
#[derive(Clone)]
pub struct Line {
    begun: Arc<AtomicUsize>,
    /// In the course for single jobs each start is told, in the other only the last one.
    told_from: usize,
    post: mpsc::UnboundedSender<Instant>,
}

impl Line {
    pub fn new(told_from: usize) -> (Self, mpsc::UnboundedReceiver<Instant>) {
        let (post, starts) = mpsc::unbounded_channel();
        let line = Self {
            begun: Arc::default(),
            told_from,
            post,
        };
        (line, starts)
    }

    pub fn begin(&self) {
        let now = Instant::now();
        if self.begun.fetch_add(1, Ordering::Relaxed) + 1 >= self.told_from {
            // After the last job nobody listens.
            let _ = self.post.send(now);
        }
    }
}

/// From the start of the worker to the moment at which the database holds no open job.
pub async fn drained(
    starts: &mut mpsc::UnboundedReceiver<Instant>,
    began: Instant,
    jobs: usize,
    open: impl AsyncFn() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    starts.recv().await;
    while open().await? {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    println!("{}", json!({ "jobs": jobs, "seconds": seconds }));
    Ok(())
}

/// From before the enqueuer's request to the handler's first line, one job after the other.
pub async fn single_jobs(
    starts: &mut mpsc::UnboundedReceiver<Instant>,
    jobs: usize,
    enqueue: impl AsyncFn() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    tokio::time::sleep(SETTLE).await;
    let mut latencies = Vec::with_capacity(jobs);
    for job in 0..jobs {
        let asked = Instant::now();
        enqueue().await?;
        let Some(begun) = starts.recv().await else {
            break;
        };
        latencies.push(begun.saturating_duration_since(asked).as_secs_f64() * 1e3);
        // Out of step with every timer.
        let pause = Duration::from_millis(20 + (job as u64 * 7) % 23);
        tokio::time::sleep(pause).await;
    }
    println!("{}", json!({ "latencies_ms": latencies }));
    Ok(())
}
