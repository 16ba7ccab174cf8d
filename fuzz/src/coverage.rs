//! The branches that an execution took, in a build with LLVM's counters (`fuzz/instrumented`). Other builds
//! have none, and a campaign then keeps inputs by their result alone.

#![expect(unsafe_code, reason = "C symbols that LLVM calls, and the memory that it counts in")]

use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

static START: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
static LENGTH: AtomicUsize = AtomicUsize::new(0);

/// LLVM calls this before `main`, with the counters of the program.
///
/// # Safety
/// `start` and `stop` enclose the counters, which live as long as the program.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __sanitizer_cov_8bit_counters_init(start: *mut u8, stop: *mut u8) {
    let length = (stop as usize).saturating_sub(start as usize);
    // every object of the program may call it, with the same counters
    if length > LENGTH.load(Ordering::Relaxed) {
        START.store(start, Ordering::Relaxed);
        LENGTH.store(length, Ordering::Relaxed);
    }
}

/// The branches taken so far in a campaign.
#[derive(Debug, Default)]
pub struct Coverage {
    seen: Vec<u8>,
}

impl Coverage {
    /// Whether this build counts.
    pub fn is_here() -> bool {
        LENGTH.load(Ordering::Relaxed) > 0
    }

    /// Begins an execution.
    pub fn begin() {
        let (start, length) = (START.load(Ordering::Relaxed), LENGTH.load(Ordering::Relaxed));
        if length > 0 {
            // SAFETY: LLVM's counters; one thread of the program executes targets.
            unsafe { std::ptr::write_bytes(start, 0, length) };
        }
    }

    /// Ends an execution. Returns whether it took a branch, or a number of times, that is new.
    pub fn end(&mut self) -> bool {
        let (start, length) = (START.load(Ordering::Relaxed), LENGTH.load(Ordering::Relaxed));
        if length == 0 {
            return false;
        }
        self.seen.resize(length, 0);
        // SAFETY: LLVM's counters, which nobody changes meanwhile: one thread executes targets.
        let counters = unsafe { std::slice::from_raw_parts(start, length) };
        // SAFETY: any eight bytes are a number.
        let (front, eights, _) = unsafe { counters.align_to::<u64>() };
        let mut new = false;
        let mut look = |range: std::ops::Range<usize>| {
            for (seen, count) in self.seen[range.clone()].iter_mut().zip(&counters[range]) {
                let class = class(*count);
                new |= class & !*seen != 0;
                *seen |= class;
            }
        };
        // nearly all are zero
        for (number, _) in eights.iter().enumerate().filter(|(_, eight)| **eight != 0) {
            let at = front.len() + 8 * number;
            look(at..at + 8);
        }
        look(0..front.len());
        look(front.len() + 8 * eights.len()..length);
        new
    }

    /// The number of branches seen.
    pub fn branches(&self) -> usize {
        self.seen.iter().filter(|seen| **seen != 0).count()
    }
}

/// A bit for a number of times: 1, 2, 3, up to 7, up to 15, up to 31, up to 127, more.
const fn class(count: u8) -> u8 {
    match count {
        0 => 0,
        1 => 1,
        2 => 2,
        3 => 4,
        4..=7 => 8,
        8..=15 => 16,
        16..=31 => 32,
        32..=127 => 64,
        128.. => 128,
    }
}
