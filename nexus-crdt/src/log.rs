use borsh::{BorshDeserialize, BorshSerialize};
use nexus_identity::plants::planted;

use crate::entry::{ENTRY_FORMAT_FIRST, ENTRY_FORMAT_MAX, Header};
use crate::entry_id::EntryId;
use crate::frontier::Head;
use crate::log_id::LogId;

/// The entries of a log kept beside its longest branch, from where it is cut on. They suffice to prove
/// a fork.
pub const ASIDE_MAX: u64 = 64;

/// The relation of an entry to its log here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It follows the head.
    Next,
    /// Its place is taken, or it follows another entry than the head: a held entry or a branch.
    Aside,
    /// Earlier entries are missing.
    Gap {
        /// The next seq that the log here can take.
        want: u64,
    },
}

impl Head {
    /// The relation of an entry to a log that ends in `head`; `None` for a log that is not held.
    pub fn admit(head: Option<&Self>, entry: &Header) -> Admission {
        let (want, last) = head.map_or((0, EntryId::ZERO), |head| (head.seq.saturating_add(1), head.id));
        match entry.seq.cmp(&want) {
            std::cmp::Ordering::Greater => Admission::Gap { want },
            std::cmp::Ordering::Equal if entry.prev == last => Admission::Next,
            _ => Admission::Aside,
        }
    }
}

/// The held part of a log, with all its branches.
///
/// It is a function of the set of entries if each seq below the head's has one. The order of their
/// arrival decides nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Branches {
    /// The entry with the greatest seq; of several, the one with the lowest id.
    pub head: Head,
    /// The number of entries.
    pub entries: u64,
    /// The lowest seq of which two entries are held, or known from evidence. No entry from there on counts.
    pub cut: Option<u64>,
    /// The lowest seq of an entry of a later format than the first, with the entry before it.
    pub raised: Option<(u64, EntryId)>,
}

impl Branches {
    /// The log with one more entry that was not in it.
    pub fn with(held: Option<Self>, id: EntryId, header: &Header) -> Self {
        let entry = Head { seq: header.seq, id };
        let raises = (header.format() > ENTRY_FORMAT_FIRST).then_some((header.seq, header.prev));
        let Some(Self { head, entries, cut, raised }) = held else {
            return Self { head: entry, entries: 1, cut: None, raised: raises };
        };
        let twice = (entry.seq <= head.seq).then_some(entry.seq);
        let higher = (entry.seq, std::cmp::Reverse(entry.id)) > (head.seq, std::cmp::Reverse(head.id));
        Self {
            head: if higher { entry } else { head },
            entries: entries.saturating_add(1),
            cut: cut.into_iter().chain(twice).min(),
            raised: raised.into_iter().chain(raises).min(),
        }
    }

    /// The same log, of which evidence shows two entries at a seq.
    #[must_use]
    pub fn cut_at(self, seq: u64) -> Self {
        Self { cut: self.cut.into_iter().chain([seq]).min(), ..self }
    }

    /// Whether an entry at this seq counts.
    pub fn counts(&self, seq: u64) -> bool {
        self.cut.is_none_or(|cut| seq < cut)
    }

    /// Whether a peer that reads entry formats up to this one reads what is before an entry at `seq`,
    /// and that entry.
    pub fn is_readable(&self, seq: u64, reads: u16) -> bool {
        reads >= ENTRY_FORMAT_MAX || self.raised.is_none_or(|(raised, _)| seq < raised)
    }

    /// The head for a peer that reads entry formats up to this one: for it the log ends before the
    /// first entry of a later format. `None` if there is nothing that it reads.
    pub fn head_for(&self, reads: u16) -> Option<Head> {
        match self.raised {
            Some((seq, prev)) if reads < ENTRY_FORMAT_MAX => seq.checked_sub(1).map(|seq| Head { seq, id: prev }),
            _ => Some(self.head),
        }
    }

    /// The number of entries beside the longest branch.
    pub const fn aside(&self) -> u64 {
        self.entries.saturating_sub(self.head.seq.saturating_add(1))
    }

    /// Whether there is room for one more entry at this seq that does not follow the head. There is always
    /// room below the cut: such an entry moves the cut, and where it ends must not depend on the order.
    pub fn has_room_at(&self, seq: u64) -> bool {
        seq > self.head.seq || self.counts(seq) || self.aside() < ASIDE_MAX
    }
}

/// The entries of a log that count: those below a seq, and those on one branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The first seq from which on no entry counts, but for those on the branch.
    pub below: u64,
    /// The last entry of the branch, if there is one.
    pub branch: Option<Head>,
}

impl Reach {
    /// The reach of a log whose author's membership stands: up to where it forked.
    pub const fn up_to(forked_at: Option<u64>) -> Self {
        let below = match forked_at {
            Some(seq) => seq,
            None => u64::MAX,
        };
        Self { below, branch: None }
    }

    /// The reach of a former member's log. Its pin decides which branch counts, so that nobody with its key
    /// can make earlier entries void by a fork.
    pub fn pinned(pin: Option<Head>, forked_at: Option<u64>) -> Self {
        match (pin, forked_at) {
            (None, _) => Self { below: 0, branch: None },
            (Some(pin), Some(below)) if below <= pin.seq => {
                Self { below, branch: Some(pin).filter(|_| !planted("fork_beats_pin")) }
            }
            (Some(pin), _) => Self { below: pin.seq.saturating_add(1), branch: None },
        }
    }
}

/// The branches of the logs held here.
pub trait Branching {
    /// The lowest seq of a log with two entries.
    fn forked_at(&self, log: &LogId) -> Option<u64>;

    /// Whether an entry is on the branch that ends in `last`, as far as that branch is held.
    fn is_on_branch(&self, log: &LogId, entry: &Head, last: &Head) -> bool;
}

/// No log is forked.
#[derive(Clone, Copy, Debug)]
pub struct Unforked;

impl Branching for Unforked {
    fn forked_at(&self, _: &LogId) -> Option<u64> {
        None
    }

    fn is_on_branch(&self, _: &LogId, entry: &Head, last: &Head) -> bool {
        entry.seq <= last.seq
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Draft, Kind, Verified};
    use crate::hlc::Hlc;
    use crate::log_id::Incarnation;
    use crate::payload::Content;
    use crate::space::SpaceId;
    use nexus_identity::Keypair;
    use proptest::prelude::*;

    /// An entry of a branch. Some branches are of the later format from their fourth entry on.
    fn entry(seq: u64, branch: u8) -> Verified {
        let key = Keypair::from_seed(&[1; 32]);
        let mesh = key.did();
        let log = LogId { space: SpaceId::default_of(&mesh), author: mesh, incarnation: Incarnation([0; 8]) };
        let before = seq.checked_sub(1).map(|seq| Head { seq, id: EntryId::of(&[u8::try_from(seq).unwrap(), branch]) });
        let said = vec![branch];
        let payload = if seq < 4 { Content::Whole(said) } else { Content::Parts(vec![([0; 16], said)]) };
        let draft = Draft { mesh, log, after: before.as_ref(), hlc: Hlc(0), kind: Kind(4_000), refs: vec![], payload };
        Verified::write(draft, &key)
    }

    fn with(held: Option<Branches>, entry: &Verified) -> Branches {
        Branches::with(held, entry.id(), entry.header())
    }

    fn held(entries: &[Verified]) -> Branches {
        entries.iter().fold(None, |held, entry| Some(with(held, entry))).unwrap()
    }

    proptest! {
        /// promise: The engine | Nodes that hold the same show the same, whichever branch of a forked log came first
        /// Two branches, each in its own order, mixed.
        #[test]
        fn where_a_log_is_cut_depends_on_the_set_of_entries_alone(
            fork in 1_u64..6, long in 6_u64..12, other in 0_u64..6, turns in prop::collection::vec(any::<bool>(), 24)
        ) {
            let main: Vec<Verified> = (0..long).map(|seq| entry(seq, 0)).collect();
            let branch: Vec<Verified> = (fork..fork + other).map(|seq| entry(seq, 1)).collect();
            let (mut mixed, mut rest) = (main[..usize::try_from(fork).unwrap()].to_vec(), [&main[usize::try_from(fork).unwrap()..], &branch]);
            for turn in turns {
                if let [first, others @ ..] = rest[usize::from(turn)] {
                    mixed.push(first.clone());
                    rest[usize::from(turn)] = others;
                }
            }
            mixed.extend_from_slice(rest[0]);
            mixed.extend_from_slice(rest[1]);
            let in_order = held(&[main, branch].concat());
            prop_assert_eq!(held(&mixed), in_order);
            prop_assert_eq!(in_order.cut, (other > 0).then_some(fork));
            let shorter = (fork + other).min(long) - fork;
            prop_assert_eq!(in_order.aside(), shorter);
        }
    }

    #[test]
    fn of_two_heads_the_lower_id_stands_for_the_log() {
        let (a, b) = (entry(0, 0), entry(0, 1));
        let lowest = a.id().min(b.id());
        let both = held(&[a.clone(), b.clone()]);
        assert_eq!(both, held(&[b, a.clone()]));
        assert_eq!(both.head.id, lowest);
        assert!(!both.counts(0));
        assert!(held(&[a]).counts(0));
    }

    #[test]
    fn what_stands_aside_is_bounded_and_the_longest_branch_is_not() {
        let mut log = held(&[entry(0, 0)]);
        for branch in 1..=64 {
            assert!(log.has_room_at(0));
            log = with(Some(log), &entry(0, branch));
        }
        assert!(!log.has_room_at(0));
        assert!(log.has_room_at(1));
        assert_eq!(with(Some(log), &entry(1, 7)).aside(), ASIDE_MAX);
    }

    /// promise: The engine | A log is cut at its lowest fork, however many forks came before
    #[test]
    fn the_lowest_fork_cuts_a_log_whichever_forks_came_before() {
        let main: Vec<Verified> = (0..=3).map(|seq| entry(seq, 0)).collect();
        let forks: Vec<Verified> = (1..=100).map(|branch| entry(3, branch)).chain([entry(1, 101)]).collect();
        let take = |forks: &mut dyn Iterator<Item = &Verified>| {
            forks.fold(held(&main), |log, fork| match log.has_room_at(fork.header().seq) {
                true => with(Some(log), fork),
                false => log,
            })
        };
        let (low_last, low_first) = (take(&mut forks.iter()), take(&mut forks.iter().rev()));
        assert_eq!((low_last.cut, low_first.cut), (Some(1), Some(1)));
        assert!(low_last.aside() <= ASIDE_MAX + 1 && low_first.aside() <= ASIDE_MAX);
    }

    #[test]
    fn a_log_ends_for_an_older_peer_before_the_first_entry_that_it_does_not_read() {
        let log: Vec<Verified> = (0..7).map(|seq| entry(seq, 0)).collect();
        let all = held(&log);
        assert_eq!(all.head_for(ENTRY_FORMAT_MAX), Some(all.head));
        assert_eq!(all.head_for(ENTRY_FORMAT_FIRST), Some(Head { seq: 3, id: log[4].header().prev }));
        assert!(all.is_readable(3, ENTRY_FORMAT_FIRST) && !all.is_readable(4, ENTRY_FORMAT_FIRST));
        assert!(all.is_readable(6, ENTRY_FORMAT_MAX));
        // an author that goes back to the first format is not read again
        assert_eq!(with(Some(all), &entry(3, 9)).raised, all.raised);
        assert_eq!(held(&log[..4]).head_for(ENTRY_FORMAT_FIRST).unwrap().seq, 3);
        assert_eq!(held(&log[4..5]).head_for(ENTRY_FORMAT_FIRST).unwrap().seq, 3);
    }
}
