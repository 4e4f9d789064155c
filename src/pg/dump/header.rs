//! What a dump says about itself: which server it is of, and which `pg_dump` wrote it.

use super::DumpFormat;

/// The beginning of a dump, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// `15.18 (Debian 15.18-0+deb12u1)`
    pub server_version: String,
    /// The version of `pg_dump`, in the same form.
    pub client_version: String,
}

/// `15` of `15.18 (Debian …)`.
pub fn major_of(version: &str) -> Option<u32> {
    let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

impl Header {
    /// `None` when the bytes are too few or of another form.
    pub fn read(format: DumpFormat, head: &[u8]) -> Option<Self> {
        match format {
            DumpFormat::Custom => Fields(head).header(),
            DumpFormat::Plain => Self::plain(&String::from_utf8_lossy(head)),
        }
    }

    fn plain(text: &str) -> Option<Self> {
        let after = |prefix| {
            text.lines()
                .find_map(|line| line.strip_prefix(prefix))
                .map(str::to_owned)
        };
        Some(Self {
            server_version: after("-- Dumped from database version ")?,
            client_version: after("-- Dumped by pg_dump version ")?,
        })
    }
}

/// The header of a custom archive, in the order of its fields.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    /// Magic, version, sizes, compression, seven numbers of the date, then three texts: database, server, `pg_dump`.
    fn header(&mut self) -> Option<Header> {
        if self.take(5)? != b"PGDMP" {
            return None;
        }
        let &[
            major,
            minor,
            _revision,
            integer_bytes,
            _offset_bytes,
            _format,
        ] = self.take(6)?
        else {
            return None;
        };
        let size = usize::from(integer_bytes);
        // Since 1.15 compression is one byte that names the algorithm; before, a number that gave the level.
        if (major, minor) >= (1, 15) {
            self.take(1)?;
        } else {
            self.integer(size)?;
        }
        for _ in 0..7 {
            self.integer(size)?;
        }
        let _database = self.text(size)?;
        Some(Header {
            server_version: self.text(size)?,
            client_version: self.text(size)?,
        })
    }

    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// A sign, then the bytes, the lowest first.
    fn integer(&mut self, size: usize) -> Option<i64> {
        let negative = self.take(1)? != [0];
        let bytes = self.take(size)?;
        let value = bytes.iter().rev().try_fold(0_i64, |value, byte| {
            value.checked_mul(256)?.checked_add(i64::from(*byte))
        })?;
        Some(if negative { -value } else { value })
    }

    /// A length and the bytes; a negative length means no text.
    fn text(&mut self, size: usize) -> Option<String> {
        let length = usize::try_from(self.integer(size)?).unwrap_or(0);
        Some(String::from_utf8_lossy(self.take(length)?).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(minor: u8) -> Vec<u8> {
        let mut bytes = b"PGDMP".to_vec();
        bytes.extend([1, minor, 0, 4, 8, 1]);
        let number = |value: u32| [[0].as_slice(), &value.to_le_bytes()].concat();
        bytes.extend(if minor >= 15 { vec![0] } else { number(0) });
        for value in [1, 2, 3, 4, 5, 126, 0] {
            bytes.extend(number(value));
        }
        for text in ["kanbu", "17.2 (Debian 17.2-1)", "18.1"] {
            bytes.extend(number(u32::try_from(text.len()).unwrap()));
            bytes.extend(text.as_bytes());
        }
        bytes
    }

    #[test]
    fn an_archive_tells_both_versions_in_its_old_and_new_form() {
        for minor in [14, 15, 16] {
            let header = Header::read(DumpFormat::Custom, &archive(minor)).unwrap();
            assert_eq!(header.server_version, "17.2 (Debian 17.2-1)");
            assert_eq!(major_of(&header.client_version), Some(18));
        }
    }

    #[test]
    fn a_header_that_is_cut_off_is_none() {
        let bytes = archive(16);
        for length in 0..bytes.len() {
            assert_eq!(
                Header::read(DumpFormat::Custom, &bytes[..length]),
                None,
                "{length} bytes"
            );
        }
    }

    #[test]
    fn a_plain_dump_tells_both_versions_in_its_comments() {
        let text = b"--\n-- PostgreSQL database dump\n--\n\n\\restrict x\n\n-- Dumped from database version 15.18\n-- Dumped by pg_dump version 16.2\n\nSET";
        let header = Header::read(DumpFormat::Plain, text).unwrap();
        assert_eq!(header.server_version, "15.18");
        assert_eq!(header.client_version, "16.2");
        assert_eq!(Header::read(DumpFormat::Plain, &text[..40]), None);
    }
}
