//! The long-running processes.

pub mod cron;
pub(crate) mod leftovers;
pub mod up;
pub mod worker;
