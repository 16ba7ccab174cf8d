//! Proposals: commands, signed in batches by the asking node.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use borsh::de::EnumExt;
use borsh::{BorshDeserialize, BorshSerialize};
use nexus_identity::{BadSignature, Did, Domain, Keypair, Signature};

use super::format::{self, ReadError, TooNew};
use super::limits::{self, FormError};
use super::requests::{Request, RequestKey};

/// One change of critical state.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Writes a key.
    Put(Put),
    /// Deletes a key.
    Delete {
        /// The key.
        key: String,
        /// The token of a lock, which must be good at that moment.
        fence: Option<u64>,
    },
    /// Writes a key if it has the expected value.
    Cas {
        /// The expected value; `None` if the key must not exist.
        expect: Option<Vec<u8>>,
        /// The new value.
        put: Put,
    },
    /// Checks, and the steps if all hold or if one does not, at one revision.
    Txn(Txn),
    /// Takes a lock, or waits in line for it.
    Acquire {
        /// The lock's name.
        name: String,
        /// The time of the lease unless it is renewed, in milliseconds.
        ttl_ms: u64,
        /// The longest wait in line, in milliseconds; 0 for no wait.
        wait_ms: u64,
    },
    /// Restarts a lease's time.
    Renew {
        /// The lock's name.
        name: String,
        /// The lease's token.
        token: u64,
        /// A new time for the lease, in milliseconds.
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
        /// The number of the place in line, from [`Outcome::Waiting`](super::Outcome::Waiting).
        waiter: u64,
    },
    /// Takes a lock from its holder. The line stays.
    Steal {
        /// The lock's name.
        name: String,
        /// The time of the lease unless it is renewed, in milliseconds.
        ttl_ms: u64,
    },
    /// Ends everything whose time is over. Counts only from the leader that appended the entry.
    Expire(Vec<Expiry>),
    /// Raises critical state to this format, unless its format is later already. Counts only from the
    /// leader, in a proposal of this format: a copy that cannot read the format stops at the bytes.
    Raise(u16),
    /// Ends what a former member holds: its locks go to the next in line, its places in line and its
    /// sessions end. Its keys stay. Counts only from the leader.
    End(Did),
    /// Gives the keys that a member's former key wrote to the key that took its place, and ends what the former one holds:
    /// both are one member, with one share. Counts only from the leader.
    Succeed {
        /// The former key.
        former: Did,
        /// The key in its place.
        member: Did,
    },
}

impl Command {
    /// The number of the last variant.
    const LAST: u8 = 12;

    /// The first format that has it.
    pub(super) fn first_format(&self) -> u16 {
        match self {
            Self::End(_) => format::ENDS,
            Self::Succeed { .. } => format::LINES,
            command if command.has_bytes() => format::BYTES,
            _ => 0,
        }
    }

    /// Whether one of its values is no text. Formats before [`format::BYTES`] do not have such values.
    pub(super) fn has_bytes(&self) -> bool {
        match self {
            Self::Put(put) => is_bytes(&put.value),
            Self::Cas { expect, put } => expect.as_deref().is_some_and(is_bytes) || is_bytes(&put.value),
            Self::Txn(txn) => {
                let compared = txn.checks.iter().any(|check| matches!(&check.is, Condition::Value(it) if is_bytes(it)));
                let mut steps = txn.then.iter().chain(&txn.otherwise);
                compared || steps.any(|step| matches!(step, Step::Put(put) if is_bytes(&put.value)))
            }
            Self::Delete { .. }
            | Self::Acquire { .. }
            | Self::Renew { .. }
            | Self::Release { .. }
            | Self::Withdraw { .. }
            | Self::Steal { .. }
            | Self::Expire(_)
            | Self::Raise(_)
            | Self::End(_)
            | Self::Succeed { .. } => false,
        }
    }

    /// Whether it is a caller's change, and not the leader's own work.
    pub(super) const fn is_a_callers(&self) -> bool {
        !matches!(self, Self::Expire(_) | Self::Raise(_) | Self::End(_) | Self::Succeed { .. })
    }

    /// The number of stored values that its outcome may show.
    pub(super) fn reads(&self) -> usize {
        let gets = |steps: &[Step]| steps.iter().filter(|step| matches!(step, Step::Get(_))).count();
        match self {
            Self::Cas { .. } => 1,
            Self::Txn(txn) => gets(&txn.then).max(gets(&txn.otherwise)),
            _ => 0,
        }
    }
}

/// Whether a value is no text.
pub(super) fn is_bytes(value: &[u8]) -> bool {
    std::str::from_utf8(value).is_err()
}

/// A value for a key.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Put {
    /// The key.
    pub key: String,
    /// The value. While critical state is of an earlier format than 2, it must be text.
    pub value: Vec<u8>,
    /// The lifetime of the key from its last write on, in milliseconds.
    pub ttl_ms: Option<u64>,
    /// The token of a lock, which must be good at that moment.
    pub fence: Option<u64>,
}

impl Put {
    /// A value without an end, under no lock.
    pub fn new(key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Self { key: key.into(), value: value.into(), ttl_ms: None, fence: None }
    }

    /// With this lifetime, one second to 30 days.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl_ms = Some(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Under the token of a lock: the whole transaction is refused once another node has the lock.
    #[must_use]
    pub fn fence(mut self, token: u64) -> Self {
        self.fence = Some(token);
        self
    }
}

/// A transaction: checks, and the steps that are done together if all checks hold.
///
/// ```
/// use nexus_node::critical::{Condition, Put, Step, Txn};
///
/// let claim = Txn::new()
///     .check("deploy/target", Condition::Absent)
///     .then(Put::new("deploy/target", "blue"))
///     .otherwise(Step::Get("deploy/target".into()));
/// # assert_eq!((claim.checks.len(), claim.then.len(), claim.otherwise.len()), (1, 1, 1));
/// ```
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Txn {
    /// The checks.
    pub checks: Vec<Check>,
    /// The steps if all checks hold.
    pub then: Vec<Step>,
    /// The steps otherwise.
    pub otherwise: Vec<Step>,
}

impl Txn {
    /// The keys that its steps write, with the values.
    #[cfg(feature = "http")]
    pub(crate) fn written(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        self.then.iter().chain(&self.otherwise).filter_map(|step| match step {
            Step::Put(put) => Some((put.key.as_str(), Some(put.value.as_slice()))),
            Step::Delete(_) | Step::Get(_) => None,
        })
    }

    /// A transaction without checks, which hold, and without steps.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more check.
    #[must_use]
    pub fn check(mut self, key: impl Into<String>, is: Condition) -> Self {
        self.checks.push(Check::new(key, is));
        self
    }

    /// With one more step if all checks hold.
    #[must_use]
    pub fn then(mut self, step: impl Into<Step>) -> Self {
        self.then.push(step.into());
        self
    }

    /// With one more step if a check does not hold.
    #[must_use]
    pub fn otherwise(mut self, step: impl Into<Step>) -> Self {
        self.otherwise.push(step.into());
        self
    }
}

/// A check of a transaction.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Check {
    /// The key.
    pub key: String,
    /// The condition.
    pub is: Condition,
}

impl Check {
    /// Whether a key meets a condition.
    pub fn new(key: impl Into<String>, is: Condition) -> Self {
        Self { key: key.into(), is }
    }
}

/// A condition on a key.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// It does not exist.
    Absent,
    /// It exists.
    Present,
    /// It has this value.
    Value(Vec<u8>),
    /// It was last written at this revision.
    Revision(u64),
}

/// A step of a transaction.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Reads it.
    Get(String),
    /// Writes it.
    Put(Put),
    /// Deletes it, if it exists.
    Delete(String),
}

impl From<Put> for Step {
    fn from(put: Put) -> Self {
        Self::Put(put)
    }
}

/// An expiry, described so that a renewal in between makes it void.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Expiry {
    /// A key that has not been written since.
    Key {
        /// The key.
        key: String,
        /// The revision of its last write.
        revision: u64,
    },
    /// A lease that has not been renewed since.
    Lease {
        /// The lock's name.
        name: String,
        /// The lease's token.
        token: u64,
        /// The number of its renewals at that time.
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

/// Commands of one node, applied together, in their order, and once.
#[derive(BorshSerialize, Clone, Debug, PartialEq, Eq)]
pub(super) struct Proposal {
    /// The format of its bytes.
    #[borsh(skip)]
    pub(super) format: u16,
    /// The group that it is for. Another group refuses it.
    pub(super) group: Group,
    /// The asking node.
    pub(super) by: Did,
    /// The session: a random number of this run of the node.
    pub(super) session: u64,
    /// Its number in the session, from 1. A repeated proposal is answered as the first time.
    pub(super) seq: u64,
    /// All proposals of the session up to this one were answered, so their answers may be dropped.
    pub(super) answered: u64,
    /// A log index that the node knew to be applied. The proposal counts for a limited span after it.
    pub(super) base: u64,
    /// The time by the asking node's clock, in milliseconds. For people; nothing depends on it.
    pub(super) at_ms: u64,
    /// The commands.
    pub(super) commands: Vec<Command>,
    /// The keys of requests among the commands, in the order of their places. From [`format::REQUESTS`] on.
    #[borsh(skip)]
    pub(super) requests: Vec<Request>,
}

impl Proposal {
    /// Its canonical bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        match self.format {
            0..format::REQUESTS => format::encode_marked(self.format, self),
            _ => format::encode_marked(self.format, &(self, &self.requests)),
        }
    }

    /// The key of the request of a command, by its place.
    pub(super) fn request_of(&self, place: usize) -> Option<RequestKey> {
        let found = self.requests.binary_search_by_key(&place, |request| usize::from(request.place));
        found.ok().and_then(|found| self.requests.get(found)).map(|request| request.key)
    }

    /// Checks the rules of form of its format.
    ///
    /// # Errors
    /// The first [`FormError`].
    pub(super) fn check(&self) -> Result<(), FormError> {
        limits::check(self.format, &self.commands)?;
        let rising = self.requests.is_sorted_by(|one, next| one.place < next.place);
        let of_a_caller =
            |request: &Request| self.commands.get(usize::from(request.place)).is_some_and(Command::is_a_callers);
        let may = self.requests.is_empty() || self.format >= format::REQUESTS;
        if may && rising && self.requests.iter().all(of_a_caller) { Ok(()) } else { Err(FormError::Requests) }
    }

    /// Reads bytes of a format that is not above `max`.
    pub(super) fn decode(bytes: &[u8], max: u16) -> Result<Self, ReadError> {
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
            requests: Vec::new(),
        };
        for _ in 0..u32::deserialize(from)? {
            let number = u8::deserialize(from)?;
            if number > Command::LAST && format > 0 {
                return Err(TooNew::Command(number).into());
            }
            let command = Command::deserialize_variant(from, number)?;
            if format < command.first_format() {
                return Err(ReadError::Malformed);
            }
            proposal.commands.push(command);
        }
        if format >= format::REQUESTS {
            proposal.requests = BorshDeserialize::deserialize(from)?;
        }
        if rest.is_empty() { Ok(proposal) } else { Err(ReadError::Malformed) }
    }
}

/// A Raft group. A new one replaces it after its quorum is lost for good.
#[derive(BorshSerialize, BorshDeserialize, Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group {
    /// The number of groups before it.
    pub generation: u32,
    /// A random number.
    pub id: u64,
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.generation, self.id)
    }
}

impl Group {
    /// The largest generation: above it the tokens of locks would not fit the integers of JSON (2^53).
    const GENERATION_MAX: u32 = (1 << 13) - 1;

    /// The group that another member names; `None` for one that cannot be.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        borsh::from_slice(bytes).ok().filter(Self::can_be)
    }

    /// Whether its generation is within its limit.
    pub(super) const fn can_be(&self) -> bool {
        self.generation <= Self::GENERATION_MAX
    }

    /// Whether its tokens are numbers at all.
    pub(super) const fn has_tokens(&self) -> bool {
        self.generation < 1 << 20
    }

    /// The group of a text as [`Display`](fmt::Display) writes it.
    pub(super) fn of_text(text: &str) -> Option<Self> {
        let (generation, id) = text.split_once('-')?;
        let group = Self { generation: generation.parse().ok()?, id: u64::from_str_radix(id, 16).ok()? };
        (group.to_string() == text).then_some(group)
    }
}

/// A proposal's canonical bytes with its signature: the content of the log.
#[derive(BorshSerialize, BorshDeserialize, Clone)]
pub(super) struct Signed {
    /// The proposal, encoded.
    pub(super) bytes: Vec<u8>,
    /// The signature over the hash of the bytes.
    pub(super) signature: Signature,
    /// The proposal, if this node signed or checked it, so that it is not checked again when it is
    /// applied. Never from others or from the disk.
    #[borsh(skip)]
    checked: Option<Arc<Proposal>>,
}

/// The reason why a proposal's bytes are refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProposalError {
    /// They are no proposal, or one of a later version.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The signature is not the named node's.
    #[error(transparent)]
    Signature(#[from] BadSignature),
    /// A command breaks a rule of form.
    #[error(transparent)]
    Form(#[from] FormError),
}

impl Signed {
    /// Signs a proposal.
    pub(super) fn new(proposal: &Proposal, key: &Keypair) -> Self {
        let bytes = proposal.encode();
        let signature = key.sign(Domain::Proposal, &digest(&bytes));
        let good = proposal.by == key.did() && proposal.check().is_ok();
        Self { bytes, signature, checked: good.then(|| Arc::new(proposal.clone())) }
    }

    /// The proposal, if its format is at most `max`, its signature is good and it keeps the rules of form.
    ///
    /// # Errors
    /// [`ProposalError`]. [`TooNew`] depends on the version; all other errors are equal on every node.
    pub(super) fn open(&self, max: u16) -> Result<Arc<Proposal>, ProposalError> {
        if let Some(checked) = &self.checked {
            return Ok(checked.clone());
        }
        let proposal = Proposal::decode(&self.bytes, max)?;
        proposal.by.verify(Domain::Proposal, &digest(&self.bytes), &self.signature)?;
        proposal.check()?;
        Ok(Arc::new(proposal))
    }

    /// This signed proposal with the checked proposal.
    ///
    /// # Errors
    /// Same as [`open`](Self::open).
    pub(super) fn checked(self, max: u16) -> Result<Self, ProposalError> {
        let proposal = self.open(max)?;
        Ok(Self { checked: Some(proposal), ..self })
    }

    /// The signed digest.
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
        let did = |n| Did::from_bytes([n; 32]);
        assert_eq!(borsh::to_vec(&Command::End(did(7))).unwrap()[..2], [Command::LAST - 1, 7]);
        let succeed = Command::Succeed { former: did(7), member: did(8) };
        assert_eq!(borsh::to_vec(&succeed).unwrap()[..2], [Command::LAST, 7]);
        let key = Keypair::from_seed(&[1; 32]);
        let (group, by) = (Group::default(), key.did());
        let commands = vec![Command::Raise(1)];
        let proposal = Proposal {
            format: 1,
            group,
            by,
            session: 1,
            seq: 1,
            answered: 0,
            base: 0,
            at_ms: 0,
            commands,
            requests: Vec::new(),
        };
        let mut bytes = proposal.encode();
        assert_eq!(Proposal::decode(&bytes, 1), Ok(proposal));
        let place = bytes.len() - 3;
        bytes[place] = Command::LAST + 1;
        assert_eq!(Proposal::decode(&bytes, 1), Err(TooNew::Command(Command::LAST + 1).into()));
    }

    /// promise: Keys and locks | Values are any bytes from format 2 on; a proposal of an earlier format with a value that is no text is none
    #[test]
    fn values_are_text_before_format_2_and_any_bytes_from_then_on() {
        let key = Keypair::from_seed(&[1; 32]);
        let put = |value: &[u8]| Put { key: "k".to_owned(), value: value.to_owned(), ttl_ms: None, fence: None };
        let (text, bytes) = (put("é".as_bytes()), put(b"\xff\0"));
        let check = Check { key: "k".to_owned(), is: Condition::Value(b"\xc3".to_vec()) };
        let all = [
            Command::Put(bytes.clone()),
            Command::Cas { expect: Some(b"\xff".to_vec()), put: text.clone() },
            Command::Cas { expect: None, put: bytes.clone() },
            Command::Txn(Txn { checks: vec![check], ..Txn::default() }),
            Command::Txn(Txn { then: vec![Step::Put(bytes.clone())], ..Txn::default() }),
            Command::Txn(Txn { otherwise: vec![Step::Put(bytes)], ..Txn::default() }),
        ];
        for command in all {
            for format in 0..=2 {
                let (group, by) = (Group::default(), key.did());
                let commands = vec![Command::Put(text.clone()), command.clone()];
                let proposal = Proposal {
                    format,
                    group,
                    by,
                    session: 1,
                    seq: 1,
                    answered: 0,
                    base: 0,
                    at_ms: 0,
                    commands,
                    requests: Vec::new(),
                };
                let read = Proposal::decode(&proposal.encode(), 2);
                assert_eq!(read, if format < 2 { Err(ReadError::Malformed) } else { Ok(proposal.clone()) });
                // the proposer's own machine takes no shortcut
                assert_eq!(Signed::new(&proposal, &key).open(2).is_ok(), format == 2);
            }
        }
    }
}
