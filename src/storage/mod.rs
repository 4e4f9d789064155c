//! Places: object keys, opening stores, uploads that appear whole or not at all.
//!
//! No trait of ours: every store is an `object_store::ObjectStore`. Nobody outside builds a path from strings: a key is an
//! enum, and its path a total match. Retention, encryption and job ids are strangers here.

mod backend;
mod bucket;
mod capabilities;
#[cfg(feature = "testing")]
pub mod conformance;
mod credentials;
mod error;
#[cfg(feature = "testing")]
mod faulty;
pub mod gdrive;
mod key;
mod listing;
mod local;
mod name;
mod place;
mod place_url;
mod policy;
mod probe;
mod read;
mod remote;
mod store;
pub mod sweep;
mod terms;
mod trial;
mod upload;
mod uploads;
mod walk;
mod wire;

#[cfg(feature = "testing")]
pub use self::faulty::Trouble;
pub use self::{
    bucket::{AzureContainer, Bucket, DriveFolder, Login, S3Bucket},
    capabilities::{Capabilities, PartLimits},
    credentials::{CredentialWord, Credentials},
    error::StorageError,
    key::{BadFolder, Folder, ObjectKey},
    listing::Found,
    name::{BadStorageName, Environment, StorageName},
    place::{BadPlace, Place, Role, StorageConfig},
    policy::{BadPolicy, Policy, Standing, Verdict},
    probe::ProbeReport,
    read::ObjectInfo,
    store::Storage,
    terms::{Terms, Turn},
    trial::{Step, Trial},
    upload::Upload,
    wire::Pace,
};
