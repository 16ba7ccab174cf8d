//! The leader by the words of others. A node asks it, and believes its answers. So a member that says of itself
//! that it leads must not be enough.

use std::collections::{BTreeMap, BTreeSet};

use nexus_identity::Did;

use super::command::Group;
use super::govern::Report;
use super::raft::Seats;

/// A leader by hearsay.
#[derive(Clone, Debug)]
pub(super) struct Hearsay {
    pub(super) group: Group,
    pub(super) leader: Did,
    /// The membership in which it votes.
    pub(super) seats: Seats,
    /// An index of the log that it has applied, or a member that names it.
    pub(super) applied: u64,
}

/// The leader that is believed. `own` are the group and the seats of this node's copy: then only a voter
/// among them leads. Without a copy, a majority of the voters of a reported membership must name the
/// leader, a voter among them. Of several, the one that most members name is believed.
///
/// `seated` says whether all voters of a reported membership have their seats.
pub(super) fn believed(
    said: &BTreeMap<Did, Report>,
    own: Option<(Group, &Seats)>,
    seated: &dyn Fn(Group, &Seats) -> bool,
) -> Option<Hearsay> {
    let names = |did: &Did, group: Group, leader: Did| {
        said.get(did).is_some_and(|said| said.group == Some(group) && said.leader == Some(leader))
    };
    let hearsay = |report: &Report| {
        let (group, leader) = (report.group?, report.leader?);
        let seats = match own {
            Some((of, seats)) if of == group => seats,
            Some(_) => return None,
            None => report.seats.as_ref().filter(|seats| {
                let majority = |voters: &BTreeSet<_>| {
                    let dids: BTreeSet<Did> = voters.iter().map(|voter: &super::raft::Voter| voter.did).collect();
                    dids.iter().filter(|did| names(did, group, leader)).count() * 2 > dids.len()
                };
                !seats.voters.is_empty() && seats.voters.iter().all(majority) && seated(group, seats)
            })?,
        };
        let naming = said.iter().filter(|(did, _)| names(did, group, leader));
        let own_word = said.get(&leader).filter(|said| said.group == Some(group)).map(|said| said.applied);
        let applied = own_word.or_else(|| {
            let voters = naming.clone().filter(|(did, _)| seats.has_voter(did));
            voters.map(|(_, said)| said.applied).max()
        });
        let rank = (naming.count(), group, report.term, report.at);
        let heard = Hearsay { group, leader, seats: seats.clone(), applied: applied.unwrap_or(0) };
        seats.has_voter(&leader).then_some((rank, heard))
    };
    said.values().filter_map(hearsay).max_by_key(|(rank, _)| *rank).map(|(_, heard)| heard)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::raft::Voter;

    const GROUP: Group = Group { generation: 1, id: 7 };

    fn did(n: u8) -> Did {
        Did::from_bytes([n; 32])
    }

    fn seats(voters: &[u8]) -> Seats {
        let voters: BTreeSet<Voter> = voters.iter().map(|n| Voter { did: did(*n), draw: 0 }).collect();
        Seats { all: voters.clone(), voters: vec![voters] }
    }

    /// Reports: each member with the leader that it names, and the voters that it knows.
    fn said(reports: &[(u8, u8, &[u8])]) -> BTreeMap<Did, Report> {
        reports
            .iter()
            .map(|(n, leader, voters)| (did(*n), Report::naming(did(*n), GROUP, did(*leader), seats(voters))))
            .collect()
    }

    fn leader(said: &BTreeMap<Did, Report>, own: Option<&[u8]>) -> Option<u8> {
        let own = own.map(seats);
        let heard = believed(said, own.as_ref().map(|seats| (GROUP, seats)), &|_, _| true)?;
        (1..=9).find(|n| did(*n) == heard.leader)
    }

    /// promise: Bad input | A member that says it leads: it is not asked, and nothing that it says is taken for the coordinators' word
    #[test]
    fn with_a_copy_a_leader_is_one_of_its_voters() {
        let mut reports = said(&[(2, 1, &[1, 2, 3]), (9, 9, &[9])]);
        reports.get_mut(&did(9)).unwrap().term = u64::MAX;
        assert_eq!(leader(&reports, Some(&[1, 2, 3])), Some(1));
        assert_eq!(leader(&said(&[(9, 9, &[9])]), Some(&[1, 2, 3])), None);
        let other = Group { generation: u32::MAX, id: 1 };
        reports.get_mut(&did(2)).unwrap().group = Some(other);
        assert_eq!(leader(&reports, Some(&[1, 2, 3])), None, "of another group");
    }

    /// promise: Bad input | A member that says it leads: it is not asked, and nothing that it says is taken for the coordinators' word
    #[test]
    fn without_a_copy_a_majority_of_the_voters_names_the_leader() {
        let three: &[u8] = &[1, 2, 3];
        assert_eq!(leader(&said(&[(1, 1, three), (2, 1, three)]), None), Some(1));
        assert_eq!(leader(&said(&[(1, 1, three)]), None), None, "one of three");
        assert_eq!(leader(&said(&[(4, 1, three), (5, 1, three)]), None), None, "learners do not vote");
        assert_eq!(leader(&said(&[(1, 1, &[1])]), None), Some(1), "a founder alone");
        // a liar that makes itself the only voter has fewer words than the others
        let mut liar = said(&[(1, 1, three), (2, 1, three), (9, 9, &[9])]);
        let report = liar.get_mut(&did(9)).unwrap();
        (report.term, report.group) = (u64::MAX, Some(Group { generation: u32::MAX, id: 1 }));
        assert_eq!(leader(&liar, None), Some(1));
        let not_a_voter = said(&[(1, 9, three), (2, 9, three)]);
        assert_eq!(leader(&not_a_voter, None), None);
    }

    #[test]
    fn the_index_of_a_liar_does_not_count() {
        let three: &[u8] = &[1, 2, 3];
        let mut reports = said(&[(1, 1, three), (2, 1, three), (9, 1, three)]);
        reports.get_mut(&did(9)).unwrap().applied = u64::MAX;
        assert_eq!(believed(&reports, None, &|_, _| true).unwrap().applied, 5);
    }
}
