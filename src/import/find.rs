//! The files that may be backups: one that was named, or all that lie directly in a directory.
//!
//! Only names are looked at here. Hidden files, headers and checksums beside a file are nobody's backup; what is in
//! directories below isn't looked at, for backups of ours lie there.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fs, io,
    path::{Path, PathBuf},
};

use super::ImportError;
use crate::fault::Failure;

/// Suffixes of what lies beside a backup.
const CHECKSUM: &str = "sha256";
const HEADER: &str = "khdr";

/// What lies there.
#[derive(Debug, Default)]
pub struct Files {
    /// In the order of their names.
    pub files: Vec<PathBuf>,
    /// What is no file that could be taken in, and why.
    pub left_out: Vec<(PathBuf, Failure)>,
    /// Directories that weren't looked into.
    pub directories: usize,
}

/// A file, or the files of a directory. Who names a symbolic link means what it leads to; one that is found isn't followed.
pub fn find(path: &Path) -> Result<Files, ImportError> {
    let data = fs::metadata(path).map_err(unreadable(path))?;
    let mut found = Files::default();
    if !data.is_dir() {
        if data.is_file() {
            found.files.push(path.to_owned());
        } else {
            found.leave_out(path.to_owned(), ImportError::NotAFile);
        }
        return Ok(found);
    }
    let mut entries = BTreeSet::new();
    for entry in fs::read_dir(path).map_err(unreadable(path))? {
        let entry = entry.map_err(unreadable(path))?;
        entries.insert(entry.file_name());
    }
    for name in &entries {
        found.take(path.join(name), name, &entries)?;
    }
    Ok(found)
}

fn unreadable(path: &Path) -> impl Fn(io::Error) -> ImportError {
    move |source| match source.kind() {
        io::ErrorKind::NotFound => ImportError::NotFound(path.to_owned()),
        _ => ImportError::Unreadable {
            path: path.to_owned(),
            source,
        },
    }
}

impl Files {
    fn take(
        &mut self,
        path: PathBuf,
        name: &OsStr,
        beside: &BTreeSet<OsString>,
    ) -> Result<(), ImportError> {
        if name.as_encoded_bytes().starts_with(b".") {
            return Ok(());
        }
        let kind = match fs::symlink_metadata(&path) {
            Ok(data) => data.file_type(),
            // It went away since the directory was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(unreadable(&path)(error)),
        };
        let suffix = path.extension().and_then(OsStr::to_str);
        let has_its_file = path.file_stem().is_some_and(|stem| beside.contains(stem));
        if kind.is_dir() {
            self.directories += 1;
        } else if kind.is_symlink() {
            self.leave_out(path, ImportError::SymbolicLink);
        } else if !kind.is_file() {
            self.leave_out(path, ImportError::NotAFile);
        } else if matches!(suffix, Some(CHECKSUM | HEADER)) && has_its_file {
            // Read with its file.
        } else if suffix == Some(CHECKSUM) {
            self.leave_out(path, ImportError::ChecksumAlone);
        } else {
            self.files.push(path);
        }
        Ok(())
    }

    fn leave_out(&mut self, path: PathBuf, why: ImportError) {
        self.left_out.push((path, why.into()));
    }
}
