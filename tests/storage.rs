//! Every kind of store behind HTTP keeps the promises of a storage, against a server of its own, and fails as it should;
//! and whole backups to several storages come out as they should when one of them fails.
//!
//! Run by `./test storage`. Some servers are installed for it, see `tests/support/store-servers`; each is started by the
//! test that needs it, on a free port of loopback, and ends with it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests report by panicking too"
)]

#[path = "storage/azure.rs"]
mod azure;
#[path = "storage/gcs.rs"]
mod gcs;
#[path = "storage/gcs_fake.rs"]
mod gcs_fake;
#[path = "storage/moto.rs"]
mod moto;
#[path = "storage/s3.rs"]
mod s3;
#[path = "storage/s3_faults.rs"]
mod s3_faults;
#[path = "storage/s3_server.rs"]
mod s3_server;
#[path = "storage/scrub.rs"]
mod scrub;
#[path = "storage/servers.rs"]
mod servers;
#[path = "storage/set.rs"]
mod set;
#[path = "storage/set_faults.rs"]
mod set_faults;
#[path = "storage/set_policies.rs"]
mod set_policies;
#[path = "storage/things.rs"]
mod things;
