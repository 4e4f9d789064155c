//! Waiting. A job's waiting between attempts is `run_at`, set by `kanbu_backup.backoff` in SQL; what is here is patience
//! with the control database: how long an answer may take, and how long to wait before asking again.

use std::time::Duration;

/// A request that takes longer is given up, and its connection with it. The server's own limit is a little longer.
pub(super) const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// So many turns of the scheduler that bring nothing end a [`gather`].
const EMPTY_TURNS: usize = 8;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Lets time pass. The one place that does.
#[expect(
    clippy::disallowed_methods,
    reason = "the one home of waiting by the clock"
)]
pub(crate) async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Takes what is there, up to `most` in all, and lets what is about to be there arrive: one statement for ten costs little
/// more than one for a single. It waits for tasks that can run now, never for time to pass.
pub(super) async fn gather<T>(
    gathered: &mut Vec<T>,
    most: usize,
    mut next: impl FnMut() -> Option<T>,
) {
    let mut empty_turns = 0;
    while gathered.len() < most && empty_turns < EMPTY_TURNS {
        if let Some(item) = next() {
            gathered.push(item);
            empty_turns = 0;
        } else {
            tokio::task::yield_now().await;
            empty_turns += 1;
        }
    }
}

/// Growing pauses between attempts to reach the database, from a twentieth of a second to one.
#[derive(Debug)]
pub(crate) struct Patience {
    next: Duration,
}

impl Patience {
    pub(crate) fn new() -> Self {
        Self { next: FIRST_PAUSE }
    }

    pub(crate) async fn pause(&mut self) {
        pause(self.next).await;
        self.next = (self.next * 2).min(LONGEST_PAUSE);
    }
}
