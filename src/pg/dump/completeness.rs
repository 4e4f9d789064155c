//! Is a dump whole? The format's own marks, looked for while the bytes pass.
//!
//! A plain dump ends with a trailer. A custom archive has a mark at its beginning and none at its end: what shows that it
//! is whole is how its maker ended, which `direct` and `docker` check.

use super::{DumpFormat, header::Header};
use crate::pg::error::PgError;

/// Enough for the comments that a plain dump opens with, and for an archive's header.
const HEAD_BYTES: usize = 4096;

/// Enough for the trailer with what may follow it.
const TAIL_BYTES: usize = 1024;

const MAGIC: &[u8] = b"PGDMP";
const TRAILER: &str = "-- PostgreSQL database dump complete";

/// Both ends of a dump.
#[derive(Debug)]
pub struct Completeness {
    format: DumpFormat,
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl Completeness {
    pub fn new(format: DumpFormat) -> Self {
        Self {
            format,
            head: Vec::new(),
            tail: Vec::new(),
        }
    }

    pub fn see(&mut self, bytes: &[u8]) {
        let missing = HEAD_BYTES.saturating_sub(self.head.len());
        self.head.extend(bytes.iter().take(missing));
        let news = bytes.len().min(TAIL_BYTES);
        let excess = (self.tail.len() + news).saturating_sub(TAIL_BYTES);
        self.tail.drain(..excess);
        self.tail.extend(&bytes[bytes.len() - news..]);
    }

    /// The header, as soon as enough was seen.
    pub fn header(&self) -> Option<Header> {
        Header::read(self.format, &self.head)
    }

    /// To be asked when no more bytes come.
    pub fn verdict(&self) -> Result<(), PgError> {
        let reason = match self.format {
            _ if self.head.is_empty() => "it is empty",
            DumpFormat::Custom if self.head.starts_with(MAGIC) => return Ok(()),
            DumpFormat::Custom => "it does not begin as an archive of pg_dump",
            DumpFormat::Plain if self.has_trailer() => return Ok(()),
            DumpFormat::Plain => "its last line, \"PostgreSQL database dump complete\", is missing",
        };
        Err(PgError::Incomplete { reason })
    }

    /// Only comments, blank lines and the `\unrestrict` of newer versions may follow the trailer.
    fn has_trailer(&self) -> bool {
        let text = String::from_utf8_lossy(&self.tail);
        let Some((before, after)) = text.rsplit_once(TRAILER) else {
            return false;
        };
        (before.is_empty() || before.ends_with('\n'))
            && after.ends_with('\n')
            && after
                .lines()
                .all(|line| line.is_empty() || line == "--" || line.starts_with("\\unrestrict "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(format: DumpFormat, pieces: &[&[u8]]) -> bool {
        let mut seen = Completeness::new(format);
        for piece in pieces {
            seen.see(piece);
        }
        seen.verdict().is_ok()
    }

    const END: &[u8] = b"\n--\n-- PostgreSQL database dump complete\n--\n\n";

    #[test]
    fn a_plain_dump_is_whole_only_with_its_trailer() {
        let body = vec![b'x'; 5000];
        assert!(whole(DumpFormat::Plain, &[&body, END]));
        assert!(whole(
            DumpFormat::Plain,
            &[&body, END, b"\\unrestrict abc123\n\n"]
        ));
        assert!(!whole(DumpFormat::Plain, &[&body, &END[..END.len() / 2]]));
        assert!(!whole(
            DumpFormat::Plain,
            &[&body, END, b"copy a from stdin;\n"]
        ));
        assert!(!whole(
            DumpFormat::Plain,
            &[b"insert into t values ('", &END[1..], b"');\n"]
        ));
        assert!(!whole(DumpFormat::Plain, &[]));
    }

    #[test]
    fn the_trailer_is_found_however_the_bytes_are_cut() {
        let text = [vec![b'x'; 3000], END.to_vec()].concat();
        for size in [1, 7, 1023, 1024, 1025, 4000] {
            let pieces: Vec<&[u8]> = text.chunks(size).collect();
            assert!(whole(DumpFormat::Plain, &pieces), "pieces of {size}");
        }
    }

    #[test]
    fn an_archive_begins_with_its_magic() {
        assert!(whole(DumpFormat::Custom, &[b"PG", b"DMP\x01\x0e"]));
        assert!(!whole(
            DumpFormat::Custom,
            &[b"-- PostgreSQL database dump\n"]
        ));
        assert!(!whole(DumpFormat::Custom, &[]));
    }
}
