//! The sessions of a node read what it holds once for each state.

use std::cell::Cell;

use nexus_crdt::sync_frame::Body;
use nexus_crdt::{ENTRY_FORMAT_FIRST, ENTRY_FORMAT_MAX};

use super::*;
use crate::replication::Holdings;
use crate::store::{KeyRange, Snapshot, StoreError, Visit};

/// A snapshot that counts the times that the logs are read.
struct Counted<'a> {
    snapshot: &'a Snapshot,
    reads: Cell<usize>,
}

impl View for Counted<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.snapshot.get(table, key)
    }

    fn scan(&self, table: Table, range: KeyRange<'_>, order: Order, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        self.reads.set(self.reads.get() + usize::from(table == Table::Logs));
        self.snapshot.scan(table, range, order, visit)
    }

    fn state(&self) -> Option<u64> {
        self.snapshot.state()
    }
}

/// The first frontier of a new session of `peer` with member `other`, and how often the logs were read for it.
fn frontier_of(
    peer: &Peer,
    (other, format): (u8, u16),
    holdings: &Arc<Holdings>,
    snapshot: &Snapshot,
) -> (Frontier, usize) {
    let audience = Audience::new(peer.key.did(), key(other).did(), peer.engine.members().clone()).reading(format);
    let view = Counted { snapshot, reads: Cell::new(0) };
    let mut session = SyncSession::open_beside(audience, holdings.clone(), Duration::ZERO, &view).unwrap();
    let frame = session.next_frame(Duration::ZERO, &view).unwrap().unwrap();
    let Some(Body::Frontier(part)) = frame.body else { panic!("{frame:?}") };
    (part.heads.iter().map(|head| head.parse().unwrap()).collect(), view.reads.get())
}

/// promise: Nodes | The sessions of a node read its logs once for each committed state, and each sees its own state
#[test]
fn sessions_of_one_state_read_the_logs_once() {
    let mut peer = Peer::new(1);
    (2..5).for_each(|n| peer.input(Input::Chain(chain(n))));
    peer.remember("something", None);
    let (holdings, before) = (Arc::default(), peer.store.snapshot().unwrap());
    let (first, reads) = frontier_of(&peer, (2, ENTRY_FORMAT_MAX), &holdings, &before);
    assert_eq!(reads, 1);
    for other in [3, 4] {
        assert_eq!(frontier_of(&peer, (other, ENTRY_FORMAT_MAX), &holdings, &before), (first.clone(), 0));
    }
    // a peer of an earlier version is told of no log beyond what it reads
    let (alone, _) = frontier_of(&peer, (2, ENTRY_FORMAT_FIRST), &Arc::default(), &before);
    assert_eq!(frontier_of(&peer, (2, ENTRY_FORMAT_FIRST), &holdings, &before), (alone, 0));
    peer.remember("something else", None);
    let after = peer.store.snapshot().unwrap();
    let (later, reads) = frontier_of(&peer, (2, ENTRY_FORMAT_MAX), &holdings, &after);
    assert_eq!(reads, 1, "the state is another one");
    assert!(later.ahead_of(&first) > 0, "{later:?}");
    assert_eq!(frontier_of(&peer, (3, ENTRY_FORMAT_MAX), &holdings, &before), (first, 1), "it is of an earlier state");
    assert_eq!(frontier_of(&peer, (3, ENTRY_FORMAT_MAX), &holdings, &after), (later, 0));
}
