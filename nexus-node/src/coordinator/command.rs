//! What is proposed: commands, signed in batches by the node that asks.

use std::fmt;
use std::sync::Arc;

use borsh::de::EnumExt;
use borsh::{BorshDeserialize, BorshSerialize};
use nexus_identity::{BadSignature, Did, Domain, Keypair, Signature};

use super::format::{self, ReadError, TooNew};
use super::limits;

/// One change of critical state.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Gives a key a value.
    Put(Put),
    /// Takes a key away.
    Delete {
        /// The key.
        key: String,
        /// A lock's token that must be good at that moment.
        fence: Option<u64>,
    },
    /// Gives a key a value if it has the expected one.
    Cas {
        /// What it must be now; `None`: it must not exist.
        expect: Option<String>,
        /// What it is to be.
        put: Put,
    },
    /// Several checks, and what to do if all hold or if one does not, at one revision.
    Txn(Txn),
    /// Takes a lock, or waits in line for it.
    Acquire {
        /// The lock's name.
        name: String,
        /// How long the lease runs unless it is renewed, in milliseconds.
        ttl_ms: u64,
        /// How long to wait in line, in milliseconds; 0: do not.
        wait_ms: u64,
    },
    /// Lets a lease run its whole time again.
    Renew {
        /// The lock's name.
        name: String,
        /// The lease's token.
        token: u64,
        /// A new length, in milliseconds.
        ttl_ms: Option<u64>,
    },
    /// Gives a lock back.
    Release {
        /// The lock's name.
        name: String,
        /// The lease's token.
        token: u64,
    },
    /// Leaves the line for a lock.
    Withdraw {
        /// The lock's name.
        name: String,
        /// The place in line, as [`Outcome::Waiting`](super::Outcome::Waiting) named it.
        waiter: u64,
    },
    /// Takes a lock from whoever holds it. The line behind stays.
    Steal {
        /// The lock's name.
        name: String,
        /// How long the lease runs unless it is renewed, in milliseconds.
        ttl_ms: u64,
    },
    /// What has run out of time. Counts only from the leader whose log entry it is.
    Expire(Vec<Expiry>),
    /// Critical state is of this format from now on, unless it is of a later one. Counts only from the
    /// leader, and in a proposal of that very format, so that a copy which cannot read the format meets
    /// bytes that it cannot read.
    Raise(u16),
}

impl Command {
    /// The number of the last variant.
    const LAST: u8 = 10;
}

/// A value for a key.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
    /// After how long the key goes away by itself, in milliseconds.
    pub ttl_ms: Option<u64>,
    /// A lock's token that must be good at that moment.
    pub fence: Option<u64>,
}

/// A transaction.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// What must hold.
    pub checks: Vec<Check>,
    /// What is done if all of it holds.
    pub then: Vec<Step>,
    /// What is done if not.
    pub otherwise: Vec<Step>,
}

/// What a transaction asks of a key.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The key.
    pub key: String,
    /// What must be true of it.
    pub is: Condition,
}

/// What may be true of a key.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It does not exist.
    Absent,
    /// It exists.
    Present,
    /// It has this value.
    Value(String),
    /// It was last written at this revision.
    Revision(u64),
}

/// What a transaction does with a key.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Reads it.
    Get(String),
    /// Gives it a value.
    Put(Put),
    /// Takes it away.
    Delete(String),
}

/// What has run out of time, named so that a renewal in between makes it void.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Expiry {
    /// A key that has not been written since.
    Key {
        /// The key.
        key: String,
        /// The revision it was last written at.
        revision: u64,
    },
    /// A lease that has not been renewed since.
    Lease {
        /// The lock's name.
        name: String,
        /// The lease's token.
        token: u64,
        /// How often it had been renewed.
        renewals: u64,
    },
    /// A place in line.
    Waiter {
        /// The lock's name.
        name: String,
        /// The place.
        waiter: u64,
    },
}

/// Commands of one node, to be applied together in their order, once.
#[derive(BorshSerialize, Clone, Debug, PartialEq, Eq)]
pub(super) struct Proposal {
    /// The format of its bytes.
    #[borsh(skip)]
    pub(super) format: u16,
    /// The group it is for; another group refuses it.
    pub(super) group: Group,
    /// Who asks.
    pub(super) by: Did,
    /// The run of that node: drawn at random when it starts.
    pub(super) session: u64,
    /// Which proposal of that run it is, from 1. One that comes again is answered as before.
    pub(super) seq: u64,
    /// All proposals of the run up to this one were answered: their answers may be let go of.
    pub(super) answered: u64,
    /// A log index that the node knew to be applied: where the time ends in which it counts.
    pub(super) base: u64,
    /// When, by the clock of who asks, in milliseconds: for people; nothing depends on it.
    pub(super) at_ms: u64,
    /// What to do.
    pub(super) commands: Vec<Command>,
}

impl Proposal {
    /// Its canonical bytes.
    fn encode(&self) -> Vec<u8> {
        let mut bytes = format::begin(self.format);
        // writing into memory does not fail
        let _ = self.serialize(&mut bytes);
        bytes
    }

    /// Reads bytes of a format that is not above `max`.
    fn decode(bytes: &[u8], max: u16) -> Result<Self, ReadError> {
        let (format, mut rest) = format::split(bytes, max)?;
        let from = &mut rest;
        let mut proposal = Self {
            format,
            group: BorshDeserialize::deserialize(from)?,
            by: BorshDeserialize::deserialize(from)?,
            session: BorshDeserialize::deserialize(from)?,
            seq: BorshDeserialize::deserialize(from)?,
            answered: BorshDeserialize::deserialize(from)?,
            base: BorshDeserialize::deserialize(from)?,
            at_ms: BorshDeserialize::deserialize(from)?,
            commands: Vec::new(),
        };
        for _ in 0..u32::deserialize(from)? {
            let number = u8::deserialize(from)?;
            if number > Command::LAST && format > 0 {
                return Err(TooNew::Command(number).into());
            }
            proposal.commands.push(Command::deserialize_variant(from, number)?);
        }
        if rest.is_empty() { Ok(proposal) } else { Err(ReadError::Malformed) }
    }
}

/// A Raft group. After the loss of its quorum for good a new one takes its place.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group {
    /// How many there were before it.
    pub generation: u32,
    /// Drawn at random.
    pub id: u64,
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.generation, self.id)
    }
}

impl Group {
    /// The group of a text as [`Display`](fmt::Display) writes it.
    pub(super) fn of_text(text: &str) -> Option<Self> {
        let (generation, id) = text.split_once('-')?;
        let group = Self { generation: generation.parse().ok()?, id: u64::from_str_radix(id, 16).ok()? };
        (group.to_string() == text).then_some(group)
    }
}

/// A proposal's canonical bytes with its proposer's signature: what the log carries.
#[derive(BorshSerialize, BorshDeserialize, Clone)]
pub(super) struct Signed {
    /// The proposal, encoded.
    pub(super) bytes: Vec<u8>,
    /// Over the hash of the bytes.
    pub(super) signature: Signature,
    /// The proposal, where this very node signed or checked it, so as not to check it again when it
    /// is applied. It never comes from others or from the disk.
    #[borsh(skip)]
    checked: Option<Arc<Proposal>>,
}

/// Why proposal bytes are not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProposalError {
    /// They are no proposal, or one of a later version.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// They were not signed by who they say.
    #[error(transparent)]
    Signature(#[from] BadSignature),
    /// A command breaks a rule of form.
    #[error(transparent)]
    Form(#[from] limits::FormError),
}

impl Signed {
    /// Signs a proposal.
    pub(super) fn new(proposal: &Proposal, key: &Keypair) -> Self {
        let bytes = proposal.encode();
        let signature = key.sign(Domain::Proposal, &digest(&bytes));
        let good = proposal.by == key.did() && limits::check(proposal.format, &proposal.commands).is_ok();
        Self { bytes, signature, checked: good.then(|| Arc::new(proposal.clone())) }
    }

    /// The proposal, if it is of a format up to `max`, was signed by who it says and keeps the rules of
    /// form.
    ///
    /// # Errors
    /// [`ProposalError`]: [`TooNew`] depends on the version, all others are the same on every node.
    pub(super) fn open(&self, max: u16) -> Result<Arc<Proposal>, ProposalError> {
        if let Some(checked) = &self.checked {
            return Ok(checked.clone());
        }
        let proposal = Proposal::decode(&self.bytes, max)?;
        proposal.by.verify(Domain::Proposal, &digest(&self.bytes), &self.signature)?;
        limits::check(proposal.format, &proposal.commands)?;
        Ok(Arc::new(proposal))
    }

    /// The same, known to be good from now on.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(super) fn checked(self, max: u16) -> Result<Self, ProposalError> {
        let proposal = self.open(max)?;
        Ok(Self { checked: Some(proposal), ..self })
    }

    /// What was signed.
    pub(super) fn digest(&self) -> [u8; 32] {
        digest(&self.bytes)
    }

    /// The proposal, if it was checked here.
    pub(super) fn proposal(&self) -> Option<&Proposal> {
        self.checked.as_deref()
    }
}

impl PartialEq for Signed {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes && self.signature == other.signature
    }
}

impl Eq for Signed {}

impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signed({} bytes)", self.bytes.len())
    }
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    blake3::derive_key("nexus proposal v1", bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_of_the_next_number_is_a_later_versions() {
        assert_eq!(borsh::to_vec(&Command::Raise(1)).unwrap(), [Command::LAST, 1, 0]);
        let key = Keypair::from_seed(&[1; 32]);
        let (group, by) = (Group::default(), key.did());
        let commands = vec![Command::Raise(1)];
        let proposal = Proposal { format: 1, group, by, session: 1, seq: 1, answered: 0, base: 0, at_ms: 0, commands };
        let mut bytes = proposal.encode();
        assert_eq!(Proposal::decode(&bytes, 1), Ok(proposal));
        let place = bytes.len() - 3;
        bytes[place] = Command::LAST + 1;
        assert_eq!(Proposal::decode(&bytes, 1), Err(TooNew::Command(Command::LAST + 1).into()));
    }
}
