//! The configuration of the running process.

mod routes;

use serde_json::Value;

pub(super) use self::routes::{change, show};
use super::problem::Problem;
use super::wire;

/// A counter of the process around the API, for `/metrics`.
#[derive(Clone, Copy, Debug)]
pub struct Counter {
    /// Its name; it ends in `_total`.
    pub name: &'static str,
    /// The meaning of the count.
    pub help: &'static str,
    /// The count so far.
    pub value: u64,
}

/// The disk below a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskUse {
    /// The size of the directory's files, in bytes.
    pub used: u64,
    /// The bytes that are free; `None` where the platform does not tell.
    pub free: Option<u64>,
    /// The size of the whole disk, in bytes.
    pub total: Option<u64>,
}

/// The free bytes below which a disk is low whatever its size.
const LOW_BYTES: u64 = 1 << 30;
/// The free bytes from which on no disk is low.
const AMPLE_BYTES: u64 = 10 << 30;
/// The part of a disk below which it is low, as a divisor.
const LOW_PART: u64 = 10;

impl DiskUse {
    /// The free bytes, if they are few: below 1 GiB, or below a tenth of the disk and 10 GiB.
    pub fn low(&self) -> Option<u64> {
        let free = self.free?;
        let part = self.total.is_some_and(|total| free < total / LOW_PART);
        (free < LOW_BYTES || part && free < AMPLE_BYTES).then_some(free)
    }
}

/// The process around the API, above all its configuration.
pub trait Settings: Send + Sync {
    /// Each value with its origin.
    fn show(&self) -> Vec<wire::Setting>;

    /// Changes a value in the file and, if possible, at once.
    ///
    /// # Errors
    /// If there is no such key, or the value is not allowed.
    fn change(&self, key: &str, value: &Value) -> Result<(), Problem>;

    /// The largest body of a request, in bytes. Imports stream and have no such bound.
    fn body_bytes_max(&self) -> usize;

    /// The command that started the process: `up`, or `mcp`.
    fn started_by(&self) -> Option<&'static str> {
        None
    }

    /// The disk below the data directory. Waits for it.
    fn disk(&self) -> Option<DiskUse> {
        None
    }

    /// The files and connections that the process has open, and the most that it may have.
    fn open_files(&self) -> Option<(u64, u64)> {
        None
    }

    /// Whether the process sends the traces of requests to a collector.
    fn traces(&self) -> bool {
        false
    }

    /// The counters of the process beside requests.
    fn counters(&self) -> Vec<Counter> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_low_by_its_bytes_and_by_its_part() {
        const GIB: u64 = 1 << 30;
        let low = |free: u64, total: u64| DiskUse { used: 0, free: Some(free), total: Some(total) }.low().is_some();
        assert!(low(GIB - 1, 2 * GIB) && low(GIB - 1, 2_000 * GIB));
        assert!(low(3 * GIB, 40 * GIB) && !low(4 * GIB, 40 * GIB));
        assert!(low(9 * GIB, 2_000 * GIB) && !low(10 * GIB, 2_000 * GIB), "much is not little");
        assert_eq!(DiskUse { used: 9, free: None, total: None }.low(), None);
    }
}
