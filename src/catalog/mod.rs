//! WHAT we possess: artifacts, their copies, their manifests.
//!
//! The truth is on the storages (a manifest means a backup exists); the rows here are derived from it and can be rebuilt.
//! Nothing here decides what may be deleted.

mod artifact;
mod copy;

pub use self::{
    artifact::{ArtifactKind, Compression, Content, NewArtifact, Proof},
    copy::{CopyCheck, CopyState, NewCopy},
};
