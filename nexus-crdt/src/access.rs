//! Access to spaces: the only place that decides who reads and who writes.
//!
//! Gossip, sync, indexes, answers and counts all ask here. The answer depends only on the members and
//! on the space, so all nodes with the same entries give the same answer.

use nexus_identity::{Did, Role};

use crate::members::Members;
use crate::space::SpaceId;

/// A space with its access rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceRule {
    /// The space.
    pub space: SpaceId,
    /// The rule's number, from the space's definition.
    pub access: u16,
    /// The creator; the mesh itself for the built-in spaces.
    pub creator: Did,
}

/// The rule of open spaces: every member reads, every member except a reader writes.
const OPEN: u16 = 0;

/// The rule of spaces that are hidden from readers. Only tests use it.
#[cfg(any(test, feature = "testing"))]
pub const HIDDEN_FROM_READERS: u16 = u16::MAX;
/// The rule of spaces that admins alone see. Only tests use it: with it a member that has workers may not read a task.
#[cfg(any(test, feature = "testing"))]
pub const ADMINS_ALONE: u16 = u16::MAX - 1;

impl SpaceRule {
    /// The rule of a space that every member reads.
    pub const fn open(space: SpaceId, creator: Did) -> Self {
        Self { space, access: OPEN, creator }
    }

    /// The role that a member needs to read. `None` if this version does not know the rule: entries of such spaces wait.
    const fn least(&self) -> Option<Role> {
        match self.access {
            OPEN => Some(Role::Reader),
            #[cfg(any(test, feature = "testing"))]
            HIDDEN_FROM_READERS => Some(Role::Member),
            #[cfg(any(test, feature = "testing"))]
            ADMINS_ALONE => Some(Role::Admin),
            _ => None,
        }
    }

    /// Whether this version knows the rule.
    const fn is_known(&self) -> bool {
        self.least().is_some()
    }
}

impl Members {
    /// Whether entries count in a space: its rule is known, and its creator may write or might before its
    /// membership ended.
    pub fn is_open(&self, space: &SpaceRule) -> bool {
        space.is_known() && (space.creator == self.mesh() || self.allowed_once(&space.creator, Role::Member))
    }

    /// Whether a member may see a space: its entries and its existence.
    pub fn may_read(&self, member: &Did, space: &SpaceRule) -> bool {
        let admitted = match space.least() {
            Some(Role::Reader) | None => self.get(member).is_some(),
            Some(least) => self.allows(member, least),
        };
        admitted && self.is_open(space)
    }

    /// Whether a node shows its own people a space: its member may see it, or might before its membership
    /// ended. A former member's node keeps what it has.
    pub fn may_show(&self, member: &Did, space: &SpaceRule) -> bool {
        let ended = self.get(member).is_none() && self.get_known(member).is_some();
        self.may_read(member, space) || ended && self.saw(member, space) && self.is_open(space)
    }

    /// Whether a member that is known had the role to see a space, now or before.
    fn saw(&self, member: &Did, space: &SpaceRule) -> bool {
        match space.least() {
            Some(Role::Reader) | None => true,
            Some(least) => self.allowed_once(member, least),
        }
    }

    /// Whether a member's entries count in a space. In the mesh's own space a reader's entries count, too.
    pub fn may_write(&self, author: &Did, space: &SpaceRule) -> bool {
        let of_mesh = space.creator == self.mesh() && space.space == SpaceId::mesh(&self.mesh());
        let admitted = of_mesh || self.allows(author, Role::Member);
        admitted && self.may_read(author, space)
    }

    /// Whether an author's entries may be kept in a space: it may write there, or might before its membership
    /// ended. Which of them count says [`reach_of`](Self::reach_of).
    pub fn may_have_written(&self, author: &Did, space: &SpaceRule) -> bool {
        let of_mesh = space.creator == self.mesh() && space.space == SpaceId::mesh(&self.mesh());
        let admitted = if of_mesh { self.get_known(author).is_some() } else { self.allowed_once(author, Role::Member) };
        admitted && self.saw(author, space) && !self.is_shown_out(author) && self.is_open(space)
    }

    /// Whether every member may see a space. Only entries of such spaces may go to all members.
    pub fn all_read(&self, space: &SpaceRule) -> bool {
        match space.access {
            // the same for every member
            OPEN => self.is_open(space),
            _ => self.iter().all(|(member, _)| self.may_read(member, space)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nexus_identity::{Chain, Claims, Keypair, Timestamp};
    use proptest::prelude::*;

    fn key(n: u8) -> Keypair {
        Keypair::from_seed(&[n; 32])
    }

    /// A mesh with an admin (1), a member (2) and a reader (3). 4 is unknown.
    fn members() -> Members {
        let claims = |issuer: u8, subject: u8, role| {
            let (mesh, name) = (key(0).did(), format!("n{subject}").parse().unwrap());
            let issued = Timestamp::from_ms(1);
            Claims::new(mesh, key(subject).did(), name, [role], issued).issued_by(key(issuer).did())
        };
        let founder = Chain::found(claims(0, 1, Role::Admin).sign(&key(0))).unwrap();
        let mut members = Members::of(key(0).did());
        for (subject, role) in [(2, Role::Member), (3, Role::Reader)] {
            members.admit(&founder.extend(claims(1, subject, role).sign(&key(1))).unwrap()).unwrap();
        }
        members
    }

    fn rule(access: u16, creator: u8) -> SpaceRule {
        SpaceRule { space: SpaceId::from_bytes([7; 32]), access, creator: key(creator).did() }
    }

    fn who(of: impl Fn(&Did) -> bool) -> Vec<u8> {
        (1..=4).filter(|n| of(&key(*n).did())).collect()
    }

    /// promise: Entries and memories | Every member reads an open space, and all but readers write in it
    #[test]
    fn every_member_reads_an_open_space_and_all_but_readers_write_in_it() {
        let members = members();
        let space = rule(0, 2);
        assert_eq!(who(|did| members.may_read(did, &space)), [1, 2, 3]);
        assert_eq!(who(|did| members.may_write(did, &space)), [1, 2]);
        assert!(members.all_read(&space));
    }

    /// promise: Entries and memories | Every member reads an open space, and all but readers write in it
    #[test]
    fn every_member_writes_in_the_mesh_s_own_space() {
        let members = members();
        let mesh = SpaceRule { space: SpaceId::mesh(&key(0).did()), ..rule(0, 0) };
        assert_eq!(who(|did| members.may_write(did, &mesh)), [1, 2, 3]);
        assert_eq!(who(|did| members.may_read(did, &mesh)), [1, 2, 3]);
        // another space that the mesh created is not its own space
        assert_eq!(who(|did| members.may_write(did, &rule(0, 0))), [1, 2]);
    }

    /// promise: Entries and memories | A space of an unknown rule is closed to everybody
    #[test]
    fn a_space_of_an_unknown_rule_or_of_somebody_who_may_not_write_is_closed_to_all() {
        let members = members();
        for space in [rule(1, 2), rule(0, 3), rule(0, 4)] {
            assert!(!members.is_open(&space));
            assert_eq!(who(|did| members.may_read(did, &space) || members.may_write(did, &space)), [0; 0]);
        }
    }

    /// promise: Entries and memories | A space of an unknown rule is closed to everybody
    #[test]
    fn a_space_that_one_member_does_not_read_is_not_read_by_all() {
        let members = members();
        let space = rule(HIDDEN_FROM_READERS, 2);
        assert_eq!(who(|did| members.may_read(did, &space)), [1, 2]);
        assert!(!members.all_read(&space));
        let space = rule(ADMINS_ALONE, 1);
        assert_eq!(who(|did| members.may_read(did, &space)), [1]);
        assert_eq!(who(|did| members.may_write(did, &space)), [1]);
        assert_eq!(who(|did| members.may_have_written(did, &space)), [1]);
    }

    proptest! {
        #[test]
        fn nobody_reads_or_writes_where_nothing_counts(access in prop_oneof![0_u16..3, Just(ADMINS_ALONE), Just(HIDDEN_FROM_READERS)], creator in 0_u8..5, who in 0_u8..5) {
            let (members, space, did) = (members(), rule(access, creator), key(who).did());
            prop_assert!(members.is_open(&space) || !(members.may_read(&did, &space) || members.may_write(&did, &space)));
            prop_assert!(members.get(&did).is_some() || !members.may_read(&did, &space));
            prop_assert!(!members.may_write(&did, &space) || members.may_read(&did, &space), "who writes also reads");
            let all = members.iter().all(|(member, _)| members.may_read(member, &space));
            prop_assert_eq!(members.all_read(&space), all);
        }
    }
}
