//! WHICH backups may go: a policy and a plan with reasons, pure functions of what is there and an instant.
//!
//! Invariant: every backup is either kept or expired, with its reasons, and no policy outdoes a protection. Knows no clock, no
//! row and no storage; what a plan says is performed by `prune`. The words of docs/retention.md are those of this module.

mod kanbu;
mod period;
mod plan;
mod policy;
mod reason;

pub use self::{
    kanbu::{KanbuRule, first_cycle},
    period::Period,
    plan::{Candidate, Condition, Expired, Kept, Plan, plan},
    policy::Policy,
    reason::{ExpireReason, HoldReason, KeepReason},
};

#[cfg(test)]
mod tests;
