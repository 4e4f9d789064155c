//! Sizes and rates for people: IEC units, one decimal. Programs get the integer.

use std::{fmt, time::Duration};

/// A number of bytes that prints as people read it: `50.2 MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

impl ByteSize {
    /// Bytes per second over `elapsed`, which counts as a millisecond at least.
    #[must_use]
    pub fn per_second(self, elapsed: Duration) -> Self {
        let millis = elapsed.as_millis().max(1);
        let rate = u128::from(self.0) * 1000 / millis;
        Self(u64::try_from(rate).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1024 {
            return f.pad(&format!("{} B", self.0));
        }
        let mut divisor = 1_u128;
        let mut unit = "B";
        for next in UNITS {
            if u128::from(self.0) < divisor * 1024 {
                break;
            }
            divisor *= 1024;
            unit = next;
        }
        let tenths = (u128::from(self.0) * 10 + divisor / 2) / divisor;
        f.pad(&format!("{}.{} {unit}", tenths / 10, tenths % 10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_print_in_iec_units_with_one_decimal() {
        assert_eq!(ByteSize(0).to_string(), "0 B");
        assert_eq!(ByteSize(1023).to_string(), "1023 B");
        assert_eq!(ByteSize(1024).to_string(), "1.0 KiB");
        assert_eq!(ByteSize(52_638_515).to_string(), "50.2 MiB");
        assert_eq!(ByteSize(u64::MAX).to_string(), "16.0 EiB");
    }

    #[test]
    fn a_rate_over_no_time_does_not_divide_by_zero() {
        assert_eq!(ByteSize(5).per_second(Duration::ZERO), ByteSize(5000));
    }
}
