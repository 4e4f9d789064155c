//! WHAT happened: the handle a use case holds while it works, how work can end, how far it is.
//!
//! Opening and closing executions belongs to `queue`; reading their history belongs here.

pub mod delivery;
pub mod event;
pub mod history;
mod lease;
mod outcome;
mod progress;
mod sightings;
pub mod store;
mod watch;

pub use self::{
    lease::{Lease, LeaseLost, LeaseSeat, Recheck, Stop},
    outcome::{Effects, Outcome, Warning},
    progress::{Phase, Progress},
    sightings::{Sightings, Trouble},
    watch::{Leg, Total, unless_stalled},
};
