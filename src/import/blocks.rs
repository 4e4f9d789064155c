//! Whether the bytes that pass by are a tar archive, and whether it is whole. Holds one block at a time.

const BLOCK: usize = 512;

/// Records of a long name or size that are read; longer ones are nobody's.
const MOST_RECORDS: u64 = 64 * 1024;

/// Where the walk is.
#[derive(Debug, Default)]
pub(super) struct TarWalk {
    block: Vec<u8>,
    /// Of the entry that is passed over, its padding included.
    rest: u64,
    /// The extended header that is being read.
    records: Option<Vec<u8>>,
    /// What an extended header said of the next entry.
    size: Option<u64>,
    entries: u64,
    ended: bool,
    broken: bool,
}

impl TarWalk {
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.ended && !self.broken {
            if self.rest > 0 {
                let step = usize::try_from(self.rest).map_or(bytes.len(), |r| r.min(bytes.len()));
                let (passed, after) = bytes.split_at(step);
                if let Some(records) = &mut self.records {
                    records.extend_from_slice(passed);
                }
                self.rest -= passed.len() as u64;
                bytes = after;
                if self.rest == 0 {
                    self.end_of_entry();
                }
                continue;
            }
            let (more, after) = bytes.split_at(bytes.len().min(BLOCK - self.block.len()));
            self.block.extend_from_slice(more);
            bytes = after;
            if self.block.len() == BLOCK {
                self.header();
                self.block.clear();
            }
        }
    }

    /// Its first block is the header of an entry.
    pub(super) fn is_tar(&self) -> bool {
        self.entries > 0
    }

    /// Every entry was there, and then the block of zeros that says so.
    pub(super) fn is_whole(&self) -> bool {
        self.is_tar() && self.ended && !self.broken
    }

    fn header(&mut self) {
        let block = &self.block;
        if block.iter().all(|byte| *byte == 0) {
            self.ended = true;
            return;
        }
        let Some(told) = number(&block[124..136]).filter(|_| checksum_is_right(block)) else {
            self.broken = true;
            return;
        };
        let is_extended = block[156] == b'x';
        let size = if is_extended {
            told
        } else {
            self.size.take().unwrap_or(told)
        };
        self.entries += 1;
        if is_extended && size <= MOST_RECORDS {
            self.records = Some(Vec::new());
        }
        self.rest = size.next_multiple_of(BLOCK as u64);
    }

    fn end_of_entry(&mut self) {
        if let Some(records) = self.records.take() {
            self.size = size_in(&records);
        }
    }
}

/// Octal digits, or a big-endian number behind a set first bit.
fn number(field: &[u8]) -> Option<u64> {
    if field.first()? & 0x80 != 0 {
        let (head, tail) = field.split_at(field.len() - 8);
        let fits = head[0] == 0x80 && head[1..].iter().all(|byte| *byte == 0);
        let number = u64::from_be_bytes(tail.try_into().ok()?);
        return Some(number).filter(|number| fits && *number < u64::MAX / 2);
    }
    let text = std::str::from_utf8(field).ok()?;
    let digits = text.trim_matches(['\0', ' ']);
    if digits.is_empty() {
        return Some(0);
    }
    u64::from_str_radix(digits, 8).ok()
}

/// The sum of all bytes, with blanks where it stands itself.
fn checksum_is_right(block: &[u8]) -> bool {
    let sum: u64 = block
        .iter()
        .enumerate()
        .map(|(at, byte)| {
            if (148..156).contains(&at) {
                32
            } else {
                u64::from(*byte)
            }
        })
        .sum();
    number(&block[148..156]) == Some(sum)
}

/// `size` of an extended header: lines of `LENGTH KEY=VALUE`.
fn size_in(records: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(records);
    text.lines()
        .filter_map(|line| line.split_once(' ')?.1.strip_prefix("size="))
        .find_map(|size| size.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(size: &[u8; 12], kind: u8) -> Vec<u8> {
        let mut block = vec![0; BLOCK];
        block[..4].copy_from_slice(b"file");
        block[124..136].copy_from_slice(size);
        block[148..156].fill(b' ');
        block[156] = kind;
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }

    /// An entry of five bytes, one whose size only its extended header tells, one of eight binary digits, and the end.
    fn archive() -> Vec<u8> {
        let mut bytes = header(b"00000000005\0", b'0');
        bytes.extend([1; BLOCK]);
        let records = b"12 size=700\n";
        bytes.extend(header(b"00000000014\0", b'x'));
        bytes.extend(records);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        bytes.extend(header(b"00000000000\0", b'0'));
        bytes.extend([2; 2 * BLOCK]);
        bytes.extend(header(b"\x80\0\0\0\0\0\0\0\0\0\x02\0", b'0'));
        bytes.extend([3; BLOCK]);
        bytes.extend([0; 2 * BLOCK]);
        bytes
    }

    fn walk(bytes: &[u8], step: usize) -> TarWalk {
        let mut walk = TarWalk::default();
        bytes.chunks(step).for_each(|chunk| walk.push(chunk));
        walk
    }

    #[test]
    fn a_whole_archive_is_seen_as_such_however_it_is_cut_into_pieces() {
        let bytes = archive();
        for step in [1, 7, 511, 512, 513, 100_000] {
            let walk = walk(&bytes, step);
            assert!(
                walk.is_tar() && walk.is_whole(),
                "pieces of {step}: {walk:?}"
            );
        }
    }

    #[test]
    fn an_archive_without_its_end_is_not_whole() {
        let bytes = archive();
        for length in 0..=bytes.len() - 2 * BLOCK {
            assert!(
                !walk(&bytes[..length], 100_000).is_whole(),
                "{length} bytes"
            );
        }
    }

    #[test]
    fn what_has_no_right_checksum_at_its_start_is_no_archive() {
        let mut bytes = archive();
        bytes[0] ^= 1;
        assert!(!walk(&bytes, 512).is_tar());
        assert!(!walk(&[0; 4096], 512).is_tar());
        assert!(!walk(b"-- PostgreSQL database dump", 512).is_tar());
    }
}
