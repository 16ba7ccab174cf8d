//! The abilities of a node: the formats, kinds and rooms that it names in its hello.

use std::collections::BTreeSet;

use crate::wire;

/// The most kinds read from a peer's list.
const KINDS_MAX: usize = 256;
/// The most names read from a peer's list of rooms or of spaces.
const NAMES_MAX: usize = 64;
/// The longest name that is read, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// The formats, kinds and rooms that a node can read and serve, by its own word.
///
/// A lie harms the liar alone: it is sent too little, or more than it can read. The two formats that
/// end in `_now` are hints for asking. They are never a reason to write in a later format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// The highest format of entries that it reads, from 1.
    pub entry_format_max: u16,
    /// The highest format of critical state that it reads, from 0.
    pub critical_format_max: u16,
    /// The kinds of entries that it knows.
    pub kinds: BTreeSet<u16>,
    /// The rooms that it serves, such as `/nexus/sync/1`.
    pub rooms: BTreeSet<String>,
    /// The derived spaces that it knows, by name.
    pub spaces: BTreeSet<String>,
    /// The format in which it writes entries.
    pub entry_format_now: u16,
    /// The format of critical state in its copy.
    pub critical_format_now: u16,
    /// Its manners at rest. 0: it expects each sign of life at the rates of before there were any. From 1 on it knows
    /// that coordinators rest, and that acknowledgements, digests and beats come rarely.
    pub rest: u16,
    /// The form of sync messages that it reads. 0: each entry has its whole header. 1: one that follows on another of the
    /// same stream may lack what that one said.
    pub sync: u16,
}

impl Abilities {
    /// The abilities of a node that names none: the formats, kinds and rooms from before hellos had
    /// abilities.
    pub fn first() -> Self {
        let names = |names: [&str; 2]| names.map(str::to_owned).into();
        Self {
            entry_format_max: 1,
            critical_format_max: 0,
            kinds: [1, 3, 4, 14].into(),
            rooms: names(["/nexus/sync/1", "/nexus/raft/1"]),
            spaces: names(["mesh", "default"]),
            entry_format_now: 1,
            critical_format_now: 0,
            rest: 0,
            sync: 0,
        }
    }

    /// Whether it serves a room.
    pub fn serves(&self, room: &str) -> bool {
        self.rooms.contains(room)
    }

    pub(crate) fn to_wire(&self) -> wire::Abilities {
        let names = |names: &BTreeSet<String>| names.iter().take(NAMES_MAX).cloned().collect();
        wire::Abilities {
            entry_format_max: self.entry_format_max.into(),
            critical_format_max: self.critical_format_max.into(),
            kinds: self.kinds.iter().take(KINDS_MAX).map(|kind| u32::from(*kind)).collect(),
            rooms: names(&self.rooms),
            spaces: names(&self.spaces),
            entry_format_now: self.entry_format_now.into(),
            critical_format_now: self.critical_format_now.into(),
            rest: self.rest.into(),
            sync: self.sync.into(),
        }
    }

    /// The abilities in a peer's hello. Numbers, names and lists beyond their bounds are ignored.
    pub(crate) fn from_wire(said: Option<&wire::Abilities>) -> Self {
        let Some(said) = said else { return Self::first() };
        let format = |format: u32| u16::try_from(format).unwrap_or(u16::MAX);
        let names = |names: &[String]| {
            let named = names.iter().take(NAMES_MAX).filter(|name| (1..=NAME_BYTES_MAX).contains(&name.len()));
            named.cloned().collect()
        };
        Self {
            entry_format_max: format(said.entry_format_max).max(1),
            critical_format_max: format(said.critical_format_max),
            kinds: said.kinds.iter().take(KINDS_MAX).filter_map(|kind| u16::try_from(*kind).ok()).collect(),
            rooms: names(&said.rooms),
            spaces: names(&said.spaces),
            entry_format_now: format(said.entry_format_now).max(1),
            critical_format_now: format(said.critical_format_now),
            rest: format(said.rest),
            sync: format(said.sync),
        }
    }
}

impl Default for Abilities {
    fn default() -> Self {
        Self::first()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_peer_that_says_nothing_can_do_what_could_be_done_before() {
        let first = Abilities::from_wire(None);
        assert_eq!((first.entry_format_max, first.critical_format_max), (1, 0));
        assert!(first.serves("/nexus/sync/1") && first.serves("/nexus/raft/1") && !first.serves("/nexus/task/1"));
        // an empty message is from a node that reads the first formats and serves nothing
        let nothing = Abilities::from_wire(Some(&wire::Abilities::default()));
        assert_eq!((nothing.entry_format_max, nothing.critical_format_max, nothing.rooms.len()), (1, 0, 0));
    }

    /// promise: Keys and locks | A peer says in its hello what it reads and serves, within bounds; no stream is opened in a room that it did not name
    #[test]
    fn lists_and_names_beyond_their_bounds_are_cut() {
        let said = wire::Abilities {
            entry_format_max: u32::MAX,
            kinds: (0..100_000).collect(),
            rooms: (0..100).map(|n| format!("/r/{n:0>130}")).chain(["/r".to_owned()]).collect(),
            spaces: (0..100).map(|n| n.to_string()).collect(),
            ..wire::Abilities::default()
        };
        let read = Abilities::from_wire(Some(&said));
        assert_eq!((read.entry_format_max, read.kinds.len()), (u16::MAX, KINDS_MAX));
        assert_eq!((read.rooms.len(), read.spaces.len()), (0, NAMES_MAX));
    }

    proptest! {
        #[test]
        fn abilities_survive_the_wire(
            formats in any::<[u16; 6]>(),
            kinds in proptest::collection::btree_set(any::<u16>(), 0..20),
            rooms in proptest::collection::btree_set("[a-z/]{1,20}", 0..8),
            spaces in proptest::collection::btree_set("[a-z]{1,20}", 0..8),
        ) {
            let [entry_max, critical_format_max, entry_now, critical_format_now, rest, sync] = formats;
            let (entry_format_max, entry_format_now) = (entry_max.max(1), entry_now.max(1));
            let abilities = Abilities {
                entry_format_max, critical_format_max, kinds, rooms, spaces, entry_format_now, critical_format_now,
                rest, sync,
            };
            prop_assert_eq!(Abilities::from_wire(Some(&abilities.to_wire())), abilities);
        }
    }
}
