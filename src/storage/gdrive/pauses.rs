//! Waiting between repetitions: longer each time, never in step with others, and as long as Google asks.

use std::time::Duration;

use super::{DriveError, Patience};

/// Google's wish to be left alone is obeyed up to this long; beyond it the request is given up sooner than the backup is.
const LONGEST_OBEYED: Duration = Duration::from_mins(2);

/// Looks at a name that two hold before that is an error: the younger may be on its way out.
const LOOKS: u32 = 3;

/// The pauses of one request.
#[derive(Debug)]
pub(super) struct Pauses {
    may_pass: fn(&DriveError) -> bool,
    left: u32,
    next: Duration,
    longest: Duration,
}

impl Pauses {
    pub(super) fn new(patience: &Patience) -> Self {
        Self {
            may_pass: DriveError::is_transient,
            left: patience.retries,
            next: patience.first_pause,
            longest: patience.longest_pause,
        }
    }

    /// For looks, of which the requests have their own pauses.
    pub(super) fn for_rivals(patience: &Patience) -> Self {
        Self {
            may_pass: |error| matches!(error, DriveError::Ambiguous { .. }),
            left: LOOKS,
            ..Self::new(patience)
        }
    }

    /// Waits, if asking again can help and hasn't been tried often enough. Returns whether to ask again.
    pub(super) async fn pause(&mut self, error: &DriveError) -> bool {
        let asked = error.retry_after();
        if self.left == 0 || !(self.may_pass)(error) || asked > LONGEST_OBEYED {
            return false;
        }
        self.left -= 1;
        let wait = jittered(self.next).max(asked);
        self.next = (self.next * 2).min(self.longest);
        tracing::debug!(%error, ?wait, "google drive is asked again");
        sleep(wait).await;
        true
    }
}

/// Half of it at least.
fn jittered(time: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(u32::MAX);
    time / 2 + (time / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one home of waiting for google drive"
)]
async fn sleep(time: Duration) {
    tokio::time::sleep(time).await;
}
