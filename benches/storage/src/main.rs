//! The programs that `./bench storage` runs beside the product and the uploaders of others.

mod serve;
mod upload;

use std::path::PathBuf;

use clap::Parser;

#[derive(Debug, Parser)]
enum Role {
    /// Serves a directory by S3 on loopback, and prints the address. A bucket is a directory in it.
    Serve { directory: PathBuf },
    /// Uploads what comes on standard input as the product does it: in parts, hashed, nothing compressed or encrypted.
    Upload { url: String },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Role::parse() {
        Role::Serve { directory } => serve::serve(&directory).await,
        Role::Upload { url } => upload::upload(&url).await,
    }
}
