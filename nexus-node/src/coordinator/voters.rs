//! Who votes: decided by the leader, one step at a time, from what it sees of the members.
//!
//! One voter until two more members have settled, then three in one joint change; never two,
//! because two that need each other are worse than one alone. Every member that can, has a copy
//! as a learner. A voter whose membership ended, or whose disk was lost (it comes back drawn
//! anew), is replaced.

use std::collections::BTreeSet;
use std::time::Duration;

use super::raft::Voter;

/// How many members have a copy without a vote.
pub(super) const LEARNERS_MAX: usize = 32;
/// How many voters there are of themselves; more only by request.
const VOTERS: usize = 3;
/// A learner is up to date when it lacks no more entries than this.
const LAG_MAX: u64 = 1_000;

/// A member as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Who it is, or would be, in the group.
    pub(super) voter: Voter,
    /// It may have a copy: it is no mere reader.
    pub(super) may_learn: bool,
    /// It may vote: nobody labelled it as one that never does.
    pub(super) may_vote: bool,
    /// For how long it has been up without a break.
    pub(super) up: Option<Duration>,
    /// How many entries its copy lacks, if it has one.
    pub(super) lag: Option<u64>,
}

/// What there is now.
#[derive(Clone, Debug)]
pub(super) struct Now<'a> {
    /// The leader: this node.
    pub(super) me: Voter,
    pub(super) voters: &'a BTreeSet<Voter>,
    pub(super) learners: &'a BTreeSet<Voter>,
    /// The members that were heard of lately, this node excepted.
    pub(super) members: &'a [Seen],
    /// Those in seats whose membership ended.
    pub(super) ended: &'a BTreeSet<Voter>,
    /// How long a member must have been up to become a voter.
    pub(super) settle: Duration,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Give a member a copy.
    Learn(Voter),
    /// Take a copy's seat away.
    Dismiss(Voter),
    /// These vote from now on, and nobody else; those who did have copies.
    Vote(BTreeSet<Voter>),
}

impl Now<'_> {
    /// The next step, if there is one to take.
    pub(super) fn plan(&self) -> Option<Change> {
        self.replace().or_else(|| self.grow()).or_else(|| self.dismiss()).or_else(|| self.learn())
    }

    /// Whether it has ended as a voter: its membership is over, or its disk was lost.
    fn lost(&self, voter: &Voter) -> bool {
        let anew = |seen: &&Seen| seen.voter.did == voter.did && seen.voter.draw != voter.draw;
        self.ended.contains(voter) || self.members.iter().any(|seen| anew(&seen))
    }

    /// Learners that could vote, those that are up longest first.
    fn candidates(&self) -> Vec<Voter> {
        let mut fit: Vec<&Seen> = self
            .members
            .iter()
            .filter(|seen| seen.may_learn && seen.may_vote && self.learners.contains(&seen.voter))
            .filter(|seen| seen.up.is_some_and(|up| up >= self.settle) && seen.lag.is_some_and(|lag| lag <= LAG_MAX))
            .filter(|seen| !self.ended.contains(&seen.voter))
            .collect();
        fit.sort_by_key(|seen| (std::cmp::Reverse(seen.up), seen.voter));
        fit.iter().map(|seen| seen.voter).collect()
    }

    fn replace(&self) -> Option<Change> {
        let (lost, good): (BTreeSet<Voter>, BTreeSet<Voter>) =
            self.voters.iter().partition(|voter| **voter != self.me && self.lost(voter));
        if lost.is_empty() {
            return None;
        }
        let voters: BTreeSet<Voter> =
            good.iter().copied().chain(self.candidates().into_iter().take(lost.len())).collect();
        Some(Change::Vote(never_two(voters, self.me)))
    }

    fn grow(&self) -> Option<Change> {
        let more = self.candidates();
        let missing = VOTERS.checked_sub(self.voters.len()).filter(|missing| *missing > 0)?;
        (more.len() >= missing)
            .then(|| Change::Vote(self.voters.iter().copied().chain(more.into_iter().take(missing)).collect()))
    }

    fn dismiss(&self) -> Option<Change> {
        let barred = |learner: &Voter| self.members.iter().any(|seen| seen.voter == *learner && !seen.may_learn);
        self.learners.iter().find(|learner| self.lost(learner) || barred(learner)).copied().map(Change::Dismiss)
    }

    fn learn(&self) -> Option<Change> {
        if self.learners.len() >= LEARNERS_MAX {
            return None;
        }
        let new = |seen: &&Seen| {
            let seated = self.voters.contains(&seen.voter) || self.learners.contains(&seen.voter);
            !seated && seen.may_learn && seen.up.is_some() && !self.ended.contains(&seen.voter)
        };
        self.members.iter().find(new).map(|seen| Change::Learn(seen.voter))
    }

    /// The voters with one more, if that is allowed.
    pub(super) fn add(&self, voter: Voter) -> BTreeSet<Voter> {
        let mut voters = self.voters.clone();
        voters.insert(voter);
        for more in self.candidates() {
            if voters.len() != 2 {
                break;
            }
            voters.insert(more);
        }
        voters
    }

    /// A member that could take a voter's place, and has not been up for long enough.
    pub(super) fn unsettled(&self, instead_of: &Voter) -> Option<Voter> {
        let fit = |seen: &&Seen| {
            let free = !self.voters.contains(&seen.voter) && seen.voter.did != instead_of.did;
            free && seen.may_learn && seen.may_vote && seen.up.is_some() && !self.ended.contains(&seen.voter)
        };
        self.members.iter().find(fit).map(|seen| seen.voter)
    }

    /// The voters without one: another takes its place if there is one that can.
    pub(super) fn remove(&self, voter: &Voter) -> BTreeSet<Voter> {
        let mut voters = self.voters.clone();
        voters.remove(voter);
        if voters.len() < VOTERS {
            let heir = self.candidates().into_iter().find(|candidate| candidate.did != voter.did);
            voters.extend(heir);
        }
        never_two(voters, self.me)
    }
}

/// Of two voters only the leader stays one.
fn never_two(voters: BTreeSet<Voter>, me: Voter) -> BTreeSet<Voter> {
    if voters.len() == 2 { BTreeSet::from([me]) } else { voters }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nexus_identity::Did;
    use proptest::prelude::*;

    const SETTLE: Duration = Duration::from_secs(10);

    fn voter(n: u8, draw: u64) -> Voter {
        Voter { did: Did::from_bytes([n; 32]), draw }
    }

    fn seen(n: u8, up: u64, lag: u64) -> Seen {
        Seen { voter: voter(n, 0), may_learn: true, may_vote: true, up: Some(Duration::from_secs(up)), lag: Some(lag) }
    }

    fn set(ns: &[u8]) -> BTreeSet<Voter> {
        ns.iter().map(|n| voter(*n, 0)).collect()
    }

    fn plan(voters: &[u8], learners: &[u8], members: &[Seen], ended: &[u8]) -> Option<Change> {
        let (voters, learners, ended) = (set(voters), set(learners), set(ended));
        let me = voter(1, 0);
        Now { me, voters: &voters, learners: &learners, members, ended: &ended, settle: SETTLE }.plan()
    }

    /// promise: Keys and locks | One voter becomes three, in one step, when two more have settled; never two
    #[test]
    fn one_voter_becomes_three_when_two_more_have_settled() {
        assert_eq!(plan(&[1], &[2], &[seen(2, 60, 0)], &[]), None);
        assert_eq!(plan(&[1], &[2], &[seen(2, 60, 0), seen(3, 1, 0)], &[]), Some(Change::Learn(voter(3, 0))));
        assert_eq!(plan(&[1], &[2, 3], &[seen(2, 60, 0), seen(3, 9, 0)], &[]), None);
        assert_eq!(plan(&[1], &[2, 3], &[seen(2, 60, 0), seen(3, 10, 5_000)], &[]), None);
        let three = Some(Change::Vote(set(&[1, 2, 3])));
        assert_eq!(plan(&[1], &[2, 3], &[seen(2, 60, 0), seen(3, 10, 0)], &[]), three);
    }

    /// promise: Keys and locks | One voter becomes three, in one step, when two more have settled; never two
    #[test]
    fn who_may_not_vote_has_a_copy_and_who_may_not_read_all_has_none() {
        let never = Seen { may_vote: false, ..seen(3, 60, 0) };
        assert_eq!(plan(&[1], &[2, 3], &[seen(2, 60, 0), never], &[]), None);
        let reader = Seen { may_learn: false, ..seen(3, 60, 0) };
        assert_eq!(plan(&[1], &[2], &[seen(2, 60, 0), reader.clone()], &[]), None);
        assert_eq!(plan(&[1], &[2, 3], &[seen(2, 60, 0), reader], &[]), Some(Change::Dismiss(voter(3, 0))));
    }

    /// promise: Keys and locks | One voter becomes three, in one step, when two more have settled; never two
    #[test]
    fn a_voter_that_is_lost_is_replaced_or_one_stays() {
        let all = [seen(2, 60, 0), seen(3, 60, 0), seen(4, 60, 0)];
        let next = Some(Change::Vote(set(&[1, 2, 4])));
        assert_eq!(plan(&[1, 2, 3], &[4], &all, &[3]), next);
        // drawn anew: its disk was lost, and its promises with it
        let anew = Seen { voter: voter(3, 7), lag: None, ..seen(3, 60, 0) };
        assert_eq!(plan(&[1, 2, 3], &[4], &[seen(2, 60, 0), anew.clone(), seen(4, 60, 0)], &[]), next);
        assert_eq!(plan(&[1, 2, 3], &[], &[seen(2, 60, 0), anew], &[]), Some(Change::Vote(set(&[1]))));
        // merely being away takes no vote
        assert_eq!(plan(&[1, 2, 3], &[4], &[seen(2, 60, 0), seen(4, 60, 0)], &[]), None);
    }

    proptest! {
        #[test]
        fn there_are_never_two_voters_and_the_leader_is_always_one(
            voters in proptest::collection::btree_set(2..7u8, 0..5),
            learners in proptest::collection::btree_set(2..9u8, 0..6),
            ups in proptest::collection::vec((0..30u64, 0..2_000u64, 0..2u64, any::<bool>(), any::<bool>()), 8),
            ended in proptest::collection::btree_set(2..9u8, 0..3),
            one in 2..9u8,
        ) {
            let voters: Vec<u8> = std::iter::once(1).chain(voters).collect();
            prop_assume!(voters.len() != 2);
            let learners: Vec<u8> = learners.into_iter().filter(|n| !voters.contains(n)).collect();
            let members: Vec<Seen> = (2..10u8).zip(ups).map(|(n, (up, lag, draw, may_vote, may_learn))| Seen {
                voter: voter(n, draw), may_vote, may_learn, ..seen(n, up, lag)
            }).collect();
            let (voters, learners, ended) = (set(&voters), set(&learners), set(&ended.into_iter().collect::<Vec<_>>()));
            let me = voter(1, 0);
            let now = Now { me, voters: &voters, learners: &learners, members: &members, ended: &ended, settle: SETTLE };
            let planned = match now.plan() {
                Some(Change::Vote(planned)) => {
                    prop_assert!(planned.iter().all(|voter| !ended.contains(voter)));
                    prop_assert_ne!(&planned, &voters);
                    Some(planned)
                }
                _ => None,
            };
            for next in [planned, Some(now.remove(&voter(one, 0)))].into_iter().flatten() {
                prop_assert!(next.len() != 2 && next.contains(&me));
            }
        }
    }
}
