//! A tar stream as a directory. Everything goes into a hidden directory beside the destination, which takes its place when
//! the feed has ended well and every byte is written; until then nothing lies under the final name.
//!
//! The archive is not trusted: names that lead upwards, devices and links to files outside are refused here, and `place`
//! never writes through a link. A symbolic link that points outside is restored as it was, since it is only a text.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read},
    os::unix::{ffi::OsStrExt, fs::FileExt},
    path::{Path, PathBuf},
};

use tar::{Archive, Entry, EntryType, Header};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{
    ArchiveError, UnpackReport,
    place::{Attributes, Tree},
    staging::Staging,
    stream::FeedReader,
};
use crate::{
    fault::{Failure, Fault},
    pipeline::Feed,
};

/// What is written at once. As many zeros are not written but left out as a hole.
const BLOCK_BYTES: usize = 64 * 1024;

/// Unpacks into `destination`, which must be absent or an empty directory, on a thread of its own.
///
/// On a failure nothing is left. Dropping the future stops the work as `cancel` does.
pub async fn unpack(
    feed: Feed,
    destination: &Path,
    cancel: CancellationToken,
) -> Result<UnpackReport, Failure> {
    let cancel = cancel.child_token();
    let _stop_if_dropped = cancel.clone().drop_guard();
    let reader = FeedReader::new(feed, cancel, Handle::current());
    let destination = destination.to_owned();
    tokio::task::spawn_blocking(move || into_place(reader, &destination))
        .await
        .map_err(|error| {
            Failure::new(Fault::Transient, "archive.not_unpacked", error.to_string())
        })?
}

fn into_place(reader: FeedReader, destination: &Path) -> Result<UnpackReport, Failure> {
    let staging = Staging::beside(destination)?;
    let mut unpacker = Unpacker::into(Tree::below(staging.root()?)?);
    let mut archive = Archive::new(reader);
    let ended = unpacker.entries(&mut archive);
    let mut reader = archive.into_inner();
    match ended {
        Ok(()) => reader.expect_end()?,
        Err(Trouble::Reading(error)) => return Err(reader.reason(error)),
        Err(Trouble::Entry(error)) => return Err(error.into()),
    }
    let report = unpacker.finish()?;
    staging.publish()?;
    Ok(report)
}

/// What stops an archive from being unpacked.
enum Trouble {
    /// The data; the reader knows why.
    Reading(io::Error),
    Entry(ArchiveError),
}

impl From<ArchiveError> for Trouble {
    fn from(error: ArchiveError) -> Self {
        Self::Entry(error)
    }
}

struct Unpacker {
    tree: Tree,
    report: UnpackReport,
    block: Vec<u8>,
}

impl Unpacker {
    fn into(tree: Tree) -> Self {
        Self {
            tree,
            report: UnpackReport::default(),
            block: vec![0; BLOCK_BYTES],
        }
    }

    fn entries(&mut self, archive: &mut Archive<FeedReader>) -> Result<(), Trouble> {
        for entry in archive.entries().map_err(Trouble::Reading)? {
            self.entry(entry.map_err(Trouble::Reading)?)?;
        }
        Ok(())
    }

    fn entry(&mut self, mut entry: Entry<'_, FeedReader>) -> Result<(), Trouble> {
        let name = entry.path_bytes().into_owned();
        let path = inside(&name)?;
        match entry.header().entry_type() {
            EntryType::XGlobalHeader => {}
            EntryType::Directory => self.directory(&path, entry.header())?,
            // Before there was a type for them, directories were files whose names end with a slash.
            EntryType::Regular if name.ends_with(b"/") => self.directory(&path, entry.header())?,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.file(&path, &mut entry)?;
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default().into_owned();
                let attributes = attributes(entry.header())?;
                self.tree
                    .symbolic_link(&path, OsStr::from_bytes(&target), attributes)?;
                self.report.symbolic_links += 1;
            }
            EntryType::Link => {
                let target = inside(&entry.link_name_bytes().unwrap_or_default())?;
                self.tree.hard_link(&path, &target)?;
                self.report.hard_links += 1;
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                return Err(ArchiveError::Device(path).into());
            }
            kind => {
                let kind = kind.as_byte();
                return Err(ArchiveError::UnknownEntry { path, kind }.into());
            }
        }
        Ok(())
    }

    fn directory(&mut self, path: &Path, header: &Header) -> Result<(), ArchiveError> {
        // "./" is the destination itself, whose rights are not the archive's affair.
        if path.as_os_str().is_empty() {
            return Ok(());
        }
        self.tree.directory(path, attributes(header)?)?;
        self.report.directories += 1;
        Ok(())
    }

    fn file(&mut self, path: &Path, entry: &mut Entry<'_, FeedReader>) -> Result<(), Trouble> {
        let attributes = attributes(entry.header())?;
        let size = entry.size();
        let file = self.tree.create(path)?;
        let copied = copy(entry, &file, path, &mut self.block)?;
        if copied != size {
            return Err(Trouble::Reading(io::Error::other("a file is cut off")));
        }
        self.tree.settle(&file, path, attributes)?;
        self.report.files += 1;
        self.report.bytes += copied;
        Ok(())
    }

    fn finish(mut self) -> Result<UnpackReport, ArchiveError> {
        self.report.owners_kept = self.tree.finish()?;
        Ok(self.report)
    }
}

fn copy(
    content: &mut impl Read,
    file: &File,
    path: &Path,
    block: &mut [u8],
) -> Result<u64, Trouble> {
    let not_written = |error| ArchiveError::NotWritten {
        path: path.to_owned(),
        error,
    };
    let mut end = 0;
    loop {
        let read = content.read(block).map_err(Trouble::Reading)?;
        if read == 0 {
            break;
        }
        let data = &block[..read];
        if data.iter().any(|byte| *byte != 0) {
            file.write_all_at(data, end).map_err(not_written)?;
        }
        end += u64::try_from(read).unwrap_or_default();
    }
    file.set_len(end).map_err(not_written)?;
    Ok(end)
}

/// A name of the archive as a path without `.` and `..`, relative to its top.
fn inside(name: &[u8]) -> Result<PathBuf, ArchiveError> {
    let outside = || ArchiveError::Outside(OsStr::from_bytes(name).into());
    if name.starts_with(b"/") {
        return Err(outside());
    }
    let mut path = PathBuf::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(outside()),
            part => path.push(OsStr::from_bytes(part)),
        }
    }
    Ok(path)
}

fn attributes(header: &Header) -> Result<Attributes, ArchiveError> {
    let id = |id: io::Result<u64>| {
        id.and_then(|id| u32::try_from(id).map_err(io::Error::other))
            .map_err(ArchiveError::Damaged)
    };
    let modified = header.mtime().map_err(ArchiveError::Damaged)?;
    Ok(Attributes {
        mode: header.mode().map_err(ArchiveError::Damaged)?,
        owner: Some((id(header.uid())?, id(header.gid())?)),
        modified: i64::try_from(modified).ok(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_apart_and_never_leads_upwards() {
        for (name, path) in [
            ("a/b", "a/b"),
            ("./a//b/", "a/b"),
            (".", ""),
            ("a/...", "a/..."),
        ] {
            assert_eq!(inside(name.as_bytes()).unwrap(), Path::new(path), "{name}");
        }
        for name in ["/a", "..", "a/../b", "a/..", "../a", "//a"] {
            assert!(inside(name.as_bytes()).is_err(), "{name} was accepted");
        }
    }
}
