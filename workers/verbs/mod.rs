//! One operator verb per file. Verbs talk to a person; the work itself is in the use cases.

pub mod backup;
pub mod catalog;
pub mod completions;
pub mod config;
pub mod decrypt;
pub mod delete;
pub mod doctor;
pub mod drain;
pub mod enqueue;
mod error;
pub mod execution;
mod follow;
pub mod get;
pub mod inspect;
pub mod job;
pub mod list;
pub mod migrate;
pub mod notify;
pub mod pin;
pub mod queue;
pub mod restore;
mod restore_globals;
pub mod retention;
pub mod rollback;
pub mod schedule;
pub mod show;
pub mod storage;
pub mod test_restore;
mod time;
pub mod verify;
pub mod version;

pub use self::error::{NoRuntime, VerbError};
