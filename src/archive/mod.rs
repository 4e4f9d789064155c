//! A directory as a tar stream and back. Never unpacks outside its destination; which directory and why is not its affair.
//!
//! Both ways walk by directory handles, one name at a time and never through a symbolic link, so that neither a link in
//! the tree nor one that appears meanwhile leads anywhere else, and paths may be longer than the system's limit. What
//! can't be archived is counted and named in the [`PackReport`]; whether that is acceptable is the caller's decision.
//! Data goes out through a [`Feed`](crate::pipeline::Feed) and comes back through one; nothing lies under the final name
//! before the feed has said that it is complete.

mod error;
mod exclude;
mod handle;
mod pack;
mod place;
mod report;
mod staging;
mod stream;
mod unpack;

pub use self::{
    error::ArchiveError,
    exclude::{BadPattern, DEFAULT_EXCLUDES, Excludes},
    pack::{PackHandle, PackSpec, pack},
    report::{PackReport, Paths, UnpackReport},
    staging::require_vacant,
    unpack::unpack,
};
