//! The long-running processes.

pub(crate) mod leftovers;
pub mod up;
pub mod worker;
