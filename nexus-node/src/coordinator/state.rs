//! Critical state: a machine that every coordinator runs over the same log, so that all hold the same state.
//!
//! It reads no clock and draws no random numbers. Time enters as commands: the leader proposes expiries
//! ([`Expiry`](super::Expiry)).

mod audit;
mod item;
mod kv;
mod locks;
mod outcome;
mod requests;
mod sessions;
mod zero;

use std::collections::BTreeSet;
use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use nexus_identity::Did;

pub use audit::{Action, Deed, DeedResult};
pub(crate) use audit::{Chain, Record, Source, hash as audit_hash};
pub use item::Item;
pub use locks::{Lease, Lock, Waiter};

use self::kv::Kv;
use self::locks::Locks;
pub(crate) use self::outcome::Timed;
pub(super) use self::outcome::reply_too_large;
pub use self::outcome::{CriticalChange, CriticalEvent, Full, Malformed, Outcome, Refusal};
use self::outcome::{Tell, UNHEARD, Used};
use self::requests::Requests;
use self::sessions::{Lookup, Sessions};
use super::command::{Command, Expiry, Group, Proposal, ProposalError, Put, Signed, Step, Txn};
use super::format::{self, ReadError, TooNew};
use super::limits::{self, Limits, owner_of};

/// The context in which the digest of the state is made.
pub(super) const DIGEST_CONTEXT: &str = "nexus critical state v1";

impl Outcome {
    /// Encodes a proposal's outcomes in this format. One before [`format::BYTES`] has texts alone, so
    /// values that are none lose what is no character: the outcome counts, and must be told. A bound that
    /// the format does not have is told as one that it has.
    pub(super) fn encode_all(format: u16, outcomes: &[Self]) -> Vec<u8> {
        let earlier: Vec<Self>;
        let outcomes = if format < format::BYTES && outcomes.iter().any(|outcome| outcome.is_later()) {
            earlier = outcomes.iter().map(Self::for_earlier).collect();
            &earlier
        } else {
            outcomes
        };
        match format {
            0 => zero::encode_outcomes(outcomes),
            _ => format::encode(outcomes),
        }
    }

    /// Decodes a proposal's outcomes of this format.
    ///
    /// # Errors
    /// The bytes are no outcomes.
    pub(super) fn decode_all(format: u16, bytes: &[u8]) -> std::io::Result<Vec<Self>> {
        match format {
            0 => zero::decode_outcomes(bytes),
            _ => borsh::from_slice(bytes),
        }
    }
}

/// The result of applying one proposal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    /// One outcome for each command; a single refusal if the proposal did not count.
    pub(crate) outcomes: Vec<Outcome>,
    /// The changes. Empty for a repeated proposal.
    pub(crate) changes: Vec<CriticalChange>,
    /// The deeds, done or refused, for the audit. Empty for a repeated proposal, and for one that does
    /// not count.
    pub(crate) deeds: Vec<Deed>,
}

/// Keys, leases and the sessions of proposers.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    /// The format of its bytes, and the highest format of proposals that count.
    #[borsh(skip)]
    format: u16,
    group: Group,
    revision: u64,
    kv: Kv,
    locks: Locks,
    sessions: Sessions,
    audit: Chain,
    /// Only from format 3 on, behind the rest.
    #[borsh(skip)]
    requests: Requests,
}

/// The place of a proposal in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogPlace {
    /// The index of its entry.
    pub(crate) index: u64,
    /// The leader that appended it.
    pub(crate) leader: Did,
}

impl Machine {
    /// The state of a group that has just begun, in format 0.
    pub(crate) fn new(group: Group) -> Self {
        Self { group, ..Self::default() }
    }

    /// Continues the state in another group, after a quorum is lost for good. Tokens continue above its
    /// generation.
    pub(crate) fn succeed(&mut self, group: Group, index: u64, by: Did, at_ms: u64) -> Option<Record> {
        self.group = group;
        self.sessions = Sessions::default();
        let deed = Deed { action: Action::Recover, name: group.to_string(), whose: None, result: DeedResult::Noted };
        self.audit.add(index, Source::Recovery { by, at_ms }, vec![deed])
    }

    /// Applies a log entry: checks the signature of each proposal, applies the proposals in order, and
    /// records their deeds.
    ///
    /// # Errors
    /// [`TooNew`] for a proposal of a format above `max`. Then nothing of the entry is applied.
    pub(crate) fn apply_all(
        &mut self,
        at: LogPlace,
        proposals: &[Signed],
        max: u16,
    ) -> Result<Vec<(Applied, Option<Record>)>, TooNew> {
        let opened = proposals.iter().map(|signed| match signed.open(max) {
            Ok(proposal) => Ok((signed, Ok(proposal))),
            Err(ProposalError::Read(ReadError::TooNew(too_new))) => Err(too_new),
            Err(ProposalError::Read(ReadError::Malformed)) => Ok((signed, Err(Malformed::NotAProposal))),
            Err(ProposalError::Signature(_)) => Ok((signed, Err(Malformed::NotSigned))),
            Err(ProposalError::Form(_)) => Ok((signed, Err(Malformed::Form))),
        });
        let opened = opened.collect::<Result<Vec<_>, TooNew>>()?;
        Ok(opened.into_iter().map(|(signed, proposal)| self.apply_opened(at, signed, proposal)).collect())
    }

    /// Applies one proposal of a known format.
    #[cfg(test)]
    pub(crate) fn apply_signed(&mut self, at: LogPlace, signed: &Signed) -> (Applied, Option<Record>) {
        let all = self.apply_all(at, std::slice::from_ref(signed), format::FORMAT_MAX);
        all.expect("it is of this version").remove(0)
    }

    fn apply_opened(
        &mut self,
        at: LogPlace,
        signed: &Signed,
        proposal: Result<Arc<Proposal>, Malformed>,
    ) -> (Applied, Option<Record>) {
        let (mut applied, source) = match proposal {
            Ok(proposal) => {
                let (by, at_ms) = (proposal.by, proposal.at_ms);
                let source = Source::Proposal { by, at_ms, digest: signed.digest(), signature: signed.signature };
                (self.apply(at, &proposal), source)
            }
            Err(why) => {
                let refusal = Refusal::Malformed(why);
                let result = DeedResult::Refused(refusal.code().to_owned());
                let deed = Deed { action: Action::Forged, name: String::new(), whose: None, result };
                (Applied { deeds: vec![deed], ..Applied::refused(refusal) }, Source::Leader(at.leader))
            }
        };
        let record = self.audit.add(at.index, source, std::mem::take(&mut applied.deeds));
        (applied, record)
    }

    /// The format of critical state.
    pub(crate) fn format(&self) -> u16 {
        self.format
    }

    fn limits(&self) -> &'static Limits {
        limits::of(self.format)
    }

    /// Notes the new voters.
    pub(crate) fn seats(&mut self, at: LogPlace, voters: BTreeSet<Did>) -> Option<Record> {
        self.audit.seats(at.index, at.leader, voters)
    }

    /// The end of the audit's chain.
    pub(crate) fn audit(&self) -> &Chain {
        &self.audit
    }

    /// Applies a proposal whose signature and form were checked.
    pub(crate) fn apply(&mut self, at: LogPlace, proposal: &Proposal) -> Applied {
        if proposal.group != self.group {
            return Applied::refused(Refusal::OtherGroup { group: self.group, found: proposal.group });
        }
        if proposal.format > self.format && !matches!(proposal.commands.as_slice(), [Command::Raise(_)]) {
            return Applied::refused(Refusal::Malformed(Malformed::NotRaised));
        }
        match self.sessions.look_up(at.index, proposal, self.limits()) {
            Lookup::New => {}
            Lookup::Answered(outcomes) => return Applied { outcomes, ..Applied::default() },
            Lookup::TooLate => return Applied::refused(Refusal::TooLate),
            Lookup::TooMany => return Applied::refused(Refusal::Full(Full::Answers)),
        }
        let mut applied = Applied::default();
        let Applied { outcomes, changes, deeds } = &mut applied;
        let mut shown = 0;
        for (place, command) in proposal.commands.iter().enumerate() {
            let before = changes.len();
            let request = proposal.request_of(place);
            let asked = request.and_then(|key| self.requests.look_up(proposal.by, key, command));
            let outcome = match asked {
                Some(outcome) => self.fitting(shown, outcome),
                None => {
                    let outcome = self.run(at, proposal.by, command, shown, changes);
                    audit::deeds(command, &outcome, &changes[before..], deeds);
                    self.requests.follow(&changes[before..], &self.locks);
                    if let Some(key) = request {
                        self.requests.note(proposal.by, key, command, &outcome, at.index, self.limits());
                    }
                    outcome
                }
            };
            shown += outcome.shown();
            outcomes.push(outcome);
        }
        self.sessions.note(at.index, proposal, &applied.outcomes, self.limits());
        self.requests.sweep(at.index, self.limits());
        applied
    }

    /// An outcome, or the refusal to show so much beside the values that are shown already.
    fn fitting(&self, shown: u64, outcome: Outcome) -> Outcome {
        self.limits().check_reply(shown + outcome.shown()).map_or_else(Outcome::Refused, |()| outcome)
    }

    /// Does a command. `shown` are the bytes that the commands before it show.
    fn run(
        &mut self,
        at: LogPlace,
        by: Did,
        command: &Command,
        shown: u64,
        changes: &mut Vec<CriticalChange>,
    ) -> Outcome {
        if let Err(refusal) = self.check_own(by, command) {
            return Outcome::Refused(refusal);
        }
        let (limits, used) = (self.limits(), self.used(by));
        let mut tell = Tell { revision: &mut self.revision, limits, used, by, changes };
        let result = match command {
            Command::Put(put) => check_fence(&self.locks, put.fence).and_then(|()| self.kv.put(put, &mut tell)),
            Command::Delete { key, fence } => {
                check_fence(&self.locks, *fence).and_then(|()| self.kv.delete(key, &mut tell))
            }
            Command::Cas { expect, put } => check_fence(&self.locks, put.fence)
                .and_then(|()| self.kv.expect(&put.key, expect.as_deref()))
                .and_then(|()| self.kv.put(put, &mut tell)),
            Command::Txn(txn) => self.txn(txn, by, used, shown, changes),
            Command::Acquire { name, ttl_ms, wait_ms } => {
                self.locks.acquire(name, *ttl_ms, *wait_ms, self.group.generation, &mut tell)
            }
            Command::Renew { name, token, ttl_ms } => self.locks.renew(name, *token, *ttl_ms, &mut tell),
            Command::Release { name, token } => self.locks.release(name, *token, self.group.generation, &mut tell),
            Command::Withdraw { name, waiter } => self.locks.withdraw(name, *waiter, &mut tell),
            Command::Steal { name, ttl_ms } => self.locks.steal(name, *ttl_ms, self.group.generation, &mut tell),
            Command::Expire(_) | Command::Raise(_) | Command::End(_) | Command::Succeed { .. } if by != at.leader => {
                Err(Refusal::Malformed(Malformed::NotFromLeader))
            }
            Command::Raise(to) => {
                self.format = self.format.max(*to);
                Ok(Outcome::Done { revision: self.revision })
            }
            Command::Expire(expired) => {
                for expiry in expired {
                    self.expire(expiry, changes);
                }
                Ok(Outcome::Done { revision: self.revision })
            }
            Command::End(member) => {
                self.end(*member, at.index, changes);
                Ok(Outcome::Done { revision: self.revision })
            }
            Command::Succeed { former, member } => {
                self.end(*former, at.index, changes);
                self.kv.moves(*former, *member);
                Ok(Outcome::Done { revision: self.revision })
            }
        };
        let outcome = result.unwrap_or_else(Outcome::Refused);
        // a transaction was checked before it was done
        if matches!(outcome, Outcome::Refused(_)) { self.fitting(shown, outcome) } else { outcome }
    }

    /// Checks that a command changes no key and takes no lock that is another member's alone. Every such key has an end,
    /// since nobody could delete those of a former member.
    fn check_own(&self, by: Did, command: &Command) -> Result<(), Refusal> {
        if self.format < format::OWN {
            return Ok(());
        }
        let is_own = |name: &str| match owner_of(name) {
            Some(owner) if owner != by => Err(Refusal::NotYours { owner }),
            owner => Ok(owner.is_some()),
        };
        let put = |put: &Put| match is_own(&put.key)? {
            true if put.ttl_ms.is_none() => Err(Refusal::Endless),
            _ => Ok(()),
        };
        match command {
            Command::Put(it) | Command::Cas { put: it, .. } => put(it),
            Command::Delete { key: name, .. } | Command::Acquire { name, .. } | Command::Steal { name, .. } => {
                is_own(name).map(drop)
            }
            Command::Txn(txn) => txn.then.iter().chain(&txn.otherwise).try_for_each(|step| match step {
                Step::Put(it) => put(it),
                Step::Delete(key) => is_own(key).map(drop),
                Step::Get(_) => Ok(()),
            }),
            // a token was given for the lock
            Command::Renew { .. } | Command::Release { .. } | Command::Withdraw { .. } => Ok(()),
            Command::Expire(_) | Command::Raise(_) | Command::End(_) | Command::Succeed { .. } => Ok(()),
        }
    }

    /// Does a transaction at one revision, or nothing of it.
    fn txn(
        &mut self,
        txn: &Txn,
        by: Did,
        used: Used,
        shown: u64,
        changes: &mut Vec<CriticalChange>,
    ) -> Result<Outcome, Refusal> {
        let held = txn.checks.iter().all(|check| self.kv.is(&check.key, &check.is));
        let steps = if held { &txn.then } else { &txn.otherwise };
        let fences = steps.iter().filter_map(|step| match step {
            super::command::Step::Put(put) => put.fence,
            _ => None,
        });
        fences.into_iter().try_for_each(|fence| check_fence(&self.locks, Some(fence)))?;
        self.kv.check_room(steps, by, used, self.limits())?;
        self.limits().check_reply(shown + self.kv.shown_by(steps))?;
        let mut revision = self.revision + 1;
        let mut made = Vec::new();
        let items = steps.iter().map(|step| self.kv.step(step, revision, by, &mut made)).collect();
        if made.is_empty() {
            revision = self.revision;
        }
        self.revision = revision;
        changes.extend(made);
        Ok(Outcome::Txn { held, revision, items })
    }

    fn expire(&mut self, expiry: &Expiry, changes: &mut Vec<CriticalChange>) {
        // an expiry takes no room
        let (limits, used) = (self.limits(), Used::default());
        match expiry {
            Expiry::Key { key, revision } => {
                let Some(by) = self.kv.owner_of(key, *revision) else { return };
                self.kv.expire(key, &mut Tell { revision: &mut self.revision, limits, used, by, changes });
            }
            Expiry::Lease { name, token, renewals } => {
                let Some(by) = self.locks.owner_of(name, *token, *renewals) else { return };
                let mut tell = Tell { revision: &mut self.revision, limits, used, by, changes };
                self.locks.expire(name, self.group.generation, &mut tell);
            }
            Expiry::Waiter { name, waiter } => {
                let Some(by) = self.locks.waiter(name, *waiter).map(|waiter| waiter.by) else { return };
                let mut tell = Tell { revision: &mut self.revision, limits, used, by, changes };
                let _ = self.locks.withdraw(name, *waiter, &mut tell);
            }
        }
    }

    /// Ends what a former member holds. It leaves the lines first, so that no lock goes on to it.
    fn end(&mut self, member: Did, index: u64, changes: &mut Vec<CriticalChange>) {
        let (limits, used, by) = (self.limits(), Used::default(), member);
        let mut tell = Tell { revision: &mut self.revision, limits, used, by, changes };
        for (name, waiter) in self.locks.places_of(&member) {
            // it is in that line
            let _ = self.locks.withdraw(&name, waiter, &mut tell);
        }
        for name in self.locks.held_by(&member) {
            self.locks.expire(&name, self.group.generation, &mut tell);
        }
        self.sessions.end(member, index);
        self.requests.end(member);
    }

    /// The members with a lock, a place in line, a session or a request.
    pub(super) fn holders(&self) -> BTreeSet<Did> {
        let asked = self.sessions.sessions.keys().map(|(by, _)| by).chain(self.requests.askers());
        self.locks.holders().chain(asked).copied().collect()
    }

    /// The members of which a key is the last word.
    pub(super) fn writers(&self) -> impl Iterator<Item = &Did> {
        self.kv.writers()
    }

    /// Whether a key is the last word of a member.
    pub(super) fn has_keys_of(&self, member: &Did) -> bool {
        self.kv.has_keys_of(member)
    }

    /// Whether a member uses a part of its share that it may not have before this node has heard who admitted it.
    pub(super) fn uses_much(&self, member: Did) -> bool {
        self.used(member).part > self.limits().share_bytes / UNHEARD
    }

    /// The bytes of the values that the answer to these commands would show now, at most.
    pub(super) fn reply_bytes(&self, commands: &[Command]) -> u64 {
        let shown = commands.iter().map(|command| match command {
            Command::Cas { put, .. } => item::shown(self.kv.get(&put.key)),
            Command::Txn(txn) => self.kv.shown_by(&txn.then).max(self.kv.shown_by(&txn.otherwise)),
            _ => 0,
        });
        shown.sum()
    }

    /// The group.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn group(&self) -> Group {
        self.group
    }

    /// The number of changes so far.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// A key.
    pub(crate) fn get(&self, key: &str) -> Option<&Item> {
        self.kv.get(key)
    }

    /// Keys with a prefix, in order, after a key.
    pub(crate) fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&str>,
    ) -> impl Iterator<Item = (&'a String, &'a Item)> {
        self.kv.list(prefix, after)
    }

    /// The lock of that name, if it is held.
    pub(crate) fn lock(&self, name: &str) -> Option<&Lock> {
        self.locks.get(name)
    }

    /// All held locks, by name.
    pub(crate) fn locks(&self) -> impl Iterator<Item = (&String, &Lock)> {
        self.locks.iter()
    }

    /// Everything with a limited time.
    pub(crate) fn timed(&self) -> impl Iterator<Item = Timed> {
        self.kv.timed().chain(self.locks.timed())
    }

    /// A key with a limited time.
    pub(super) fn timed_key(&self, key: &str) -> Option<Timed> {
        self.kv.timed_key(key)
    }

    /// The lease of a lock.
    pub(super) fn timed_lease(&self, name: &str) -> Option<Timed> {
        self.locks.timed_lease(name)
    }

    /// The places in the line for a lock.
    pub(super) fn timed_line(&self, name: &str) -> impl Iterator<Item = Timed> {
        self.locks.timed_line(name)
    }

    /// The bytes in use, by all and by a member.
    fn used(&self, by: Did) -> Used {
        let (keys, locks) = (self.kv.used(by, self.limits()), self.locks.used(by, self.limits()));
        Used { all: keys.all + locks.all, part: keys.part + locks.part }
    }

    /// A digest, equal on all nodes that have applied the same log.
    pub(crate) fn digest(&self) -> [u8; 32] {
        blake3::derive_key(DIGEST_CONTEXT, &self.encode())
    }

    /// The whole state as bytes, for a snapshot.
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self.format {
            0 => zero::encode(self),
            1 => format::encode_marked(1, self),
            2 => format::encode_marked(2, &(self, &self.sessions.floors)),
            format => format::encode_marked(format, &(self, &self.sessions.floors, &self.requests)),
        }
    }

    /// Decodes a snapshot's state of a format up to `max`.
    ///
    /// # Errors
    /// The bytes are no state, or a state of a later format.
    pub(super) fn decode(bytes: &[u8], max: u16) -> Result<Self, ReadError> {
        let mut machine = match format::split(bytes, max)? {
            (0, bytes) => zero::decode(bytes)?,
            (1, bytes) => Self { format: 1, ..borsh::from_slice(bytes)? },
            (2, bytes) => {
                let (mut machine, floors): (Self, _) = borsh::from_slice(bytes)?;
                machine.sessions.floors = floors;
                Self { format: 2, ..machine }
            }
            (format, bytes) => {
                let (mut machine, floors, requests): (Self, _, _) = borsh::from_slice(bytes)?;
                machine.sessions.floors = floors;
                Self { format, requests, ..machine }
            }
        };
        machine.sessions.count();
        machine.requests.count();
        machine.kv.count();
        machine.locks.count();
        if !machine.is_sound() {
            return Err(ReadError::Malformed);
        }
        if machine.format < format::BYTES && (machine.kv.has_bytes() || machine.sessions.have_bytes()) {
            return Err(ReadError::Malformed);
        }
        Ok(machine)
    }
}

impl Machine {
    /// The largest revision, and the largest number of deeds, that a copy goes on from.
    const NUMBER_MAX: u64 = 1 << 63;

    /// Decodes the state that a leader sends. No number in it may make a later command overflow, or make a
    /// state that is not read again.
    ///
    /// # Errors
    /// Same as [`decode`](Self::decode).
    pub(super) fn decode_sent(bytes: &[u8], max: u16) -> Result<Self, ReadError> {
        let machine = Self::decode(bytes, max)?;
        let has_room = machine.revision <= Self::NUMBER_MAX / 2 && machine.audit.count <= Self::NUMBER_MAX / 2;
        if has_room && machine.group.can_be() { Ok(machine) } else { Err(ReadError::Malformed) }
    }

    /// Whether its numbers fit each other, and leave room for those that follow.
    fn is_sound(&self) -> bool {
        let within = self.revision <= Self::NUMBER_MAX && self.audit.count <= Self::NUMBER_MAX;
        within && self.group.has_tokens() && self.kv.is_sound() && self.locks.is_sound(self.revision)
    }
}

impl Applied {
    fn refused(refusal: Refusal) -> Self {
        Self { outcomes: vec![Outcome::Refused(refusal)], ..Self::default() }
    }
}

impl Limits {
    /// Checks that the values of an answer fit it.
    fn check_reply(&self, bytes: u64) -> Result<(), Refusal> {
        if bytes <= self.reply_bytes { Ok(()) } else { Err(Refusal::Full(Full::Reply { bytes })) }
    }
}

/// Checks that a write's token belongs to a lease that stands.
fn check_fence(locks: &Locks, fence: Option<u64>) -> Result<(), Refusal> {
    match fence {
        Some(token) if !locks.stands(token) => Err(Refusal::StaleToken { token }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
