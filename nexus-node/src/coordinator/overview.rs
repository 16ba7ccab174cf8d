//! The summary of the coordinators: leader, voters, and mode.

use std::collections::BTreeSet;
use std::sync::PoisonError;
use std::time::Duration;

use nexus_identity::Did;
use nexus_mesh::PeerState;

use super::Coordinator;
use super::format::TooNew;
use super::raft::Seats;
use crate::NodeError;

/// The mode of critical state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// All voters are up.
    Full,
    /// A quorum of the voters is up.
    Core,
    /// Too few voters are up. Critical writes and linearizable reads are refused; everything else goes on.
    ReadOnly,
}

impl Mode {
    /// The word on the command line and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Core => "core",
            Self::ReadOnly => "read_only",
        }
    }
}

/// The state of a voter or learner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeatState {
    /// It leads.
    Leader,
    /// It can be reached.
    Up,
    /// There was no sign of life lately.
    Suspect,
    /// It cannot be reached.
    Down,
}

impl SeatState {
    /// The word on the command line and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::Down => "down",
        }
    }
}

/// A voter or a learner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// The member.
    pub did: Did,
    /// Its name.
    pub name: String,
    /// Its state, as this node sees it.
    pub state: SeatState,
}

/// The coordinators as this node sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coordinators {
    /// The leader, if a quorum seems to follow it.
    pub leader: Option<Did>,
    /// The term, which counts elections.
    pub term: u64,
    /// The index of the last entry known to be committed.
    pub commit: u64,
    /// The index of the last entry applied here; without a copy, by the leader.
    pub applied: u64,
    /// The members with a vote.
    pub voters: Vec<Seat>,
    /// The members with a copy and no vote.
    pub learners: Vec<Seat>,
    /// Whether critical writes are possible.
    pub quorum: bool,
    /// This node's role: `leader`, `voter` or `learner`; `None` without a copy.
    pub role: Option<&'static str>,
    /// The group's generation: the number of times that the coordinators began anew.
    pub generation: u32,
    /// Whether all voters run on one machine, by their own reports.
    pub one_machine: bool,
    /// The format of critical state that this node knows.
    pub format: u16,
    /// The highest format that this node reads.
    pub format_max: u16,
    /// Members that read less than this node. While the format is below this node's highest, also the
    /// voters and learners that this node cannot hear.
    pub old: Vec<OldMember>,
}

/// A member that runs an older version, or may run one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldMember {
    /// Its DID.
    pub did: Did,
    /// Its name.
    pub name: String,
    /// Whether it has a vote or a copy.
    pub seated: bool,
    /// The highest format of critical state that it reads, by its own word; `None` if this node cannot
    /// hear it.
    pub reads: Option<u16>,
}

impl Coordinators {
    /// The mode that follows from this.
    pub fn mode(&self) -> Mode {
        let down = |seat: &Seat| matches!(seat.state, SeatState::Down | SeatState::Suspect);
        match (self.quorum, self.voters.iter().any(down)) {
            (false, _) => Mode::ReadOnly,
            (true, true) => Mode::Core,
            (true, false) => Mode::Full,
        }
    }
}

/// The validity of a leader's report on its quorum. Applied lags behind commit for moments only.
const HEARSAY_MAX: Duration = Duration::from_secs(10);

impl Coordinator {
    /// The coordinators as this node sees them; `None` while it knows of none.
    pub(crate) async fn overview(&self) -> Option<Coordinators> {
        let peers = self.mesh.peers().await;
        let running = self.running();
        let said = self.said();
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
        let role = match () {
            () if leader == Some(me) => Some("leader"),
            () if voters.contains(&me) => Some("voter"),
            () if learners.contains(&me) => Some("learner"),
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
            leader == Some(me) && format < format_max && seated && *did != me && reads(did).is_none()
        };
        let old = peers.iter().map(|peer| peer.did).chain(seats.all.iter().map(|voter| voter.did));
        let old: BTreeSet<Did> = old.collect();
        let old = old.into_iter().filter_map(|did| {
            let seated = voters.contains(&did) || learners.contains(&did);
            let reads = reads(&did).map(|abilities| abilities.critical_format_max);
            let is_old = reads.is_some_and(|reads| reads < format_max) || waits(&did, seated);
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
            quorum: leader.is_some(),
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
        let seats = match self.running() {
            Some(running) => Some(Seats::from(running.metrics().membership_config.membership())),
            None => self.said().values().filter_map(|said| said.seats.clone()).next(),
        };
        let up = self.up();
        let voters: BTreeSet<Did> =
            seats.iter().flat_map(|seats| seats.voters.iter().flatten()).map(|voter| voter.did).collect();
        let missing = voters.iter().filter(|did| **did != self.identity.me() && !up.contains(did));
        NodeError::NoQuorum { missing: missing.map(|did| self.name(did)).collect(), known: seats.is_some() }
    }
}
