//! The bytes of one object on their way into a session: in order, in Google's grain, summed up as they go.
//!
//! What was sent and not answered is in doubt, also when whoever waited for the answer has gone away; before more is sent
//! the session is asked where it stands.

use bytes::Bytes;
use md5::{Digest, Md5};

use super::{
    DriveError,
    client::Client,
    files::File,
    session::{GRAIN, Session, Standing},
};

const SUM_STEP: usize = 1024 * 1024;

/// The state of an upload between its pieces.
#[derive(Debug)]
pub(super) struct Line {
    /// Bytes before the piece that is under way: Google holds them for good.
    base: u64,
    /// Bytes that Google has confirmed; within the piece or at one of its ends.
    held: u64,
    in_doubt: bool,
    /// The end of the last part that filled no grain. Less than one.
    rest: Bytes,
    sum: Md5,
    file: Option<File>,
}

impl Line {
    pub(super) fn new() -> Self {
        Self {
            base: 0,
            held: 0,
            in_doubt: false,
            rest: Bytes::new(),
            sum: Md5::new(),
            file: None,
        }
    }

    /// Sends a part, up to what fills no grain. May be repeated with the same part if it was given up in the middle.
    pub(super) async fn push(
        &mut self,
        client: &Client,
        session: &Session,
        part: &[Bytes],
    ) -> Result<(), DriveError> {
        let mut piece = vec![self.rest.clone()];
        piece.extend_from_slice(part);
        let length: u64 = length(&piece);
        let whole = length - length % GRAIN;
        let rest = tail(&piece, whole);
        cut_to(&mut piece, whole);
        self.bring(client, session, &piece, None).await?;
        let sum = summed(self.sum.clone(), part).await;
        (self.base, self.rest, self.sum) = (self.held, rest, sum);
        Ok(())
    }

    /// Sends the last bytes and with them the length: the file appears.
    pub(super) async fn finish(
        &mut self,
        client: &Client,
        session: &Session,
        last: &[Bytes],
    ) -> Result<File, DriveError> {
        let mut piece = vec![self.rest.clone()];
        piece.extend_from_slice(last);
        let total = self.base + length(&piece);
        self.bring(client, session, &piece, Some(total)).await?;
        let file = self.file.take();
        file.ok_or(DriveError::Nonsense("an upload ended without a file"))
    }

    /// Compares what Google stored with what was sent, the `last` bytes included.
    pub(super) async fn check(&self, file: &File, last: &[Bytes]) -> Result<(), DriveError> {
        let sum = summed(self.sum.clone(), last).await;
        let sent = hex::encode(sum.finalize());
        let bytes = self.base + self.rest.len() as u64 + length(last);
        let stored = file.md5().unwrap_or("unknown");
        if stored != sent || file.bytes()? != bytes {
            let stored = stored.to_owned();
            return Err(DriveError::Altered { sent, stored });
        }
        Ok(())
    }

    /// Sends a piece until Google holds all of it, or the file is there.
    async fn bring(
        &mut self,
        client: &Client,
        session: &Session,
        piece: &[Bytes],
        total: Option<u64>,
    ) -> Result<(), DriveError> {
        let end = self.base + length(piece);
        let mut pauses = client.pauses();
        while self.file.is_none() && (self.held < end || total.is_some()) {
            let held = self.held;
            let step = self.step(client, session, piece, total).await;
            match step {
                _ if self.held > held => pauses = client.pauses(),
                Err(error) if pauses.pause(&error).await => {}
                step => step?,
            }
        }
        Ok(())
    }

    /// One request. What it was told is in `self` afterwards; an error if that is no progress.
    async fn step(
        &mut self,
        client: &Client,
        session: &Session,
        piece: &[Bytes],
        total: Option<u64>,
    ) -> Result<(), DriveError> {
        let end = self.base + length(piece);
        if self.in_doubt {
            let standing = session.ask(client, total).await?;
            self.stands_at(standing, end)?;
            if self.file.is_some() || (self.held == end && total.is_none()) {
                return Ok(());
            }
        }
        let before = self.held;
        let mut bytes = piece.to_vec();
        skip(&mut bytes, self.held - self.base);
        self.in_doubt = true;
        let standing = session.send(client, self.held..end, total, bytes).await?;
        self.stands_at(standing, end)?;
        if self.file.is_none() && self.held == before {
            return Err(DriveError::Stuck);
        }
        Ok(())
    }

    fn stands_at(&mut self, standing: Standing, end: u64) -> Result<(), DriveError> {
        match standing {
            Standing::Done(file) => self.file = Some(*file),
            Standing::Holds(held) if (self.held..=end).contains(&held) => self.held = held,
            Standing::Holds(_) => {
                return Err(DriveError::Nonsense(
                    "an upload holds other bytes than were sent",
                ));
            }
        }
        self.in_doubt = false;
        Ok(())
    }
}

/// Others get their turn between the steps.
async fn summed(mut sum: Md5, pieces: &[Bytes]) -> Md5 {
    for step in pieces.iter().flat_map(|bytes| bytes.chunks(SUM_STEP)) {
        sum.update(step);
        tokio::task::yield_now().await;
    }
    sum
}

fn length(pieces: &[Bytes]) -> u64 {
    pieces.iter().map(|bytes| bytes.len() as u64).sum()
}

/// Drops the first bytes.
fn skip(pieces: &mut Vec<Bytes>, mut bytes: u64) {
    pieces.retain_mut(|piece| {
        let here = usize::try_from(bytes).map_or(piece.len(), |bytes| bytes.min(piece.len()));
        *piece = piece.slice(here..);
        bytes -= here as u64;
        !piece.is_empty()
    });
}

/// Drops all but the first bytes.
fn cut_to(pieces: &mut [Bytes], mut bytes: u64) {
    for piece in pieces {
        let here = usize::try_from(bytes).map_or(piece.len(), |bytes| bytes.min(piece.len()));
        piece.truncate(here);
        bytes -= here as u64;
    }
}

/// A copy of what comes after the first bytes: a slice would keep the whole part in memory.
fn tail(pieces: &[Bytes], skipped: u64) -> Bytes {
    let mut pieces = pieces.to_vec();
    skip(&mut pieces, skipped);
    pieces.concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces() -> Vec<Bytes> {
        ["", "abc", "de", "", "fgh"].map(Bytes::from).to_vec()
    }

    #[test]
    fn pieces_are_cut_without_losing_or_doubling_a_byte() {
        for at in 0..=9 {
            let (mut head, mut behind) = (pieces(), pieces());
            cut_to(&mut head, at);
            skip(&mut behind, at);
            assert_eq!([head.concat(), behind.concat()].concat(), b"abcdefgh");
            assert_eq!(tail(&pieces(), at), behind.concat());
            assert_eq!(length(&head), at.min(8));
        }
    }
}
