use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nexus_crdt::{Branches, ENTRY_FORMAT_FIRST, Head, LogId, Members, SpaceId, SpaceRule, unnamed_spaces};
use nexus_identity::Did;

use crate::ledger::rows::SpaceRow;
use crate::ledger::{self, Quotas};
use crate::store::{StoreError, View};

/// The two ends of a sync, and the members. A sync only covers the spaces that both ends may read and
/// know.
///
/// Both ends leave the same spaces out of their frontiers, so equal entries give equal digests.
#[derive(Clone, Debug)]
pub struct Audience {
    me: Did,
    peer: Did,
    members: Arc<Members>,
    mesh_space: SpaceId,
    /// The latest entry format that the peer reads.
    reads: u16,
    /// The derived spaces that the peer does not know.
    unnamed: BTreeSet<SpaceId>,
    /// The most that this node takes of one author.
    quotas: Quotas,
}

impl Audience {
    /// This node and a peer, among these members. The peer reads the first entry format, and knows every
    /// derived space.
    pub fn new(me: Did, peer: Did, members: Arc<Members>) -> Self {
        let (reads, quotas) = (ENTRY_FORMAT_FIRST, Quotas::default());
        let mesh_space = SpaceId::mesh(&members.mesh());
        Self { me, peer, members, mesh_space, reads, unnamed: BTreeSet::new(), quotas }
    }

    /// The same with a peer that reads entries up to some format. For it each log ends before its first
    /// entry of a later one.
    #[must_use]
    pub fn reading(self, format: u16) -> Self {
        Self { reads: format, ..self }
    }

    /// The same with a peer that names the derived spaces that it knows. A node without a space has no
    /// log of it in its digests either.
    #[must_use]
    pub fn naming(self, spaces: &BTreeSet<String>) -> Self {
        Self { unnamed: unnamed_spaces(&self.members.mesh(), spaces), ..self }
    }

    /// The same with a node that takes no more of one author than this. The engine's quotas must be the same.
    #[must_use]
    pub const fn within(mut self, quotas: Quotas) -> Self {
        self.quotas = quotas;
        self
    }

    /// So many times the pause this node waits before it relays to the peer, as `others` could relay the same. About three of
    /// them wait once, three more twice, six more four times, and the rest eight times. A hash of the pair decides.
    pub(super) fn waits(&self, others: usize) -> u32 {
        let hash = blake3::derive_key("nexus relay order v1", &[*self.me.as_bytes(), *self.peer.as_bytes()].concat());
        let draw = hash.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)) % (others.max(1) as u64);
        match draw {
            0..3 => 1,
            3..6 => 2,
            6..12 => 4,
            _ => 8,
        }
    }

    pub(super) const fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    pub(super) fn members(&self) -> &Members {
        &self.members
    }

    pub(super) fn shared_members(&self) -> Arc<Members> {
        self.members.clone()
    }

    pub(super) const fn reads(&self) -> u16 {
        self.reads
    }

    pub(super) const fn me(&self) -> Did {
        self.me
    }

    pub(super) fn mesh(&self) -> Did {
        self.members.mesh()
    }

    pub(super) const fn mesh_space(&self) -> SpaceId {
        self.mesh_space
    }

    /// Whether the peer is or was a member. Nothing is sent before that.
    pub(super) fn is_known(&self) -> bool {
        self.members.get_known(&self.peer).is_some()
    }

    /// Takes a new set of members. Returns whether it differs from the former one.
    pub(super) fn follow(&mut self, members: &Arc<Members>) -> bool {
        let new = !Arc::ptr_eq(&self.members, members);
        if new {
            self.members = members.clone();
        }
        new
    }

    /// The last entry of a log that is exchanged: one that the peer reads, and of a former member's memories
    /// none after the last that counts. `None` if there is nothing to exchange.
    pub(super) fn last(&self, view: &dyn View, log: &LogId, held: &Branches) -> Result<Option<Head>, StoreError> {
        ledger::exchanged_head(view, &self.members, self.mesh_space, log, held.head_for(self.reads))
    }

    /// Whether both ends may read a space, and know it. A former member is still told of the mesh, until its
    /// connection is closed: so it learns that it is one, and others learn that it left.
    pub(super) fn shares(&self, space: &SpaceRule) -> bool {
        let of_mesh = space.space == self.mesh_space;
        let reads = |end: &Did| self.members.may_read(end, space) || of_mesh && self.members.get_known(end).is_some();
        !self.unnamed.contains(&space.space) && [&self.me, &self.peer].into_iter().all(reads)
    }

    /// The spaces of a state that both ends may read.
    pub(super) fn shared_spaces(&self, view: &dyn View) -> Result<BTreeSet<SpaceId>, StoreError> {
        Ok(self.shared_of(&ledger::read_spaces(view)?))
    }

    /// The spaces that both ends may read, of those that are named.
    pub(super) fn shared_of(&self, spaces: &BTreeMap<SpaceId, SpaceRow>) -> BTreeSet<SpaceId> {
        let shared = spaces.iter().filter(|(space, row)| self.shares(&row.rule(**space)));
        shared.map(|(space, _)| *space).collect()
    }
}

#[cfg(test)]
mod tests {
    use nexus_identity::Keypair;

    use super::*;

    /// promise: Nodes | Of many holders about three relay an entry to a peer first, and the others wait up to eight times as long
    #[test]
    fn few_of_many_relay_first() {
        let did = |n: u8| Keypair::from_seed(&[n; 32]).did();
        let members = Arc::new(Members::of(did(0)));
        let waits = |me: u8, peer: u8, others| Audience::new(did(me), did(peer), members.clone()).waits(others);
        let all: Vec<u32> =
            (0..40).flat_map(|peer| (0..40).filter(move |me| *me != peer).map(move |me| waits(me, peer, 38))).collect();
        let count = |wanted| all.iter().filter(|wait| **wait == wanted).count() / 40;
        assert!((2..=4).contains(&count(1)) && (2..=4).contains(&count(2)), "{} and {}", count(1), count(2));
        assert!(all.iter().all(|wait| (1..=8).contains(wait)));
        assert!((1..40).all(|me| waits(me, 0, 3) == 1 && waits(me, 0, 0) == 1), "of few none waits");
    }
}
