//! What several storages together must achieve, as data: which of them a backup is streamed to, when it has succeeded,
//! and when it is certain that it can't any more. Pure: it opens nothing and asks nobody.

use std::{fmt, num::NonZeroUsize, str::FromStr};

use super::Role;

/// When a backup on several storages counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// All of them is a success, some of them a degraded backup.
    #[default]
    AllOrDegraded,
    /// So many are a success, fewer a failure.
    Quorum(NonZeroUsize),
    /// The primary is a success, the others get their copies afterwards. Without the primary they get them at once, and
    /// the backup is degraded.
    PrimaryThenReplicate,
    /// One is a success, whichever.
    Any,
}

/// What became of a backup on one storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Held,
    Lost,
    /// Its copy is made afterwards, as planned.
    Later,
}

/// What became of a backup on all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Succeeded,
    Degraded,
    Failed,
}

impl Policy {
    pub fn verdict(self, standings: &[Standing]) -> Verdict {
        let count = |wanted| standings.iter().filter(|s| **s == wanted).count();
        if count(Standing::Held) < self.least() {
            return Verdict::Failed;
        }
        match self {
            Self::AllOrDegraded | Self::PrimaryThenReplicate if count(Standing::Lost) > 0 => {
                Verdict::Degraded
            }
            _ => Verdict::Succeeded,
        }
    }

    /// With fewer storages than this it can't be met.
    pub fn least(self) -> usize {
        match self {
            Self::Quorum(least) => least.get(),
            Self::AllOrDegraded | Self::PrimaryThenReplicate | Self::Any => 1,
        }
    }

    /// Whether a backup is streamed to such a storage. Its own `live` can only take it out.
    pub fn streams_to(self, role: Role, live: bool) -> bool {
        match (self, role) {
            (Self::PrimaryThenReplicate, Role::Replica) => false,
            (_, Role::Primary) => true,
            (_, Role::Replica) => live,
        }
    }
}

/// The text names no policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPolicy {
    #[error("expected all-or-degraded, quorum(2) or another number, primary-then-replicate or any")]
    Unknown,
    #[error("a quorum of 0 storages asks for no backup")]
    NoQuorum,
}

impl FromStr for Policy {
    type Err = BadPolicy;

    fn from_str(text: &str) -> Result<Self, BadPolicy> {
        let quorum = || {
            let number = text.strip_prefix("quorum(")?.strip_suffix(')')?;
            number.trim().parse::<usize>().ok()
        };
        match text {
            "all-or-degraded" => Ok(Self::AllOrDegraded),
            "primary-then-replicate" => Ok(Self::PrimaryThenReplicate),
            "any" => Ok(Self::Any),
            _ => {
                let least = quorum().ok_or(BadPolicy::Unknown)?;
                let least = NonZeroUsize::new(least).ok_or(BadPolicy::NoQuorum)?;
                Ok(Self::Quorum(least))
            }
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllOrDegraded => f.pad("all-or-degraded"),
            Self::Quorum(least) => f.pad(&format!("quorum({least})")),
            Self::PrimaryThenReplicate => f.pad("primary-then-replicate"),
            Self::Any => f.pad("any"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Policy {
        text.parse().unwrap()
    }

    /// `+` holds it, `-` lost it, `.` gets it later.
    fn standings(text: &str) -> Vec<Standing> {
        let standing = |mark| match mark {
            '+' => Standing::Held,
            '-' => Standing::Lost,
            '.' => Standing::Later,
            other => panic!("{other} is no mark"),
        };
        text.chars().map(standing).collect()
    }

    #[test]
    fn every_policy_says_what_it_says_in_the_table() {
        use Verdict::{Degraded, Failed, Succeeded};
        let policies = [
            "all-or-degraded",
            "quorum(2)",
            "primary-then-replicate",
            "any",
        ];
        for (ends, verdicts) in [
            ("+", [Succeeded, Failed, Succeeded, Succeeded]),
            ("-", [Failed, Failed, Failed, Failed]),
            ("++", [Succeeded, Succeeded, Succeeded, Succeeded]),
            ("+-", [Degraded, Failed, Degraded, Succeeded]),
            ("-+", [Degraded, Failed, Degraded, Succeeded]),
            ("--", [Failed, Failed, Failed, Failed]),
            ("+.", [Succeeded, Failed, Succeeded, Succeeded]),
            ("-.", [Failed, Failed, Failed, Failed]),
            ("..", [Failed, Failed, Failed, Failed]),
            ("", [Failed, Failed, Failed, Failed]),
            ("+++", [Succeeded, Succeeded, Succeeded, Succeeded]),
            ("++-", [Degraded, Succeeded, Degraded, Succeeded]),
            ("-++", [Degraded, Succeeded, Degraded, Succeeded]),
            ("+--", [Degraded, Failed, Degraded, Succeeded]),
            ("++.", [Succeeded, Succeeded, Succeeded, Succeeded]),
            ("+-.", [Degraded, Failed, Degraded, Succeeded]),
        ] {
            for (name, verdict) in policies.into_iter().zip(verdicts) {
                assert_eq!(
                    policy(name).verdict(&standings(ends)),
                    verdict,
                    "{name} of {ends:?}"
                );
            }
        }
    }

    #[test]
    fn a_policy_reads_as_it_prints_and_a_quorum_of_nobody_is_none() {
        for text in [
            "all-or-degraded",
            "quorum(2)",
            "quorum(17)",
            "primary-then-replicate",
            "any",
        ] {
            assert_eq!(policy(text).to_string(), text);
        }
        assert_eq!("quorum(0)".parse::<Policy>(), Err(BadPolicy::NoQuorum));
        for text in [
            "",
            "all",
            "quorum",
            "quorum()",
            "quorum(-1)",
            "quorum(2",
            "ANY",
        ] {
            assert_eq!(text.parse::<Policy>(), Err(BadPolicy::Unknown), "{text:?}");
        }
    }

    #[test]
    fn only_replicas_get_their_copies_later() {
        for (text, live, streamed) in [
            ("all-or-degraded", true, true),
            ("all-or-degraded", false, false),
            ("any", false, false),
            ("primary-then-replicate", true, false),
        ] {
            assert_eq!(
                policy(text).streams_to(Role::Replica, live),
                streamed,
                "{text}"
            );
            assert!(policy(text).streams_to(Role::Primary, live), "{text}");
        }
    }
}
