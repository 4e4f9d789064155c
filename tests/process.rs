//! Starts the real binary, as an operator would, against real servers and real directories.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests report by panicking too"
)]

#[path = "process/catalog.rs"]
mod catalog;
#[path = "process/cron.rs"]
mod cron;
#[path = "process/drain.rs"]
mod drain;
#[path = "process/failures.rs"]
mod failures;
#[path = "process/formats.rs"]
mod formats;
#[path = "process/import.rs"]
mod import;
#[path = "process/main_path.rs"]
mod main_path;
#[path = "process/notify.rs"]
mod notify;
#[path = "process/offline.rs"]
mod offline;
#[path = "process/pooler.rs"]
mod pooler;
#[path = "process/prove.rs"]
mod prove;
#[path = "process/prune.rs"]
mod prune;
#[path = "process/queue.rs"]
mod queue;
#[path = "process/refusals.rs"]
mod refusals;
#[path = "process/replace.rs"]
mod replace;
#[path = "process/restore_verbs.rs"]
mod restore_verbs;
#[path = "process/roles.rs"]
mod roles;
#[path = "process/running.rs"]
mod running;
#[path = "process/scrubbing.rs"]
mod scrubbing;
#[path = "process/stopping.rs"]
mod stopping;
#[path = "process/storage_verbs.rs"]
mod storage_verbs;
#[path = "process/storages.rs"]
mod storages;
#[path = "process/take_over.rs"]
mod take_over;
#[path = "process/tree.rs"]
mod tree;
#[path = "process/world.rs"]
mod world;
