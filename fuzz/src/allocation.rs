//! The memory that an execution allocates, counted by an allocator.

#![expect(unsafe_code, reason = "an allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// The thread's bytes now, and the most since the last start. Memory freed by another thread is not
    /// seen here.
    static BYTES: Cell<(i64, i64)> = const { Cell::new((0, 0)) };
}

/// The system's allocator with a count for each thread. A program that measures installs it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counting;

fn count(bytes: i64) {
    // a thread that is ending does not count
    let _ = BYTES.try_with(|cell| {
        let (now, most) = cell.get();
        cell.set((now + bytes, most.max(now + bytes)));
    });
}

fn size(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(size(layout.size()));
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-size(layout.size()));
        // SAFETY: the caller's.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(size(layout.size()));
        // SAFETY: the caller's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new: usize) -> *mut u8 {
        // both exist while the content is moved
        count(size(new));
        count(-size(layout.size()));
        // SAFETY: the caller's.
        unsafe { System.realloc(pointer, layout, new) }
    }
}

/// Does some work. Returns its result, and the most bytes that it had allocated at one time; 0 without
/// [`Counting`].
pub fn measured<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = BYTES.with(|cell| {
        let (now, _) = cell.get();
        cell.set((now, now));
        now
    });
    let result = work();
    let most = BYTES.with(|cell| cell.get().1);
    (result, usize::try_from(most - before).unwrap_or(0))
}
