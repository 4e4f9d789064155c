//! An archive on this host's disk, where several read what has arrived of it while the rest is still on its way.
//!
//! It lies there in clear, so it has no name that anybody could open, and the kernel frees it with its last holder, however
//! that ends. Its readers get `End` only after the feed said `End` and the dump was found complete; when the feed fails,
//! they fail as it did.

use std::{
    borrow::Cow,
    fs::{self, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use rustix::fs::statvfs;
use tokio::{sync::watch, task::spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::load::require_client;
use crate::{
    bytes::ByteSize,
    fault::{Classified, Failure, Fault},
    id::ExecutionId,
    pg::dump::{Completeness, DumpFormat},
    pipeline::{CHUNK_BYTES, Feed, FeedSender, Message, feed},
};

/// An archive that arrives.
#[derive(Debug)]
pub struct Spool {
    file: Arc<fs::File>,
    directory: PathBuf,
    arrived: watch::Sender<Arrived>,
}

/// What is known of it so far.
#[derive(Clone, Debug, Default)]
struct Arrived {
    bytes: u64,
    /// Nothing more will come: it is whole, or it failed.
    end: Option<Result<(), Failure>>,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    #[error("the dump of {needed} has no room in {}, where {free} are free", directory.display())]
    NoRoom {
        directory: PathBuf,
        needed: ByteSize,
        free: ByteSize,
    },
    #[error("the dump can't be written to {}", directory.display())]
    Write {
        directory: PathBuf,
        source: io::Error,
    },
    #[error("the list of what to restore can't be written")]
    List(#[source] io::Error),
    #[error("the dump can't be read back from {}", directory.display())]
    Read {
        directory: PathBuf,
        source: io::Error,
    },
}

impl Classified for SpoolError {
    fn fault(&self) -> Fault {
        match self {
            Self::NoRoom { .. } => Fault::Permanent,
            Self::Write { .. } | Self::Read { .. } | Self::List(_) => Fault::Transient,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NoRoom { .. } => "restore.no_room",
            Self::Write { .. } | Self::Read { .. } | Self::List(_) => "restore.spool",
        }
    }

    fn hint(&self) -> Option<Cow<'static, str>> {
        Some("restore without --jobs, which needs no disk, or set TMPDIR to a larger one".into())
    }
}

impl Spool {
    /// Refuses a dump of this many bytes for which there is no room, before anything is written.
    pub fn require_room(directory: &Path, bytes: u64) -> Result<(), SpoolError> {
        let room = statvfs(directory).map_err(|source| SpoolError::Write {
            directory: directory.to_owned(),
            source: source.into(),
        })?;
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        if free >= bytes {
            return Ok(());
        }
        Err(SpoolError::NoRoom {
            directory: directory.to_owned(),
            needed: ByteSize(bytes),
            free: ByteSize(free),
        })
    }

    /// An empty one.
    pub fn new(directory: &Path, execution: ExecutionId) -> Result<Self, SpoolError> {
        let directory = directory.to_owned();
        match nameless(&directory, execution) {
            Ok(file) => Ok(Self {
                file: Arc::new(file),
                directory,
                arrived: watch::Sender::default(),
            }),
            Err(source) => Err(SpoolError::Write { directory, source }),
        }
    }

    /// Writes a feed of the custom format to the disk, and tells those who read how far it is and how it ends. `client` is
    /// the major version of the tool that is to understand it.
    pub async fn fill(
        &self,
        feed: Feed,
        client: u32,
        cancel: &CancellationToken,
    ) -> Result<u64, Failure> {
        let filled = self.take_in(feed, client, cancel).await;
        self.arrived
            .send_modify(|arrived| arrived.end = Some(filled.clone()));
        filled.map(|()| self.arrived.borrow().bytes)
    }

    async fn take_in(
        &self,
        mut feed: Feed,
        client: u32,
        cancel: &CancellationToken,
    ) -> Result<(), Failure> {
        let mut seen = Completeness::new(DumpFormat::Custom);
        let mut version_checked = false;
        loop {
            let message = tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(Failure::cancelled()),
                message = feed.next() => message,
            };
            match message {
                Message::Data(data) => {
                    seen.see(&data);
                    if let (Some(header), false) = (seen.header(), version_checked) {
                        require_client(&header, client)?;
                        version_checked = true;
                    }
                    self.append(data).await?;
                }
                Message::End => return Ok(seen.verdict()?),
                Message::Fail(failure) => return Err(failure),
            }
        }
    }

    async fn append(&self, data: Bytes) -> Result<(), SpoolError> {
        let (file, at) = (Arc::clone(&self.file), self.arrived.borrow().bytes);
        let bytes = data.len() as u64;
        let written = spawn_blocking(move || file.write_all_at(&data, at)).await;
        let written = written.unwrap_or_else(|error| Err(error.into()));
        written.map_err(|source| SpoolError::Write {
            directory: self.directory.clone(),
            source,
        })?;
        self.arrived
            .send_modify(|arrived| arrived.bytes = at + bytes);
        Ok(())
    }

    /// What has arrived, from the beginning, and what will.
    pub fn read(&self) -> Feed {
        let (sender, feed) = feed();
        let reader = Reader {
            file: Arc::clone(&self.file),
            directory: self.directory.clone(),
            arrived: self.arrived.subscribe(),
        };
        tokio::spawn(reader.hand_on(sender));
        feed
    }

    /// The file, once all of it is there.
    pub(super) async fn whole(&self) -> Result<fs::File, Failure> {
        let mut arrived = self.arrived.subscribe();
        let ended = arrived.wait_for(|arrived| arrived.end.is_some()).await;
        let end = ended.ok().and_then(|arrived| arrived.end.clone());
        end.unwrap_or_else(|| Err(Failure::cancelled()))?;
        let file = self.file.try_clone().map_err(|source| SpoolError::Read {
            directory: self.directory.clone(),
            source,
        })?;
        Ok(file)
    }
}

struct Reader {
    file: Arc<fs::File>,
    directory: PathBuf,
    arrived: watch::Receiver<Arrived>,
}

impl Reader {
    /// Until the end, or until nobody takes it any more.
    async fn hand_on(mut self, sender: FeedSender) {
        let mut at = 0;
        loop {
            let news = |arrived: &Arrived| arrived.bytes > at || arrived.end.is_some();
            let Ok(arrived) = self.arrived.wait_for(news).await.map(|seen| seen.clone()) else {
                return;
            };
            let message = match arrived.end {
                Some(Err(failure)) => Message::Fail(failure),
                Some(Ok(())) if at == arrived.bytes => Message::End,
                Some(Ok(())) | None => match self.chunk(at, arrived.bytes).await {
                    Ok(data) => Message::Data(data),
                    Err(error) => Message::Fail(error.into()),
                },
            };
            let is_last = match &message {
                Message::Data(data) => {
                    at += data.len() as u64;
                    false
                }
                Message::End | Message::Fail(_) => true,
            };
            if sender.send(message).await.is_err() || is_last {
                return;
            }
        }
    }

    async fn chunk(&self, at: u64, end: u64) -> Result<Bytes, SpoolError> {
        let length = usize::try_from(end - at).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
        let file = Arc::clone(&self.file);
        let read = spawn_blocking(move || {
            let mut data = vec![0; length];
            file.read_exact_at(&mut data, at)?;
            Ok(Bytes::from(data))
        });
        let read = read.await.unwrap_or_else(|error| Err(error.into()));
        read.map_err(|source| SpoolError::Read {
            directory: self.directory.clone(),
            source,
        })
    }
}

/// The name is gone before the first byte is there.
fn nameless(directory: &Path, execution: ExecutionId) -> io::Result<fs::File> {
    let path = directory.join(format!(".kanbu-backup-spool-{execution}"));
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    fs::remove_file(&path)?;
    Ok(file)
}
