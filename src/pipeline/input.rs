//! What can be read: an object on a storage, or a file that lies about. May be read twice, as envelope v1 demands.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, ErrorKind, Read as _, Seek as _},
    path::{Path, PathBuf},
};

use futures::stream::{BoxStream, StreamExt};
use tokio::io::AsyncReadExt as _;

use super::{
    CHUNK_BYTES, Feed, FeedSender, Gone, Message, PipelineError, Sealed, feed,
    feed_sink::FeedSink,
    stage::{Halt, Sink},
};
use crate::{
    crypto::{EnvelopeError, HEADER_BYTES},
    fault::Failure,
    storage::{ObjectKey, Storage, StorageError},
};

/// Enough of a sidecar to see that it is too long.
const SIDECAR_LOOK: u64 = HEADER_BYTES as u64 + 1;

/// Where stored bytes come from. A sidecar that is named is used if it is there, and set aside if it isn't named.
#[derive(Clone, Debug)]
pub enum Input {
    Object {
        storage: Storage,
        key: ObjectKey,
        sidecar: Option<ObjectKey>,
    },
    File {
        path: PathBuf,
        sidecar: Option<PathBuf>,
    },
}

impl Input {
    /// A file, with the sidecar header beside it.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let mut sidecar = path.clone().into_os_string();
        sidecar.push(".khdr");
        Self::File {
            path,
            sidecar: Some(sidecar.into()),
        }
    }

    /// What the name says of the envelope. Kanbu's encrypted files are known by nothing else.
    pub(super) fn named(&self) -> Sealed {
        let named = |path: &Path| match path.extension().and_then(OsStr::to_str) {
            Some("enc") => Sealed::V1,
            Some("kbk") => Sealed::V2,
            _ => Sealed::Unknown,
        };
        match self {
            Self::Object { key, .. } => named(Path::new(&key.to_string())),
            Self::File { path, .. } => named(path),
        }
    }

    pub(super) async fn read_sidecar(&self) -> Result<Option<Vec<u8>>, Failure> {
        match self {
            Self::Object { sidecar: None, .. } | Self::File { sidecar: None, .. } => Ok(None),
            Self::Object {
                storage,
                sidecar: Some(key),
                ..
            } => match storage.read_range(key, 0..SIDECAR_LOOK).await {
                Ok(bytes) => Ok(Some(bytes.into())),
                Err(StorageError::NotFound { .. }) => Ok(None),
                Err(error) => Err(error.into()),
            },
            Self::File {
                sidecar: Some(path),
                ..
            } => match read_start(path).await {
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                Err(error) => Err(unreadable(path)(error).into()),
            },
        }
    }

    pub(super) fn open(self) -> Result<Source, Failure> {
        Ok(match self {
            Self::Object { storage, key, .. } => Source::Object {
                storage,
                key,
                version: None,
            },
            Self::File { path, .. } => Source::File {
                file: File::open(&path).map_err(unreadable(&path))?,
                path,
            },
        })
    }
}

async fn read_start(path: &Path) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    let file = tokio::fs::File::open(path).await?;
    file.take(SIDECAR_LOOK).read_to_end(&mut start).await?;
    Ok(start)
}

fn unreadable(path: &Path) -> impl Fn(io::Error) -> PipelineError {
    move |source| PipelineError::File {
        path: path.to_owned(),
        source,
    }
}

/// An opened input. Every pass reads the same thing from its beginning, or fails.
#[derive(Debug)]
pub(super) enum Source {
    Object {
        storage: Storage,
        key: ObjectKey,
        /// Of the first pass.
        version: Option<String>,
    },
    File {
        file: File,
        path: PathBuf,
    },
}

impl Source {
    /// The size of the whole, and its bytes.
    pub(super) async fn pass(&mut self) -> Result<(u64, Feed), Failure> {
        let (sender, input) = feed();
        match self {
            Self::Object {
                storage,
                key,
                version,
            } => {
                let (info, stream) = storage.read(key).await?;
                if version.is_some() && *version != info.version {
                    return Err(EnvelopeError::SourceChanged.into());
                }
                *version = info.version;
                tokio::spawn(pump(stream, sender));
                Ok((info.bytes, input))
            }
            Self::File { file, path } => {
                let unreadable = unreadable(path);
                let file = file.try_clone().map_err(&unreadable)?;
                let bytes = file.metadata().map_err(&unreadable)?.len();
                let path = path.clone();
                tokio::task::spawn_blocking(move || read_file(file, &path, sender));
                Ok((bytes, input))
            }
        }
    }
}

async fn pump(
    mut stream: BoxStream<'static, Result<bytes::Bytes, StorageError>>,
    sender: FeedSender,
) -> Result<(), Gone> {
    while let Some(read) = stream.next().await {
        match read {
            Ok(bytes) => sender.send(Message::Data(bytes)).await?,
            Err(error) => return sender.send(Message::Fail(error.into())).await,
        }
    }
    sender.send(Message::End).await
}

/// From the beginning: the handle is shared with an earlier pass.
fn read_file(mut file: File, path: &Path, sender: FeedSender) -> Result<(), Halt> {
    let mut sink = FeedSink::new(sender);
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut read = file.rewind().map(|()| 1);
    while !matches!(read, Ok(0)) {
        read = file.read(&mut buffer);
        match &read {
            Ok(bytes) => sink.accept(&buffer[..*bytes])?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    match read {
        Ok(_) => sink.end(),
        Err(error) => {
            sink.fail(unreadable(path)(error).into());
            Ok(())
        }
    }
}
