use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::{StoreDamage, StoreError, Table};

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic on this thread would now become a [`StoreError::Damaged`]. A panic hook should print
/// nothing then: the error says it all.
pub fn panics_are_caught() -> bool {
    GUARDED.get()
}

/// Runs database code that may panic on damaged pages, and turns a panic into an error.
///
/// Unwind safety: a snapshot's table is only read, and a commit that panics poisons the store. So
/// nothing half done is used again.
pub(super) fn guarded<T>(
    file: &Path,
    table: Option<Table>,
    run: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    quietly(run).unwrap_or_else(|panic| Err(StoreError::damaged(file, table, StoreDamage::Panic(panic))))
}

/// Runs code that may panic on damaged files, and gives a panic's message. The caller uses nothing half done again.
pub(crate) fn quietly<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    let before = GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    GUARDED.set(before);
    result.map_err(|panic| message(&*panic).to_owned())
}

fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("its pages do not fit together")
}
