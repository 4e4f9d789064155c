//! From a stream of sealed bytes to parts, and to every storage at once.
//!
//! Permits bound the memory, not queues: a part holds its permit until the last storage is done with it, and all storages
//! share its bytes. Parts grow, because S3 takes ten thousand of them and no more; the larger they are, the fewer may live.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{
    buffers::{Buffer, Pool},
    pace::Gauge,
    stage::{Halt, Sink},
    tally::{Tallied, Tally},
    watch::{Meter, Waiter},
};
use crate::storage::PartLimits;

const MIB: usize = 1 << 20;
/// S3's smallest part.
const SMALL: usize = 5 * MIB;
const MEDIUM: usize = 8 * MIB;
const LARGE: usize = 16 * MIB;

/// Shares of the memory for parts: three small or medium parts, or two large ones.
const SHARES: usize = 6;
/// One at a time: such parts are the exception, and larger than the plan.
const SHARES_AT_THE_END: u32 = 6;
pub(super) const MOST_PARTS: usize = 3;

/// The largest parts there are: 1 GiB, which carries more than an object may have at S3.
const LARGEST_SCALE: u64 = 64;

/// How parts grow. Chosen before a run starts, from what its storages demand and what is expected to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartGrowth {
    /// Parts of 5 MiB.
    pub small: u32,
    /// All parts of 5 or 8 MiB; those after them have 16 MiB.
    pub small_and_medium: u32,
    /// What these sizes are multiplied by, and with them the memory for parts.
    pub scale: usize,
    /// After which part none is taken. The last tenth of them grows again, so that a guess may be wrong by half.
    pub most: Option<u32>,
}

impl Default for PartGrowth {
    /// For storages that take any number of parts; ten thousand of these carry 129 GiB.
    fn default() -> Self {
        Self {
            small: 1000,
            small_and_medium: 3000,
            scale: 1,
            most: None,
        }
    }
}

impl PartGrowth {
    /// The smallest parts with which all of `stores` take about `expected` bytes: a run of many terabytes needs more
    /// memory than one of some gigabytes, and all others needn't.
    pub fn for_stores(stores: PartLimits, expected: Option<u64>) -> Self {
        let mut growth = Self {
            most: stores.most,
            ..Self::default()
        };
        if stores.equal {
            growth.small = 0;
            growth.small_and_medium = 0;
        }
        let fits = |growth: &Self| expected.unwrap_or(0) <= growth.planned_bytes();
        while stores.most.is_some() && !fits(&growth) && (growth.scale as u64) < LARGEST_SCALE {
            growth.scale *= 2;
        }
        // Equal parts can't grow at the end; they are as large from the start as they would have to be there.
        if stores.equal {
            growth.most = None;
        }
        growth
    }

    /// What its parts carry before the last tenth grows.
    fn planned_bytes(self) -> u64 {
        let most = u64::from(self.most.unwrap_or(u32::MAX));
        let small = most.min(self.small.into());
        let medium = most.min(self.small_and_medium.into()).saturating_sub(small);
        let large = most - small - medium;
        let bytes = small * SMALL as u64 + medium * MEDIUM as u64 + large * LARGE as u64;
        bytes.saturating_mul(self.scale as u64)
    }

    /// The size of the part with this index, counted from 0, and its shares of the memory.
    fn part(self, index: u32) -> (usize, u32) {
        let (bytes, shares) = match self.doublings(index) {
            0 if index < self.small => (SMALL, 2),
            0 if index < self.small_and_medium => (MEDIUM, 2),
            0 => (LARGE, 3),
            doublings => (LARGE << doublings, SHARES_AT_THE_END),
        };
        (bytes * self.scale, shares)
    }

    /// How often a part's size is doubled because few parts are left: up to four times, over the last tenth.
    fn doublings(self, index: u32) -> u32 {
        let Some(most) = self.most else { return 0 };
        let tail = most / 10;
        match index.checked_sub(most - tail) {
            Some(into_tail) if tail >= 4 => (into_tail / (tail / 4) + 1).min(4),
            _ => 0,
        }
    }
}

/// A piece of the object on its way to a storage.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) bytes: Bytes,
    /// Apart from the bytes: a storage that is given up lets the permit go at once, even if a hung write of the operating
    /// system goes on holding the bytes.
    pub(super) permit: Arc<OwnedSemaphorePermit>,
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
    /// The time in which there was no memory for the next part, because a storage had too many of them.
    waits: Gauge,
    waiter: Waiter,
}

impl FanOut {
    pub(super) fn new(
        storages: Vec<mpsc::Sender<Part>>,
        growth: PartGrowth,
        meter: Meter,
        waits: Gauge,
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
            waits,
            waiter,
        }
    }

    /// The next part's buffer, once there is memory for it.
    fn begin(&self, capacity: usize, shares: u32) -> Result<(Buffer, OwnedSemaphorePermit), Halt> {
        let permit = Arc::clone(&self.shares).acquire_many_owned(shares);
        self.waits.begin();
        let permit = self.waiter.wait(permit);
        self.waits.rest();
        let permit = permit?.map_err(|_| Halt::Gone)?;
        Ok((self.pool.take(capacity), permit))
    }

    fn send(&mut self, buffer: Buffer, permit: OwnedSemaphorePermit) -> Result<(), Halt> {
        let bytes = buffer.len() as u64;
        let part = Part {
            bytes: buffer.freeze(),
            permit: Arc::new(permit),
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

    const GIB: u64 = 1 << 30;
    const S3: PartLimits = PartLimits {
        most: Some(10_000),
        smallest: 5 << 20,
        largest: 5 << 30,
        equal: false,
    };

    fn total(growth: PartGrowth) -> u64 {
        (0..10_000).map(|index| growth.part(index).0 as u64).sum()
    }

    #[test]
    fn ten_thousand_parts_carry_129_gib_and_never_hold_more_than_32_mib() {
        let growth = PartGrowth::default();
        assert_eq!(total(growth) >> 30, 129);
        for (bytes, shares) in (0..10_000).map(|index| growth.part(index)) {
            let alive = SHARES / usize::try_from(shares).unwrap();
            assert!(alive * bytes <= 32 * MIB && alive <= MOST_PARTS);
        }
    }

    #[test]
    fn parts_are_as_large_as_what_is_expected_needs_and_no_larger() {
        let scale = |expected: u64| PartGrowth::for_stores(S3, Some(expected)).scale;
        assert_eq!(scale(0), 1);
        assert_eq!(scale(129 * GIB), 1);
        assert_eq!(scale(130 * GIB), 2);
        assert_eq!(scale(1000 * GIB), 8);
        assert_eq!(scale(5 * 1024 * GIB), 64);
        assert_eq!(scale(u64::MAX), 64);
        let anything = PartLimits::default();
        assert_eq!(
            PartGrowth::for_stores(anything, Some(u64::MAX)),
            PartGrowth::default()
        );
    }

    #[test]
    fn a_guess_may_be_wrong_by_half_before_the_parts_are_used_up() {
        for expected in [100 * GIB, 1000 * GIB] {
            let growth = PartGrowth::for_stores(S3, Some(expected));
            assert!(total(growth) > expected * 3 / 2, "{growth:?}");
            assert_eq!(growth.part(8999), (LARGE * growth.scale, 3));
            assert_eq!(growth.part(9999), (LARGE * growth.scale * 16, 6));
        }
    }

    #[test]
    fn stores_that_demand_equal_parts_get_them() {
        let equal = PartLimits { equal: true, ..S3 };
        for expected in [None, Some(100 * GIB), Some(300 * GIB)] {
            let growth = PartGrowth::for_stores(equal, expected);
            let first = growth.part(0);
            assert!((0..10_000).all(|index| growth.part(index) == first));
            assert!(total(growth) >= expected.unwrap_or(0));
        }
    }
}
