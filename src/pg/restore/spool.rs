//! An archive on this host's disk, for sessions that read it at several places at once.
//!
//! It lies there in clear, so it has no name that anybody could open, and the kernel frees it with its last holder, however
//! that ends. Only a feed that said `End` becomes a spool.

use std::{
    borrow::Cow,
    fs::{self, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::statvfs;
use tokio::{fs::File, io::AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use super::load::require_client;
use crate::{
    bytes::ByteSize,
    fault::{Classified, Failure, Fault},
    id::ExecutionId,
    pg::{
        dump::{Completeness, DumpFormat, Header},
        error::PgError,
    },
    pipeline::{Feed, Message},
};

/// A whole archive.
#[derive(Debug)]
pub struct Spool {
    file: fs::File,
    bytes: u64,
    header: Option<Header>,
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
}

impl Classified for SpoolError {
    fn fault(&self) -> Fault {
        match self {
            Self::NoRoom { .. } => Fault::Permanent,
            Self::Write { .. } => Fault::Transient,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NoRoom { .. } => "restore.no_room",
            Self::Write { .. } => "restore.spool",
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

    /// Writes a feed of the custom format to the disk.
    pub async fn fill(
        mut feed: Feed,
        directory: &Path,
        execution: ExecutionId,
        cancel: &CancellationToken,
    ) -> Result<Self, Failure> {
        let failed = |source| SpoolError::Write {
            directory: directory.to_owned(),
            source,
        };
        let mut file = File::from_std(nameless(directory, execution).map_err(failed)?);
        let mut seen = Completeness::new(DumpFormat::Custom);
        let mut bytes = 0;
        loop {
            let message = tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(Failure::cancelled()),
                message = feed.next() => message,
            };
            match message {
                Message::Data(data) => {
                    seen.see(&data);
                    bytes += data.len() as u64;
                    file.write_all(&data).await.map_err(failed)?;
                }
                Message::End => break,
                Message::Fail(failure) => return Err(failure),
            }
        }
        seen.verdict()?;
        file.flush().await.map_err(failed)?;
        Ok(Self {
            file: file.into_std().await,
            bytes,
            header: seen.header(),
        })
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn require_client(&self, client: u32) -> Result<(), PgError> {
        let header = self.header.as_ref();
        header.map_or(Ok(()), |header| require_client(header, client))
    }

    pub(super) fn into_file(self) -> fs::File {
        self.file
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
