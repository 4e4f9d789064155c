//! What the content of a file is, told by the content itself while it passes: its kind, and whether it is whole.

use super::{ImportError, blocks::TarWalk};
use crate::{
    catalog::Content,
    fault::Failure,
    pg::dump::{Completeness, DumpFormat, Header},
};

/// Enough for the comments that a plain dump begins with, for an archive's header, and for a block of tar.
const HEAD_BYTES: usize = 4096;

const ARCHIVE: &[u8] = b"PGDMP";
const PLAIN: &str = "-- PostgreSQL database dump\n";
const CLUSTER: &str = "-- PostgreSQL database cluster dump\n";

/// A look at content.
#[derive(Debug)]
pub(super) struct Look {
    head: Vec<u8>,
    plain: Completeness,
    tar: TarWalk,
}

/// What was seen.
#[derive(Debug)]
pub(super) struct Recognised {
    pub content: Content,
    /// Of a dump.
    pub header: Option<Header>,
}

impl Look {
    pub(super) fn new() -> Self {
        Self {
            head: Vec::new(),
            plain: Completeness::new(DumpFormat::Plain),
            tar: TarWalk::default(),
        }
    }

    /// Refuses to see more once it is nothing that is known: a foreign file isn't read to its end.
    pub(super) fn see(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let missing = HEAD_BYTES.saturating_sub(self.head.len());
        self.head.extend(bytes.iter().take(missing));
        self.plain.see(bytes);
        self.tar.push(bytes);
        if self.head.len() == HEAD_BYTES && missing > 0 {
            self.content()?;
        }
        Ok(())
    }

    fn content(&self) -> Result<Content, ImportError> {
        let text = String::from_utf8_lossy(&self.head);
        if self.head.is_empty() {
            Err(ImportError::EmptyInside)
        } else if self.head.starts_with(ARCHIVE) {
            Ok(Content::PgDumpCustom)
        } else if self.tar.is_tar() {
            Ok(Content::Tar)
        } else if text.contains(CLUSTER) {
            Err(ImportError::Cluster)
        } else if text.contains(PLAIN) {
            Ok(Content::Sql)
        } else {
            Err(ImportError::Foreign)
        }
    }

    /// To be asked when all has passed.
    pub(super) fn verdict(&self) -> Result<Recognised, Failure> {
        let content = self.content()?;
        let header = match content {
            Content::PgDumpCustom => {
                let header = Header::read(DumpFormat::Custom, &self.head);
                Some(header.ok_or(ImportError::HeaderTruncated)?)
            }
            Content::Sql => {
                self.plain.verdict()?;
                self.plain.header()
            }
            Content::Tar if self.tar.is_whole() => None,
            Content::Tar => return Err(ImportError::TarTruncated.into()),
        };
        Ok(Recognised { content, header })
    }
}
