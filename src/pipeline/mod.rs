//! The stream of bytes: stages, and what they yield. Knows nothing of PostgreSQL or jobs.

mod feed;

pub use self::feed::{CHUNK_BYTES, Feed, FeedSender, Gone, Message, feed};
