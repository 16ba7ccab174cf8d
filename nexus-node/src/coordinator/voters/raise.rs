//! The rules for raising the format of critical state, and for the copies that must go or be replaced first.

use std::collections::BTreeSet;

use super::{Dismissal, Situation, VoterChange};
use crate::coordinator::raft::Voter;

impl Situation<'_> {
    /// The highest format that a copy reads, by its node's own word; `None` while it is silent.
    fn reads(&self, seat: &Voter) -> Option<u16> {
        if *seat == self.me {
            return Some(self.format_max);
        }
        self.members.iter().find(|seen| seen.voter == *seat)?.reads
    }

    /// The highest format that this node and every voter read. It is the current one if a voter reads
    /// no later one or is silent.
    fn reach(&self) -> u16 {
        let voters = self.voters.iter().map(|voter| self.reads(voter).unwrap_or(self.format));
        voters.min().unwrap_or(self.format).clamp(self.format, self.format_max.max(self.format))
    }

    /// The format that a new copy must read: the current one, or the one that is about to be raised.
    pub(super) fn floor(&self) -> u16 {
        self.format.max(self.asked).max(self.reach())
    }

    /// Whether a copy reads every format that this node reads.
    pub(super) fn is_current(&self, seat: &Voter) -> bool {
        self.reads(seat).is_some_and(|reads| reads >= self.format_max)
    }

    /// The next step towards a later format.
    pub(super) fn raise(&self) -> Option<VoterChange> {
        let reach = self.reach();
        if reach <= self.format {
            return self.replace_old();
        }
        let reads = |learner: &Voter| self.reads(learner).is_some_and(|reads| reads >= reach);
        let mut others = self.learners.iter().filter(|learner| !reads(learner)).peekable();
        if others.peek().is_none() {
            return Some(VoterChange::Raise(reach));
        }
        // a silent learner may only be restarting
        let gone = |learner: &Voter| self.away.get(&learner.did).is_some_and(|away| *away >= self.settle);
        others.find_map(|learner| match self.reads(learner) {
            Some(_) => Some(VoterChange::Dismiss(*learner, Dismissal::Old)),
            None => gone(learner).then_some(VoterChange::Dismiss(*learner, Dismissal::Silent)),
        })
    }

    /// Replaces a voter that cannot read this node's highest format by a copy that can. The number of
    /// voters stays, and no fewer of them are up.
    fn replace_old(&self) -> Option<VoterChange> {
        let old = |voter: &&Voter| self.reads(voter).is_some_and(|reads| reads < self.format_max);
        let old = self.voters.iter().find(old)?;
        let heir = self.candidates().into_iter().find(|candidate| self.is_current(candidate))?;
        let others = self.voters.iter().filter(|voter| *voter != old).copied();
        let voters: BTreeSet<Voter> = others.chain([heir]).collect();
        Some(VoterChange::Vote(voters))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::tests::{SETTLE, seen, set, voter};
    use super::super::{SeenMember, Situation};
    use super::*;
    use nexus_identity::Did;

    /// A mesh whose node 1 leads and reads up to format 2.
    struct Mesh {
        format: u16,
        voters: BTreeSet<Voter>,
        learners: BTreeSet<Voter>,
        members: Vec<SeenMember>,
        away: BTreeMap<Did, Duration>,
    }

    impl Mesh {
        /// Other members with the formats that they read; `None` for a silent one.
        fn new(format: u16, voters: &[u8], learners: &[u8], reads: &[(u8, Option<u16>)]) -> Self {
            let members = reads.iter().map(|(n, reads)| SeenMember { reads: *reads, ..seen(*n, 60, 0) }).collect();
            Self { format, voters: set(voters), learners: set(learners), members, away: BTreeMap::new() }
        }

        fn now<T>(&self, decide: impl FnOnce(&Situation<'_>) -> T) -> T {
            let Self { format, voters, learners, members, away } = self;
            decide(&Situation {
                me: voter(1, 0),
                voters,
                learners,
                members,
                ended: &BTreeSet::new(),
                settle: SETTLE,
                format: *format,
                format_max: 2,
                asked: 0,
                away,
            })
        }

        fn plan(&self) -> Option<VoterChange> {
            self.now(|now| now.plan())
        }
    }

    #[test]
    fn a_group_of_one_is_raised_at_once() {
        assert_eq!(Mesh::new(0, &[1], &[], &[]).plan(), Some(VoterChange::Raise(2)));
        assert_eq!(Mesh::new(2, &[1], &[], &[]).plan(), None);
    }

    #[test]
    fn a_format_is_raised_as_far_as_every_voter_and_learner_reads_it() {
        let mesh = |two, three, four| Mesh::new(0, &[1, 2, 3], &[4], &[(2, two), (3, three), (4, four)]);
        assert_eq!(mesh(Some(2), Some(2), Some(2)).plan(), Some(VoterChange::Raise(2)));
        assert_eq!(mesh(Some(2), Some(1), Some(1)).plan(), Some(VoterChange::Raise(1)));
        assert_eq!(
            mesh(Some(9), Some(9), Some(9)).plan(),
            Some(VoterChange::Raise(2)),
            "not above what the leader reads"
        );
        assert_eq!(mesh(Some(2), None, Some(0)).plan(), None, "a voter that is away is waited for");
        let learner = Some(VoterChange::Dismiss(voter(4, 0), Dismissal::Old));
        assert_eq!(mesh(Some(2), Some(2), Some(1)).plan(), learner);
    }

    #[test]
    fn a_learner_that_says_nothing_is_waited_for_and_then_dismissed() {
        let mut mesh = Mesh::new(0, &[1, 2, 3], &[4, 5], &[(2, Some(2)), (3, Some(2)), (4, Some(2))]);
        let five = voter(5, 0);
        mesh.away.insert(five.did, Duration::from_secs(1));
        assert_eq!(mesh.plan(), None);
        mesh.away.insert(five.did, SETTLE);
        assert_eq!(mesh.plan(), Some(VoterChange::Dismiss(five, Dismissal::Silent)));
    }

    #[test]
    fn an_old_voter_gives_its_place_to_a_copy_that_reads_more() {
        let mesh = |voters: &[u8], learners: &[u8], four| {
            Mesh::new(0, voters, learners, &[(2, Some(0)), (3, Some(2)), (4, four)])
        };
        let next = Some(VoterChange::Vote(set(&[1, 3, 4])));
        assert_eq!(mesh(&[1, 2, 3], &[4], Some(2)).plan(), next);
        assert_eq!(mesh(&[1, 2, 3], &[4], Some(0)).plan(), None, "without one the raise waits");
        // then it is a learner, and is dismissed
        assert_eq!(mesh(&[1, 3, 4], &[2], Some(2)).plan(), Some(VoterChange::Dismiss(voter(2, 0), Dismissal::Old)));
        // an unsettled member replaces nobody
        let mut young = mesh(&[1, 2, 3], &[4], Some(2));
        young.members[2].up = Some(Duration::ZERO);
        assert_eq!(young.plan(), None);
    }

    #[test]
    fn who_cannot_read_the_format_gets_no_copy() {
        let mesh = |format, four| Mesh::new(format, &[1, 2, 3], &[], &[(2, Some(0)), (3, Some(0)), (4, four)]);
        assert_eq!(mesh(0, Some(0)).plan(), Some(VoterChange::Learn(voter(4, 0))), "a mesh of old members goes on");
        assert_eq!(mesh(1, Some(0)).plan(), None);
        assert_eq!(mesh(0, None).plan(), None);
        // about to be raised: a new copy of format 0 would have to go at once
        let raising = Mesh::new(0, &[1], &[2], &[(2, Some(0)), (3, Some(0))]);
        assert_eq!(raising.now(|now| now.learn()), None);
    }

    proptest! {
        /// promise: Keys and locks | A later format is raised by a committed command once every copy reads it, and is never lowered
        #[test]
        fn no_copy_ever_meets_a_format_that_it_did_not_say_it_reads(
            format in 0..3u16,
            voters in proptest::collection::btree_set(2..7u8, 0..5),
            learners in proptest::collection::btree_set(2..9u8, 0..6),
            members in proptest::collection::btree_map(
                2..9u8, (proptest::option::of(0..4u16), 0..30u64, any::<bool>()), 0..8,
            ),
            away in 0..20u64,
        ) {
            let voters: Vec<u8> = std::iter::once(1).chain(voters).collect();
            prop_assume!(voters.len() != 2);
            let learners: Vec<u8> = learners.into_iter().filter(|n| !voters.contains(n)).collect();
            let seen = members.iter().map(|(n, (reads, up, is_up))| SeenMember {
                reads: reads.filter(|_| *is_up), up: is_up.then(|| Duration::from_secs(*up)), ..seen(*n, 0, 0)
            });
            let absent = (2..9u8).filter(|n| !members.get(n).is_some_and(|(.., is_up)| *is_up));
            let mesh = Mesh {
                members: seen.collect(),
                away: absent.map(|n| (voter(n, 0).did, Duration::from_secs(away))).collect(),
                ..Mesh::new(format, &voters, &learners, &[])
            };
            let reads = |seat: &Voter| mesh.now(|now| now.reads(seat));
            let up = |seats: &BTreeSet<Voter>| seats.iter().filter(|seat| {
                **seat == voter(1, 0) || mesh.members.iter().any(|seen| seen.voter == **seat && seen.up.is_some())
            }).count();
            match mesh.plan() {
                Some(VoterChange::Raise(to)) => {
                    prop_assert!(to > format && to <= 2);
                    let all = mesh.voters.iter().chain(&mesh.learners);
                    prop_assert!(all.clone().all(|seat| reads(seat).is_some_and(|reads| reads >= to)));
                }
                Some(VoterChange::Learn(seat)) => prop_assert!(reads(&seat).is_some_and(|reads| reads >= format)),
                Some(VoterChange::Vote(next)) => {
                    prop_assert!(next.len() >= mesh.voters.len());
                    prop_assert!(up(&next) >= up(&mesh.voters), "{:?} after {:?}", next, mesh.voters);
                }
                Some(VoterChange::Dismiss(seat, _)) => prop_assert!(mesh.learners.contains(&seat)),
                None => {}
            }
        }
    }
}
