//! One time through an input, with a look at its first bytes beforehand.

use bytes::{Bytes, BytesMut};

use super::{
    Feed, Message,
    stage::{Halt, size},
    watch::{Meter, Waiter},
};

pub(super) struct Pass {
    input: Feed,
    /// Looked at, not yet taken.
    first: Bytes,
    ended: bool,
    meter: Meter,
    waiter: Waiter,
}

impl Pass {
    pub(super) fn new(input: Feed, meter: Meter, waiter: Waiter) -> Self {
        Self {
            input,
            first: Bytes::new(),
            ended: false,
            meter,
            waiter,
        }
    }

    /// At least the first `wanted` bytes, or all there are. Asked before anything is taken.
    pub(super) fn first(&mut self, wanted: usize) -> Result<&[u8], Halt> {
        while self.first.len() < wanted
            && let Some(more) = self.read()?
        {
            let mut longer = BytesMut::from(&self.first[..]);
            longer.extend_from_slice(&more);
            self.first = longer.freeze();
        }
        Ok(&self.first)
    }

    /// The next bytes; `None` after the last.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, Halt> {
        let next = if self.first.is_empty() {
            self.read()?
        } else {
            Some(std::mem::take(&mut self.first))
        };
        if let Some(bytes) = &next {
            self.meter.stored(size(bytes));
        }
        Ok(next)
    }

    fn read(&mut self) -> Result<Option<Bytes>, Halt> {
        if self.ended {
            return Ok(None);
        }
        match self.waiter.next(&mut self.input)? {
            Message::Data(bytes) => Ok(Some(bytes)),
            Message::End => {
                self.ended = true;
                Ok(None)
            }
            Message::Fail(failure) => Err(failure.into()),
        }
    }
}
