//! `kanbu-backup`: backups of Kanbu and of any PostgreSQL that cannot lie about themselves.
//!
//! The map of the house; `docs/ARCHITECTURE.md` has the rules. Imports go downwards only.
//!
//! - leaves: [`id`], [`clock`], [`fault`], [`bytes`]
//! - vocabulary: [`retention`] (what may go), [`job`] (what may be asked)
//! - mechanisms: [`crypto`] (formats and keys), [`storage`] (places), [`pipeline`] (the stream of bytes), [`archive`] (a
//!   directory as a stream), [`pg`] (speaking to PostgreSQL), [`control`] (our own database)
//! - state: [`catalog`] (what we possess), [`execution`] (what happened), [`queue`] (how a job waits and is won),
//!   [`schedule`] (when jobs are made)
//! - use cases: [`backup`], [`restore`], [`verify`], [`prune`], [`notify`], [`import`]
//! - edges: [`kanbu`] (everything Kanbu-shaped), [`config`] (environment to types)

pub mod archive;
pub mod backup;
pub mod bytes;
pub mod catalog;
pub mod clock;
pub mod config;
pub mod control;
pub mod crypto;
pub mod execution;
pub mod fault;
pub mod id;
pub mod import;
pub mod job;
pub mod kanbu;
pub mod notify;
pub mod pg;
pub mod pipeline;
pub mod prune;
pub mod queue;
pub mod restore;
pub mod retention;
pub mod schedule;
pub mod storage;
#[cfg(feature = "testing")]
pub mod testing;
pub mod verify;
