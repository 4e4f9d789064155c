//! Exit codes: the table of `docs/cli.md`, and how a failure finds its row.

use std::process::ExitCode;

use kanbu_backup::fault::{Failure, Fault};

/// How the process ends. Any unknown non-zero code must be taken as failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, all requirements met.
    Done,
    Failed,
    /// Wrong usage or missing confirmation; nothing was changed.
    Usage,
    /// Done with findings: degraded, warnings of doctor, deletions pending.
    Findings,
    NotFound,
    /// Already running, locked, or it would violate a protection.
    Refused,
    /// A hash, an authentication tag or a test restore failed.
    Integrity,
    /// A storage is unreachable or full.
    Storage,
    /// A database is unreachable or has the wrong version.
    Database,
    /// A key is missing or wrong.
    Key,
    /// Waited long enough; the job goes on.
    Waited,
    Interrupted,
    Terminated,
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Findings => 3,
            Self::NotFound => 4,
            Self::Refused => 5,
            Self::Integrity => 6,
            Self::Storage => 7,
            Self::Database => 8,
            Self::Key => 10,
            Self::Waited => 12,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// The row of a failure, by its stable code.
    pub fn of(failure: &Failure) -> Self {
        if failure.fault == Fault::Cancelled {
            return Self::Failed;
        }
        let code = failure.code.as_ref();
        let (family, rest) = code.split_once('.').unwrap_or((code, ""));
        match (family, rest) {
            ("usage" | "config" | "subject", _)
            | ("queue", "invalid")
            | (_, "ambiguous" | "same_database") => Self::Usage,
            (_, "not_found") => Self::NotFound,
            ("refused", _)
            | (
                _,
                "exists"
                | "destination_not_empty"
                | "destination_is_mount"
                | "pinned"
                | "last_of_subject"
                | "newest_proven"
                | "in_use"
                | "last_copies"
                | "held"
                | "already_running"
                | "sessions_stay"
                | "not_dead"
                | "not_queued"
                | "kind_refused"
                | "request_key_reused",
            ) => Self::Refused,
            ("key", _) | ("envelope", "no_matching_key") => Self::Key,
            ("storage", _) | ("pipeline", "no_storage_left" | "stalled") => Self::Storage,
            ("envelope" | "integrity" | "manifest" | "archive" | "proof", _)
            | ("restore", "differs" | "no_tables")
            | ("pipeline", "stored_digest_mismatch" | "undecodable" | "compressed_truncated") => {
                Self::Integrity
            }
            ("database" | "tools" | "control" | "queue" | "server" | "docker", _) => Self::Database,
            _ => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_names_every_exit_code() {
        let text = include_str!("../docs/cli.md");
        for code in [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 130] {
            assert!(
                text.contains(&format!("\n| {code} ")),
                "docs/cli.md lacks exit code {code}"
            );
        }
    }

    #[test]
    fn a_failure_finds_its_exit_code_by_its_stable_code() {
        for (code, exit) in [
            ("storage.full", Exit::Storage),
            ("database.authentication", Exit::Database),
            ("database.exists", Exit::Refused),
            ("catalog.last_of_subject", Exit::Refused),
            ("catalog.newest_proven", Exit::Refused),
            ("catalog.in_use", Exit::Refused),
            ("catalog.last_copies", Exit::Refused),
            ("catalog.held", Exit::Refused),
            ("server.already_running", Exit::Refused),
            ("server.not_running", Exit::Database),
            ("tools.client_too_old", Exit::Database),
            ("pipeline.stored_digest_mismatch", Exit::Integrity),
            ("envelope.no_matching_key", Exit::Key),
            ("envelope.chunk_auth", Exit::Integrity),
            ("proof.differs", Exit::Integrity),
            ("proof.untrue", Exit::Integrity),
            ("artifact.not_found", Exit::NotFound),
            ("config.invalid", Exit::Usage),
            ("queue.invalid", Exit::Usage),
            ("queue.kind_refused", Exit::Refused),
            ("queue.not_prepared", Exit::Database),
            ("worker.not_found", Exit::NotFound),
            ("restore.already_running", Exit::Refused),
            ("restore.sessions_stay", Exit::Refused),
            ("restore.differs", Exit::Integrity),
            ("handler.panicked", Exit::Failed),
        ] {
            let failure = Failure::new(Fault::Permanent, code, "it went wrong");
            assert_eq!(Exit::of(&failure), exit, "{code}");
        }
    }
}
