//! The fault suite: what the queue promises, while workers are killed and frozen, databases go away and answers get lost.
//!
//! Every scenario has real processes and a real server. Its verdict is read from the rows: the queue's own, and those of
//! the journals in which the handlers wrote what they really did. `docs/reliability.md` explains the table.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests report by panicking too"
)]

#[path = "suite/chaos.rs"]
mod chaos;
#[path = "suite/cuts.rs"]
mod cuts;
#[path = "suite/deaths.rs"]
mod deaths;
#[path = "suite/freezes.rs"]
mod freezes;
#[path = "suite/handlers.rs"]
mod handlers;
#[path = "suite/others.rs"]
mod others;
#[path = "suite/outages.rs"]
mod outages;
#[path = "suite/relay.rs"]
mod relay;
#[path = "suite/settings.rs"]
mod settings;
#[path = "suite/standstill.rs"]
mod standstill;
#[path = "suite/verdict.rs"]
mod verdict;
#[path = "suite/worker.rs"]
mod worker;
#[path = "suite/world.rs"]
mod world;
