//! The last of what happened on a node and is on no disk. Readers go through it at their own pace.
//!
//! It is bounded, and a note waits for nobody: a reader that is too far behind is told that it missed
//! something. It costs no memory of its own.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// The most notes that are kept.
pub(crate) const NOTES_MAX: usize = 1_024;

/// Notes of one kind, oldest first.
#[derive(Debug)]
pub(crate) struct Recent<T> {
    notes: Mutex<VecDeque<T>>,
    /// The number of notes until now.
    count: watch::Sender<u64>,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self { notes: Mutex::default(), count: watch::Sender::new(0) }
    }
}

/// The notes after a number of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Noted<T> {
    /// The notes that are still here, oldest first.
    pub(crate) notes: Vec<T>,
    /// Whether some before these are gone, or the number is one that there was not yet.
    pub(crate) missed: bool,
    /// The number of notes with these.
    pub(crate) count: u64,
}

impl<T: Clone> Recent<T> {
    /// Adds a note. The oldest one goes if there is no room.
    pub(crate) fn note(&self, note: T) {
        let mut notes = self.notes();
        if notes.len() == NOTES_MAX {
            notes.pop_front();
        }
        notes.push_back(note);
        // within the lock, so that the number never runs ahead of the notes
        self.count.send_modify(|count| *count += 1);
    }

    /// The notes after so many of them.
    pub(crate) fn after(&self, seen: u64) -> Noted<T> {
        let notes = self.notes();
        let count = *self.count.borrow();
        let Some(wanted) = count.checked_sub(seen) else { return Noted { notes: Vec::new(), missed: true, count } };
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        let skipped = notes.len().saturating_sub(wanted);
        Noted { notes: notes.iter().skip(skipped).cloned().collect(), missed: wanted > notes.len(), count }
    }

    /// The number of notes until now, as a watch.
    pub(crate) fn count(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }

    fn notes(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// promise: Commands and API | Events of peers and blobs are kept in a bound for their readers; a reader that is too slow is told so
    #[test]
    fn a_reader_gets_each_note_once_or_learns_that_some_are_gone() {
        let recent = Recent::default();
        assert_eq!(recent.after(0), Noted { notes: vec![], missed: false, count: 0 });
        (0..10).for_each(|n| recent.note(n));
        assert_eq!(recent.after(7), Noted { notes: vec![7, 8, 9], missed: false, count: 10 });
        assert_eq!(recent.after(10), Noted { notes: vec![], missed: false, count: 10 });
        // a number that this node has not come to
        assert_eq!(recent.after(11), Noted { notes: vec![], missed: true, count: 10 });
        let most = i32::try_from(NOTES_MAX).unwrap();
        (10..10 + most).for_each(|n| recent.note(n));
        let of_all = recent.after(0);
        assert_eq!((of_all.notes.len(), of_all.notes[0], of_all.missed), (NOTES_MAX, 10, true));
        assert!(!recent.after(10).missed && recent.after(9).missed);
    }
}
