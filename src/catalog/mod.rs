//! WHAT we possess: artifacts, their copies, their manifests.
//!
//! The truth is on the storages (a manifest means a backup exists); the rows here are derived from it and can be rebuilt.
//! Nothing here decides what may be deleted.

pub mod adopt;
mod artifact;
mod copy;
mod expected;
mod manifest;
mod object;
pub mod rebuild;

pub use self::{
    artifact::{ArtifactKind, Compression, Content, NewArtifact, Proof},
    copy::{CopyCheck, CopyState, NewCopy},
    manifest::{
        EnvelopeFacts, MANIFEST_VERSION, MAX_MANIFEST_BYTES, Manifest, ManifestError,
        ManifestWarning, check_seal,
    },
    object::{EnvelopeFormat, object_name},
};
