//! What can go wrong with a child process.

use std::{borrow::Cow, io, process::ExitStatus, time::Duration};

use crate::fault::{Classified, Fault};

/// The longest part of a child's standard error that an error message repeats.
const STDERR_QUOTED_CHARS: usize = 600;

/// What went wrong with a child.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    #[error("could not start {program}")]
    Start { program: String, source: io::Error },
    #[error("{program} failed ({status}){}", quoted(stderr))]
    Failed {
        program: String,
        status: ExitStatus,
        stderr: String,
    },
    #[error("{program} did not end within {} s", limit.as_secs())]
    Slow { program: String, limit: Duration },
    #[error("could not talk to {program}")]
    Pipe { program: String, source: io::Error },
    #[error("how {program} ended could not be learned")]
    Unknown { program: String },
}

impl Classified for ProcessError {
    fn fault(&self) -> Fault {
        match self {
            Self::Start { source, .. } => match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => Fault::Permanent,
                _ => Fault::Transient,
            },
            Self::Failed { .. } | Self::Slow { .. } | Self::Pipe { .. } | Self::Unknown { .. } => {
                Fault::Transient
            }
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Start { .. } => "process.start",
            Self::Failed { .. } => "process.failed",
            Self::Slow { .. } => "process.slow",
            Self::Pipe { .. } => "process.pipe",
            Self::Unknown { .. } => "process.unknown_end",
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::Start { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("install the program, or correct the path it is looked for at".into())
            }
            Self::Start { .. }
            | Self::Failed { .. }
            | Self::Slow { .. }
            | Self::Pipe { .. }
            | Self::Unknown { .. } => None,
        }
    }
}

/// The end of a child's standard error, short enough for a message.
fn quoted(stderr: &str) -> String {
    let text = stderr.trim();
    let excess = text.chars().count().saturating_sub(STDERR_QUOTED_CHARS);
    match (text.is_empty(), excess) {
        (true, _) => String::new(),
        (false, 0) => format!(": {text}"),
        (false, _) => format!(": …{}", text.chars().skip(excess).collect::<String>()),
    }
}
