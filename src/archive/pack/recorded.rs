//! A file read to exactly the size that its header says.
//!
//! The header goes out before the content, and the rest of the archive depends on the two agreeing: a file that grows is
//! cut, one that shrinks or fails is filled up with zeros, and the caller learns of it afterwards.

use std::{
    fs::File,
    io::{self, Read},
};

use rustix::fs::Stat;

/// A file as long as its header says, whatever happens to it meanwhile: the rest of the archive depends on it.
pub(super) struct Recorded<'f> {
    file: &'f File,
    before: &'f Stat,
    left: u64,
    /// There was less than recorded; zeros stand for the rest.
    exhausted: bool,
    error: Option<io::Error>,
}

impl<'f> Recorded<'f> {
    pub(super) fn new(file: &'f File, before: &'f Stat) -> Self {
        Self {
            file,
            before,
            left: u64::try_from(before.st_size).unwrap_or(0),
            exhausted: false,
            error: None,
        }
    }

    /// The recorded size, before anything is read.
    pub(super) fn size(&self) -> u64 {
        self.left
    }

    /// How it went, after everything is read.
    pub(super) fn verdict(self) -> Verdict {
        let as_before =
            rustix::fs::fstat(self.file).is_ok_and(|after| seen(&after) == seen(self.before));
        match self.error {
            Some(error) => Verdict::Unreadable(error),
            None if self.exhausted || !as_before => Verdict::Changed,
            None => Verdict::Whole,
        }
    }
}

/// What became of a file while it was read.
pub(super) enum Verdict {
    Whole,
    Changed,
    Unreadable(io::Error),
}

/// By what a change is noticed.
fn seen(stat: &Stat) -> impl PartialEq + use<> {
    (stat.st_size, stat.st_mtime, stat.st_mtime_nsec)
}

impl Read for Recorded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let buffer = &mut buffer[..wanted];
        let mut read = 0;
        if !self.exhausted && wanted > 0 {
            match self.file.read(buffer) {
                Ok(count) => read = count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
                Err(error) => self.error = Some(error),
            }
            self.exhausted = read == 0;
        }
        if self.exhausted {
            buffer.fill(0);
            read = wanted;
        }
        self.left -= u64::try_from(read).unwrap_or(self.left);
        Ok(read)
    }
}
