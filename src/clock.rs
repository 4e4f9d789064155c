//! The clock. Deadlines go by the database's clock and patience by a monotonic one; this is the wall clock for what
//! people read (stamps, manifests), and the only place that asks the operating system for it.

use std::fmt;

use chrono::{DateTime, Utc};

/// Where the wall time comes from.
pub trait Clock: fmt::Debug + Send + Sync {
    fn now(&self) -> DateTime<Utc>;
}

/// The operating system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one home of the wall clock")]
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }
}
