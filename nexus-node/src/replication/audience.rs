use std::collections::BTreeSet;
use std::sync::Arc;

use nexus_crdt::{Branches, ENTRY_FORMAT_FIRST, Head, LogId, Members, SpaceId, SpaceRule, unnamed_spaces};
use nexus_identity::Did;

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

    pub(super) const fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    pub(super) fn members(&self) -> &Members {
        &self.members
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
        let spaces = ledger::read_spaces(view)?;
        let shared = spaces.iter().filter(|(space, row)| self.shares(&row.rule(**space)));
        Ok(shared.map(|(space, _)| *space).collect())
    }
}
