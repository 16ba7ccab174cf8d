use std::collections::BTreeMap;

use nexus_crdt::{LogId, Verified};

/// The most waiting entries.
pub(super) const WAITING_ENTRIES_MAX: usize = 4_096;
/// The most bytes of waiting payloads.
pub(super) const WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Entries that arrived before something they need: an earlier entry of their log, their author's
/// credential, or their space. Bounded: an entry that does not fit is dropped, and comes again by sync.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    entries: BTreeMap<(LogId, u64), Verified>,
    bytes: usize,
}

impl Waiting {
    /// Keeps an entry. Returns `false` if there is no room. An entry that waits for the same place stays.
    pub(super) fn keep(&mut self, entry: Verified) -> bool {
        let bytes = entry.payload().map_or(0, <[u8]>::len);
        if self.entries.len() >= WAITING_ENTRIES_MAX || self.bytes + bytes > WAITING_BYTES_MAX {
            return false;
        }
        let place = (entry.header().log(), entry.header().seq);
        if let std::collections::btree_map::Entry::Vacant(vacant) = self.entries.entry(place) {
            vacant.insert(entry);
            self.bytes += bytes;
        }
        true
    }

    /// Takes the entry that waits for this place in a log.
    pub(super) fn take(&mut self, log: LogId, seq: u64) -> Option<Verified> {
        let entry = self.entries.remove(&(log, seq))?;
        self.bytes -= entry.payload().map_or(0, <[u8]>::len);
        Some(entry)
    }

    /// Takes all entries, after a change that many may have waited for.
    pub(super) fn drain(&mut self) -> Vec<Verified> {
        self.bytes = 0;
        std::mem::take(&mut self.entries).into_values().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}
