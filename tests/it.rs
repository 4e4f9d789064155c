//! Calls functions: everything that needs a server, a file system of its own, or several modules at once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests report by panicking too"
)]

#[path = "it/alarms.rs"]
mod alarms;
#[path = "it/archive.rs"]
mod archive;
#[path = "it/catalog.rs"]
mod catalog;
#[path = "it/config.rs"]
mod config;
#[path = "it/config_storage.rs"]
mod config_storage;
#[path = "it/containers.rs"]
mod containers;
#[path = "it/control.rs"]
mod control;
#[path = "it/cut_socket.rs"]
mod cut_socket;
#[path = "it/docker.rs"]
mod docker;
#[path = "it/dump.rs"]
mod dump;
#[path = "it/envelopes.rs"]
mod envelopes;
#[path = "it/expectations.rs"]
mod expectations;
#[path = "it/fault_world.rs"]
mod fault_world;
#[path = "it/gdrive.rs"]
mod gdrive;
#[path = "it/globals.rs"]
mod globals;
#[path = "it/import.rs"]
mod import;
#[path = "it/inventory.rs"]
mod inventory;
#[path = "it/inventory_kinds.rs"]
mod inventory_kinds;
#[path = "it/inventory_rights.rs"]
mod inventory_rights;
#[path = "it/load_ways.rs"]
mod load_ways;
#[path = "it/notify.rs"]
mod notify;
#[path = "it/object_kinds.rs"]
mod object_kinds;
#[path = "it/pipeline.rs"]
mod pipeline;
#[path = "it/pooler.rs"]
mod pooler;
#[path = "it/private_server.rs"]
mod private_server;
#[path = "it/protected.rs"]
mod protected;
#[path = "it/prove.rs"]
mod prove;
#[path = "it/queue.rs"]
mod queue;
#[path = "it/restock.rs"]
mod restock;
#[path = "it/restore_faults.rs"]
mod restore_faults;
#[path = "it/restore_harm.rs"]
mod restore_harm;
#[path = "it/restore_legacy.rs"]
mod restore_legacy;
#[path = "it/restore_parts.rs"]
mod restore_parts;
#[path = "it/restore_plan.rs"]
mod restore_plan;
#[path = "it/restore_versions.rs"]
mod restore_versions;
#[path = "it/retention.rs"]
mod retention;
#[path = "it/schedule.rs"]
mod schedule;
#[path = "it/schedule_decade.rs"]
mod schedule_decade;
#[path = "it/scrub.rs"]
mod scrub;
#[path = "it/scrub_cadence.rs"]
mod scrub_cadence;
#[path = "it/scrub_faults.rs"]
mod scrub_faults;
#[path = "it/storage.rs"]
mod storage;
#[path = "it/swap.rs"]
mod swap;
#[path = "it/swap_faults.rs"]
mod swap_faults;
#[path = "it/use_backup.rs"]
mod use_backup;
#[path = "it/use_restore.rs"]
mod use_restore;
#[path = "it/use_verify.rs"]
mod use_verify;
#[path = "it/use_world.rs"]
mod use_world;
