//! Calls functions: everything that needs a server, a file system of its own, or several modules at once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests report by panicking too"
)]

#[path = "it/storage.rs"]
mod storage;
