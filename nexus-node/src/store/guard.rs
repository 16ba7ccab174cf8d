use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::{StoreError, Table};

/// Runs database code that may panic on damaged pages, and turns a panic into an error.
///
/// Nothing that a panic may have left half done is used again: a snapshot's table is only read,
/// and a commit that panics poisons the store.
pub(super) fn guarded<T>(
    file: &Path,
    table: Option<Table>,
    run: impl FnOnce() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| Err(StoreError::damaged(file, table, message(&*panic))))
}

fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("its pages do not fit together")
}
