//! Speaking to the protected PostgreSQL: client tools, processes, containers, server facts. Knows none of our own tables.

pub mod process;
pub mod tools;
