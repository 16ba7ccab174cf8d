//! The identity of this node and of the other members.

use std::fmt;
use std::sync::Arc;

use nexus_crdt::Members;
use nexus_identity::{Did, Role};
use tokio::sync::watch;

/// A handle to a node's identity and its mesh's members, cheap to clone.
#[derive(Clone)]
pub(crate) struct Identity {
    me: Did,
    mesh: Did,
    members: watch::Receiver<Arc<Members>>,
}

impl Identity {
    /// `members` must be the committed ones.
    pub(crate) const fn new(me: Did, mesh: Did, members: watch::Receiver<Arc<Members>>) -> Self {
        Self { me, mesh, members }
    }

    /// This node's DID.
    pub(crate) const fn me(&self) -> Did {
        self.me
    }

    /// The mesh: the DID of its root key.
    pub(crate) const fn mesh(&self) -> Did {
        self.mesh
    }

    /// The current members of the mesh.
    pub(crate) fn members(&self) -> Arc<Members> {
        self.members.borrow().clone()
    }

    /// The members as they change.
    pub(crate) fn follow(&self) -> watch::Receiver<Arc<Members>> {
        self.members.clone()
    }

    /// The name of a member or former member.
    pub(crate) fn name_of(&self, did: &Did) -> Option<String> {
        self.members.borrow().get_known(did).and_then(|member| member.name()).map(ToString::to_string)
    }

    /// A member's name for people, told apart from those that are like it.
    pub(crate) fn shown_name_of(&self, did: &Did) -> Option<String> {
        self.members.borrow().shown_name(did)
    }

    /// Whether a member is this person's: this node, or another machine of its person.
    pub(crate) fn is_mine(&self, did: &Did) -> bool {
        self.members.borrow().same_person(did, &self.me)
    }

    /// The highest role of a member; `None` for a former member or a stranger.
    pub(crate) fn role_of(&self, did: &Did) -> Option<Role> {
        let members = self.members.borrow();
        let member = members.get(did)?;
        [Role::Admin, Role::Member, Role::Reader].into_iter().find(|role| member.allows(*role))
    }

    /// Whether a member may write, and so make proposals.
    pub(crate) fn may_write(&self, did: &Did) -> bool {
        self.members.borrow().allows(did, Role::Member)
    }

    /// Whether a DID is a member's.
    pub(crate) fn is_member(&self, did: &Did) -> bool {
        self.members.borrow().get(did).is_some()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.me.short())
    }
}
