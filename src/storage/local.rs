//! What a directory as a storage needs beside `object_store`: privacy, durable directories and deletions, and a look at
//! the staging files of dead uploads, which `object_store` hides from its listings.
//!
//! A mounted directory is the storage only while its marker is in it: an empty mount point looks like any other
//! directory, and what is written to it fills the disk beneath and is hidden by the next mount.
//!
//! Everything here blocks; [`Storage`](super::Storage) calls it on a thread that may.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use super::{Environment, Folder};

/// What makes a mounted directory the storage. Begins with a dot, and so is no environment's folder.
const MARKER: &str = ".kanbu-backup-storage";
const MARKER_TEXT: &[u8] = b"This directory is a storage of Kanbu Backup.\n\
    While it isn't mounted this file isn't here, and nothing is written.\n";

const PRIVATE_DIRECTORY: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;

/// Names in a folder, with their sizes in bytes.
pub(super) type Names = Vec<(String, u64)>;

/// The directory that is a storage.
#[derive(Clone, Debug)]
pub(super) struct LocalDirectory {
    root: PathBuf,
    mounted: bool,
}

/// The marker isn't there.
#[derive(Debug, thiserror::Error)]
#[error("there is no marker in {}", .0.display())]
pub(super) struct NotMounted(pub(super) PathBuf);

impl LocalDirectory {
    /// The directory at `path`, made (for its owner alone) if it isn't there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(PRIVATE_DIRECTORY)
            .create(path)
            .map_err(|error| match error.kind() {
                ErrorKind::AlreadyExists => ErrorKind::NotADirectory.into(),
                _ => error,
            })?;
        Self::open_existing(path)
    }

    pub(super) fn open_existing(path: &Path) -> io::Result<Self> {
        let directory = Self {
            root: path.canonicalize()?,
            mounted: false,
        };
        directory.present()?;
        Ok(directory)
    }

    /// A directory that is the storage only while its marker is in it, and needn't be now.
    pub(super) fn mounted(path: &Path) -> Self {
        Self {
            root: path.to_owned(),
            mounted: true,
        }
    }

    /// Writes the marker. Refuses a directory on the root file system: nothing is mounted there, and the marker
    /// would vouch for the directory beneath for ever. `anyway` is for whoever knows better.
    pub(super) fn mark(&self, anyway: bool) -> io::Result<()> {
        if !anyway && fs::metadata(&self.root)?.dev() == fs::metadata("/")?.dev() {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                "it lies on the root file system: nothing is mounted there",
            ));
        }
        let marker = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(PRIVATE_FILE)
            .open(self.root.join(MARKER));
        match marker {
            Ok(mut file) => {
                file.write_all(MARKER_TEXT)?;
                file.sync_all()?;
                sync_directory(&self.root)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Fails when the directory is gone: an unmounted storage must not look like an empty one, nor be filled on the disk
    /// beneath its mount point.
    pub(super) fn present(&self) -> io::Result<()> {
        if self.mounted {
            return match fs::metadata(self.root.join(MARKER)) {
                Err(error)
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
                {
                    let absent = NotMounted(self.root.clone());
                    Err(io::Error::new(ErrorKind::NotConnected, absent))
                }
                found => found.map(|_| ()),
            };
        }
        if fs::metadata(&self.root)?.is_dir() {
            Ok(())
        } else {
            Err(ErrorKind::NotADirectory.into())
        }
    }

    /// Makes the directories that `key` lies in, private and durable. `object_store` would make them by the umask.
    pub(super) fn prepare(&self, key: &str) -> io::Result<()> {
        self.present()?;
        let mut parent = self.root.clone();
        let mut names: Vec<&str> = key.split('/').collect();
        names.pop();
        for name in names {
            let directory = parent.join(name);
            match DirBuilder::new().mode(PRIVATE_DIRECTORY).create(&directory) {
                Ok(()) => sync_directory(&parent)?,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            parent = directory;
        }
        Ok(())
    }

    /// Leaves a new file to its owner alone. Until now its directory was what kept others out, and on a file system
    /// without permissions that is all there is. The last look at the mount, too: what was written beneath it is not kept
    /// for stored.
    pub(super) fn make_private(&self, key: &str) -> io::Result<()> {
        self.present()?;
        match fs::set_permissions(self.root.join(key), Permissions::from_mode(PRIVATE_FILE)) {
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::PermissionDenied | ErrorKind::Unsupported
                ) =>
            {
                Ok(())
            }
            done => done,
        }
    }

    /// Create-only where hard links don't exist. A reader may meet the file half written, hence only the second choice.
    pub(super) fn put_exclusively(&self, key: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.root.join(key);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(PRIVATE_FILE)
            .open(&path)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        if written.is_err() {
            fs::remove_file(&path)?;
        }
        written?;
        self.sync_folder_of(key)
    }

    /// Makes what was created or deleted beside `key` durable.
    pub(super) fn sync_folder_of(&self, key: &str) -> io::Result<()> {
        self.root
            .join(key)
            .parent()
            .map_or(Ok(()), |folder| match sync_directory(folder) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                done => done,
            })
    }

    /// Removes what a failed upload of `key` left: its staging files, the object if it appeared, its directory if empty.
    pub(super) fn discard(&self, key: &str) -> io::Result<()> {
        missing_is_fine(fs::remove_file(self.root.join(key)))?;
        self.discard_staging(key)
    }

    /// The same, but for the object: what took its place before, or was to, is somebody else's.
    pub(super) fn discard_staging(&self, key: &str) -> io::Result<()> {
        let path = self.root.join(key);
        if let (Some(folder), Some(name)) = (path.parent(), path.file_name()) {
            let name = name.to_string_lossy();
            for (staged, _) in staging_files(folder)? {
                if staging_owner(&staged) == Some(&name) {
                    missing_is_fine(fs::remove_file(folder.join(staged)))?;
                }
            }
        }
        self.remove_empty_folder_of(key)
    }

    /// Removes the directory `key` lies in, if nothing is left in it.
    pub(super) fn remove_empty_folder_of(&self, key: &str) -> io::Result<()> {
        match self.root.join(key).parent() {
            Some(folder) if folder != self.root => remove_if_empty(folder),
            _ => Ok(()),
        }
    }

    /// Removes a folder's staging files, then the folder itself if nothing is left in it.
    pub(super) fn remove_folder(&self, folder: &Folder) -> io::Result<()> {
        self.remove_staging(folder)?;
        remove_if_empty(&self.root.join(folder.to_string()))
    }

    /// Removes a folder's staging files.
    pub(super) fn remove_staging(&self, folder: &Folder) -> io::Result<()> {
        let path = self.root.join(folder.to_string());
        for (name, _) in staging_files(&path)? {
            missing_is_fine(fs::remove_file(path.join(name)))?;
        }
        Ok(())
    }

    /// Every execution's directory in an environment, with its staging files; also the empty ones, which a listing of
    /// objects doesn't show.
    pub(super) fn folders(&self, environment: &Environment) -> io::Result<Vec<(Folder, Names)>> {
        self.present()?;
        let mut found = Vec::new();
        for class in ["database", "source"] {
            let parent = self.root.join(environment.as_str()).join(class);
            for entry in entries(&parent)? {
                let Ok(name) = entry.file_name().into_string() else {
                    continue;
                };
                let text = format!("{environment}/{class}/{name}");
                match text.parse::<Folder>() {
                    Ok(folder) if folder.to_string() == text && entry.file_type()?.is_dir() => {
                        found.push((folder, staging_files(&entry.path())?));
                    }
                    _ => {}
                }
            }
        }
        Ok(found)
    }
}

/// The entries of a directory; none if it doesn't exist.
fn entries(directory: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries.collect(),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn staging_files(folder: &Path) -> io::Result<Names> {
    let mut found = Vec::new();
    for entry in entries(folder)? {
        if let Ok(name) = entry.file_name().into_string()
            && staging_owner(&name).is_some()
        {
            match entry.metadata() {
                Ok(metadata) => found.push((name, metadata.len())),
                // Its upload ended between the two looks.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(found)
}

/// `object_store` stages an upload of `name` in `name#N`. Returns the `name` of such a file.
fn staging_owner(file: &str) -> Option<&str> {
    let (name, number) = file.split_once('#')?;
    let staged = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    staged.then_some(name)
}

fn remove_if_empty(directory: &Path) -> io::Result<()> {
    match fs::remove_dir(directory) {
        Ok(()) => directory.parent().map_or(Ok(()), sync_directory),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty
            ) =>
        {
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn missing_is_fine(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_staging_file_is_told_from_an_object_by_its_number() {
        assert_eq!(staging_owner("dump.kbk#1"), Some("dump.kbk"));
        for name in ["dump.kbk", "dump.kbk#", "dump.kbk#x1", "#notes#"] {
            assert_eq!(staging_owner(name), None, "{name:?}");
        }
    }

    #[test]
    fn without_hard_links_a_second_create_is_refused_and_the_first_stays() {
        let place = tempfile::tempdir().unwrap();
        let directory = LocalDirectory::open(place.path()).unwrap();
        directory.prepare("prod/manifest.json").unwrap();
        directory
            .put_exclusively("prod/manifest.json", b"first")
            .unwrap();
        let second = directory.put_exclusively("prod/manifest.json", b"second");
        assert_eq!(second.unwrap_err().kind(), ErrorKind::AlreadyExists);
        let kept = fs::read(place.path().join("prod/manifest.json")).unwrap();
        assert_eq!(kept, b"first");
    }

    #[test]
    fn a_file_in_the_storages_place_is_no_directory() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("storage");
        fs::write(&path, "").unwrap();
        let error = LocalDirectory::open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotADirectory);
    }
}
