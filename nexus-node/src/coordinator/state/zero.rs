//! Format 0: its differences from later formats. Refusals are sentences there, and sessions keep them.
//!
//! The sentences are part of the format. Nobody reads them any more, and none may change.

use std::collections::BTreeMap;
use std::io;

use borsh::{BorshDeserialize, BorshSerialize};
use nexus_identity::Did;

use super::Machine;
use super::item::Item;
use super::outcome::{Full, Malformed, Outcome, Refusal};
use super::requests::Requests;
use super::sessions::{ProposalSession, Sessions};
use crate::coordinator::command::Group;
use crate::coordinator::{format, limits};

/// An [`Outcome`] in format 0.
#[derive(BorshSerialize, BorshDeserialize)]
enum Outcome0 {
    Done { revision: u64 },
    Txn { held: bool, revision: u64, items: Vec<Option<Item>> },
    Granted { token: u64 },
    Waiting { waiter: u64 },
    Refused(Refusal0),
}

/// A [`Refusal`] in format 0.
#[derive(BorshSerialize, BorshDeserialize)]
enum Refusal0 {
    Malformed(String),
    OtherGroup { group: String, found: String },
    TooLate,
    Mismatch { found: Option<Item> },
    NoKey,
    StaleToken { token: u64 },
    NoLock,
    Held { holder: Did, token: u64 },
    NoWaiter,
    Full(String),
}

/// A session in format 0: the answered seq, the answers beyond it, its latest index.
type Session0 = (u64, BTreeMap<u64, Vec<Outcome0>>, u64);
/// Sessions in format 0, and the index at which silent ones were last dropped.
type Sessions0 = (BTreeMap<(Did, u64), Session0>, u64);

/// A machine's bytes in format 0.
pub(super) fn encode(machine: &Machine) -> Vec<u8> {
    let Machine { format: _, group, revision, kv, locks, sessions, audit, requests: _ } = machine;
    let answers = |done: &BTreeMap<u64, Vec<Outcome>>| {
        done.iter().map(|(seq, outcomes)| (*seq, outcomes.iter().map(Outcome0::from).collect())).collect()
    };
    let session = |session: &ProposalSession| (session.answered, answers(&session.done), session.last);
    let all = sessions.sessions.iter().map(|(of, one)| (*of, session(one)));
    let sessions: Sessions0 = (all.collect(), sessions.swept);
    format::encode(&(group, revision, kv, locks, sessions, audit))
}

/// Decodes a machine of format 0.
pub(super) fn decode(bytes: &[u8]) -> io::Result<Machine> {
    let (group, revision, kv, locks, (sessions, swept), audit): (_, _, _, _, Sessions0, _) = borsh::from_slice(bytes)?;
    let answers = |done: BTreeMap<u64, Vec<Outcome0>>| -> io::Result<BTreeMap<u64, Vec<Outcome>>> {
        done.into_iter().map(|(seq, outcomes)| Ok((seq, read(outcomes)?))).collect()
    };
    let session = |(answered, done, last): Session0| -> io::Result<ProposalSession> {
        Ok(ProposalSession { answered, done: answers(done)?, last, bytes: 0 })
    };
    let sessions = sessions.into_iter().map(|(of, one)| Ok((of, session(one)?))).collect::<io::Result<_>>()?;
    let sessions = Sessions { sessions, swept, floors: BTreeMap::new() };
    Ok(Machine { format: 0, group, revision, kv, locks, sessions, audit, requests: Requests::default() })
}

/// Encodes a proposal's outcomes in format 0.
pub(super) fn encode_outcomes(outcomes: &[Outcome]) -> Vec<u8> {
    let outcomes: Vec<Outcome0> = outcomes.iter().map(Outcome0::from).collect();
    format::encode(&outcomes)
}

/// Decodes a proposal's outcomes of format 0.
pub(super) fn decode_outcomes(bytes: &[u8]) -> io::Result<Vec<Outcome>> {
    read(borsh::from_slice(bytes)?)
}

fn read(outcomes: Vec<Outcome0>) -> io::Result<Vec<Outcome>> {
    outcomes.into_iter().map(Outcome::try_from).collect()
}

impl From<&Outcome> for Outcome0 {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Done { revision } => Self::Done { revision: *revision },
            Outcome::Txn { held, revision, items } => {
                Self::Txn { held: *held, revision: *revision, items: items.clone() }
            }
            Outcome::Granted { token } => Self::Granted { token: *token },
            Outcome::Waiting { waiter } => Self::Waiting { waiter: *waiter },
            Outcome::Refused(refusal) => Self::Refused(refusal.into()),
        }
    }
}

impl TryFrom<Outcome0> for Outcome {
    type Error = io::Error;

    fn try_from(outcome: Outcome0) -> io::Result<Self> {
        Ok(match outcome {
            Outcome0::Done { revision } => Self::Done { revision },
            Outcome0::Txn { held, revision, items } => Self::Txn { held, revision, items },
            Outcome0::Granted { token } => Self::Granted { token },
            Outcome0::Waiting { waiter } => Self::Waiting { waiter },
            Outcome0::Refused(refusal) => Self::Refused(refusal.try_into()?),
        })
    }
}

impl From<&Refusal> for Refusal0 {
    fn from(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Malformed(why) => Self::Malformed(malformed(*why).to_owned()),
            Refusal::OtherGroup { group, found } => {
                Self::OtherGroup { group: group.to_string(), found: found.to_string() }
            }
            // no request of this format has an id, and no name is a member's alone
            Refusal::TooLate | Refusal::OtherRequest | Refusal::NotYours { .. } | Refusal::Endless => Self::TooLate,
            Refusal::Mismatch { found } => Self::Mismatch { found: found.clone() },
            Refusal::NoKey => Self::NoKey,
            Refusal::StaleToken { token } => Self::StaleToken { token: *token },
            Refusal::NoLock => Self::NoLock,
            Refusal::Held { holder, token } => Self::Held { holder: *holder, token: *token },
            Refusal::NoWaiter => Self::NoWaiter,
            Refusal::Full(what) => Self::Full(full(*what)),
        }
    }
}

impl TryFrom<Refusal0> for Refusal {
    type Error = io::Error;

    fn try_from(refusal: Refusal0) -> io::Result<Self> {
        let group = |text: &str| Group::of_text(text).ok_or_else(unknown);
        Ok(match refusal {
            Refusal0::Malformed(text) => Self::Malformed(malformed_of(&text).ok_or_else(unknown)?),
            Refusal0::OtherGroup { group: these, found } => {
                Self::OtherGroup { group: group(&these)?, found: group(&found)? }
            }
            Refusal0::TooLate => Self::TooLate,
            Refusal0::Mismatch { found } => Self::Mismatch { found },
            Refusal0::NoKey => Self::NoKey,
            Refusal0::StaleToken { token } => Self::StaleToken { token },
            Refusal0::NoLock => Self::NoLock,
            Refusal0::Held { holder, token } => Self::Held { holder, token },
            Refusal0::NoWaiter => Self::NoWaiter,
            Refusal0::Full(text) => Self::Full(full_of(&text).ok_or_else(unknown)?),
        })
    }
}

fn unknown() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a sentence that format 0 does not have")
}

/// The sentence of a refusal. Only the leader's is ever kept; the others are answers.
const fn malformed(why: Malformed) -> &'static str {
    match why {
        Malformed::NotAProposal => "not a proposal",
        Malformed::NotSigned => "not signed by who it says",
        Malformed::NotFromLeader => "not from the leader",
        Malformed::Form => "it breaks a rule of form",
        Malformed::NotRaised => "of a format that is not raised",
    }
}

fn malformed_of(text: &str) -> Option<Malformed> {
    use Malformed as M;
    let all = [M::NotAProposal, M::NotSigned, M::NotFromLeader, M::Form, M::NotRaised];
    all.into_iter().find(|why| malformed(*why) == text)
}

fn full(what: Full) -> String {
    let limits = limits::of(0);
    match what {
        Full::Bytes { bytes } => {
            format!("keys and values have {bytes} bytes, at most {} are allowed", limits.state_bytes)
        }
        Full::Locks => format!("{} locks are held", limits.locks),
        Full::Line => format!("{} wait for this lock", limits.waiters),
        Full::Answers | Full::Reply { .. } | Full::Share => "answers wait to be let go of".to_owned(),
    }
}

fn full_of(text: &str) -> Option<Full> {
    let bytes = text.strip_prefix("keys and values have ").and_then(|rest| rest.split(' ').next()?.parse().ok());
    let bytes = bytes.map(|bytes| Full::Bytes { bytes });
    bytes.into_iter().chain([Full::Locks, Full::Line, Full::Answers]).find(|what| full(*what) == text)
}
