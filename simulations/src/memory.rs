//! The memory that the simulating thread has allocated. Counted if the program installs [`Counting`].

#![expect(unsafe_code, reason = "an allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Bytes now, and the most so far. Memory freed by another thread is not seen here.
    static BYTES: Cell<(i64, i64)> = const { Cell::new((0, 0)) };
}

/// The system's allocator with a count.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counting;

fn count(bytes: i64) {
    // a thread that is ending does not count
    let _ = BYTES.try_with(|cell| {
        let (now, most) = cell.get();
        cell.set((now + bytes, most.max(now + bytes)));
    });
}

fn size(layout: Layout) -> i64 {
    i64::try_from(layout.size()).unwrap_or(i64::MAX)
}

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(size(layout));
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-size(layout));
        // SAFETY: the caller's.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(size(layout));
        // SAFETY: the caller's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new: usize) -> *mut u8 {
        count(i64::try_from(new).unwrap_or(i64::MAX) - size(layout));
        // SAFETY: the caller's.
        unsafe { System.realloc(pointer, layout, new) }
    }
}

/// Bytes that this thread has allocated now, if this process counts them.
pub fn allocated() -> Option<u64> {
    BYTES.try_with(|cell| u64::try_from(cell.get().0).ok()).ok().flatten().filter(|_| most().is_some())
}

/// The most bytes so far.
pub fn most() -> Option<u64> {
    BYTES.try_with(|cell| u64::try_from(cell.get().1).ok()).ok().flatten().filter(|most| *most > 0)
}
