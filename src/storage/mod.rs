//! Places: object keys, opening stores, uploads that appear whole or not at all.
//!
//! No trait of ours: every store is an `object_store::ObjectStore`. Nobody outside builds a path from strings: a key is an
//! enum, and its path a total match. Retention, encryption and job ids are strangers here.

mod key;
mod name;

pub use self::{
    key::{BadFolder, Folder, ObjectKey},
    name::{BadStorageName, Environment, StorageName},
};
