//! The stream of bytes: from a source to every storage at once, and from a storage back to content.
//!
//! Knows nothing of databases, jobs or manifests. Three promises: end of data is a message ([`Feed`]); an object appears
//! only when every stage said so ([`write()`]); and content that is read is called complete only when every byte of it was
//! right ([`open`], [`check`]). Memory is bounded whatever the size: permits for parts, pools for buffers.

mod buffers;
mod compress;
mod decompress;
mod error;
mod feed;
mod feed_sink;
mod input;
mod landing;
mod pace;
mod parts;
mod pass;
mod read;
mod seal;
mod stage;
mod stream;
mod tally;
mod target;
mod unseal;
mod watch;
mod write;

pub use self::{
    compress::CompressionSpec,
    decompress::Compression,
    error::PipelineError,
    feed::{CHUNK_BYTES, Feed, FeedSender, Gone, Message, feed},
    input::Input,
    pace::Slowness,
    parts::PartGrowth,
    read::{Expected, Opened, Read, See, check, open, peruse},
    seal::Seal,
    target::{Target, TargetEnd},
    unseal::Sealed,
    watch::{Gate, OnTick, Tick, Watch},
    write::{Limits, Recipe, Unwritten, Written, write},
};
