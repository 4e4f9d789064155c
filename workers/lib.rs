//! The shell: roles, verbs, the handlers of the job kinds, and the one place where concrete types meet. Module list only.

pub mod backup;
pub mod cli;
pub mod commands;
pub mod dispatch;
pub mod exit;
pub mod notify;
pub mod output;
pub mod prune;
pub mod restore;
pub mod roles;
pub mod scrubber;
pub mod session;
pub mod signals;
pub mod sweeper;
pub mod telemetry;
pub mod verbs;
pub mod verify;
pub mod wiring;
