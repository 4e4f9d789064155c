//! Speaking to the protected PostgreSQL: client tools, processes, containers, server facts. Knows none of our own tables.

pub mod amcheck;
pub mod assertion;
pub mod cluster;
pub mod complaint;
pub mod docker;
pub mod dump;
pub mod error;
pub mod facts;
pub mod globals;
pub mod guard;
pub mod inventory;
pub mod process;
mod quote;
pub mod restore;
pub mod scratch;
pub mod server;
pub mod survey;
pub mod swap;
mod tables;
pub mod tools;
mod url;
