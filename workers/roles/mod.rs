//! The long-running processes.

mod leftovers;
pub mod up;
pub mod worker;
