//! Notes that handles leave for the loop without waiting.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::libp2p::Multiaddr;
use nexus_identity::{Chain, Did};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::event::{MessageToken, OpenConnection, Verdict};
use crate::tally::{Tallied, Tallies};

/// Verdicts that wait to be passed on. Older ones are lost, and their messages are not forwarded.
const VERDICTS_MAX: usize = 8_192;
/// Peers and bootstrap addresses that wait for the loop.
const POSTED_MAX: usize = 1_024;

/// Notes of a handle, which does not wait.
#[derive(Default)]
pub(super) struct Posted {
    pub(super) verdicts: VecDeque<(MessageToken, Verdict)>,
    pub(super) know: BTreeMap<Did, Vec<Multiaddr>>,
    pub(super) bootstraps: BTreeSet<Multiaddr>,
    pub(super) paused: BTreeMap<Did, Instant>,
    pub(super) disconnect: BTreeSet<Did>,
    pub(super) beat: Option<Vec<u8>>,
    pub(super) chain: Option<Chain>,
    pub(super) revoked: Option<BTreeSet<Did>>,
    pub(super) formats: Option<(u16, u16)>,
}

/// The state between the handles and the loop.
#[derive(Default)]
pub(crate) struct MeshShared {
    posted: Mutex<Posted>,
    pub(super) listening: Mutex<Vec<Multiaddr>>,
    pub(super) wake: Notify,
    pub(super) tallies: Arc<Tallies>,
    /// The open connections.
    pub(crate) open: watch::Sender<BTreeMap<Did, OpenConnection>>,
    /// Whether this node and all its neighbours have one circle.
    pub(crate) whole: watch::Sender<bool>,
}

impl MeshShared {
    /// Takes all notes.
    pub(super) fn take(&self) -> Posted {
        std::mem::take(&mut *lock(&self.posted))
    }

    fn post(&self, change: impl FnOnce(&mut Posted)) {
        change(&mut lock(&self.posted));
        self.wake.notify_one();
    }

    pub(crate) fn settle(&self, token: MessageToken, verdict: Verdict) {
        self.post(|posted| {
            if posted.verdicts.len() >= VERDICTS_MAX {
                posted.verdicts.pop_front();
            }
            posted.verdicts.push_back((token, verdict));
        });
    }

    pub(crate) fn know(&self, peer: Did, addresses: Vec<Multiaddr>) {
        self.post(|posted| {
            if posted.know.len() < POSTED_MAX {
                posted.know.insert(peer, addresses);
            }
        });
    }

    pub(crate) fn bootstrap(&self, address: Multiaddr) {
        self.post(|posted| {
            if posted.bootstraps.len() < POSTED_MAX {
                posted.bootstraps.insert(address);
            }
        });
    }

    pub(crate) fn pause_gossip(&self, peer: Did, until: Instant) {
        self.post(|posted| {
            if posted.paused.len() < POSTED_MAX {
                posted.paused.insert(peer, until);
            }
        });
    }

    pub(crate) fn disconnect(&self, peer: Did) {
        self.post(|posted| {
            if posted.disconnect.len() < POSTED_MAX {
                posted.disconnect.insert(peer);
            }
        });
    }

    pub(crate) fn set_beat(&self, body: Vec<u8>) {
        self.post(|posted| posted.beat = Some(body));
    }

    pub(crate) fn set_chain(&self, chain: Chain) {
        self.post(|posted| posted.chain = Some(chain));
    }

    pub(crate) fn set_formats(&self, entry: u16, critical: u16) {
        self.post(|posted| posted.formats = Some((entry, critical)));
    }

    pub(crate) fn set_revoked(&self, revoked: BTreeSet<Did>) {
        self.post(|posted| posted.revoked = Some(revoked));
    }

    pub(crate) fn tallied(&self) -> Vec<Tallied> {
        self.tallies.read()
    }

    pub(crate) fn listen_addresses(&self) -> Vec<Multiaddr> {
        lock(&self.listening).clone()
    }
}

/// Takes a lock. A panic elsewhere does not make plain data unusable.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
