use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nexus_crdt::{Frontier, LogId, SpaceId, unnamed_spaces};
use nexus_identity::{Did, Timestamp};
use nexus_mesh::Abilities;
use tokio::sync::{Notify, watch};

use crate::replication::Progress;

/// The syncs with peers: the durable entries of each, and the way to wake its session.
#[derive(Default)]
pub(crate) struct Sessions {
    peers: Mutex<BTreeMap<Did, PeerSync>>,
    /// Whether a peer's frontier was compared with ours.
    compared: watch::Sender<bool>,
    /// Changes when a connection is opened or closed.
    contacts: watch::Sender<()>,
    /// The time of the last acknowledgement of any peer.
    last: Mutex<Option<Timestamp>>,
}

/// The most heads that are kept in the frontiers of all peers that are away. The frontier of the peer that is
/// away for the longest time is forgotten first; its next session brings it again.
const AWAY_HEADS_MAX: usize = 1 << 16;

/// The state of one peer's sync.
#[derive(Clone, Default)]
struct PeerSync {
    durable: Arc<Frontier>,
    /// The order in which peers went away; `None` while a connection is open.
    away: Option<u64>,
    /// The number of the current session. A later session replaces it.
    generation: u64,
    live: bool,
    poke: Arc<Poke>,
    /// The peer's abilities, while a connection is open.
    abilities: Option<Abilities>,
}

/// Wakes a session.
#[derive(Default)]
pub(super) struct Poke {
    wake: Notify,
    behind: AtomicBool,
}

/// A live session. It ends when this is dropped, also with a future that is dropped half-way: heirs take a peer for
/// connected while its session is live.
pub(super) struct Live<'a> {
    sessions: &'a Sessions,
    peer: Did,
    pub(super) generation: u64,
    pub(super) poke: Arc<Poke>,
}

impl Drop for Live<'_> {
    fn drop(&mut self) {
        self.sessions.end(self.peer, self.generation);
    }
}

impl Poke {
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Resolves at the next wake, or at once if one was missed.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Whether frontiers must be compared again. Resets the request.
    pub(super) fn take_behind(&self) -> bool {
        self.behind.swap(false, Ordering::Relaxed)
    }
}

impl Sessions {
    fn with<T>(&self, peer: Did, change: impl FnOnce(&mut PeerSync) -> T) -> T {
        change(self.peers.lock().unwrap_or_else(PoisonError::into_inner).entry(peer).or_default())
    }

    /// A connection to a peer with these abilities is open.
    pub(super) fn opened(&self, peer: Did, abilities: Abilities) {
        self.with(peer, |sync| {
            sync.abilities = Some(abilities);
            sync.away = None;
        });
        self.contacts.send_replace(());
    }

    /// Changes when a connection is opened or closed.
    pub(crate) fn contacts(&self) -> watch::Receiver<()> {
        self.contacts.subscribe()
    }

    /// The peers with an open connection.
    pub(crate) fn open(&self) -> BTreeSet<Did> {
        let syncs = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        syncs.iter().filter(|(_, sync)| sync.abilities.is_some()).map(|(peer, _)| *peer).collect()
    }

    /// The peers with an open connection that serve a room.
    pub(crate) fn that_serve(&self, room: &str) -> BTreeSet<Did> {
        let syncs = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let serves = |sync: &PeerSync| sync.abilities.as_ref().is_some_and(|abilities| abilities.serves(room));
        syncs.iter().filter(|(_, sync)| serves(sync)).map(|(peer, _)| *peer).collect()
    }

    /// The highest format of critical state that a peer with an open connection reads.
    pub(crate) fn critical_format_of(&self, peer: &Did) -> Option<u16> {
        let syncs = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let abilities = syncs.get(peer).and_then(|sync| sync.abilities.as_ref());
        abilities.map(|abilities| abilities.critical_format_max)
    }

    /// The connection to a peer is closed. Its frontier stays for a while, in a bound.
    pub(super) fn closed(&self, peer: Did) {
        self.close(peer);
        self.contacts.send_replace(());
    }

    fn close(&self, peer: Did) {
        let mut syncs = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let last = syncs.values().filter_map(|sync| sync.away).max();
        if let Some(sync) = syncs.get_mut(&peer) {
            sync.abilities = None;
            sync.away = Some(last.map_or(0, |last| last + 1));
        }
        let heads = |syncs: &BTreeMap<Did, PeerSync>| -> usize {
            syncs.values().filter(|sync| sync.away.is_some()).map(|sync| sync.durable.len()).sum()
        };
        while heads(&syncs) > AWAY_HEADS_MAX {
            let kept = syncs.values_mut().filter(|sync| !sync.durable.is_empty());
            let Some(oldest) = kept.filter(|sync| sync.away.is_some()).min_by_key(|sync| sync.away) else { return };
            oldest.durable = Arc::default();
        }
    }

    /// The derived spaces that some open peer does not know. Gossip reaches all of them.
    pub(super) fn spaces_unnamed_by_some(&self, mesh: &Did) -> BTreeSet<SpaceId> {
        let syncs = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let open = syncs.values().filter_map(|sync| sync.abilities.as_ref());
        open.flat_map(|one| unnamed_spaces(mesh, &one.spaces)).collect()
    }

    /// The highest format of entries that all open peers read. Gossip reaches all of them.
    pub(super) fn entry_format_of_all(&self) -> u16 {
        let syncs = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let formats = syncs.values().filter_map(|sync| sync.abilities.as_ref()).map(|one| one.entry_format_max);
        formats.min().unwrap_or(u16::MAX)
    }

    /// Begins a session, which is live until the answer is dropped. An older one with the same peer ends.
    pub(super) fn begin(&self, peer: Did) -> Live<'_> {
        self.with(peer, |sync| {
            sync.generation += 1;
            sync.live = true;
            sync.poke.wake();
            sync.poke = Arc::default();
            Live { sessions: self, peer, generation: sync.generation, poke: sync.poke.clone() }
        })
    }

    pub(super) fn is_current(&self, peer: Did, generation: u64) -> bool {
        self.with(peer, |sync| sync.generation == generation)
    }

    fn end(&self, peer: Did, generation: u64) {
        self.with(peer, |sync| sync.live &= sync.generation != generation);
    }

    /// Notes a peer's acknowledgement of durable entries.
    pub(super) fn progress(&self, peer: Did, progress: Progress, now: Timestamp) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        self.with(peer, |sync| match progress {
            Progress::Whole(frontier) => sync.durable = Arc::new(frontier),
            Progress::Moved(heads) => {
                let durable = Arc::make_mut(&mut sync.durable);
                heads.into_iter().for_each(|(log, head)| durable.advance(log, head));
            }
        });
    }

    /// Makes a peer's session compare frontiers again.
    pub(super) fn behind(&self, peer: Did) {
        self.with(peer, |sync| {
            sync.poke.behind.store(true, Ordering::Relaxed);
            sync.poke.wake();
        });
    }

    /// Makes all sessions compare frontiers again: entries that they brought are not here.
    pub(super) fn all_behind(&self) {
        for sync in self.peers.lock().unwrap_or_else(PoisonError::into_inner).values() {
            sync.poke.behind.store(true, Ordering::Relaxed);
            sync.poke.wake();
        }
    }

    /// Notes that a peer's frontier was compared with ours: the first write need not wait any more.
    pub(super) fn note_compared(&self) {
        self.compared.send_if_modified(|compared| !std::mem::replace(compared, true));
    }

    /// Whether a peer's frontier was compared with ours, as a watch.
    pub(super) fn compared(&self) -> watch::Receiver<bool> {
        self.compared.subscribe()
    }

    /// The number of other members that have an entry on disk, of those that may read it.
    pub(crate) fn replicas(&self, log: &LogId, seq: u64, may_read: impl Fn(&Did) -> bool) -> usize {
        let syncs = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        syncs.iter().filter(|(peer, sync)| sync.durable.covers(log, seq) && may_read(peer)).count()
    }

    /// The time when a peer last said what it has on its disk, since this node started.
    pub(crate) fn last(&self) -> Option<Timestamp> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of peers with a live session.
    pub(super) fn live(&self) -> usize {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner).values().filter(|sync| sync.live).count()
    }

    /// A peer's durable frontier by its last word, and whether a session is live.
    pub(crate) fn of(&self, peer: Did) -> Option<(Arc<Frontier>, bool)> {
        let syncs = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        syncs.get(&peer).map(|sync| (sync.durable.clone(), sync.live))
    }
}

#[cfg(test)]
mod tests {
    use nexus_crdt::{EntryId, Head, Incarnation};

    use super::*;

    fn did(n: u8) -> Did {
        Did::from_bytes([n; 32])
    }

    /// promise: Tasks | A session whose task is dropped half-way counts as ended, and the end of an older one ends no later one
    #[test]
    fn a_session_is_live_until_it_is_dropped() {
        let sessions = Sessions::default();
        let is_live = || sessions.of(did(1)).unwrap().1;
        let begun = sessions.begin(did(1));
        let session = async {
            let _begun = begun;
            std::future::pending::<()>().await;
        };
        let mut session = Box::pin(session);
        let _ = futures::FutureExt::now_or_never(session.as_mut());
        assert!(is_live());
        drop(session);
        assert_eq!((is_live(), sessions.live()), (false, 0));
        let older = sessions.begin(did(1));
        let later = sessions.begin(did(1));
        drop(older);
        assert!(is_live(), "the later one goes on");
        drop(later);
        assert!(!is_live());
    }

    #[test]
    fn gossip_has_the_format_that_every_open_peer_reads() {
        let sessions = Sessions::default();
        let [old, new] = [1, 2].map(|n| Did::from_bytes([n; 32]));
        assert_eq!(sessions.entry_format_of_all(), u16::MAX, "nobody hears it");
        sessions.opened(new, Abilities { entry_format_max: 3, ..Abilities::first() });
        assert_eq!(sessions.entry_format_of_all(), 3);
        sessions.opened(old, Abilities::first());
        assert_eq!(sessions.entry_format_of_all(), 1);
        sessions.closed(old);
        assert_eq!(sessions.entry_format_of_all(), 3);
    }

    /// promise: Bad input | Frontiers of peers that went away are kept in a bound, the latest ones
    #[test]
    fn frontiers_of_peers_that_went_away_are_bounded() {
        let sessions = Sessions::default();
        let frontier = |heads: usize| {
            let mut frontier = Frontier::default();
            for n in 0..heads {
                let incarnation = Incarnation(n.to_le_bytes());
                let log = LogId { space: SpaceId::default_of(&did(0)), author: did(0), incarnation };
                frontier.advance(log, Head { seq: 0, id: EntryId::from_bytes([0; 32]) });
            }
            frontier
        };
        for n in 1..=5 {
            sessions.opened(did(n), Abilities::first());
            sessions.progress(did(n), Progress::Whole(frontier(AWAY_HEADS_MAX / 2)), Timestamp::from_ms(n.into()));
        }
        let heads = |n| sessions.of(did(n)).unwrap().0.len();
        assert!((1..=5).all(|n| heads(n) == AWAY_HEADS_MAX / 2), "all of them are here");
        for n in 1..=4 {
            sessions.closed(did(n));
        }
        assert_eq!([1, 2, 3, 4, 5].map(heads), [0, 0, AWAY_HEADS_MAX / 2, AWAY_HEADS_MAX / 2, AWAY_HEADS_MAX / 2]);
        sessions.opened(did(3), Abilities::first());
        sessions.closed(did(5));
        assert_eq!(heads(4), AWAY_HEADS_MAX / 2, "one is back, so two are away");
    }

    #[test]
    fn gossip_is_of_the_spaces_that_every_open_peer_knows() {
        let sessions = Sessions::default();
        let [old, new, mesh] = [1, 2, 3].map(|n| Did::from_bytes([n; 32]));
        let all = nexus_crdt::DERIVED_SPACES.map(str::to_owned).into();
        sessions.opened(new, Abilities { spaces: all, ..Abilities::first() });
        assert_eq!(sessions.spaces_unnamed_by_some(&mesh), BTreeSet::new());
        sessions.opened(old, Abilities::first());
        assert_eq!(sessions.spaces_unnamed_by_some(&mesh), BTreeSet::from([SpaceId::tasks_of(&mesh)]));
        sessions.closed(old);
        assert_eq!(sessions.spaces_unnamed_by_some(&mesh), BTreeSet::new());
    }
}
