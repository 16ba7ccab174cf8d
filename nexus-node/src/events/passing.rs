use std::collections::{BTreeSet, VecDeque};

use nexus_identity::Did;
use tokio::sync::watch;

use super::{EventKind, Events};
#[cfg(feature = "blobs")]
use crate::blobs::BlobNews;
use crate::follow::RecentPlace;
use crate::recent::Noted;

/// A connection to a member opened or closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerNews {
    /// The member.
    pub peer: Did,
    /// Whether there is a connection now.
    pub connected: bool,
}

/// Something that is on no disk.
#[derive(Clone, Debug)]
pub(super) enum Passed {
    Peer(PeerNews),
    #[cfg(feature = "blobs")]
    Blob(BlobNews),
    Missed(BTreeSet<EventKind>),
}

/// Peers and blobs after a place.
pub(super) struct PassingFeed {
    events: Events,
    /// After all that was handed out.
    at: RecentPlace,
    /// After all that was read.
    read: RecentPlace,
    peers: Option<watch::Receiver<u64>>,
    #[cfg(feature = "blobs")]
    blobs: Option<watch::Receiver<u64>>,
    /// Each with the place behind it: a reader that stops before it is told of it again.
    ready: VecDeque<(RecentPlace, Passed)>,
}

impl PassingFeed {
    /// After a place, or from now on; `None` if neither kind is wanted.
    pub(super) fn new(events: Events, kinds: &BTreeSet<EventKind>, after: Option<RecentPlace>) -> Option<Self> {
        let wanted: BTreeSet<EventKind> =
            kinds.iter().copied().filter(|kind| matches!(kind, EventKind::Peers | EventKind::Blobs)).collect();
        if wanted.is_empty() {
            return None;
        }
        let now = events.now();
        let peers = wanted.contains(&EventKind::Peers).then(|| events.0.peers.count());
        #[cfg(feature = "blobs")]
        let blobs = wanted.contains(&EventKind::Blobs).then(|| events.0.here.blobs.recent().count());
        // notes of an earlier run are gone with it
        let is_of_now = after.is_none_or(|after| after.run == now.run);
        let at = after.unwrap_or(now);
        let (read, ready) = match is_of_now {
            true => (at, VecDeque::new()),
            false => (now, VecDeque::from([(now, Passed::Missed(wanted))])),
        };
        Some(Self {
            events,
            at,
            read,
            peers,
            #[cfg(feature = "blobs")]
            blobs,
            ready,
        })
    }

    /// After all that was handed out.
    pub(super) const fn place(&self) -> RecentPlace {
        self.at
    }

    /// The next of them. Cancel-safe.
    pub(super) async fn next(&mut self) -> Passed {
        loop {
            if let Some((place, passed)) = self.ready.pop_front() {
                self.at = place;
                return passed;
            }
            self.at = self.read;
            if !self.read_on() {
                self.changed().await;
            }
        }
    }

    /// Reads what was noted. Whether that was anything.
    fn read_on(&mut self) -> bool {
        let mut at = self.read;
        if let Some(count) = &mut self.peers {
            count.mark_unchanged();
            let Noted { notes, missed, count } = self.events.0.peers.after(at.peers);
            at.peers = count - notes.len() as u64;
            if missed {
                self.ready.push_back((at, Passed::Missed(BTreeSet::from([EventKind::Peers]))));
            }
            for note in notes {
                at.peers += 1;
                self.ready.push_back((at, Passed::Peer(note)));
            }
        }
        #[cfg(feature = "blobs")]
        if let Some(count) = &mut self.blobs {
            count.mark_unchanged();
            let Noted { notes, missed, count } = self.events.0.here.blobs.recent().after(at.blobs);
            at.blobs = count - notes.len() as u64;
            if missed {
                self.ready.push_back((at, Passed::Missed(BTreeSet::from([EventKind::Blobs]))));
            }
            for note in notes {
                at.blobs += 1;
                self.ready.push_back((at, Passed::Blob(note)));
            }
        }
        self.read = at;
        !self.ready.is_empty()
    }

    async fn changed(&mut self) {
        async fn of(count: &mut Option<watch::Receiver<u64>>) {
            let changed = match count {
                Some(count) => count.changed().await.is_ok(),
                None => false,
            };
            if !changed {
                std::future::pending::<()>().await;
            }
        }
        #[cfg(feature = "blobs")]
        tokio::select! {
            () = of(&mut self.peers) => {}
            () = of(&mut self.blobs) => {}
        }
        #[cfg(not(feature = "blobs"))]
        of(&mut self.peers).await;
    }
}

impl Events {
    /// After all that was noted until now.
    fn now(&self) -> RecentPlace {
        #[cfg(feature = "blobs")]
        let blobs = *self.0.here.blobs.recent().count().borrow();
        #[cfg(not(feature = "blobs"))]
        let blobs = 0;
        RecentPlace { run: self.0.run, peers: *self.0.peers.count().borrow(), blobs }
    }
}
