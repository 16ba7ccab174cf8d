use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use nexus_crdt::{LogId, SpaceId, Verified};
use nexus_identity::Did;

/// The most waiting entries.
pub(super) const WAITING_ENTRIES_MAX: usize = 4_096;
/// The most bytes of waiting entries.
pub(super) const WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The bytes of an entry beside its payload, at most: header, signature, places in the tables.
const OVERHEAD_BYTES: usize = 1_024;

/// Something that an entry waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    /// The entry before it in its log.
    Before,
    /// The definition of its space.
    Space(SpaceId),
    /// The right of its author to write in a space.
    Author(Did, SpaceId),
}

/// An entry that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) entry: Verified,
    /// The peer that sent it.
    pub(super) from: Did,
    need: Need,
}

impl Waiter {
    pub(super) const fn new(entry: Verified, from: Did, need: Need) -> Self {
        Self { entry, from, need }
    }

    fn place(&self) -> Place {
        (self.entry.header().log(), self.entry.header().seq)
    }

    fn bytes(&self) -> usize {
        self.entry.payload().map_or(0, <[u8]>::len) + OVERHEAD_BYTES
    }
}

/// A place in a log.
type Place = (LogId, u64);

/// Entries that arrived before something they need. Bounded: an entry without room is dropped, and comes
/// again by sync. Each sender has a fair share of the room: one that floods pushes out its own.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    waiters: BTreeMap<Place, Waiter>,
    needs: BTreeMap<Need, BTreeSet<Place>>,
    senders: BTreeMap<Did, Share>,
    bytes: usize,
}

/// The part of the room that one sender has taken.
#[derive(Debug, Default)]
struct Share {
    places: BTreeSet<Place>,
    bytes: usize,
}

impl Waiting {
    /// Keeps an entry, unless its sender has more than others and there is no room. An entry that waits for
    /// the same place stays.
    pub(super) fn keep(&mut self, waiter: Waiter) {
        let place = waiter.place();
        if self.waiters.contains_key(&place) {
            return;
        }
        while self.waiters.len() >= WAITING_ENTRIES_MAX || self.bytes + waiter.bytes() > WAITING_BYTES_MAX {
            let size = |share: &Share| share.bytes.max(share.places.len() * (WAITING_BYTES_MAX / WAITING_ENTRIES_MAX));
            let own = self.senders.get(&waiter.from).map_or(0, size);
            let largest = self.senders.iter().max_by_key(|(_, share)| size(share));
            match largest.filter(|(_, share)| size(share) > own).and_then(|(_, share)| share.places.last().copied()) {
                Some(place) => drop(self.remove(place)),
                None => return,
            }
        }
        self.bytes += waiter.bytes();
        let share = self.senders.entry(waiter.from).or_default();
        share.bytes += waiter.bytes();
        share.places.insert(place);
        self.needs.entry(waiter.need).or_default().insert(place);
        self.waiters.insert(place, waiter);
    }

    /// Takes the entry that waits for this place in a log.
    pub(super) fn take(&mut self, log: LogId, seq: u64) -> Option<Waiter> {
        self.remove((log, seq))
    }

    /// Takes the entries whose need is met now, as `met` says of each need. Of an entry before another it
    /// is not asked: that one takes what follows.
    pub(super) fn take_met(&mut self, met: impl Fn(&Need) -> bool) -> Vec<Waiter> {
        let met: Vec<Need> = self.needs.keys().filter(|need| **need != Need::Before && met(need)).copied().collect();
        let places: Vec<Place> = met.iter().filter_map(|need| self.needs.get(need)).flatten().copied().collect();
        places.into_iter().filter_map(|place| self.remove(place)).collect()
    }

    fn remove(&mut self, place: Place) -> Option<Waiter> {
        let waiter = self.waiters.remove(&place)?;
        self.bytes -= waiter.bytes();
        if let Entry::Occupied(mut places) = self.needs.entry(waiter.need) {
            places.get_mut().remove(&place);
            if places.get().is_empty() {
                places.remove();
            }
        }
        if let Entry::Occupied(mut share) = self.senders.entry(waiter.from) {
            share.get_mut().places.remove(&place);
            share.get_mut().bytes -= waiter.bytes();
            if share.get().places.is_empty() {
                share.remove();
            }
        }
        Some(waiter)
    }

    pub(super) fn len(&self) -> usize {
        self.waiters.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nexus_crdt::{Draft, Head, Hlc, Incarnation, Kind};
    use nexus_identity::Keypair;
    use proptest::prelude::*;

    fn waiter(from: u8, log: u64, bytes: usize, need: Need) -> Waiter {
        let key = Keypair::from_seed(&[1; 32]);
        let mesh = key.did();
        let log = LogId { space: SpaceId::mesh(&mesh), author: mesh, incarnation: Incarnation(log.to_be_bytes()) };
        let before = Head { seq: 6, id: nexus_crdt::EntryId::ZERO };
        let (hlc, kind, refs, payload) = (Hlc(0), Kind::WRITES, vec![], vec![0; bytes].into());
        let entry = Verified::write(Draft { mesh, log, after: Some(&before), hlc, kind, refs, payload }, &key);
        Waiter::new(entry, sender(from), need)
    }

    fn sender(n: u8) -> Did {
        Keypair::from_seed(&[n; 32]).did()
    }

    fn author(n: u8) -> Need {
        Need::Author(sender(n), SpaceId::mesh(&sender(1)))
    }

    /// promise: Bad input | Entries of strangers: wait within a bound
    #[test]
    fn a_sender_that_floods_leaves_room_to_the_others() {
        let mut waiting = Waiting::default();
        for log in 0..2 * WAITING_ENTRIES_MAX as u64 {
            waiting.keep(waiter(2, log, 0, author(9)));
        }
        assert_eq!(waiting.len(), WAITING_ENTRIES_MAX);
        for log in 0..100 {
            waiting.keep(waiter(3, 1 << 32 | log, 60_000, author(8)));
        }
        assert!(waiting.len() <= WAITING_ENTRIES_MAX && waiting.bytes <= WAITING_BYTES_MAX);
        assert_eq!(waiting.take_met(|need| *need == author(8)).len(), 100, "all of the other's have room");
        // by bytes, too
        for log in 0..1_000 {
            waiting.keep(waiter(4, 1 << 33 | log, 60_000, author(7)));
        }
        assert!(waiting.bytes <= WAITING_BYTES_MAX);
        let (floods, others) = (waiting.senders[&sender(2)].places.len(), waiting.senders[&sender(4)].places.len());
        assert!(floods > WAITING_ENTRIES_MAX / 3 && others > 100, "{floods} {others}");
    }

    proptest! {
        #[test]
        fn all_that_is_kept_is_found_by_its_need_and_nothing_is_left_behind(
            kept in prop::collection::vec((0_u8..4, 0_u64..30, 0_usize..50, 0_u8..4), 0..60),
            asked in prop::collection::vec(0_u8..4, 0..8),
        ) {
            let mut waiting = Waiting::default();
            let mut places = BTreeMap::new();
            for (from, log, bytes, need) in kept {
                let need = if need == 0 { Need::Before } else { author(need) };
                let waiter = waiter(from, log, bytes, need);
                places.entry(waiter.place()).or_insert(need);
                waiting.keep(waiter);
            }
            for n in asked {
                let met = waiting.take_met(|need| *need == author(n));
                let expected = places.extract_if(.., |_, need| *need == author(n)).count();
                prop_assert_eq!(met.len(), if n == 0 { 0 } else { expected });
            }
            prop_assert!(waiting.len() >= places.values().filter(|need| **need == Need::Before).count());
            while let Some((log, seq)) = waiting.waiters.keys().next().copied() {
                prop_assert!(waiting.take(log, seq).is_some());
            }
            prop_assert_eq!(waiting.bytes, 0);
            prop_assert!(waiting.needs.is_empty() && waiting.senders.is_empty());
        }
    }
}
