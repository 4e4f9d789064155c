//! Times at which the whole machine stood still, as virtual ones do now and then. Nobody could keep a lease's end then,
//! and no queue can be blamed for it.

use std::{
    mem,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use kanbu_backup_faults::journal::true_now;

use crate::worker::Blow;

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A look that comes so late says that nobody had the processor, and for how long.
const LATE: Duration = Duration::from_millis(150);

/// Looks on from its own thread until it is dropped.
pub(crate) struct Standstills {
    seen: Arc<Mutex<Vec<Blow>>>,
    over: Arc<AtomicBool>,
}

impl Standstills {
    pub(crate) fn watch() -> Self {
        let watch = Self {
            seen: Arc::default(),
            over: Arc::default(),
        };
        let (seen, over) = (Arc::clone(&watch.seen), Arc::clone(&watch.over));
        thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let (since, begun) = (true_now(), Instant::now());
                thread::park_timeout(LOOK_EVERY);
                if begun.elapsed() > LATE {
                    seen.lock().unwrap().push(Blow::standstill(since));
                }
            }
        });
        watch
    }

    pub(crate) fn take(&self) -> Vec<Blow> {
        mem::take(&mut self.seen.lock().unwrap())
    }
}

impl Drop for Standstills {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}
