//! The long-running processes.

pub mod up;
pub mod worker;
