//! The audit of critical state: records that every copy makes alike from the log, each with the hash of
//! the one before. The last hash is part of the state, so copies with the same state have the same
//! past.
//!
//! A record has no values, so it may be kept for long. It has the hash of the proposal and the
//! proposer's signature over it. So a coordinator can neither add nor change a proposal of another
//! node.

use std::collections::BTreeSet;

use borsh::{BorshDeserialize, BorshSerialize};
use nexus_identity::{Did, Domain, Signature};

use super::outcome::{CriticalChange, CriticalEvent, Outcome, Refusal};
use crate::coordinator::command::Command;
use crate::coordinator::format;

/// The end of the chain.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    /// The number of deeds so far.
    pub(crate) count: u64,
    /// The hash of the last record, which covers all before it.
    pub(crate) head: [u8; 32],
    /// The voters at the last record of them.
    voters: BTreeSet<Did>,
}

/// The deeds of one proposal, or of one change of the coordinators themselves.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// The hash of the record before.
    pub(crate) before: [u8; 32],
    /// The number of its first deed, from 1.
    pub(crate) first: u64,
    /// The index of the log entry.
    pub(crate) index: u64,
    pub(crate) source: Source,
    pub(crate) deeds: Vec<Deed>,
}

/// The source of a record's deeds.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A proposal.
    Proposal {
        by: Did,
        /// The time, by the proposer's clock.
        at_ms: u64,
        /// The hash of its bytes, which was signed.
        digest: [u8; 32],
        signature: Signature,
    },
    /// The leader itself.
    Leader(Did),
    /// The coordinators began anew from this node's copy.
    Recovery { by: Did, at_ms: u64 },
}

/// A deed: done or refused.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deed {
    /// The action.
    pub action: Action,
    /// The key or the lock; for voters, the voter's DID.
    pub name: String,
    /// The affected owner, if not the actor: the former holder of a stolen lease, the next in line, the
    /// owner of what expired.
    pub whose: Option<Did>,
    /// The result.
    pub result: DeedResult,
}

/// The action of a deed.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// A key was written.
    Put,
    /// A key was deleted.
    Delete,
    /// A key was written if it had the expected value.
    Cas,
    /// A transaction wrote nothing. Others have a deed for each key.
    Txn,
    /// A lock was requested.
    Acquire,
    /// A lease was renewed.
    Renew,
    /// A lock was released.
    Release,
    /// A place in line was left.
    Withdraw,
    /// A lock was taken from its holder.
    Steal,
    /// A lock was granted to the next in line.
    Grant,
    /// A key, a lease or a place in line expired.
    Expire,
    /// A member got a vote.
    VoterAdded,
    /// A member lost its vote.
    VoterRemoved,
    /// The coordinators began anew after their quorum was lost for good.
    Recover,
    /// The leader appended a proposal without a valid signature.
    Forged,
    /// Critical state was raised to a later format; the name is its number.
    Raise,
    /// The locks, places in line and sessions of a former member ended; the name is its DID.
    MemberEnded,
}

/// The result of a [`Deed`].
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeedResult {
    /// It was done; with the revision of critical state after it.
    Revision(u64),
    /// The lock was granted under this token.
    Granted(u64),
    /// It waits in line.
    Waiting,
    /// It was refused, with this code, and nothing changed.
    Refused(String),
    /// It was done, without a change of critical state.
    Noted,
}

impl Action {
    /// The word on the command line and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Delete => "delete",
            Self::Cas => "cas",
            Self::Txn => "txn",
            Self::Acquire => "acquire",
            Self::Renew => "renew",
            Self::Release => "release",
            Self::Withdraw => "withdraw",
            Self::Steal => "steal",
            Self::Grant => "grant",
            Self::Expire => "expire",
            Self::VoterAdded => "voter_added",
            Self::VoterRemoved => "voter_removed",
            Self::Recover => "recover",
            Self::Forged => "forged",
            Self::Raise => "raise",
            Self::MemberEnded => "member_ended",
        }
    }
}

impl Refusal {
    /// The word of the refusal.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::OtherGroup { .. } => "other_group",
            Self::TooLate => "too_late",
            Self::Mismatch { .. } => "mismatch",
            Self::NoKey => "no_key",
            Self::StaleToken { .. } => "stale_token",
            Self::NoLock => "no_lock",
            Self::Held { .. } => "held",
            Self::NoWaiter => "no_waiter",
            Self::Full(_) => "full",
            Self::OtherRequest => "other_request",
            Self::NotYours { .. } => "not_yours",
            Self::Endless => "endless",
        }
    }
}

impl Chain {
    /// Adds a record of some deeds, if there are any.
    pub(super) fn add(&mut self, index: u64, source: Source, deeds: Vec<Deed>) -> Option<Record> {
        let more = u64::try_from(deeds.len()).ok().filter(|more| *more > 0)?;
        let record = Record { before: self.head, first: self.count + 1, index, source, deeds };
        self.count += more;
        self.head = record.hash();
        Some(record)
    }

    /// Adds a record of the voters, if they changed.
    pub(super) fn seats(&mut self, index: u64, leader: Did, voters: BTreeSet<Did>) -> Option<Record> {
        let deed = |action, did: &Did| Deed { action, name: did.to_string(), whose: None, result: DeedResult::Noted };
        let added = voters.difference(&self.voters).map(|did| deed(Action::VoterAdded, did));
        let removed = self.voters.difference(&voters).map(|did| deed(Action::VoterRemoved, did));
        let deeds = added.chain(removed).collect();
        self.voters = voters;
        self.add(index, Source::Leader(leader), deeds)
    }
}

impl Record {
    /// The hash that the next record holds.
    pub(crate) fn hash(&self) -> [u8; 32] {
        hash(&self.encode())
    }

    /// The number of its last deed.
    pub(crate) fn last(&self) -> u64 {
        self.first.saturating_add(self.deeds.len() as u64).saturating_sub(1)
    }

    /// The bytes for storing and sending.
    pub(crate) fn encode(&self) -> Vec<u8> {
        format::encode(self)
    }

    /// The claimed actor.
    pub(crate) fn by(&self) -> Did {
        match self.source {
            Source::Proposal { by, .. } | Source::Leader(by) | Source::Recovery { by, .. } => by,
        }
    }

    /// The time, if the record has one.
    pub(crate) fn at_ms(&self) -> Option<u64> {
        match self.source {
            Source::Proposal { at_ms, .. } | Source::Recovery { at_ms, .. } => Some(at_ms),
            Source::Leader(_) => None,
        }
    }

    /// The former keys that it ends, each with the key that took its place.
    pub(crate) fn successions(&self) -> impl Iterator<Item = (Did, Did)> {
        let ended =
            self.deeds.iter().filter(|deed| deed.action == Action::MemberEnded && deed.result == DeedResult::Noted);
        ended.filter_map(|deed| Some((deed.name.parse().ok()?, deed.whose?)))
    }

    /// Whether the proposer's signature is good, or the record needs none.
    pub(crate) fn is_signed(&self) -> bool {
        match &self.source {
            Source::Proposal { by, digest, signature, .. } => by.verify(Domain::Proposal, digest, signature).is_ok(),
            Source::Leader(_) | Source::Recovery { .. } => true,
        }
    }
}

/// The hash of a record's bytes.
pub(crate) fn hash(bytes: &[u8]) -> [u8; 32] {
    blake3::derive_key("nexus audit v1", bytes)
}

/// Adds the deeds of a command: its own and its effects.
pub(super) fn deeds(command: &Command, outcome: &Outcome, changes: &[CriticalChange], deeds: &mut Vec<Deed>) {
    let result = match outcome {
        Outcome::Done { revision } | Outcome::Txn { revision, .. } => DeedResult::Revision(*revision),
        Outcome::Granted { token } => DeedResult::Granted(*token),
        Outcome::Waiting { .. } => DeedResult::Waiting,
        Outcome::Refused(refusal) => DeedResult::Refused(refusal.code().to_owned()),
    };
    let mut own =
        |action, name: &str, whose| deeds.push(Deed { action, name: name.to_owned(), whose, result: result.clone() });
    match command {
        Command::Put(put) => own(Action::Put, &put.key, None),
        Command::Delete { key, .. } => own(Action::Delete, key, None),
        Command::Cas { put, .. } => own(Action::Cas, &put.key, None),
        Command::Txn(_) => {
            for change in changes {
                own(
                    if matches!(change.event, CriticalEvent::Put { .. }) { Action::Put } else { Action::Delete },
                    change.name(),
                    None,
                );
            }
            if changes.is_empty() {
                own(Action::Txn, "", None);
            }
        }
        Command::Acquire { name, .. } => own(Action::Acquire, name, None),
        Command::Renew { name, .. } => own(Action::Renew, name, None),
        Command::Release { name, .. } => own(Action::Release, name, None),
        Command::Withdraw { name, .. } => own(Action::Withdraw, name, None),
        Command::Steal { name, .. } => {
            let from = changes.iter().find_map(|change| match change.event {
                CriticalEvent::Granted { stolen_from, .. } => stolen_from,
                _ => None,
            });
            own(Action::Steal, name, from);
        }
        Command::Expire(_) if matches!(outcome, Outcome::Refused(_)) => own(Action::Expire, "", None),
        Command::Expire(_) => {}
        Command::End(member) => {
            let result = if matches!(outcome, Outcome::Refused(_)) { result } else { DeedResult::Noted };
            deeds.push(Deed { action: Action::MemberEnded, name: member.to_string(), whose: None, result });
        }
        Command::Succeed { former, member } => {
            let result = if matches!(outcome, Outcome::Refused(_)) { result } else { DeedResult::Noted };
            let (name, whose) = (former.to_string(), Some(*member));
            deeds.push(Deed { action: Action::MemberEnded, name, whose, result });
        }
        // copies of format 0 do not know this action
        Command::Raise(_) if matches!(outcome, Outcome::Refused(_)) => {}
        Command::Raise(to) => {
            deeds.push(Deed { action: Action::Raise, name: to.to_string(), whose: None, result: DeedResult::Noted });
        }
    }
    let expires = matches!(command, Command::Expire(_) | Command::End(_) | Command::Succeed { .. });
    let asked_for = matches!(command, Command::Acquire { .. } | Command::Steal { .. });
    for change in changes {
        let (action, result) = match &change.event {
            CriticalEvent::Deleted { .. } | CriticalEvent::Released { .. } | CriticalEvent::Line { .. } if expires => {
                (Action::Expire, DeedResult::Revision(change.revision))
            }
            CriticalEvent::Granted { token, .. } if !asked_for => (Action::Grant, DeedResult::Granted(*token)),
            _ => continue,
        };
        deeds.push(Deed { action, name: change.name().to_owned(), whose: Some(change.by), result });
    }
}
