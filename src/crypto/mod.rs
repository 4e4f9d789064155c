//! Byte formats, keys and their ids. Every version stays readable for ever.
//!
//! No file names, no environment, no IO beyond streams.

mod key;

pub use self::key::KeyId;
