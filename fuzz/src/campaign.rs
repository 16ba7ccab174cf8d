//! Many executions of one target.

use std::time::Duration;

use crate::Target;
use crate::corpus::Kept;
use crate::coverage::Coverage;
use crate::execution::{Executed, Fault, execute};
use crate::mutate::{Dice, mutated};

/// The most inputs that others are made from.
const POOL_MAX: usize = 2_048;
/// The executions for making a broken input smaller.
const SHRINK_MAX: usize = 2_000;

/// The state of many executions.
#[derive(Debug)]
pub struct Campaign<'a> {
    target: &'a Target,
    dice: Dice,
    pool: Vec<Vec<u8>>,
    coverage: Coverage,
    /// The numbers so far.
    pub tally: Tally,
}

/// Numbers of a campaign.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// The executions.
    pub executions: u64,
    /// The inputs that were read.
    pub read: u64,
    /// The inputs that others are made from.
    pub pool: usize,
    /// The branches seen; 0 in a build without counters.
    pub branches: usize,
    /// The most bytes that an execution allocated at one time.
    pub peak_bytes: usize,
    /// The length of its input.
    pub peak_of_bytes: usize,
    /// The part of the allowance that the worst execution used, in thousandths.
    pub allowance_used: usize,
    /// The longest execution.
    pub longest: Duration,
}

/// An input that broke something, made as small as possible.
#[derive(Clone, Debug)]
pub struct Broken {
    /// The input.
    pub bytes: Vec<u8>,
    /// The fault.
    pub fault: Fault,
}

impl<'a> Campaign<'a> {
    /// A campaign that begins with these inputs.
    ///
    /// # Errors
    /// One of them breaks something.
    pub fn begin(target: &'a Target, seed: u64, kept: &[Kept]) -> Result<Self, Broken> {
        let (dice, pool) = (Dice::of(seed, target.name), Vec::new());
        let mut campaign = Self { target, dice, pool, coverage: Coverage::default(), tally: Tally::default() };
        for (_, bytes) in kept {
            campaign.give(bytes, true)?;
        }
        if campaign.pool.is_empty() {
            campaign.pool.push(Vec::new());
        }
        Ok(campaign)
    }

    /// So many more executions.
    ///
    /// # Errors
    /// The first input that breaks something.
    pub fn run(&mut self, executions: u64) -> Result<(), Broken> {
        for _ in 0..executions {
            let bytes = mutated(&mut self.dice, &self.pool, self.target.bytes_max);
            self.give(&bytes, false)?;
        }
        Ok(())
    }

    fn give(&mut self, bytes: &[u8], keep: bool) -> Result<(), Broken> {
        Coverage::begin();
        let executed = execute(self.target, bytes);
        let new = self.coverage.end();
        let Executed { read, peak_bytes, time } = executed.map_err(|fault| self.smaller(bytes, fault))?;
        let tally = &mut self.tally;
        tally.executions += 1;
        tally.read += u64::from(read);
        tally.longest = tally.longest.max(time);
        if peak_bytes > tally.peak_bytes {
            (tally.peak_bytes, tally.peak_of_bytes) = (peak_bytes, bytes.len());
        }
        let used = peak_bytes.saturating_mul(1_000) / self.target.allowance.of(bytes.len()).max(1);
        tally.allowance_used = tally.allowance_used.max(used);
        // without counters an input that was read is worth a place, now and then
        let lucky = !Coverage::is_here() && read && self.dice.below(64) == 0;
        if keep || new || lucky {
            if self.pool.len() < POOL_MAX {
                self.pool.push(bytes.to_vec());
            } else {
                let place = self.dice.below(POOL_MAX);
                self.pool[place] = bytes.to_vec();
            }
        }
        tally.pool = self.pool.len();
        if new {
            tally.branches = self.coverage.branches();
        }
        Ok(())
    }

    /// A smaller input with the same fault.
    fn smaller(&self, bytes: &[u8], fault: Fault) -> Broken {
        let mut broken = Broken { bytes: bytes.to_vec(), fault };
        let (mut size, mut left) = (bytes.len().div_ceil(2).max(1), SHRINK_MAX);
        loop {
            let mut at = 0;
            while at < broken.bytes.len() && left > 0 {
                left -= 1;
                let mut less = broken.bytes.clone();
                less.drain(at..less.len().min(at + size));
                match execute(self.target, &less) {
                    Err(fault) if fault.is_like(&broken.fault) => broken = Broken { bytes: less, fault },
                    _ => at += size,
                }
            }
            if size == 1 || left == 0 {
                return broken;
            }
            size /= 2;
        }
    }
}
