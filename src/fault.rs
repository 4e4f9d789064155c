//! The classification of errors: what a failure means for the job, under which stable code it is known, what to do.
//!
//! Every module's error enum implements [`Classified`] by exhaustive matches. Where errors leave the module that knows
//! them (a use case's end, a row, a process exit) they become a [`Failure`], which is plain data.
//! Only `queue` turns a fault into a retry, a dead letter or a release.

use std::{borrow::Cow, error::Error, fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// What a failed execution means for its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// May go away by itself: try again later.
    Transient,
    /// Will fail the same way until somebody changes something.
    Permanent,
    /// The right to write this execution has passed to somebody else, or ran out.
    LeaseLost,
    /// Stopped by request or by shutdown.
    Cancelled,
}

impl Fault {
    /// Every fault, in the order of the glossary.
    pub const ALL: [Self; 4] = [
        Self::Transient,
        Self::Permanent,
        Self::LeaseLost,
        Self::Cancelled,
    ];

    /// The word used in SQL, JSON and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Permanent => "permanent",
            Self::LeaseLost => "lease_lost",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An error that knows what it means. `Display` is lower case, without a full stop, and never repeats `source()`.
pub trait Classified: Error + Send + Sync + 'static {
    /// What it means for the job.
    fn fault(&self) -> Fault;

    /// The stable, dotted word: `storage.unreachable`. The same in logs, rows, CLI, API and runbooks.
    fn code(&self) -> &'static str;

    /// What the operator can do about it, as one sentence.
    fn hint(&self) -> Option<Cow<'static, str>> {
        None
    }

    /// How long whoever refused asked not to be asked again.
    fn retry_after(&self) -> Option<Duration> {
        None
    }
}

/// A classified error as plain data: what rows, logs and exit messages are made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub fault: Fault,
    pub code: Cow<'static, str>,
    /// The whole chain of causes in one line. Holds no secret: errors are built without them.
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<Cow<'static, str>>,
    /// The next attempt comes no sooner than so long from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Duration>,
}

impl Failure {
    pub fn new(fault: Fault, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            fault,
            code: Cow::Borrowed(code),
            message: message.into(),
            hint: None,
            retry_after: None,
        }
    }

    /// What an error means, for those who still need the error itself.
    pub fn of(error: &impl Classified) -> Self {
        Self {
            fault: error.fault(),
            code: Cow::Borrowed(error.code()),
            hint: error.hint(),
            retry_after: error.retry_after(),
            message: chain(error),
        }
    }

    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Stopped by request, by shutdown, or because a sibling failed.
    pub fn cancelled() -> Self {
        Self::new(
            Fault::Cancelled,
            "execution.cancelled",
            "the execution was cancelled",
        )
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Failure {}

impl<E: Classified> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::of(&error)
    }
}

/// An error and all its sources in one line.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("could not open the door")]
    struct Stuck(#[source] std::io::Error);

    impl Classified for Stuck {
        fn fault(&self) -> Fault {
            Fault::Permanent
        }

        fn code(&self) -> &'static str {
            "door.stuck"
        }
    }

    #[test]
    fn a_failure_tells_the_whole_chain_once() {
        let failure = Failure::from(Stuck(std::io::Error::other("rust")));
        assert_eq!(failure.message, "could not open the door: rust");
        assert_eq!(
            (failure.fault, failure.code.as_ref()),
            (Fault::Permanent, "door.stuck")
        );
    }
}
