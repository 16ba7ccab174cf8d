//! Seats: Raft's messages are taken from voters whose seat an admin signed, and from nobody else.
//!
//! Raft itself believes whoever names a high enough term. So a member without a seat could replace every
//! copy of critical state, and one that names a later group could have every copy begun anew. The seats are
//! entries of the mesh's own space: a copy also knows those of voters that its own membership does not name yet.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use nexus_crdt::Seat;
use nexus_identity::plants::planted;
use nexus_identity::{Did, Role};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Coordinator;
use super::command::Group;
use super::format::{self, encode};
use super::group::Running;
use super::network::Seated;
use super::propose::Reply;
use super::raft::Voter;
use super::wire::{Body, Bytes};
use crate::budget::Budget;

/// Seats that wait to be signed by this node.
pub(crate) const WANTED_MAX: usize = 16;
/// The longest wait until a seat that was signed is known here.
const KNOWN_WITHIN: Duration = Duration::from_secs(2);
/// The time after the start in which a node without a copy waits for seats: they come with the first comparison.
const SEATS_WITHIN: Duration = Duration::from_secs(10);
/// The seats that others can have this node sign at once.
const BUDGET_MAX: u32 = 16;
/// The time in which one more seat can be signed for others.
const BUDGET_EVERY: Duration = Duration::from_secs(10);

/// A seat that this node, an admin's, is to sign.
#[derive(Debug)]
pub(crate) struct SeatWish {
    /// The seat.
    pub(crate) seat: Seat,
    /// Told whether it is signed and on the disk.
    pub(crate) signed: oneshot::Sender<bool>,
}

/// The seats that others may still have this node sign.
pub(super) fn seat_budget(now: Instant) -> Budget {
    Budget::full(BUDGET_MAX, BUDGET_EVERY, now)
}

/// A voter's seat in a group.
const fn seat_of(group: Group, voter: &Voter) -> Seat {
    Seat::new(group.generation, group.id, voter.did, voter.draw)
}

impl Coordinator {
    /// Whether an admin signed a voter's seat.
    pub(super) fn is_seated(&self, group: Group, voter: &Voter) -> bool {
        self.identity.members().has_seat(&seat_of(group, voter))
    }

    /// Whether Raft's messages for a group are taken from a peer: its voter, if the message names one, must
    /// have a seat.
    ///
    /// Before critical state is of a format of which every copy knows of seats, members are believed as before.
    pub(super) fn takes_raft(&self, group: Group, peer: &Did, voter: Option<&Voter>) -> bool {
        if planted("seats_for_everybody") {
            return true;
        }
        let members = self.identity.members();
        let seated = match voter {
            Some(voter) => voter.did == *peer && members.has_seat(&seat_of(group, voter)),
            None => members.has_seat_of(group.generation, group.id, peer),
        };
        seated || !self.needs_seats()
    }

    /// Whether a voter that a peer's answer names has a seat in a group. This node's own vote is no news.
    pub(super) fn seated_in(&self, group: Group) -> Seated {
        let (me, identity, raised) = (self.me(), self.identity.clone(), self.formats.raised.clone());
        Arc::new(move |voter| {
            *voter == me || *raised.borrow() < format::SEATS || identity.members().has_seat(&seat_of(group, voter))
        })
    }

    /// Whether only seats count.
    pub(super) fn needs_seats(&self) -> bool {
        let known = || self.identity.members().has_seats() || self.begun.elapsed() < SEATS_WITHIN;
        *self.formats.raised.borrow() >= format::SEATS || self.running().is_none() && known()
    }

    /// As an admin's node, signs the seats of its own group's voters that have none.
    pub(super) async fn sign_own(&self, running: &Running) {
        let unseated = self.unseated(running.group, &running.voters());
        if unseated.is_empty() || self.role(&self.did()) != Some(Role::Admin) {
            return;
        }
        for voter in unseated {
            self.sign(running.group, &voter).await;
        }
    }

    /// The voters without a seat.
    fn unseated(&self, group: Group, voters: &BTreeSet<Voter>) -> Vec<Voter> {
        voters.iter().filter(|voter| !self.is_seated(group, voter)).copied().collect()
    }

    /// Whether all voters of a group have seats.
    pub(super) fn all_seated(&self, group: Group, voters: &BTreeSet<Voter>) -> bool {
        self.unseated(group, voters).is_empty()
    }

    /// Signs a seat, as an admin's node. Returns whether it is on the disk.
    async fn sign(&self, group: Group, voter: &Voter) -> bool {
        // a reader or a former member votes nowhere
        if !self.may_propose(&voter.did) {
            return false;
        }
        let (signed, done) = oneshot::channel();
        let wish = SeatWish { seat: seat_of(group, voter), signed };
        self.seats.send(wish).await.is_ok() && done.await.unwrap_or(false)
    }

    /// Signs a seat that another voter of this node's group asks for.
    pub(super) async fn sign_for(&self, running: &Running, peer: &Did, voter: &Voter) -> Result<(), &'static str> {
        if self.role(&self.did()) != Some(Role::Admin) {
            return Err("only an admin's node signs seats");
        }
        let votes = running.voters().iter().any(|voter| voter.did == *peer);
        if !votes && !self.identity.members().has_seat_of(running.group.generation, running.group.id, peer) {
            return Err("only a voter asks for seats");
        }
        if self.is_seated(running.group, voter) {
            return Ok(());
        }
        if !self.signs_left.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now()) {
            return Err("too many seats were asked for");
        }
        if self.sign(running.group, voter).await { Ok(()) } else { Err("the seat was not signed") }
    }

    /// As the leader, has the seats signed that voters to come lack. Returns whether all have one.
    pub(super) async fn have_signed(&self, running: &Running, voters: &BTreeSet<Voter>) -> bool {
        let group = running.group;
        for voter in self.unseated(group, voters) {
            if self.role(&self.did()) == Some(Role::Admin) {
                self.sign(group, &voter).await;
                continue;
            }
            for admin in self.admins_up() {
                let body = Body::Seat(Bytes { bytes: encode(&voter) });
                if let Ok(Reply { body: Body::Answer(_), .. }) = self.ask(admin, group, body).await {
                    break;
                }
            }
        }
        let mut members = self.identity.follow();
        let known = members.wait_for(|members| voters.iter().all(|voter| members.has_seat(&seat_of(group, voter))));
        let all = tokio::time::timeout(KNOWN_WITHIN, known).await.is_ok_and(|known| known.is_ok());
        self.unsigned.store(!all, Ordering::Relaxed);
        all
    }

    /// The names of the admins, if this node leads and could promote nobody without the node of one.
    pub(crate) fn waits_for_admins(&self) -> Option<Vec<String>> {
        let leads = self.running().is_some_and(|running| running.leads());
        (leads && self.unsigned.load(Ordering::Relaxed)).then(|| self.admins())
    }

    /// The admins whose nodes are up, without this one.
    fn admins_up(&self) -> Vec<Did> {
        self.up().into_iter().filter(|did| self.role(did) == Some(Role::Admin)).collect()
    }

    /// The names of the admins, for somebody who must start the node of one.
    pub(super) fn admins(&self) -> Vec<String> {
        let members = self.identity.members();
        let admins = members.iter().filter(|(_, member)| member.allows(Role::Admin));
        admins.map(|(did, _)| self.name(did)).collect()
    }
}
