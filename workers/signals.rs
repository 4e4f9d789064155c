//! Listening to the operating system's signals.

use kanbu_backup::fault::{Failure, Fault};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// From now on the signal no longer ends the process by itself.
pub fn on(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind)
        .map_err(|error| Failure::new(Fault::Transient, "process.signals", error.to_string()))
}
