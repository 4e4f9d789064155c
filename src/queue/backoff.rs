//! Waiting. A job's waiting between attempts is `run_at`, set by `kanbu_backup.backoff` in SQL; what is here is patience
//! with the control database: how long an answer may take, and how long to wait before asking again.

use std::time::Duration;

/// A request that takes longer is given up, and its connection with it. The server's own limit is a little longer.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(2);

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Lets time pass. The one place that does.
#[expect(
    clippy::disallowed_methods,
    reason = "the one home of waiting by the clock"
)]
pub(super) async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Growing pauses between attempts to reach the database, from a twentieth of a second to one.
#[derive(Debug)]
pub(super) struct Patience {
    next: Duration,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self { next: FIRST_PAUSE }
    }

    pub(super) async fn pause(&mut self) {
        pause(self.next).await;
        self.next = (self.next * 2).min(LONGEST_PAUSE);
    }
}
