//! A directory as a tar stream: GNU format, names in the order of their bytes, so that an unchanged tree gives the same
//! bytes again.
//!
//! One directory is open at a time; the way back up is `..`, and it counts only if it leads to where we came from.

mod recorded;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    vec,
};

use rustix::{
    fs::{FileType, Mode, OFlags, Stat},
    io::Errno,
};
use tar::{Builder, EntryType, Header};
use tokio::{runtime::Handle, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use self::recorded::{Recorded, Verdict};
use super::{
    ArchiveError, Excludes, PackReport,
    handle::{self, Identity},
    stream::FeedWriter,
};
use crate::{
    fault::{Failure, Fault},
    pipeline::{Feed, feed},
};

/// What to archive.
#[derive(Clone, Debug)]
pub struct PackSpec {
    /// The archive holds one directory, named as the last part of this path.
    pub root: PathBuf,
    pub excludes: Excludes,
}

/// The report of a running [`pack`].
#[derive(Debug)]
pub struct PackHandle(JoinHandle<PackReport>);

impl PackHandle {
    /// Complete when the feed has ended; up to where it came if the feed failed.
    pub async fn report(self) -> Result<PackReport, Failure> {
        self.0.await.map_err(|error| {
            Failure::new(Fault::Transient, "archive.not_packed", error.to_string())
        })
    }
}

/// Archives a directory on a thread of its own, as fast as the feed is read. Needs a tokio runtime around it.
///
/// Stops when `cancel` fires or the feed is dropped. A root that can't be read fails the feed; anything below it that
/// can't is left out and reported.
pub fn pack(spec: PackSpec, cancel: CancellationToken) -> (Feed, PackHandle) {
    let (sender, feed) = feed();
    let output = FeedWriter::new(sender, cancel, Handle::current());
    let thread = tokio::task::spawn_blocking(move || stream(spec, output, |_| {}));
    (feed, PackHandle(thread))
}

/// `before_open` is told of each file between being seen and being opened: where a test can be the other process.
fn stream(spec: PackSpec, output: FeedWriter, before_open: impl FnMut(&Path)) -> PackReport {
    let mut packer = Packer {
        tar: Builder::new(output),
        excludes: spec.excludes,
        before_open,
        linked: HashMap::new(),
        report: PackReport::default(),
    };
    let ended = packer
        .tree(&spec.root)
        .and_then(|()| packer.tar.finish().map_err(ArchiveError::NotPacked));
    // `Builder` writes an end mark when it is dropped; the output takes nothing more after either of these.
    match ended {
        Ok(()) => packer.tar.get_mut().end(),
        Err(error) => packer.tar.get_mut().fail(error),
    }
    packer.report
}

struct Packer<H> {
    tar: Builder<FeedWriter>,
    excludes: Excludes,
    before_open: H,
    /// Files with several names, by the first one.
    linked: HashMap<Identity, PathBuf>,
    report: PackReport,
}

/// A directory on the way from the root to where we are.
struct Level {
    /// In the archive.
    path: PathBuf,
    identity: Identity,
    left: vec::IntoIter<OsString>,
}

impl<H: FnMut(&Path)> Packer<H> {
    fn tree(&mut self, root: &Path) -> Result<(), ArchiveError> {
        let name = root
            .file_name()
            .ok_or_else(|| ArchiveError::RootUnnamed(root.to_owned()))?;
        let unreadable = |errno: Errno| match errno {
            Errno::NOENT => ArchiveError::RootMissing(root.to_owned()),
            Errno::NOTDIR => ArchiveError::RootNotADirectory(root.to_owned()),
            errno => ArchiveError::RootUnreadable {
                path: root.to_owned(),
                error: errno.into(),
            },
        };
        let mut here = handle::open_root(root).map_err(unreadable)?;
        let stat = rustix::fs::fstat(&here).map_err(unreadable)?;
        let names = handle::names(&here).map_err(unreadable)?;
        let path = PathBuf::from(name);
        self.append_directory(&path, &stat)?;
        let mut levels = vec![Level {
            path,
            identity: handle::identity(&stat),
            left: names.into_iter(),
        }];
        while let Some(level) = levels.last_mut() {
            if let Some(name) = level.left.next() {
                let path = level.path.join(&name);
                if let Some((inside, level)) = self.visit(&here, &name, path)? {
                    here = inside;
                    levels.push(level);
                }
            } else {
                levels.pop();
                if let Some(above) = levels.last() {
                    here = go_back(&here, above)?;
                }
            }
        }
        Ok(())
    }

    /// Archives one entry; a directory is returned to be entered.
    fn visit(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        path: PathBuf,
    ) -> Result<Option<(OwnedFd, Level)>, ArchiveError> {
        self.tar
            .get_mut()
            .check()
            .map_err(ArchiveError::NotPacked)?;
        if self.excludes.matches(&path) {
            return Ok(None);
        }
        let stat = match handle::look(parent, name) {
            Ok(stat) => stat,
            Err(errno) => {
                self.miss(&path, errno);
                return Ok(None);
            }
        };
        (self.before_open)(&path);
        match handle::kind(&stat) {
            FileType::Directory => self.directory(parent, name, path, &stat),
            FileType::RegularFile => self.file(parent, name, &path, &stat).map(|()| None),
            FileType::Symlink => self
                .symbolic_link(parent, name, &path, &stat)
                .map(|()| None),
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => {
                if self.report.special.note(&path) {
                    tracing::warn!(path = %path.display(), "a socket, pipe or device is not archived");
                }
                Ok(None)
            }
        }
    }

    fn directory(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        path: PathBuf,
        stat: &Stat,
    ) -> Result<Option<(OwnedFd, Level)>, ArchiveError> {
        let opened = handle::open_directory(parent, name)
            .and_then(|inside| Ok((rustix::fs::fstat(&inside)?, handle::names(&inside)?, inside)));
        match opened {
            Ok((stat, names, inside)) => {
                self.append_directory(&path, &stat)?;
                let level = Level {
                    path,
                    identity: handle::identity(&stat),
                    left: names.into_iter(),
                };
                Ok(Some((inside, level)))
            }
            Err(errno) => {
                // Its name and rights are known even if its content isn't.
                if errno != Errno::NOENT {
                    self.append_directory(&path, stat)?;
                }
                self.miss(&path, errno);
                Ok(None)
            }
        }
    }

    fn append_directory(&mut self, path: &Path, stat: &Stat) -> Result<(), ArchiveError> {
        let mut header = header(stat, EntryType::Directory, 0);
        let appended = self.tar.append_data(&mut header, path, io::empty());
        if self.settle(path, appended)? {
            self.report.directories += 1;
        }
        Ok(())
    }

    fn symbolic_link(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        path: &Path,
        stat: &Stat,
    ) -> Result<(), ArchiveError> {
        let target = match rustix::fs::readlinkat(parent, name, Vec::new()) {
            Ok(target) => target,
            Err(errno) => {
                self.miss(path, errno);
                return Ok(());
            }
        };
        let target = target.as_bytes();
        let mut header = header(stat, EntryType::Symlink, 0);
        // `append_link` would tidy the target up; a link shall come back as it was.
        let appended = match header.set_link_name_literal(target) {
            Ok(()) => self.tar.append_data(&mut header, path, io::empty()),
            Err(_) => self
                .tar
                .append_link(&mut header, path, OsStr::from_bytes(target)),
        };
        if self.settle(path, appended)? {
            self.report.symbolic_links += 1;
        }
        Ok(())
    }

    fn file(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        path: &Path,
        seen: &Stat,
    ) -> Result<(), ArchiveError> {
        if let Some(first) = self.linked.get(&handle::identity(seen)) {
            let mut header = header(seen, EntryType::Link, 0);
            let appended = self.tar.append_link(&mut header, path, first);
            if self.settle(path, appended)? {
                self.report.hard_links += 1;
            }
            return Ok(());
        }
        // Without NONBLOCK a pipe that took the file's place would hold us up for ever.
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(parent, name, flags, Mode::empty())
            .and_then(|file| Ok((rustix::fs::fstat(&file)?, File::from(file))));
        match opened {
            Ok((stat, file)) if handle::kind(&stat) == FileType::RegularFile => {
                self.append_file(path, &file, &stat)
            }
            Ok(_) => {
                self.changed(path);
                Ok(())
            }
            Err(errno) => {
                self.miss(path, errno);
                Ok(())
            }
        }
    }

    fn append_file(&mut self, path: &Path, file: &File, before: &Stat) -> Result<(), ArchiveError> {
        let mut content = Recorded::new(file, before);
        let size = content.size();
        let mut header = header(before, EntryType::Regular, size);
        let appended = self.tar.append_data(&mut header, path, &mut content);
        if !self.settle(path, appended)? {
            return Ok(());
        }
        self.report.files += 1;
        self.report.bytes += size;
        self.report.holds_dotenv |= path.file_name() == Some(OsStr::new(".env"));
        if before.st_nlink > 1 {
            self.linked
                .insert(handle::identity(before), path.to_owned());
        }
        match content.verdict() {
            Verdict::Whole => {}
            Verdict::Changed => self.changed(path),
            Verdict::Unreadable(error) => self.unreadable(path, &error),
        }
        Ok(())
    }

    /// Whether an entry is in the archive. A name that `tar` can't express was refused before anything was written.
    fn settle(&mut self, path: &Path, appended: io::Result<()>) -> Result<bool, ArchiveError> {
        match appended {
            Ok(()) => Ok(true),
            Err(error) if self.tar.get_ref().is_stopped() => Err(ArchiveError::NotPacked(error)),
            Err(error) => {
                self.unreadable(path, &error);
                Ok(false)
            }
        }
    }

    fn miss(&mut self, path: &Path, errno: Errno) {
        match errno {
            Errno::NOENT => {
                if self.report.vanished.note(path) {
                    tracing::warn!(path = %path.display(), "a file vanished before it could be archived");
                }
            }
            // Something else has taken its place meanwhile.
            Errno::LOOP | Errno::NOTDIR => self.changed(path),
            errno => self.unreadable(path, &errno.into()),
        }
    }

    fn changed(&mut self, path: &Path) {
        if self.report.changed.note(path) {
            tracing::warn!(path = %path.display(), "a file changed while it was being archived");
        }
    }

    fn unreadable(&mut self, path: &Path, error: &io::Error) {
        if self.report.unreadable.note(path) {
            tracing::warn!(path = %path.display(), %error, "a file could not be read and is not fully archived");
        }
    }
}

/// The directory above, if it is still the one we came from.
fn go_back(here: &OwnedFd, above: &Level) -> Result<OwnedFd, ArchiveError> {
    let moved = || ArchiveError::Moved(above.path.clone());
    let parent = handle::open_directory(here, OsStr::new("..")).map_err(|_| moved())?;
    let stat = rustix::fs::fstat(&parent).map_err(|_| moved())?;
    if handle::identity(&stat) == above.identity {
        Ok(parent)
    } else {
        Err(moved())
    }
}

fn header(stat: &Stat, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(stat.st_uid.into());
    header.set_gid(stat.st_gid.into());
    // Times before 1970 can't be expressed.
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
    header.set_size(size);
    header
}
