//! What came of it, as data: whoever asked decides what is a warning.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// Names that are kept; further ones are counted. A tree that nobody may read must not fill the memory.
const MAX_NAMES: usize = 100;

/// Paths that something happened to: all counted, the first hundred named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths {
    count: u64,
    first: Vec<PathBuf>,
}

impl Paths {
    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The first of them, in the order of the archive.
    pub fn first(&self) -> &[PathBuf] {
        &self.first
    }

    /// Says whether the name was kept.
    pub(super) fn note(&mut self, path: &Path) -> bool {
        self.count += 1;
        let kept = self.first.len() < MAX_NAMES;
        if kept {
            self.first.push(path.to_owned());
        }
        kept
    }
}

impl fmt::Display for Paths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, path) in self.first.iter().enumerate() {
            write!(f, "{}{}", if n == 0 { "" } else { ", " }, path.display())?;
        }
        let named = u64::try_from(self.first.len()).unwrap_or(u64::MAX);
        match self.count.saturating_sub(named) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// What an archive holds, and what it doesn't.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackReport {
    /// Regular files with their content, each once.
    pub files: u64,
    pub directories: u64,
    pub symbolic_links: u64,
    /// Further names of files that the archive holds already.
    pub hard_links: u64,
    /// Content of the files.
    pub bytes: u64,
    /// Seen in their directory, gone when it was their turn.
    pub vanished: Paths,
    /// Files and directories that are missing, or whose content is partly replaced by zeros after a read error.
    pub unreadable: Paths,
    /// Files that changed while they were read: one that shrank is filled up with zeros, one that grew is cut.
    pub changed: Paths,
    /// Sockets, pipes and devices: never archived.
    pub special: Paths,
    /// A file named `.env` is in the archive.
    pub holds_dotenv: bool,
}

impl PackReport {
    /// Whether every file came along as it was. What is special has no content to lose.
    pub fn is_complete(&self) -> bool {
        self.vanished.is_empty() && self.unreadable.is_empty() && self.changed.is_empty()
    }
}

/// What was unpacked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnpackReport {
    pub files: u64,
    pub directories: u64,
    pub symbolic_links: u64,
    pub hard_links: u64,
    /// Content of the files.
    pub bytes: u64,
    /// Owners and groups are those of the archive; only root can give files away.
    pub owners_kept: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_hundred_paths_are_named() {
        let mut paths = Paths::default();
        for n in 0..103 {
            paths.note(Path::new(&format!("f{n}")));
        }
        let text = paths.to_string();
        assert!(
            text.starts_with("f0, f1, ") && text.ends_with("f99 and 3 more"),
            "{text}"
        );
        assert_eq!((paths.count(), paths.first().len()), (103, 100));
    }
}
