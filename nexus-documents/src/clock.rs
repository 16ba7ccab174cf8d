//! The ancestors of a change: of each actor the number of its changes among them.

use std::sync::Arc;

const CHUNK: usize = 32;

/// The number of changes of each actor, by the actor's place. Chunks are shared with the clocks from which it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Clock(Vec<Arc<[u32; CHUNK]>>);

impl Clock {
    pub(crate) fn get(&self, actor: usize) -> u32 {
        self.0.get(actor / CHUNK).and_then(|chunk| chunk.get(actor % CHUNK)).copied().unwrap_or_default()
    }

    pub(crate) fn set(&mut self, actor: usize, changes: u32) {
        let chunk = actor / CHUNK;
        if self.0.len() <= chunk {
            self.0.resize(chunk + 1, Arc::new([0; CHUNK]));
        }
        if let Some(slot) = self.0.get_mut(chunk).and_then(|chunk| Arc::make_mut(chunk).get_mut(actor % CHUNK)) {
            *slot = changes;
        }
    }

    /// Takes in the ancestors of another change.
    pub(crate) fn merge(&mut self, other: &Self) {
        let more = other.0.get(self.0.len()..).unwrap_or_default();
        self.0.extend_from_slice(more);
        for (own, theirs) in self.0.iter_mut().zip(&other.0) {
            if !Arc::ptr_eq(own, theirs) && own.iter().zip(theirs.iter()).any(|(own, theirs)| theirs > own) {
                for (own, theirs) in Arc::make_mut(own).iter_mut().zip(theirs.iter()) {
                    *own = (*own).max(*theirs);
                }
            }
        }
    }

    /// The places where it has another number than an earlier clock, with its number.
    pub(crate) fn differs(&self, before: &Self) -> Vec<(usize, u32)> {
        let mut found = Vec::new();
        for (chunk, own) in self.0.iter().enumerate() {
            let theirs = before.0.get(chunk);
            if theirs.is_some_and(|theirs| Arc::ptr_eq(own, theirs)) {
                continue;
            }
            for (at, changes) in own.iter().enumerate() {
                if *changes != theirs.and_then(|theirs| theirs.get(at)).copied().unwrap_or_default() {
                    found.push((chunk * CHUNK + at, *changes));
                }
            }
        }
        found
    }

    /// The actors with at least one change, with its number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, u32)> + '_ {
        let all = self.0.iter().flat_map(|chunk| chunk.iter().copied()).enumerate();
        all.filter(|(_, changes)| *changes > 0)
    }
}
