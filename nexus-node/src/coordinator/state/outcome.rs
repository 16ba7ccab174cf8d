//! The outcomes of commands, what changed, and the bytes in use.

use borsh::{BorshDeserialize, BorshSerialize};
use nexus_identity::Did;

use super::item::{self, Item};
use crate::coordinator::command::{Expiry, Group, is_bytes};
use crate::coordinator::format;
use crate::coordinator::limits::{self, Limits};
use crate::error::{AccessError, CriticalBound, NodeError};

/// The outcome of a command.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done, as of this revision.
    Done {
        /// The revision of critical state after it.
        revision: u64,
    },
    /// A transaction was done.
    Txn {
        /// Whether its checks held.
        held: bool,
        /// The revision of critical state after it.
        revision: u64,
        /// For each step, the key after it; `None` for a key that does not exist.
        items: Vec<Option<Item>>,
    },
    /// The caller has the lock.
    Granted {
        /// The token that proves it. Later grants, of any lock, have larger tokens.
        token: u64,
    },
    /// The caller waits in line.
    Waiting {
        /// The number of the place in line.
        waiter: u64,
    },
    /// Not done; nothing changed.
    Refused(Refusal),
}

/// The reason why a command was refused.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The proposal is not valid: its form or its signature is wrong.
    #[error("not a proposal that counts: {0}")]
    Malformed(Malformed),
    /// The proposal is for another group of coordinators.
    #[error("made for the coordinators {found}, these are {group}")]
    OtherGroup {
        /// This group.
        group: Group,
        /// The proposal's group.
        found: Group,
    },
    /// The proposal came too late, or its answer is gone already.
    #[error("came too late to count")]
    TooLate,
    /// The key has another value than the expected one, or none.
    #[error("the key {}", .found.as_ref().map_or_else(|| "does not exist".to_owned(), |item| format!("has another value, of revision {}", item.revision)))]
    Mismatch {
        /// The key's content.
        found: Option<Item>,
    },
    /// The key does not exist.
    #[error("no such key")]
    NoKey,
    /// The token's lease has ended.
    #[error("the token {token} is of no lease that stands")]
    StaleToken {
        /// The token.
        token: u64,
    },
    /// The lock is not held.
    #[error("nobody holds this lock")]
    NoLock,
    /// Another node holds the lock.
    #[error("the lock is held by {holder}")]
    Held {
        /// The holder.
        holder: Did,
        /// The holder's token.
        token: u64,
    },
    /// There is no such place in line, and the caller has no lease.
    #[error("no such place in line")]
    NoWaiter,
    /// There is no more room.
    #[error("there is no room for more: {0}")]
    Full(Full),
    /// The request's id was given to another change before. From format 3 on.
    #[error("a request of that id asked for something else")]
    OtherRequest,
    /// The name begins with the DID of another member. From format 4 on.
    #[error("this name is {owner}'s alone")]
    NotYours {
        /// The member.
        owner: Did,
    },
    /// A key whose name begins with a member's DID has no time to live. From format 4 on.
    #[error("a key that is a member's alone needs a time to live")]
    Endless,
}

/// The reason why a proposal or a command does not count.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// The bytes are no proposal.
    #[error("not a proposal")]
    NotAProposal,
    /// The signature is not the named node's.
    #[error("not signed by who it says")]
    NotSigned,
    /// A command breaks a rule of form.
    #[error("it breaks a rule of form")]
    Form,
    /// Only the leader may propose this.
    #[error("not from the leader")]
    NotFromLeader,
    /// Its format is later than critical state's.
    #[error("its format is not raised yet")]
    NotRaised,
}

/// The bound that was reached.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Full {
    /// The bound of all keys and values together.
    #[error("keys and values have {bytes} bytes, at most {} are allowed", limits::of(format::FORMAT_MAX).state_bytes)]
    Bytes {
        /// Their size, in bytes.
        bytes: u64,
    },
    /// The bound of held locks.
    #[error("{} locks are held", limits::of(format::FORMAT_MAX).locks)]
    Locks,
    /// The bound of the line for one lock.
    #[error("{} wait for this lock", limits::of(format::FORMAT_MAX).waiters)]
    Line,
    /// The bound of the answers kept for one session.
    #[error("answers wait to be let go of")]
    Answers,
    /// The bound of the values in one answer. From format 2 on.
    #[error("the answer would have {bytes} bytes, at most {} are allowed", limits::of(format::FORMAT_MAX).reply_bytes)]
    Reply {
        /// Their size, in bytes.
        bytes: u64,
    },
    /// The part of one member: of bytes, of locks, or of the line for one lock. From format 2 on.
    #[error("this member has its part")]
    Share,
}

impl From<Full> for NodeError {
    fn from(full: Full) -> Self {
        let limits = limits::of(format::FORMAT_MAX);
        let bound = match full {
            Full::Bytes { bytes } => CriticalBound::Bytes { bytes, max: limits.state_bytes },
            Full::Locks => CriticalBound::Locks { max: limits.locks },
            Full::Line => CriticalBound::Line { max: limits.waiters },
            Full::Answers => CriticalBound::Answers,
            Full::Share => CriticalBound::Share,
            Full::Reply { bytes } => return reply_too_large(bytes),
        };
        AccessError::Full(bound).into()
    }
}

/// The error for an answer that would have this many bytes.
pub(in crate::coordinator) fn reply_too_large(bytes: u64) -> NodeError {
    let size = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
    NodeError::TooLarge { what: "the answer", bytes: size(bytes), max: size(limits::REPLY_BYTES_MAX) }
}

/// A change, for watchers.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CriticalChange {
    /// The revision of this change.
    pub revision: u64,
    /// The member that made it; for an expiry, the former owner.
    pub by: Did,
    /// The change itself.
    pub event: CriticalEvent,
}

/// The kind of a [`CriticalChange`], with its data.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CriticalEvent {
    /// A key was written.
    Put {
        /// The key.
        key: String,
        /// The value.
        value: Vec<u8>,
    },
    /// A key was deleted.
    Deleted {
        /// The key.
        key: String,
        /// Whether it expired.
        expired: bool,
    },
    /// A lock was granted.
    Granted {
        /// The lock's name.
        name: String,
        /// The lease's token.
        token: u64,
        /// The former holder, if the lock was stolen.
        stolen_from: Option<Did>,
    },
    /// A lease was renewed.
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
        /// Whether it expired.
        expired: bool,
    },
    /// A place in line was taken or left.
    Line {
        /// The lock's name.
        name: String,
        /// The place.
        waiter: u64,
        /// Whether it was taken.
        waits: bool,
    },
}

impl CriticalChange {
    /// The key or the lock of the change.
    pub fn name(&self) -> &str {
        match &self.event {
            CriticalEvent::Put { key, .. } | CriticalEvent::Deleted { key, .. } => key,
            CriticalEvent::Granted { name, .. }
            | CriticalEvent::Renewed { name, .. }
            | CriticalEvent::Released { name, .. }
            | CriticalEvent::Line { name, .. } => name,
        }
    }

    /// Its size on the wire in bytes, about.
    pub(crate) fn size(&self) -> usize {
        let value = if let CriticalEvent::Put { value, .. } = &self.event { value.len() } else { 0 };
        self.name().len() + value + 64
    }
}

/// Something with a limited time, and its length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Timed {
    /// The leader's command at its end.
    pub(crate) expiry: Expiry,
    /// The whole time, in milliseconds.
    pub(crate) ms: u64,
}

/// Bytes in use: of keys, locks and places in line.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Used {
    pub(super) all: u64,
    /// A member's part of them.
    pub(super) part: u64,
}

impl Used {
    /// With more bytes of the member.
    pub(super) const fn with(self, bytes: u64) -> Self {
        Self { all: self.all + bytes, part: self.part + bytes }
    }

    /// Checks the bytes in use after a command. Whatever frees bytes may be done in any state.
    pub(super) fn check(self, after: Self, limits: &Limits) -> Result<(), Refusal> {
        if after.all > limits.state_bytes && after.all > self.all {
            return Err(Refusal::Full(Full::Bytes { bytes: self.all }));
        }
        if after.part > limits.share_bytes && after.part > self.part {
            return Err(Refusal::Full(Full::Share));
        }
        Ok(())
    }
}

/// The part of a member's share for whoever is known from the gate alone. Its line may have written as much already.
pub(super) const UNHEARD: u64 = 16;

/// Counts revisions and collects changes.
pub(super) struct Tell<'a> {
    pub(super) revision: &'a mut u64,
    pub(super) limits: &'static Limits,
    /// The bytes in use before the command.
    pub(super) used: Used,
    pub(super) by: Did,
    pub(super) changes: &'a mut Vec<CriticalChange>,
}

impl Tell<'_> {
    /// The revision of the next change.
    pub(super) fn next(&mut self) -> u64 {
        *self.revision += 1;
        *self.revision
    }

    pub(super) fn change(&mut self, revision: u64, by: Did, event: CriticalEvent) {
        self.changes.push(CriticalChange { revision, by, event });
    }

    pub(super) fn done(&self) -> Outcome {
        Outcome::Done { revision: *self.revision }
    }
}

impl Outcome {
    /// The keys that it shows.
    pub(super) fn items(&self) -> impl Iterator<Item = &Item> {
        let (many, one) = match self {
            Self::Txn { items, .. } => (items.as_slice(), None),
            Self::Refused(Refusal::Mismatch { found }) => ([].as_slice(), found.as_ref()),
            _ => ([].as_slice(), None),
        };
        many.iter().flatten().chain(one)
    }

    /// Whether it shows a value that is no text.
    pub(super) fn has_bytes(&self) -> bool {
        self.items().any(|item| is_bytes(&item.value))
    }

    /// Whether it shows what formats before [`format::BYTES`] do not have.
    pub(super) fn is_later(&self) -> bool {
        self.has_bytes() || matches!(self, Self::Refused(Refusal::Full(Full::Reply { .. } | Full::Share)))
    }

    /// The size of the values that it shows, in bytes.
    pub(super) fn shown(&self) -> u64 {
        match self {
            Self::Txn { items, .. } => items.iter().map(|item| item::shown(item.as_ref())).sum(),
            Self::Refused(Refusal::Mismatch { found }) => item::shown(found.as_ref()),
            _ => 0,
        }
    }

    /// The outcome with texts and bounds of earlier formats alone.
    pub(super) fn for_earlier(&self) -> Self {
        let in_text = |item: &Option<Item>| item.as_ref().map(Item::in_text);
        match self {
            Self::Txn { held, revision, items } => {
                Self::Txn { held: *held, revision: *revision, items: items.iter().map(in_text).collect() }
            }
            Self::Refused(Refusal::Mismatch { found }) => Self::Refused(Refusal::Mismatch { found: in_text(found) }),
            Self::Refused(Refusal::Full(Full::Reply { .. } | Full::Share)) => {
                Self::Refused(Refusal::Full(Full::Answers))
            }
            other => other.clone(),
        }
    }
}
