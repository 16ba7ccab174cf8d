//! The readers of a database that another one has replaced.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The readers of a database.
#[derive(Debug, Default)]
pub(super) struct Readers {
    there: Mutex<There>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct There {
    reading: usize,
    is_closed: bool,
}

/// Somebody who reads, until this is dropped.
#[derive(Debug)]
pub(super) struct Reader(Arc<Readers>);

impl Readers {
    /// Begins to read; `None` once the database is to go.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Reader> {
        let mut there = self.there();
        if there.is_closed {
            return None;
        }
        there.reading += 1;
        Some(Reader(Arc::clone(self)))
    }

    /// Lets nobody begin to read any more.
    pub(super) fn close(&self) {
        self.there().is_closed = true;
    }

    /// Waits until nobody reads any more, for at most so long. Whether that came.
    pub(super) fn wait(&self, at_most: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.there(), at_most, |there| there.reading > 0);
        waited.unwrap_or_else(PoisonError::into_inner).0.reading == 0
    }

    fn there(&self) -> MutexGuard<'_, There> {
        self.there.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut there = self.0.there();
        there.reading -= 1;
        if there.reading == 0 && there.is_closed {
            self.0.changed.notify_all();
        }
    }
}
