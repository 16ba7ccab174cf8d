use std::collections::BTreeSet;
use std::sync::Arc;

use nexus_crdt::{Members, SpaceId, SpaceRule};
use nexus_identity::Did;

use crate::ledger;
use crate::store::{StoreError, View};

/// The two ends of a sync, and the members. A sync only covers the spaces that both ends may read.
///
/// Both ends leave the same spaces out of their frontiers, so equal entries give equal digests.
#[derive(Clone, Debug)]
pub struct Audience {
    me: Did,
    peer: Did,
    members: Arc<Members>,
}

impl Audience {
    /// This node and a peer, among these members.
    pub const fn new(me: Did, peer: Did, members: Arc<Members>) -> Self {
        Self { me, peer, members }
    }

    pub(super) const fn me(&self) -> Did {
        self.me
    }

    pub(super) fn mesh(&self) -> Did {
        self.members.mesh()
    }

    /// Whether the peer is a known member. Nothing is sent before that.
    pub(super) fn is_known(&self) -> bool {
        self.members.get(&self.peer).is_some()
    }

    /// Takes a new set of members. Returns whether it differs from the former one.
    pub(super) fn follow(&mut self, members: &Arc<Members>) -> bool {
        let new = !Arc::ptr_eq(&self.members, members);
        if new {
            self.members = members.clone();
        }
        new
    }

    /// Whether both ends may read a space.
    pub(super) fn shares(&self, space: &SpaceRule) -> bool {
        [&self.me, &self.peer].into_iter().all(|end| self.members.may_read(end, space))
    }

    /// The spaces of a state that both ends may read.
    pub(super) fn shared_spaces(&self, view: &dyn View) -> Result<BTreeSet<SpaceId>, StoreError> {
        let spaces = ledger::read_spaces(view)?;
        let shared = spaces.iter().filter(|(space, row)| self.shares(&row.rule(**space)));
        Ok(shared.map(|(space, _)| *space).collect())
    }
}
