//! A stream into a file that appears whole or not at all, or to standard output.

use std::{
    io,
    path::{Path, PathBuf},
};

use kanbu_backup::{
    fault::Failure,
    pipeline::{Feed, Message},
};
use serde_json::json;
use tokio::{
    fs::{File, OpenOptions},
    io::{AsyncWrite, AsyncWriteExt},
};

use super::Output;
use crate::verbs::VerbError;

/// The name that means standard output.
const STDOUT: &str = "-";

/// Writes the whole feed and says what became of it, unless standard output is taken by the data.
pub async fn deliver(feed: Feed, output: &Path, out: Output) -> Result<(), Failure> {
    let bytes = write(feed, output).await?;
    if output != Path::new(STDOUT) {
        let text = format!("{bytes} bytes in {}", output.display());
        let fields = json!({ "outcome": "succeeded", "file": output, "bytes": bytes });
        out.result(fields, &text);
    }
    Ok(())
}

/// Writes the whole feed and returns the bytes written. On any error no file stays behind; what has gone to standard
/// output can't be taken back, so the exit code must be looked at.
async fn write(feed: Feed, output: &Path) -> Result<u64, Failure> {
    if output == Path::new(STDOUT) {
        let mut stdout = tokio::io::stdout();
        return copy(feed, &mut stdout, output).await;
    }
    if output.exists() {
        return Err(VerbError::FileExists(output.to_owned()).into());
    }
    let partial = partial(output);
    let mut file = create(&partial).await?;
    let written = match copy(feed, &mut file, &partial).await {
        Ok(bytes) => publish(&file, &partial, output).await.map(|()| bytes),
        Err(failure) => Err(failure),
    };
    if written.is_err() {
        // The failure at hand matters more than one of cleaning up.
        let _ = tokio::fs::remove_file(&partial).await;
    }
    written
}

fn partial(output: &Path) -> PathBuf {
    let mut name = output.to_owned().into_os_string();
    name.push(".partial");
    name.into()
}

/// Plain text of a backup is nobody else's business.
async fn create(partial: &Path) -> Result<File, VerbError> {
    let opened = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(partial)
        .await;
    opened.map_err(|error| VerbError::File("create", partial.to_owned(), error))
}

async fn copy(
    mut feed: Feed,
    to: &mut (impl AsyncWrite + Unpin),
    name: &Path,
) -> Result<u64, Failure> {
    let failed = |error: io::Error| VerbError::File("write", name.to_owned(), error);
    let mut bytes = 0_u64;
    loop {
        match feed.next().await {
            Message::Data(chunk) => {
                bytes += chunk.len() as u64;
                to.write_all(&chunk).await.map_err(failed)?;
            }
            Message::End => break,
            Message::Fail(failure) => return Err(failure),
        }
    }
    to.flush().await.map_err(failed)?;
    Ok(bytes)
}

async fn publish(file: &File, partial: &Path, output: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| VerbError::File("write", output.to_owned(), error);
    file.sync_all().await.map_err(failed)?;
    tokio::fs::rename(partial, output).await.map_err(failed)?;
    Ok(())
}
