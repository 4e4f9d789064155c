//! From a stream of sealed bytes to parts, and to every storage at once.
//!
//! Permits bound the memory, not queues: a part holds its permit until the last storage is done with it, and all storages
//! share its bytes. Parts grow, because S3 takes ten thousand of them and no more; the larger they are, the fewer may live.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{
    buffers::{Buffer, Pool},
    stage::{Halt, Sink},
    tally::{Tallied, Tally},
    watch::{Meter, Waiter},
};

const MIB: usize = 1 << 20;
/// S3's smallest part.
const SMALL: usize = 5 * MIB;
const MEDIUM: usize = 8 * MIB;
const LARGE: usize = 16 * MIB;

/// Shares of the memory for parts: three small or medium parts, or two large ones.
const SHARES: usize = 6;
pub(super) const MOST_PARTS: usize = 3;

/// After how many parts they grow. The defaults carry 129 GiB within ten thousand parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartGrowth {
    /// Parts of 5 MiB.
    pub small: u32,
    /// All parts of 5 or 8 MiB; those after them have 16 MiB.
    pub small_and_medium: u32,
}

impl Default for PartGrowth {
    fn default() -> Self {
        Self {
            small: 1000,
            small_and_medium: 3000,
        }
    }
}

impl PartGrowth {
    /// The size of the part with this index, counted from 0, and its shares of the memory.
    fn part(self, index: u32) -> (usize, u32) {
        if index < self.small {
            (SMALL, 2)
        } else if index < self.small_and_medium {
            (MEDIUM, 2)
        } else {
            (LARGE, 3)
        }
    }
}

/// A piece of the object on its way to a storage.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) bytes: Bytes,
    /// Apart from the bytes: a storage that is given up lets the permit go at once, even if a hung write of the operating
    /// system goes on holding the bytes.
    _permit: Arc<OwnedSemaphorePermit>,
}

/// Assembles parts and hands each to every storage that still takes them.
pub(super) struct FanOut {
    storages: Vec<mpsc::Sender<Part>>,
    filling: Option<(Buffer, OwnedSemaphorePermit)>,
    index: u32,
    growth: PartGrowth,
    shares: Arc<Semaphore>,
    pool: Pool,
    tally: Tally,
    meter: Meter,
    waiter: Waiter,
}

impl FanOut {
    pub(super) fn new(
        storages: Vec<mpsc::Sender<Part>>,
        growth: PartGrowth,
        meter: Meter,
        waiter: Waiter,
    ) -> Self {
        Self {
            storages,
            filling: None,
            index: 0,
            growth,
            shares: Arc::new(Semaphore::new(SHARES)),
            pool: Pool::default(),
            tally: Tally::default(),
            meter,
            waiter,
        }
    }

    /// The next part's buffer, once there is memory for it.
    fn begin(&self, capacity: usize, shares: u32) -> Result<(Buffer, OwnedSemaphorePermit), Halt> {
        let permit = Arc::clone(&self.shares).acquire_many_owned(shares);
        let permit = self.waiter.wait(permit)?.map_err(|_| Halt::Gone)?;
        Ok((self.pool.take(capacity), permit))
    }

    fn send(&mut self, buffer: Buffer, permit: OwnedSemaphorePermit) -> Result<(), Halt> {
        let bytes = buffer.len() as u64;
        let part = Part {
            bytes: buffer.freeze(),
            _permit: Arc::new(permit),
        };
        self.index += 1;
        // Never waits: a storage's queue has room for all parts that may live.
        self.storages
            .retain(|storage| storage.blocking_send(part.clone()).is_ok());
        if self.storages.is_empty() {
            return Err(Halt::Gone);
        }
        self.meter.stored(bytes);
        Ok(())
    }

    /// Sends the last part. The storages' queues close; whether that was a good end is not theirs to know.
    pub(super) fn finish(mut self) -> Result<Tallied, Halt> {
        if let Some((buffer, permit)) = self.filling.take() {
            self.send(buffer, permit)?;
        }
        Ok(self.tally.finish())
    }
}

impl Sink for FanOut {
    fn accept(&mut self, bytes: &[u8]) -> Result<(), Halt> {
        self.tally.add(bytes);
        let mut rest = bytes;
        while !rest.is_empty() {
            let (capacity, shares) = self.growth.part(self.index);
            let (mut buffer, permit) = match self.filling.take() {
                Some(filling) => filling,
                None => self.begin(capacity, shares)?,
            };
            let (now, later) = rest.split_at(rest.len().min(capacity - buffer.len()));
            buffer.extend(now);
            rest = later;
            if buffer.len() == capacity {
                self.send(buffer, permit)?;
            } else {
                self.filling = Some((buffer, permit));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_parts_carry_129_gib_and_never_hold_more_than_32_mib() {
        let growth = PartGrowth::default();
        let parts = || (0..10_000).map(|index| growth.part(index));
        let total: u64 = parts().map(|(bytes, _)| bytes as u64).sum();
        assert_eq!(total >> 30, 129);
        for (bytes, shares) in parts() {
            let alive = SHARES / usize::try_from(shares).unwrap();
            assert!(alive * bytes <= 32 * MIB && alive <= MOST_PARTS);
        }
    }
}
