//! The coordinators as this node sees them: in its copy, or by the words of the others.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;

use nexus_identity::Did;
use nexus_mesh::PeerState;

use super::Coordinator;
use super::format::TooNew;
use super::overview::{CoordinatorRole, Coordinators, OldMember, Seat, SeatState};
use super::raft::Seats;
use crate::NodeError;

/// The validity of a leader's report on its quorum. Applied lags behind commit for moments only.
const HEARSAY_MAX: Duration = Duration::from_secs(10);

impl Coordinator {
    /// The coordinators as this node sees them; `None` while it knows of none.
    pub(crate) async fn overview(&self) -> Option<Coordinators> {
        let peers = self.mesh.peers().await;
        let running = self.running();
        let (said, silent) = (self.said(), self.silent());
        let (leader, term, commit, applied, seats, generation) = match &running {
            Some(running) => {
                let metrics = running.metrics();
                let applied = *running.applied.index().borrow();
                let seats = Seats::from(metrics.membership_config.membership());
                let commit = metrics.last_applied.map_or(applied, |at| at.index.max(applied));
                (
                    self.leader_in_contact(running),
                    metrics.current_term,
                    commit,
                    applied,
                    seats,
                    running.group.generation,
                )
            }
            None => {
                let fresh = said.values().filter(|said| said.seats.is_some() && said.age() <= HEARSAY_MAX);
                let newest = fresh.max_by_key(|said| (said.group, said.leader.is_some(), said.term))?;
                let generation = newest.group.map_or(0, |group| group.generation);
                (newest.leader, newest.term, newest.applied, newest.applied, newest.seats.clone()?, generation)
            }
        };
        let me = self.identity.me();
        // its last words count for a while, also after the line is cut
        let is_away = |did: &Did| peers.iter().any(|peer| peer.did == *did && peer.state == PeerState::Down);
        let leader = leader.filter(|did| !is_away(did));
        let state = |did: &Did| match peers.iter().find(|peer| peer.did == *did) {
            _ if leader == Some(*did) => SeatState::Leader,
            _ if *did == me => SeatState::Up,
            Some(peer) if peer.state == PeerState::Up => SeatState::Up,
            Some(peer) if peer.state == PeerState::Suspect => SeatState::Suspect,
            _ => SeatState::Down,
        };
        let seat = |did: Did| Seat { did, name: self.name(&did), state: state(&did) };
        let voters: BTreeSet<Did> = seats.voters.iter().flatten().map(|voter| voter.did).collect();
        let learners: BTreeSet<Did> =
            seats.all.iter().map(|voter| voter.did).filter(|did| !voters.contains(did)).collect();
        let is_cut_off = leader == Some(me) && {
            let up = voters.iter().filter(|did| **did == me || !is_away(did)).count();
            up * 2 <= voters.len()
        };
        let role = match () {
            () if leader == Some(me) => Some(CoordinatorRole::Leader),
            () if voters.contains(&me) => Some(CoordinatorRole::Voter),
            () if learners.contains(&me) => Some(CoordinatorRole::Learner),
            () => None,
        };
        let machines: BTreeSet<Vec<u8>> =
            voters
                .iter()
                .map(|did| {
                    if *did == me {
                        self.machine.map(Vec::from)
                    } else {
                        said.get(did).map(|said| said.machine.clone())
                    }
                })
                .map(Option::unwrap_or_default)
                .collect();
        let one_machine = voters.len() > 1 && machines.len() == 1 && machines.iter().all(|machine| !machine.is_empty());
        let (format, format_max) = (*self.formats.raised.borrow(), self.formats.max);
        let reads = |did: &Did| peers.iter().find(|peer| peer.did == *did)?.abilities.as_ref();
        // only the leader waits for a silent copy
        let waits = |did: &Did, seated| {
            let unheard = reads(did).is_none() || silent.contains(did);
            leader == Some(me) && format < format_max && seated && *did != me && unheard
        };
        let old = peers.iter().map(|peer| peer.did).chain(seats.all.iter().map(|voter| voter.did));
        let old: BTreeSet<Did> = old.collect();
        let old = old.into_iter().filter_map(|did| {
            let seated = voters.contains(&did) || learners.contains(&did);
            let waits = waits(&did, seated);
            let reads = reads(&did).map(|abilities| abilities.critical_format_max);
            let is_old = reads.is_some_and(|reads| reads < format_max) || waits;
            let reads = reads.filter(|reads| !waits || *reads < format_max);
            is_old.then(|| OldMember { did, name: self.name(&did), seated, reads })
        });
        Some(Coordinators {
            old: old.collect(),
            format,
            format_max,
            leader,
            term,
            commit,
            applied,
            // a former member that leads alone decides nothing
            quorum: leader.is_some() && !is_cut_off && self.identity.is_member(&me),
            voters: voters.into_iter().map(seat).collect(),
            learners: learners.into_iter().map(seat).collect(),
            role,
            generation,
            one_machine,
        })
    }

    /// The bytes of a later version that this node met, in its own copy or from a member.
    pub(crate) fn too_new(&self) -> Vec<(Option<Did>, TooNew)> {
        let stopped = self.stopped().map(|too_new| (None, too_new));
        let met = *self.met.lock().unwrap_or_else(PoisonError::into_inner);
        let max = self.formats.max;
        let said = self.said().into_iter().filter(|(_, said)| said.format > max);
        let said = said.map(|(did, said)| (Some(did), TooNew::Format { found: said.format, max }));
        stopped.into_iter().chain(met.map(|(did, too_new)| (Some(did), too_new))).chain(said).collect()
    }

    /// The error without a quorum, with the voters that this node cannot reach.
    pub(super) fn no_quorum(&self) -> NodeError {
        // without this copy nobody may be left to decide
        if let Some(error) = self.broken().filter(|_| self.leader().is_none()) {
            return NodeError::Coordinator(error);
        }
        let seats = self.known_seats();
        let voters = voters_of(seats.as_ref());
        let members = self.identity.members();
        let former = voters.iter().filter(|did| members.has_ended(did)).count();
        let (known, lost) = (seats.is_some(), former > 0 && former * 2 >= voters.len());
        NodeError::NoQuorum { missing: self.not_reached(&voters), known, lost }
    }

    /// The voters that this node cannot reach, by name.
    pub(super) fn missing(&self) -> Vec<String> {
        self.not_reached(&voters_of(self.known_seats().as_ref()))
    }

    fn not_reached(&self, voters: &BTreeSet<Did>) -> Vec<String> {
        let up = self.up();
        let missing = voters.iter().filter(|did| **did != self.identity.me() && !up.contains(did));
        missing.map(|did| self.name(did)).collect()
    }

    fn known_seats(&self) -> Option<Seats> {
        match self.running() {
            Some(running) => Some(Seats::from(running.metrics().membership_config.membership())),
            None => self.said().values().filter_map(|said| said.seats.clone()).next(),
        }
    }
}

fn voters_of(seats: Option<&Seats>) -> BTreeSet<Did> {
    let voters = seats.iter().flat_map(|seats| seats.voters.iter().flatten());
    voters.map(|voter| voter.did).collect()
}
