//! WHICH backups may go: a policy and a plan with reasons, pure functions of what is there and an instant.
//!
//! Invariant: every backup is either kept or expired, with the reasons in words, and no policy outdoes a protection. Knows
//! no clock, no row and no storage; what a plan says is performed by `prune`.

mod policy;

pub use self::policy::Policy;
