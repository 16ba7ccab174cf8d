use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use nexus_crdt::{Hlc, Members, RevocationDraft, RootRevocation, Unforked};
use nexus_identity::{Did, Timestamp};
use nexus_mesh::Mesh;
use tokio::sync::watch;

use super::{Inner, MemberInfo, Node};
use crate::engine::{Command, Outcome};
use crate::error::{AccessError, NodeError, Resource};

/// An ended membership.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RevokedMember {
    /// The former member.
    pub did: Did,
    /// The time of its end, by the revoker's clock.
    pub revoked_at: Timestamp,
    /// The number of its logs of which something counts.
    pub pins: usize,
    /// Those whom it had admitted and who stay: this node has admitted them now.
    pub kept: Vec<Did>,
    /// Those whose membership ended with it.
    pub fallen: Vec<Did>,
}

/// The end of a membership, as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MembershipEnd {
    /// The time, by the revoker's clock.
    pub at: Timestamp,
    /// The revoker: the mesh for its root, the member itself if it left.
    pub by: Did,
}

impl Node {
    /// Ends the membership of somebody below this node in the chain of credentials. Its entries that are
    /// here still count, later ones nowhere. Every member that hears of it refuses its connections.
    ///
    /// Members whom it admitted stay if they are in `keep`, all of them for `None`: this node admits them.
    /// An ended membership does not return; the same machine joins again with another key. Revoking a
    /// former member again changes nothing. A former key stands for the one that took its place
    /// ([`current_key`](Self::current_key)).
    ///
    /// # Errors
    /// [`NodeError::Refused`] if this node is not above it, [`NodeError::NotFound`].
    pub async fn revoke(&self, member: Did, keep: Option<BTreeSet<Did>>) -> Result<RevokedMember, NodeError> {
        let (members, named) = (self.0.identity.members(), member);
        let member = self.current_key(named);
        if let Some(ended) = self.ended(&member) {
            return Ok(ended);
        }
        self.check_another_member(&member)?;
        if let Some(ended) = self.end(member, Command::Revoke { member, keep: keep.clone() }).await? {
            return Ok(ended);
        }
        // an admin above the former key ends the new one with it, unless that one is nearer to the root
        if named != member {
            self.end(named, Command::Revoke { member: named, keep }).await?;
            if let Some(ended) = self.ended(&member) {
                return Ok(ended);
            }
        }
        Err(self.not_above(&members, &member))
    }

    /// The key that took the place of a former one, at once or over keys in between, if that one is a member's.
    /// Else the same.
    pub fn current_key(&self, did: Did) -> Did {
        let members = self.0.identity.members();
        let last = members.last_key(&did);
        if members.get(&last).is_some() { last } else { did }
    }

    /// Drafts the end of a membership for the root to sign: [`RevocationDraft::sign`], then
    /// [`revoke_as_root`](Self::revoke_as_root). Nothing changes. The root stands above every member.
    ///
    /// Members whom it admitted stay if they are in `keep`, all of them for `None`. If this node's own
    /// membership would end, too, or if it has nobody's right to admit those who stay, the root admits it.
    ///
    /// # Errors
    /// [`NodeError::NotFound`], or [`NodeError::Refused`] for this node's own membership.
    pub async fn draft_revocation(
        &self,
        member: Did,
        keep: Option<BTreeSet<Did>>,
    ) -> Result<RevocationDraft, NodeError> {
        let Inner { identity, engine, .. } = &*self.0;
        self.check_another_member(&member)?;
        let Some(name) = identity.members().get_known(&identity.me()).and_then(|me| me.name().cloned()) else {
            return Err(AccessError::Revoked.into());
        };
        match engine.run(Command::DraftRevocation { member, keep, name }).await? {
            Outcome::Drafted(draft) => Ok(*draft),
            _ => Err(AccessError::Revoked.into()),
        }
    }

    /// Ends a membership by the root's word. Asked again, it changes nothing.
    ///
    /// # Errors
    /// [`NodeError::Refused`] if the root of this mesh did not sign all of it, for this node.
    pub async fn revoke_as_root(&self, word: RootRevocation) -> Result<RevokedMember, NodeError> {
        let Some(member) = word.revocations.first().map(|revocation| revocation.member) else {
            return Err(AccessError::NotByRoot.into());
        };
        if let Some(ended) = self.ended(&member) {
            return Ok(ended);
        }
        let ended = self.end(member, Command::RevokeAsRoot(Box::new(word))).await?;
        ended.ok_or_else(|| AccessError::NotByRoot.into())
    }

    /// Has the engine end a membership. `None` if it did not.
    async fn end(&self, member: Did, command: Command) -> Result<Option<RevokedMember>, NodeError> {
        let Inner { identity, engine, world, .. } = &*self.0;
        let Outcome::Revoked { pins, kept, fallen } = engine.run(command).await? else { return Ok(None) };
        let revoked = identity.members().revoked(&member);
        let revoked_at = revoked.map_or_else(|| world.wall(), |revoked| at(revoked.at));
        Ok(Some(RevokedMember { did: member, revoked_at, pins, kept, fallen }))
    }

    pub(super) fn check_another_member(&self, member: &Did) -> Result<(), NodeError> {
        let identity = &self.0.identity;
        if *member == identity.me() {
            return Err(AccessError::OwnMembership.into());
        }
        match identity.members().get(member) {
            Some(_) => Ok(()),
            None => Err(NodeError::NotFound { what: Resource::Member, name: member.to_string() }),
        }
    }

    /// A membership that ended before.
    fn ended(&self, member: &Did) -> Option<RevokedMember> {
        let revoked_at = at(self.0.identity.members().revoked(member)?.at);
        Some(RevokedMember { did: *member, revoked_at, pins: 0, kept: Vec::new(), fallen: Vec::new() })
    }

    pub(super) fn not_above(&self, members: &Members, member: &Did) -> NodeError {
        let identity = &self.0.identity;
        if members.get(&identity.me()).is_none() {
            return AccessError::Revoked.into();
        }
        let name = |did: &Did| identity.shown_name_of(did).unwrap_or_else(|| did.short());
        let by = members.may_revoke(member).iter().map(name).collect();
        AccessError::NotAbove { name: name(member), by }.into()
    }

    /// The members whom this one admitted by any of its keys, at once or over others. Their membership ends with its own,
    /// unless they are kept.
    pub fn below(&self, member: &Did) -> Vec<MemberInfo> {
        let members = self.0.identity.members();
        let mut below: BTreeSet<Did> = members.falls_with(member, &Unforked).into_iter().collect();
        below.extend(members.admitted_below(member));
        self.members().into_iter().filter(|member| below.contains(&member.did)).collect()
    }

    /// The members who would lose their membership with this one, now or as soon as the entry with their credentials comes.
    pub(super) fn falling(&self, member: &Did) -> Vec<MemberInfo> {
        let members = self.0.identity.members();
        let falling = [members.falls_with(member, &Unforked), members.shown_below(member)].concat();
        self.members().into_iter().filter(|member| falling.contains(&member.did)).collect()
    }

    /// Ends this node's own membership. It keeps what it has. Returns the time of the end.
    ///
    /// # Errors
    /// [`NodeError::Refused`] if others would lose their membership with it.
    pub async fn leave(&self) -> Result<Timestamp, NodeError> {
        let identity = &self.0.identity;
        let me = identity.me();
        if let Some(revoked) = identity.members().revoked(&me) {
            return Ok(at(revoked.at));
        }
        let below = self.falling(&me);
        if !below.is_empty() {
            let members = below.into_iter().map(|member| member.name).collect();
            return Err(AccessError::WouldTakeAlong { members }.into());
        }
        let ended = self.end(me, Command::Revoke { member: me, keep: None }).await?;
        Ok(ended.ok_or(AccessError::Revoked)?.revoked_at)
    }

    /// The former members, by DID.
    pub fn former_members(&self) -> Vec<(MemberInfo, MembershipEnd)> {
        let members = self.0.identity.members();
        let persons = members.persons();
        let info = |(did, former): (&Did, nexus_crdt::FormerMember<'_>)| {
            let end = MembershipEnd { at: at(former.revoked.at), by: former.revoked.by };
            (super::status::member_info(&members, &persons, did, former.member, &self.did()), end)
        };
        members.former().map(info).collect()
    }
}

fn at(stamp: Hlc) -> Timestamp {
    stamp.time()
}

/// The time in which a former member is told before its connection is closed.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

/// Closes the connections of former members, and keeps them out.
pub(super) async fn shut_out(mut members: watch::Receiver<Arc<Members>>, mesh: Mesh) {
    // whoever was one before the start is kept out from the start on
    let mut before: BTreeSet<Did> = members.borrow().ended().copied().collect();
    mesh.set_revoked(before.iter().copied());
    loop {
        let ended: BTreeSet<Did> = members.borrow_and_update().ended().copied().collect();
        if ended != before {
            if !before.is_superset(&ended) {
                tokio::time::sleep(TOLD_WITHIN).await;
            }
            mesh.set_revoked(ended.iter().copied());
            before = ended;
        }
        if members.changed().await.is_err() {
            return;
        }
    }
}
