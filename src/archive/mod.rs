//! A directory as a tar stream and back. Never unpacks outside its destination; which directory and why is not its affair.

mod exclude;

pub use self::exclude::{BadPattern, DEFAULT_EXCLUDES, Excludes};
