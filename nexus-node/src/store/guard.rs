use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::{StoreError, Table};

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic on this thread, now, becomes a [`StoreError::Damaged`]: a program's panic hook
/// has nothing to print then, the error says it all.
pub fn panics_are_caught() -> bool {
    GUARDED.get()
}

/// Runs database code that may panic on damaged pages, and turns a panic into an error.
///
/// Nothing that a panic may have left half done is used again: a snapshot's table is only read,
/// and a commit that panics poisons the store.
pub(super) fn guarded<T>(
    file: &Path,
    table: Option<Table>,
    run: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let before = GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    GUARDED.set(before);
    result.unwrap_or_else(|panic| Err(StoreError::damaged(file, table, message(&*panic))))
}

fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("its pages do not fit together")
}
