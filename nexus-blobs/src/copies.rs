use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// The most copies of a blob that a node asks for, its own among them.
pub const COPIES_MAX: usize = 16;
/// The time without a word after which a holder does not count any more.
pub const HOLDER_GONE: Duration = Duration::from_secs(7 * 24 * 3_600);
/// The time after which a holder is asked whether it still keeps its copy.
pub const HOLDER_ASKED_EVERY: Duration = Duration::from_secs(24 * 3_600);
/// The most holders that are known of a blob: those that are gone may come back.
const HOLDERS_MAX: usize = 4 * COPIES_MAX;

/// The copies of a blob that a node has others keep.
///
/// A copy counts for a week after its holder has said that it keeps it. If there are too few, further members are asked. If
/// there are too many, since one came back that was taken for gone, the last ones are told that they may let go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copies<P> {
    wanted: usize,
    /// The holders, each with the last time that it said so, in milliseconds since the epoch.
    holders: BTreeMap<P, u64>,
}

/// A question to a member about a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CopyStep<P> {
    /// It is asked to keep one, or whether it still does.
    Keep(P),
    /// It is told that it may let go of its own.
    Release(P),
}

impl<P: Copy + Ord> Copies<P> {
    /// So many copies, the own one among them, at most [`COPIES_MAX`]. Nobody else has one yet.
    pub fn new(wanted: usize) -> Self {
        Self { wanted: wanted.clamp(1, COPIES_MAX), holders: BTreeMap::new() }
    }

    /// The number of copies that are wanted, the own one among them.
    pub const fn wanted(&self) -> usize {
        self.wanted
    }

    /// Wants another number of copies.
    pub fn want(&mut self, wanted: usize) {
        self.wanted = wanted.clamp(1, COPIES_MAX);
    }

    /// The holders, each with the last time that it said so, in milliseconds since the epoch.
    pub fn holders(&self) -> impl Iterator<Item = (P, u64)> {
        self.holders.iter().map(|(peer, at)| (*peer, *at))
    }

    /// The number of copies that count, the own one among them.
    pub fn count(&self, now_ms: u64) -> usize {
        1 + self.holders.values().filter(|at| counts(**at, now_ms)).count()
    }

    /// Whether nobody else is wanted, or has to be told.
    pub fn is_over(&self) -> bool {
        self.wanted == 1 && self.holders.is_empty()
    }

    /// Notes that a member keeps a copy.
    pub fn keeps(&mut self, peer: P, now_ms: u64) {
        self.holders.insert(peer, now_ms);
        while self.holders.len() > HOLDERS_MAX {
            let oldest = self.holders.iter().min_by_key(|(_, at)| **at).map(|(peer, _)| *peer);
            oldest.map(|oldest| self.holders.remove(&oldest));
        }
    }

    /// Notes that a member keeps none.
    pub fn keeps_none(&mut self, peer: P) {
        self.holders.remove(&peer);
    }

    /// Notes that a copy is coming to a member. It does not count yet; nobody else is asked in its place while it is in reach.
    pub fn comes(&mut self, peer: P) {
        let known = self.holders.get(&peer).copied();
        self.keeps(peer, known.unwrap_or(0));
    }

    /// The members to ask now, of those in reach, the best first. Some of them have said `no` a while ago. Holders are asked
    /// once a day, or `all` of them now.
    pub fn steps(&self, in_reach: &[P], no: &BTreeSet<P>, all: bool, now_ms: u64) -> Vec<CopyStep<P>> {
        let others = self.wanted - 1;
        let mut steps = Vec::new();
        let mut kept = 0;
        // one in reach is not let go of for one that is away
        for peer in in_reach.iter().copied().filter(|peer| self.holders.contains_key(peer)) {
            if kept < others {
                kept += 1;
                let is_due = self.holders.get(&peer).is_none_or(|at| !is_within(HOLDER_ASKED_EVERY, *at, now_ms));
                steps.extend((all || is_due).then_some(CopyStep::Keep(peer)));
            } else {
                steps.push(CopyStep::Release(peer));
            }
        }
        kept += self.holders.iter().filter(|(peer, at)| counts(**at, now_ms) && !in_reach.contains(peer)).count();
        let new = in_reach.iter().copied().filter(|peer| !self.holders.contains_key(peer) && !no.contains(peer));
        steps.extend(new.take(others.saturating_sub(kept)).map(CopyStep::Keep));
        steps
    }
}

fn counts(at_ms: u64, now_ms: u64) -> bool {
    is_within(HOLDER_GONE, at_ms, now_ms)
}

fn is_within(time: Duration, at_ms: u64, now_ms: u64) -> bool {
    u128::from(now_ms.saturating_sub(at_ms)) < time.as_millis()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WEEK: u64 = HOLDER_GONE.as_secs() * 1_000;

    fn none() -> BTreeSet<u8> {
        BTreeSet::new()
    }

    fn steps(copies: &Copies<u8>, in_reach: &[u8], now: u64) -> Vec<CopyStep<u8>> {
        copies.steps(in_reach, &none(), true, now)
    }

    #[test]
    fn a_holder_that_is_gone_for_a_week_is_replaced_and_may_let_go_when_it_is_back() {
        use CopyStep::{Keep, Release};
        let mut copies = Copies::new(3);
        assert_eq!(steps(&copies, &[5, 4, 3], 0), [Keep(5), Keep(4)]);
        copies.keeps(5, 0);
        copies.keeps(4, 0);
        assert_eq!((copies.count(WEEK - 1), copies.count(WEEK)), (3, 1));
        // it is away for a while: nobody else is asked
        assert_eq!(steps(&copies, &[4, 3], 1_000), [Keep(4)]);
        copies.keeps(4, WEEK - 1);
        assert_eq!(steps(&copies, &[4, 3], WEEK), [Keep(4), Keep(3)]);
        copies.keeps(3, WEEK);
        assert_eq!(steps(&copies, &[5, 4, 3], WEEK + 1), [Keep(5), Keep(4), Release(3)]);
        // each of them has said so a moment ago
        copies.keeps(5, WEEK);
        assert_eq!(copies.steps(&[5, 4, 3], &none(), false, WEEK + 1), [Release(3)]);
        copies.want(1);
        assert_eq!(steps(&copies, &[3], WEEK + 1), [Release(3)]);
        for peer in [3, 4, 5] {
            copies.keeps_none(peer);
        }
        assert!(copies.is_over());
    }

    #[test]
    fn a_member_that_said_no_is_passed_over_and_one_to_which_it_comes_is_not() {
        use CopyStep::{Keep, Release};
        let mut copies = Copies::new(2);
        assert_eq!(copies.steps(&[5, 4, 3], &[5].into(), false, 9), [Keep(4)]);
        copies.comes(3);
        assert_eq!((copies.count(WEEK), steps(&copies, &[5, 4, 3], WEEK)), (1, vec![Keep(3)]));
        // if it is away nobody knows of a copy
        assert_eq!(steps(&copies, &[5, 4], WEEK), [Keep(5)]);
        copies.keeps(5, WEEK);
        assert_eq!(steps(&copies, &[5, 4, 3], WEEK), [Keep(5), Release(3)]);
        copies.comes(5);
        assert_eq!(copies.count(WEEK), 2);
    }

    proptest! {
        /// promise: Blobs | So many copies are asked for as are wanted, of each member one at most, and no copy is let go of while there are too few
        #[test]
        fn the_wanted_number_is_reached_and_never_let_go_below(
            wanted in 0_usize..20,
            all in any::<bool>(),
            rounds in prop::collection::vec((prop::collection::btree_set(0_u8..24, 0..24), prop::collection::btree_set(0_u8..24, 0..12), 0..WEEK), 1..40),
        ) {
            let (mut copies, mut now) = (Copies::new(wanted), 0);
            let wanted = copies.wanted();
            for (in_reach, refuses, later) in rounds {
                now += later;
                let in_reach: Vec<u8> = in_reach.into_iter().rev().collect();
                let mut no = BTreeSet::new();
                loop {
                    let before = copies.count(now);
                    let steps = copies.steps(&in_reach, &no, all, now);
                    let asked: BTreeSet<u8> = steps.iter().map(|step| match step { CopyStep::Keep(peer) | CopyStep::Release(peer) => *peer }).collect();
                    prop_assert_eq!(asked.len(), steps.len(), "each once");
                    let known: BTreeSet<u8> = copies.holders().map(|(peer, _)| peer).collect();
                    let new = asked.difference(&known).count();
                    prop_assert!(new <= wanted.saturating_sub(before), "no more than lack");
                    let mut ended = true;
                    for step in &steps {
                        match *step {
                            CopyStep::Keep(peer) if refuses.contains(&peer) => {
                                ended = false;
                                copies.keeps_none(peer);
                                no.insert(peer);
                            }
                            CopyStep::Keep(peer) => copies.keeps(peer, now),
                            CopyStep::Release(peer) => copies.keeps_none(peer),
                        }
                    }
                    let refused = steps.iter().any(|step| matches!(step, CopyStep::Keep(peer) if refuses.contains(peer)));
                    if !refused {
                        prop_assert!(copies.count(now) >= wanted.min(before));
                    }
                    if ended {
                        break;
                    }
                }
                let willing = in_reach.iter().filter(|peer| !refuses.contains(peer)).count();
                prop_assert!(copies.count(now) >= wanted.min(willing + 1));
                prop_assert!(copies.holders().count() <= HOLDERS_MAX);
            }
        }
    }
}
