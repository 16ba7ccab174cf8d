//! The rules for voters. The leader applies them one step at a time, from its view of the members.
//!
//! One member votes until two more have settled; then three vote, in one joint change. Two never vote,
//! because two that need each other are worse than one alone. Every member that can has a copy as a
//! learner. A voter is replaced when its membership ends, or when its disk is lost and it comes back
//! with a new draw. A later format is raised once every copy can read it.

mod raise;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use nexus_identity::Did;

use super::raft::Voter;

/// The most members with a copy and no vote.
pub(super) const LEARNERS_MAX: usize = 32;
/// The number of voters without a person's request.
const VOTERS: usize = 3;
/// The most missing entries of a learner that counts as up to date.
const LAG_MAX: u64 = 1_000;

/// A member in the leader's view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SeenMember {
    /// The member as a voter, also outside of the group.
    pub(super) voter: Voter,
    /// Whether it may have a copy: readers may not.
    pub(super) may_learn: bool,
    /// Whether it may vote: a label can forbid it.
    pub(super) may_vote: bool,
    /// The time that it has been up without a break.
    pub(super) up: Option<Duration>,
    /// The number of entries that its copy lacks, if it has one.
    pub(super) lag: Option<u64>,
    /// The highest format of critical state that it reads, by its own word. `None` while it is away, or
    /// while its copy has stopped at data that it cannot read.
    pub(super) reads: Option<u16>,
}

/// The current situation.
#[derive(Clone, Debug)]
pub(super) struct Situation<'a> {
    /// The leader: this node.
    pub(super) me: Voter,
    pub(super) voters: &'a BTreeSet<Voter>,
    pub(super) learners: &'a BTreeSet<Voter>,
    /// The members heard lately, without this node.
    pub(super) members: &'a [SeenMember],
    /// Voters and learners whose membership ended.
    pub(super) ended: &'a BTreeSet<Voter>,
    /// The time that a member must have been up to become a voter.
    pub(super) settle: Duration,
    /// The format of critical state.
    pub(super) format: u16,
    /// The highest format that this node reads.
    pub(super) format_max: u16,
    /// The highest format that this node ever proposed as the leader.
    pub(super) asked: u16,
    /// The time since each member that is away or silent was heard.
    pub(super) away: &'a BTreeMap<Did, Duration>,
}

/// A step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum VoterChange {
    /// Give a member a copy.
    Learn(Voter),
    /// Remove a learner.
    Dismiss(Voter, Dismissal),
    /// Make these the only voters; the former ones keep copies.
    Vote(BTreeSet<Voter>),
    /// Raise critical state to this format.
    Raise(u16),
}

/// The reason why a learner is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dismissal {
    Lost,
    Barred,
    Old,
    Silent,
    Away,
    /// A person asked for it.
    Asked,
}

impl fmt::Display for Dismissal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "its membership is over, or it came back without its disk",
            Self::Barred => "readers have none",
            Self::Old => "it does not read the next format of critical state: update it",
            Self::Away => "it is away, and another member needs its place",
            Self::Asked => "an admin took its copy",
            Self::Silent => "it did not answer, and the next format of critical state waited for it",
        })
    }
}

impl Situation<'_> {
    /// The next step, if there is one to take.
    pub(super) fn plan(&self) -> Option<VoterChange> {
        let seats = || self.grow().or_else(|| self.dismiss()).or_else(|| self.learn());
        self.replace().or_else(|| self.raise()).or_else(seats)
    }

    /// Whether it is lost as a voter: its membership is over, or its disk was lost.
    fn lost(&self, voter: &Voter) -> bool {
        let anew = |seen: &&SeenMember| seen.voter.did == voter.did && seen.voter.draw != voter.draw;
        self.ended.contains(voter) || self.members.iter().any(|seen| anew(&seen))
    }

    /// Learners that could vote: highest readable format first, then longest up.
    fn candidates(&self) -> Vec<Voter> {
        let mut fit: Vec<&SeenMember> = self
            .members
            .iter()
            .filter(|seen| seen.may_learn && seen.may_vote && self.learners.contains(&seen.voter))
            .filter(|seen| seen.up.is_some_and(|up| up >= self.settle) && seen.lag.is_some_and(|lag| lag <= LAG_MAX))
            .filter(|seen| !self.ended.contains(&seen.voter) && seen.reads >= Some(self.floor()))
            .collect();
        fit.sort_by_key(|seen| (!self.is_current(&seen.voter), std::cmp::Reverse(seen.up), seen.voter));
        fit.iter().map(|seen| seen.voter).collect()
    }

    fn replace(&self) -> Option<VoterChange> {
        let (lost, good): (BTreeSet<Voter>, BTreeSet<Voter>) =
            self.voters.iter().partition(|voter| **voter != self.me && self.lost(voter));
        if lost.is_empty() {
            return None;
        }
        let voters: BTreeSet<Voter> =
            good.iter().copied().chain(self.candidates().into_iter().take(lost.len())).collect();
        Some(VoterChange::Vote(never_two(voters, self.me)))
    }

    fn grow(&self) -> Option<VoterChange> {
        let more = self.candidates();
        let missing = VOTERS.checked_sub(self.voters.len()).filter(|missing| *missing > 0)?;
        (more.len() >= missing)
            .then(|| VoterChange::Vote(self.voters.iter().copied().chain(more.into_iter().take(missing)).collect()))
    }

    fn dismiss(&self) -> Option<VoterChange> {
        let old = |seen: &SeenMember| seen.reads.is_some_and(|reads| reads < self.format);
        let why = |learner: &Voter| {
            let seen = self.members.iter().find(|seen| seen.voter == *learner);
            match seen {
                _ if self.lost(learner) => Some(Dismissal::Lost),
                Some(seen) if !seen.may_learn => Some(Dismissal::Barred),
                Some(seen) if old(seen) => Some(Dismissal::Old),
                _ => None,
            }
        };
        self.learners.iter().find_map(|learner| Some(VoterChange::Dismiss(*learner, why(learner)?)))
    }

    fn learn(&self) -> Option<VoterChange> {
        let new = |seen: &&SeenMember| {
            let seated = self.voters.contains(&seen.voter) || self.learners.contains(&seen.voter);
            let able = seen.may_learn && seen.reads >= Some(self.floor());
            !seated && able && seen.up.is_some() && !self.ended.contains(&seen.voter)
        };
        let new = self.members.iter().find(new)?.voter;
        if self.learners.len() < LEARNERS_MAX {
            return Some(VoterChange::Learn(new));
        }
        // somebody that may have left for good makes room
        let away = |learner: &&Voter| self.away.get(&learner.did).copied().filter(|away| *away >= self.settle * 6);
        let longest = self.learners.iter().filter(|learner| away(learner).is_some()).max_by_key(away)?;
        Some(VoterChange::Dismiss(*longest, Dismissal::Away))
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

    /// A member that could replace a voter, but has not been up for long enough.
    pub(super) fn unsettled(&self, instead_of: &Voter) -> Option<Voter> {
        let fit = |seen: &&SeenMember| {
            let free = !self.voters.contains(&seen.voter) && seen.voter.did != instead_of.did;
            free && seen.may_learn && seen.may_vote && seen.up.is_some() && !self.ended.contains(&seen.voter)
        };
        self.members.iter().find(fit).map(|seen| seen.voter)
    }

    /// The voters without one, which another member replaces if one can.
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

/// Reduces two voters to the leader alone.
fn never_two(voters: BTreeSet<Voter>, me: Voter) -> BTreeSet<Voter> {
    if voters.len() == 2 { BTreeSet::from([me]) } else { voters }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(super) const SETTLE: Duration = Duration::from_secs(10);

    pub(super) fn voter(n: u8, draw: u64) -> Voter {
        Voter { did: Did::from_bytes([n; 32]), draw }
    }

    pub(super) fn seen(n: u8, up: u64, lag: u64) -> SeenMember {
        let (up, lag) = (Some(Duration::from_secs(up)), Some(lag));
        SeenMember { voter: voter(n, 0), may_learn: true, may_vote: true, up, lag, reads: Some(0) }
    }

    pub(super) fn set(ns: &[u8]) -> BTreeSet<Voter> {
        ns.iter().map(|n| voter(*n, 0)).collect()
    }

    fn plan(voters: &[u8], learners: &[u8], members: &[SeenMember], ended: &[u8]) -> Option<VoterChange> {
        let (voters, learners, ended) = (set(voters), set(learners), set(ended));
        now(&voters, &learners, members, &ended).plan()
    }

    fn now<'a>(
        voters: &'a BTreeSet<Voter>,
        learners: &'a BTreeSet<Voter>,
        members: &'a [SeenMember],
        ended: &'a BTreeSet<Voter>,
    ) -> Situation<'a> {
        static AWAY: BTreeMap<Did, Duration> = BTreeMap::new();
        let (me, settle, away) = (voter(1, 0), SETTLE, &AWAY);
        Situation { me, voters, learners, members, ended, settle, format: 0, format_max: 0, asked: 0, away }
    }

    /// promise: Keys and locks | One voter becomes three, in one step, when two more have settled; never two
    #[test]
    fn one_voter_becomes_three_when_two_more_have_settled() {
        assert_eq!(plan(&[1], &[2], &[seen(2, 60, 0)], &[]), None);
        assert_eq!(plan(&[1], &[2], &[seen(2, 60, 0), seen(3, 1, 0)], &[]), Some(VoterChange::Learn(voter(3, 0))));
        assert_eq!(plan(&[1], &[2, 3], &[seen(2, 60, 0), seen(3, 9, 0)], &[]), None);
        assert_eq!(plan(&[1], &[2, 3], &[seen(2, 60, 0), seen(3, 10, 5_000)], &[]), None);
        let three = Some(VoterChange::Vote(set(&[1, 2, 3])));
        assert_eq!(plan(&[1], &[2, 3], &[seen(2, 60, 0), seen(3, 10, 0)], &[]), three);
    }

    /// promise: Keys and locks | One voter becomes three, in one step, when two more have settled; never two
    #[test]
    fn who_may_not_vote_has_a_copy_and_who_may_not_read_all_has_none() {
        let never = SeenMember { may_vote: false, ..seen(3, 60, 0) };
        assert_eq!(plan(&[1], &[2, 3], &[seen(2, 60, 0), never], &[]), None);
        let reader = SeenMember { may_learn: false, ..seen(3, 60, 0) };
        assert_eq!(plan(&[1], &[2], &[seen(2, 60, 0), reader.clone()], &[]), None);
        assert_eq!(
            plan(&[1], &[2, 3], &[seen(2, 60, 0), reader], &[]),
            Some(VoterChange::Dismiss(voter(3, 0), Dismissal::Barred))
        );
    }

    /// promise: Keys and locks | Members that left hold no copy that one that is up needs
    #[test]
    fn of_too_many_copies_the_one_that_is_away_the_longest_makes_room() {
        let learners: Vec<u8> = (2..2 + u8::try_from(LEARNERS_MAX).unwrap()).collect();
        let (one, all, nobody) = (set(&[1]), set(&learners), BTreeSet::new());
        let newcomer = [SeenMember { may_vote: false, ..seen(99, 1, 0) }];
        let plan = |away: &BTreeMap<Did, Duration>, members: &[SeenMember]| {
            Situation { away, ..now(&one, &all, members, &nobody) }.plan()
        };
        let away = |ns: &[(u8, u64)]| ns.iter().map(|(n, s)| (voter(*n, 0).did, Duration::from_secs(*s))).collect();
        let long = away(&[(5, 61), (6, 3_600), (7, 59)]);
        assert_eq!(plan(&long, &newcomer), Some(VoterChange::Dismiss(voter(6, 0), Dismissal::Away)));
        assert_eq!(plan(&long, &[]), None, "nobody needs its place");
        assert_eq!(plan(&away(&[(7, 59)]), &newcomer), None, "it may only be restarting");
    }

    /// promise: Keys and locks | One voter becomes three, in one step, when two more have settled; never two
    #[test]
    fn a_voter_that_is_lost_is_replaced_or_one_stays() {
        let all = [seen(2, 60, 0), seen(3, 60, 0), seen(4, 60, 0)];
        let next = Some(VoterChange::Vote(set(&[1, 2, 4])));
        assert_eq!(plan(&[1, 2, 3], &[4], &all, &[3]), next);
        // a new draw: its disk was lost with its promises
        let anew = SeenMember { voter: voter(3, 7), lag: None, ..seen(3, 60, 0) };
        assert_eq!(plan(&[1, 2, 3], &[4], &[seen(2, 60, 0), anew.clone(), seen(4, 60, 0)], &[]), next);
        assert_eq!(plan(&[1, 2, 3], &[], &[seen(2, 60, 0), anew], &[]), Some(VoterChange::Vote(set(&[1]))));
        // a mere absence takes no vote
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
            let members: Vec<SeenMember> = (2..10u8).zip(ups).map(|(n, (up, lag, draw, may_vote, may_learn))| SeenMember {
                voter: voter(n, draw), may_vote, may_learn, ..seen(n, up, lag)
            }).collect();
            let (voters, learners, ended) = (set(&voters), set(&learners), set(&ended.into_iter().collect::<Vec<_>>()));
            let me = voter(1, 0);
            let now = now(&voters, &learners, &members, &ended);
            let planned = match now.plan() {
                Some(VoterChange::Vote(planned)) => {
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
