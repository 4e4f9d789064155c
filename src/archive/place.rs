//! A tree of files below an open directory, written from names that may be hostile.
//!
//! The invariant: every step from the top is a directory that is no link, and nothing that exists is opened for writing.
//! Paths given to it are relative and without `..`.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::File,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid},
    io::Errno,
};

use super::{ArchiveError, handle};

/// What is said about a file besides its content.
#[derive(Clone, Copy)]
pub(super) struct Attributes {
    pub(super) mode: u32,
    /// User and group.
    pub(super) owner: Option<(u32, u32)>,
    /// In seconds.
    pub(super) modified: Option<i64>,
}

/// For a directory that the archive uses without naming it.
const UNNAMED: Attributes = Attributes {
    mode: 0o755,
    owner: None,
    modified: None,
};

pub(super) struct Tree {
    top: OwnedFd,
    /// The directory of the last entry, where the next one most likely belongs.
    last: (PathBuf, OwnedFd),
    /// Applied at the end and from below: a directory's rights may forbid writing, and writing changes its time.
    directories: BTreeMap<PathBuf, Attributes>,
    /// Files are given to their owners, which only root can do.
    owners: bool,
}

impl Tree {
    pub(super) fn below(top: OwnedFd) -> Result<Self, ArchiveError> {
        let last = top.try_clone().map_err(|error| ArchiveError::NotWritten {
            path: PathBuf::new(),
            error,
        })?;
        Ok(Self {
            top,
            last: (PathBuf::new(), last),
            directories: BTreeMap::new(),
            owners: rustix::process::geteuid().is_root(),
        })
    }

    /// A directory, which may be there already.
    pub(super) fn directory(
        &mut self,
        path: &Path,
        attributes: Attributes,
    ) -> Result<(), ArchiveError> {
        self.enter(path)?;
        self.directories.insert(path.to_owned(), attributes);
        Ok(())
    }

    /// A new file, to be filled and then settled.
    pub(super) fn create(&mut self, path: &Path) -> Result<File, ArchiveError> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (parent, name) = self.place_of(path)?;
        rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)
            .map(File::from)
            .map_err(|errno| refused(path, errno))
    }

    pub(super) fn symbolic_link(
        &mut self,
        path: &Path,
        target: &OsStr,
        attributes: Attributes,
    ) -> Result<(), ArchiveError> {
        let owners = self.owners;
        let (parent, name) = self.place_of(path)?;
        rustix::fs::symlinkat(target, parent, name).map_err(|errno| refused(path, errno))?;
        let nofollow = AtFlags::SYMLINK_NOFOLLOW;
        let given = match attributes.owner {
            Some((user, group)) if owners => {
                let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
                rustix::fs::chownat(parent, name, Some(user), Some(group), nofollow)
            }
            Some(_) | None => Ok(()),
        };
        let dated = rustix::fs::utimensat(parent, name, &times(attributes), nofollow);
        self.owners &= given != Err(Errno::PERM);
        given
            .or_else(only_owners)
            .and(dated)
            .map_err(|errno| refused(path, errno))
    }

    /// Another name for a file that is already here.
    pub(super) fn hard_link(&mut self, path: &Path, target: &Path) -> Result<(), ArchiveError> {
        let outside = || ArchiveError::LinkOutside {
            path: path.to_owned(),
            target: target.to_owned(),
        };
        let (from, target_name) = self.place_of(target).map_err(|_| outside())?;
        let from = from.try_clone().map_err(|error| not_written(path, error))?;
        let stat = handle::look(&from, target_name).map_err(|_| outside())?;
        if handle::kind(&stat) != FileType::RegularFile {
            return Err(outside());
        }
        let (parent, name) = self.place_of(path)?;
        rustix::fs::linkat(&from, target_name, parent, name, AtFlags::empty())
            .map_err(|errno| refused(path, errno))
    }

    /// Gives a file or directory its owner, mode and time, in this order: a new owner takes away special modes.
    pub(super) fn settle(
        &mut self,
        file: impl AsFd,
        path: &Path,
        attributes: Attributes,
    ) -> Result<(), ArchiveError> {
        let refused = |errno| refused(path, errno);
        if let (true, Some((user, group))) = (self.owners, attributes.owner) {
            let given =
                rustix::fs::fchown(&file, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
            self.owners = given != Err(Errno::PERM);
            given.or_else(only_owners).map_err(refused)?;
        }
        // To run as its owner is a right that only the true owner may grant.
        let kept = if self.owners { 0o7777 } else { 0o1777 };
        let mode = Mode::from_raw_mode(attributes.mode & kept);
        rustix::fs::fchmod(&file, mode).map_err(refused)?;
        rustix::fs::futimens(&file, &times(attributes)).map_err(refused)
    }

    /// Settles the directories. Says whether every file was given to its owner.
    pub(super) fn finish(mut self) -> Result<bool, ArchiveError> {
        for (path, attributes) in std::mem::take(&mut self.directories).into_iter().rev() {
            let directory = self.enter(&path)?;
            let directory = directory
                .try_clone()
                .map_err(|error| not_written(&path, error))?;
            self.settle(directory, &path, attributes)?;
        }
        Ok(self.owners)
    }

    fn place_of<'p>(&mut self, path: &'p Path) -> Result<(&OwnedFd, &'p OsStr), ArchiveError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(ArchiveError::Outside(path.to_owned()));
        };
        Ok((self.enter(parent)?, name))
    }

    /// Walks to a directory, making what is missing on the way.
    fn enter(&mut self, path: &Path) -> Result<&OwnedFd, ArchiveError> {
        let (mut at, from, rest) = match path.strip_prefix(&self.last.0) {
            Ok(rest) => (self.last.0.clone(), &self.last.1, rest),
            Err(_) => (PathBuf::new(), &self.top, path),
        };
        let mut directory = from.try_clone().map_err(|error| not_written(path, error))?;
        for name in rest {
            at.push(name);
            directory = match handle::open_directory(&directory, name) {
                Ok(inside) => inside,
                Err(Errno::NOENT) => {
                    self.directories.insert(at.clone(), UNNAMED);
                    rustix::fs::mkdirat(&directory, name, Mode::RWXU)
                        .and_then(|()| handle::open_directory(&directory, name))
                        .map_err(|errno| refused(&at, errno))?
                }
                Err(Errno::LOOP | Errno::NOTDIR) => return Err(ArchiveError::ThroughLink(at)),
                Err(errno) => return Err(refused(&at, errno)),
            };
        }
        self.last = (at, directory);
        Ok(&self.last.1)
    }
}

fn not_written(path: &Path, error: std::io::Error) -> ArchiveError {
    ArchiveError::NotWritten {
        path: path.to_owned(),
        error,
    }
}

fn refused(path: &Path, errno: Errno) -> ArchiveError {
    match errno {
        Errno::EXIST => ArchiveError::NameTwice(path.to_owned()),
        errno => not_written(path, errno.into()),
    }
}

/// Root without the right to give files away (in a container, say) is no reason to fail.
fn only_owners(errno: Errno) -> Result<(), Errno> {
    if errno == Errno::PERM {
        Ok(())
    } else {
        Err(errno)
    }
}

fn times(attributes: Attributes) -> Timestamps {
    let omitted = Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_OMIT,
    };
    let modified = attributes
        .modified
        .map(|tv_sec| Timespec { tv_sec, tv_nsec: 0 });
    Timestamps {
        last_access: omitted,
        last_modification: modified.unwrap_or(omitted),
    }
}
