//! Who did what to critical state: records that every copy makes alike from the log, each holding
//! the hash of the one before. The last hash is part of the state, so copies that hold the same
//! state hold the same past.
//!
//! A record has no values, so it may be kept for long. It has the hash of what was proposed and the
//! proposer's signature over it: a coordinator can neither add a proposal of somebody else nor
//! change one.

use std::collections::BTreeSet;

use borsh::{BorshDeserialize, BorshSerialize};
use nexus_identity::{Did, Domain, Signature};

use super::{Change, Outcome, Refusal, What};
use crate::coordinator::command::Command;

/// The end of the chain.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    /// How many deeds there have been.
    pub(crate) count: u64,
    /// The hash of the last record, and with it of all before.
    pub(crate) head: [u8; 32],
    /// Who voted at the last look.
    voters: BTreeSet<Did>,
}

/// Deeds of one proposal, or of one change of the coordinators themselves.
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

/// Where a record comes from.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A proposal.
    Proposal {
        by: Did,
        /// When, by the proposer's clock.
        at_ms: u64,
        /// The hash of its bytes, and what was signed.
        digest: [u8; 32],
        signature: Signature,
    },
    /// The leader, as the leader.
    Leader(Did),
    /// The coordinators were begun anew from this node's copy.
    Recovery { by: Did, at_ms: u64 },
}

/// One thing that was done, or refused.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    /// What.
    pub action: Action,
    /// The key or the lock; of voters: whose vote it is, by DID.
    pub name: String,
    /// Whose it was or became, where that is not who did it: a lease's that was stolen or that the
    /// line passed on, what expired.
    pub whose: Option<Did>,
    /// What came of it.
    pub result: Done,
}

/// What was done.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A key was given a value.
    Put,
    /// A key was taken away.
    Delete,
    /// A key was given a value if it had the expected one.
    Cas,
    /// A transaction that wrote nothing. What one writes is told key by key.
    Txn,
    /// A lock was asked for.
    Acquire,
    /// A lease was renewed.
    Renew,
    /// A lock was given back.
    Release,
    /// A place in line was given up.
    Withdraw,
    /// A lock was taken from its holder.
    Steal,
    /// A lock went to the next in line.
    Grant,
    /// The time of a key, a lease or a place in line was up.
    Expire,
    /// A member got a vote.
    VoterAdded,
    /// A member lost its vote.
    VoterRemoved,
    /// The coordinators were begun anew after the loss of their quorum for good.
    Recover,
    /// The leader put something into the log that nobody signed.
    Forged,
    /// Critical state is of a later format from then on; the name is its number.
    Raise,
}

/// What came of a [`Deed`].
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// It was done; the revision of critical state after it.
    Revision(u64),
    /// The lock was granted under this token.
    Granted(u64),
    /// It waits in line.
    Waiting,
    /// It was refused, with this code, and nothing changed.
    Refused(String),
    /// It was done, and is no change of critical state.
    Noted,
}

impl Action {
    /// The word for it on the command line and in JSON.
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
        }
    }
}

impl Refusal {
    /// A short word for it.
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

    /// Adds a record of who votes from now on, if that is somebody else than before.
    pub(super) fn seats(&mut self, index: u64, leader: Did, voters: BTreeSet<Did>) -> Option<Record> {
        let deed = |action, did: &Did| Deed { action, name: did.to_string(), whose: None, result: Done::Noted };
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

    /// As it is kept and sent.
    pub(crate) fn encode(&self) -> Vec<u8> {
        // writing into memory does not fail
        borsh::to_vec(self).unwrap_or_default()
    }

    /// Who is said to have done it.
    pub(crate) fn by(&self) -> Did {
        match self.source {
            Source::Proposal { by, .. } | Source::Leader(by) | Source::Recovery { by, .. } => by,
        }
    }

    /// When, as far as anybody says.
    pub(crate) fn at_ms(&self) -> Option<u64> {
        match self.source {
            Source::Proposal { at_ms, .. } | Source::Recovery { at_ms, .. } => Some(at_ms),
            Source::Leader(_) => None,
        }
    }

    /// Whether the proposer's signature is good, where there is one.
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

/// What a command did: itself, and what followed from it.
pub(super) fn deeds(command: &Command, outcome: &Outcome, changes: &[Change], deeds: &mut Vec<Deed>) {
    let result = match outcome {
        Outcome::Done { revision } | Outcome::Txn { revision, .. } => Done::Revision(*revision),
        Outcome::Granted { token } => Done::Granted(*token),
        Outcome::Waiting { .. } => Done::Waiting,
        Outcome::Refused(refusal) => Done::Refused(refusal.code().to_owned()),
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
                    if matches!(change.what, What::Put { .. }) { Action::Put } else { Action::Delete },
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
            let from = changes.iter().find_map(|change| match change.what {
                What::Granted { stolen_from, .. } => stolen_from,
                _ => None,
            });
            own(Action::Steal, name, from);
        }
        Command::Expire(_) if matches!(outcome, Outcome::Refused(_)) => own(Action::Expire, "", None),
        Command::Expire(_) => {}
        // copies of format 0 know no such action
        Command::Raise(_) if matches!(outcome, Outcome::Refused(_)) => {}
        Command::Raise(to) => {
            deeds.push(Deed { action: Action::Raise, name: to.to_string(), whose: None, result: Done::Noted });
        }
    }
    let expires = matches!(command, Command::Expire(_));
    let asked_for = matches!(command, Command::Acquire { .. } | Command::Steal { .. });
    for change in changes {
        let (action, result) = match &change.what {
            What::Deleted { .. } | What::Released { .. } | What::Line { .. } if expires => {
                (Action::Expire, Done::Revision(change.revision))
            }
            What::Granted { token, .. } if !asked_for => (Action::Grant, Done::Granted(*token)),
            _ => continue,
        };
        deeds.push(Deed { action, name: change.name().to_owned(), whose: Some(change.by), result });
    }
}
