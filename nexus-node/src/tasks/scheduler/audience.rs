//! The members that may read the tasks of a space. No other member's workers get one.

use std::collections::BTreeSet;

use nexus_crdt::{Members, SpaceRule};
use nexus_identity::Did;

/// The members that may read a space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::tasks) enum Audience {
    /// Every member.
    All,
    /// These members alone.
    These(BTreeSet<Did>),
}

impl Audience {
    /// The members that may read a space by its rule.
    pub(in crate::tasks) fn of(members: &Members, rule: &SpaceRule) -> Self {
        if members.all_read(rule) {
            return Self::All;
        }
        let reads = |member: &Did| members.may_read(member, rule);
        Self::These(members.iter().map(|(member, _)| *member).filter(reads).collect())
    }

    pub(in crate::tasks) fn has(&self, member: &Did) -> bool {
        match self {
            Self::All => true,
            Self::These(members) => members.contains(member),
        }
    }
}
