//! Critical state: a machine that every coordinator runs over the same log, so that all of them
//! hold the same.
//!
//! It reads no clock and draws nothing at random. Time enters as commands: the leader proposes
//! what has expired ([`Expiry`](super::Expiry)). Its own words are in [`Outcome`] and [`Change`].

mod audit;
mod kv;
mod locks;
mod sessions;

use std::collections::BTreeSet;

use borsh::{BorshDeserialize, BorshSerialize};
use nexus_identity::Did;

pub use audit::{Action, Deed, Done};
pub(crate) use audit::{Chain, Record, Source, hash as audit_hash};
pub use kv::Item;
pub use locks::{Lease, Lock, Waiter};

use self::kv::Kv;
use self::locks::Locks;
use self::sessions::{Known, Sessions};
use super::command::{Command, Expiry, Group, Proposal, ProposalError, Signed, Txn};

/// What became of a command.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done, as of this revision.
    Done {
        /// The revision of all critical state after it.
        revision: u64,
    },
    /// A transaction was done.
    Txn {
        /// Whether its checks held.
        held: bool,
        /// The revision of all critical state after it.
        revision: u64,
        /// What its steps met: the key as it was after each.
        items: Vec<Option<Item>>,
    },
    /// The lock is the caller's.
    Granted {
        /// What proves it. Later grants of any lock have larger ones.
        token: u64,
    },
    /// The caller waits in line.
    Waiting {
        /// The place, by number.
        waiter: u64,
    },
    /// Not done; nothing changed.
    Refused(Refusal),
}

/// Why a command was not done.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The proposal is not what a member may propose: its form or its signature is wrong.
    #[error("not a proposal that counts: {0}")]
    Malformed(String),
    /// It was made for another group of coordinators.
    #[error("made for the coordinators {found}, these are {group}")]
    OtherGroup {
        /// These.
        group: String,
        /// Those it was made for.
        found: String,
    },
    /// It came too late, or was answered before and the answer is gone.
    #[error("came too late to count")]
    TooLate,
    /// The key has another value than the one expected, or none.
    #[error("the key {}", .found.as_ref().map_or_else(|| "does not exist".to_owned(), |item| format!("has another value, of revision {}", item.revision)))]
    Mismatch {
        /// What it is.
        found: Option<Item>,
    },
    /// No such key.
    #[error("no such key")]
    NoKey,
    /// The token is of no lease that stands.
    #[error("the token {token} is of no lease that stands")]
    StaleToken {
        /// The token.
        token: u64,
    },
    /// Nobody holds such a lock.
    #[error("nobody holds this lock")]
    NoLock,
    /// Somebody else holds the lock.
    #[error("the lock is held by {holder}")]
    Held {
        /// Who.
        holder: Did,
        /// Under which token.
        token: u64,
    },
    /// No such place in line, and the lease is not the caller's.
    #[error("no such place in line")]
    NoWaiter,
    /// There is no room for more.
    #[error("there is no room for more: {0}")]
    Full(String),
}

/// What changed, for those who watch.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The revision that it made.
    pub revision: u64,
    /// On whose behalf; of an expiry: whose key or lease it was.
    pub by: Did,
    /// What.
    pub what: What,
}

/// What a [`Change`] is.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A key has a value.
    Put {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// A key is gone.
    Deleted {
        /// The key.
        key: String,
        /// Whether its time was up.
        expired: bool,
    },
    /// A lock has a holder.
    Granted {
        /// The lock's name.
        name: String,
        /// The lease's token.
        token: u64,
        /// Whose lease was taken away for it.
        stolen_from: Option<Did>,
    },
    /// A lease runs its whole time again.
    Renewed {
        /// The lock's name.
        name: String,
        /// The lease's token.
        token: u64,
    },
    /// A lease ended.
    Released {
        /// The lock's name.
        name: String,
        /// The lease's token.
        token: u64,
        /// Whether its time was up.
        expired: bool,
    },
    /// A place in line was taken or left.
    Line {
        /// The lock's name.
        name: String,
        /// The place.
        waiter: u64,
        /// Whether somebody stands there now.
        waits: bool,
    },
}

impl Change {
    /// The key or the lock that it is about.
    pub fn name(&self) -> &str {
        match &self.what {
            What::Put { key, .. } | What::Deleted { key, .. } => key,
            What::Granted { name, .. }
            | What::Renewed { name, .. }
            | What::Released { name, .. }
            | What::Line { name, .. } => name,
        }
    }

    /// About how many bytes it takes to tell.
    pub(crate) fn size(&self) -> usize {
        let value = if let What::Put { value, .. } = &self.what { value.len() } else { 0 };
        self.name().len() + value + 64
    }
}

/// What applying one proposal gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    /// One for each command; a single refusal when the proposal did not count.
    pub(crate) outcomes: Vec<Outcome>,
    /// What changed. Empty when a proposal came again.
    pub(crate) changes: Vec<Change>,
    /// What was done or refused, until a record is made of it. Empty when a proposal came again, or
    /// does not count.
    pub(crate) deeds: Vec<Deed>,
}

/// Keys, leases and the sessions of those who propose.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    group: Group,
    revision: u64,
    kv: Kv,
    locks: Locks,
    sessions: Sessions,
    audit: Chain,
}

/// What must run out of time at some point, and after how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Timed {
    /// What the leader proposes then.
    pub(crate) expiry: Expiry,
    /// The whole time, in milliseconds.
    pub(crate) ms: u64,
}

/// Where in the log a proposal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At {
    /// The index of its entry.
    pub(crate) index: u64,
    /// The leader that appended it.
    pub(crate) leader: Did,
}

impl Machine {
    /// The state of a group that has just begun.
    pub(crate) fn new(group: Group) -> Self {
        Self { group, ..Self::default() }
    }

    /// The same state under another group, after the loss of a quorum for good. Tokens go on
    /// from its generation.
    pub(crate) fn succeed(&mut self, group: Group, index: u64, by: Did, at_ms: u64) -> Option<Record> {
        self.group = group;
        self.sessions = Sessions::default();
        let deed = Deed { action: Action::Recover, name: group.to_string(), whose: None, result: Done::Noted };
        self.audit.add(index, Source::Recovery { by, at_ms }, vec![deed])
    }

    /// Takes what the log carries: checks who signed it, applies it, and keeps who did what.
    pub(crate) fn apply_signed(&mut self, at: At, signed: &Signed) -> (Applied, Option<Record>) {
        let (mut applied, source) = match signed.open() {
            Ok(proposal) => {
                let (by, at_ms) = (proposal.by, proposal.at_ms);
                let source = Source::Proposal { by, at_ms, digest: signed.digest(), signature: signed.signature };
                (self.apply(at, &proposal), source)
            }
            Err(error) => {
                let refusal = Refusal::Malformed(match error {
                    ProposalError::Signature(_) => "not signed by who it says".to_owned(),
                    other => other.to_string(),
                });
                let result = Done::Refused(refusal.code().to_owned());
                let deed = Deed { action: Action::Forged, name: String::new(), whose: None, result };
                (Applied { deeds: vec![deed], ..Applied::refused(refusal) }, Source::Leader(at.leader))
            }
        };
        let record = self.audit.add(at.index, source, std::mem::take(&mut applied.deeds));
        (applied, record)
    }

    /// Takes who votes from now on.
    pub(crate) fn seats(&mut self, at: At, voters: BTreeSet<Did>) -> Option<Record> {
        self.audit.seats(at.index, at.leader, voters)
    }

    /// The end of the chain of who did what.
    pub(crate) fn audit(&self) -> &Chain {
        &self.audit
    }

    /// Applies a proposal whose signature and form were checked.
    pub(crate) fn apply(&mut self, at: At, proposal: &Proposal) -> Applied {
        if proposal.group != self.group {
            let (group, found) = (self.group.to_string(), proposal.group.to_string());
            return Applied::refused(Refusal::OtherGroup { group, found });
        }
        match self.sessions.look_up(at.index, proposal) {
            Known::New => {}
            Known::Answered(outcomes) => return Applied { outcomes, ..Applied::default() },
            Known::TooLate => return Applied::refused(Refusal::TooLate),
            Known::TooMany => return Applied::refused(Refusal::Full("answers wait to be let go of".to_owned())),
        }
        let mut applied = Applied::default();
        let Applied { outcomes, changes, deeds } = &mut applied;
        for command in &proposal.commands {
            let before = changes.len();
            let outcome = self.run(at, proposal.by, command, changes);
            audit::deeds(command, &outcome, &changes[before..], deeds);
            outcomes.push(outcome);
        }
        self.sessions.note(at.index, proposal, &applied.outcomes);
        applied
    }

    fn run(&mut self, at: At, by: Did, command: &Command, changes: &mut Vec<Change>) -> Outcome {
        let mut tell = Tell { revision: &mut self.revision, by, changes };
        let result = match command {
            Command::Put(put) => check_fence(&self.locks, put.fence).and_then(|()| self.kv.put(put, &mut tell)),
            Command::Delete { key, fence } => {
                check_fence(&self.locks, *fence).and_then(|()| self.kv.delete(key, &mut tell))
            }
            Command::Cas { expect, put } => check_fence(&self.locks, put.fence)
                .and_then(|()| self.kv.expect(&put.key, expect.as_deref()))
                .and_then(|()| self.kv.put(put, &mut tell)),
            Command::Txn(txn) => self.txn(txn, by, changes),
            Command::Acquire { name, ttl_ms, wait_ms } => {
                self.locks.acquire(name, *ttl_ms, *wait_ms, self.group.generation, &mut tell)
            }
            Command::Renew { name, token, ttl_ms } => self.locks.renew(name, *token, *ttl_ms, &mut tell),
            Command::Release { name, token } => self.locks.release(name, *token, self.group.generation, &mut tell),
            Command::Withdraw { name, waiter } => self.locks.withdraw(name, *waiter, &mut tell),
            Command::Steal { name, ttl_ms } => self.locks.steal(name, *ttl_ms, self.group.generation, &mut tell),
            Command::Expire(_) if by != at.leader => Err(Refusal::Malformed("not from the leader".to_owned())),
            Command::Expire(expired) => {
                for expiry in expired {
                    self.expire(expiry, changes);
                }
                Ok(Outcome::Done { revision: self.revision })
            }
        };
        result.unwrap_or_else(Outcome::Refused)
    }

    /// All of a transaction happens at one revision, or nothing of it.
    fn txn(&mut self, txn: &Txn, by: Did, changes: &mut Vec<Change>) -> Result<Outcome, Refusal> {
        let held = txn.checks.iter().all(|check| self.kv.is(&check.key, &check.is));
        let steps = if held { &txn.then } else { &txn.otherwise };
        let fences = steps.iter().filter_map(|step| match step {
            super::command::Step::Put(put) => put.fence,
            _ => None,
        });
        fences.into_iter().try_for_each(|fence| check_fence(&self.locks, Some(fence)))?;
        self.kv.check_room(steps)?;
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

    fn expire(&mut self, expiry: &Expiry, changes: &mut Vec<Change>) {
        match expiry {
            Expiry::Key { key, revision } => {
                let Some(by) = self.kv.owner_of(key, *revision) else { return };
                self.kv.expire(key, &mut Tell { revision: &mut self.revision, by, changes });
            }
            Expiry::Lease { name, token, renewals } => {
                let Some(by) = self.locks.owner_of(name, *token, *renewals) else { return };
                let mut tell = Tell { revision: &mut self.revision, by, changes };
                self.locks.expire(name, self.group.generation, &mut tell);
            }
            Expiry::Waiter { name, waiter } => {
                let Some(by) = self.locks.waiter(name, *waiter).map(|waiter| waiter.by) else { return };
                let mut tell = Tell { revision: &mut self.revision, by, changes };
                let _ = self.locks.withdraw(name, *waiter, &mut tell);
            }
        }
    }

    /// The group.
    #[cfg(test)]
    pub(crate) fn group(&self) -> Group {
        self.group
    }

    /// How many changes there have been.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// A key as it is.
    pub(crate) fn get(&self, key: &str) -> Option<&Item> {
        self.kv.get(key)
    }

    /// Keys that begin with a prefix, in order, from after a key on.
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

    /// All locks that are held, by name.
    pub(crate) fn locks(&self) -> impl Iterator<Item = (&String, &Lock)> {
        self.locks.iter()
    }

    /// Everything that runs out of time by itself.
    pub(crate) fn timed(&self) -> impl Iterator<Item = Timed> {
        self.kv.timed().chain(self.locks.timed())
    }

    /// Equal on all nodes that have applied the same log.
    pub(crate) fn digest(&self) -> [u8; 32] {
        blake3::derive_key("nexus critical state v1", &self.encode())
    }

    /// The whole state as bytes, for a snapshot.
    pub(crate) fn encode(&self) -> Vec<u8> {
        // writing into memory does not fail
        borsh::to_vec(self).unwrap_or_default()
    }

    /// The state of a snapshot.
    ///
    /// # Errors
    /// If these bytes are none.
    pub(crate) fn decode(bytes: &[u8]) -> std::io::Result<Self> {
        borsh::from_slice(bytes)
    }
}

impl Applied {
    fn refused(refusal: Refusal) -> Self {
        Self { outcomes: vec![Outcome::Refused(refusal)], ..Self::default() }
    }
}

/// Whoever writes under a token must hold a lease under it now.
fn check_fence(locks: &Locks, fence: Option<u64>) -> Result<(), Refusal> {
    match fence {
        Some(token) if !locks.stands(token) => Err(Refusal::StaleToken { token }),
        _ => Ok(()),
    }
}

/// Counts revisions and notes what changed.
struct Tell<'a> {
    revision: &'a mut u64,
    by: Did,
    changes: &'a mut Vec<Change>,
}

impl Tell<'_> {
    /// The revision that the next change makes.
    fn next(&mut self) -> u64 {
        *self.revision += 1;
        *self.revision
    }

    fn change(&mut self, revision: u64, by: Did, what: What) {
        self.changes.push(Change { revision, by, what });
    }

    fn done(&self) -> Outcome {
        Outcome::Done { revision: *self.revision }
    }
}

#[cfg(test)]
mod tests;
