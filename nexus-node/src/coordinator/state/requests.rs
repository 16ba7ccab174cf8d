use std::collections::{BTreeMap, BTreeSet};

use borsh::{BorshDeserialize, BorshSerialize};
use nexus_identity::Did;
use nexus_identity::plants::planted;

use super::locks::Locks;
use super::outcome::{CriticalChange, CriticalEvent, Outcome, Refusal};
use crate::coordinator::command::Command;
use crate::coordinator::limits::Limits;
use crate::coordinator::requests::{RequestKey, digest};

/// The answers to requests whose callers chose an id. Asked again, a request is answered as the first time.
///
/// A member has a bounded number of them, and of bytes in their answers. The oldest goes first. All go at the same
/// age, counted in entries of the log.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Requests {
    answered: BTreeMap<(Did, RequestKey), Answered>,
    /// The index at which old ones were last dropped.
    swept: u64,
    /// The requests that wait in a line, by their place.
    #[borsh(skip)]
    waiting: BTreeMap<u64, (Did, RequestKey)>,
    /// The requests of each member, the oldest first. A member may ask for many, and each that is one too many takes
    /// the place of its oldest.
    #[borsh(skip)]
    by_age: BTreeSet<(Did, u64, RequestKey)>,
    /// The number and the bytes of each member's answers.
    #[borsh(skip)]
    parts: BTreeMap<Did, Part>,
}

/// A request that was answered.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, PartialEq, Eq)]
struct Answered {
    /// The digest of its command.
    digest: [u8; 16],
    /// The index of its entry.
    index: u64,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Part {
    count: usize,
    bytes: u64,
}

impl Answered {
    /// The bytes that it counts.
    fn bytes(&self) -> u64 {
        const OVERHEAD: u64 = 192;
        OVERHEAD + self.outcome.shown()
    }
}

impl Requests {
    /// The answer to a request that was asked before; `None` for a new one.
    pub(super) fn look_up(&self, by: Did, key: RequestKey, command: &Command) -> Option<Outcome> {
        let before = self.answered.get(&(by, key)).filter(|_| !planted("forgets_requests"))?;
        let same = before.digest == digest(command);
        Some(if same { before.outcome.clone() } else { Outcome::Refused(Refusal::OtherRequest) })
    }

    /// Keeps the answer to a new request. Some refusals are none: they speak of room, and nothing was decided.
    pub(super) fn note(
        &mut self,
        by: Did,
        key: RequestKey,
        command: &Command,
        outcome: &Outcome,
        index: u64,
        limits: &Limits,
    ) {
        if matches!(outcome, Outcome::Refused(Refusal::Full(_) | Refusal::Malformed(_))) {
            return;
        }
        self.drop_one((by, key));
        let answered = Answered { digest: digest(command), index, outcome: outcome.clone() };
        if let Outcome::Waiting { waiter } = outcome {
            self.waiting.insert(*waiter, (by, key));
        }
        let part = self.parts.entry(by).or_default();
        part.count += 1;
        part.bytes += answered.bytes();
        self.by_age.insert((by, index, key));
        self.answered.insert((by, key), answered);
        self.bound(by, key, limits);
    }

    /// Follows changes of locks: a request that waited has the lock now, or has left its line and may begin anew.
    pub(super) fn follow(&mut self, changes: &[CriticalChange], locks: &Locks) {
        if self.waiting.is_empty() {
            return;
        }
        for change in changes {
            match &change.event {
                CriticalEvent::Granted { name, token, .. } => {
                    let lease = locks.get(name).map(|lock| &lock.lease).filter(|lease| lease.token == *token);
                    let waited = lease.and_then(|lease| lease.waiter).and_then(|waiter| self.waiting.remove(&waiter));
                    if let Some(answered) = waited.and_then(|of| self.answered.get_mut(&of)) {
                        // both count alike
                        answered.outcome = Outcome::Granted { token: *token };
                    }
                }
                CriticalEvent::Line { waiter, waits: false, .. } => {
                    if let Some(of) = self.waiting.remove(waiter) {
                        self.drop_one(of);
                    }
                }
                _ => {}
            }
        }
    }

    /// Drops those that nobody asks for any more.
    pub(super) fn sweep(&mut self, index: u64, limits: &Limits) {
        // earlier formats keep nothing of this, so nothing of it may change
        if limits.requests == 0 || index < self.swept.saturating_add(limits.session_span / 8) {
            return;
        }
        self.swept = index;
        let old = |answered: &Answered| answered.index.saturating_add(limits.session_span) < index;
        let gone: Vec<_> = self.answered.iter().filter(|(_, one)| old(one)).map(|(of, _)| *of).collect();
        gone.into_iter().for_each(|of| self.drop_one(of));
    }

    /// Drops all of a former member.
    pub(super) fn end(&mut self, by: Did) {
        let mine = self.answered.range((by, RequestKey::FIRST)..=(by, RequestKey::LAST));
        let gone: Vec<_> = mine.map(|(of, _)| *of).collect();
        gone.into_iter().for_each(|of| self.drop_one(of));
    }

    /// Counts again what is no part of the machine's bytes.
    pub(super) fn count(&mut self) {
        self.waiting.clear();
        self.by_age.clear();
        self.parts.clear();
        for ((by, key), answered) in &self.answered {
            self.by_age.insert((*by, answered.index, *key));
            if let Outcome::Waiting { waiter } = answered.outcome {
                self.waiting.insert(waiter, (*by, *key));
            }
            let part = self.parts.entry(*by).or_default();
            part.count += 1;
            part.bytes += answered.bytes();
        }
    }

    /// The members with a request.
    pub(super) fn askers(&self) -> impl Iterator<Item = &Did> {
        self.parts.keys()
    }

    /// Drops the oldest ones of a member beyond its bounds, and never the one in use.
    fn bound(&mut self, by: Did, in_use: RequestKey, limits: &Limits) {
        while let Some(part) = self.parts.get(&by)
            && (part.count > limits.requests || part.bytes > limits.request_bytes)
        {
            let mut mine = self.by_age.range((by, 0, RequestKey::FIRST)..=(by, u64::MAX, RequestKey::LAST));
            let Some((_, _, oldest)) = mine.find(|(.., key)| *key != in_use).copied() else { return };
            self.drop_one((by, oldest));
        }
    }

    fn drop_one(&mut self, of: (Did, RequestKey)) {
        let Some(gone) = self.answered.remove(&of) else { return };
        self.by_age.remove(&(of.0, gone.index, of.1));
        if let Outcome::Waiting { waiter } = gone.outcome {
            self.waiting.remove(&waiter);
        }
        if let Some(part) = self.parts.get_mut(&of.0) {
            part.count -= 1;
            part.bytes -= gone.bytes();
            if part.count == 0 {
                self.parts.remove(&of.0);
            }
        }
    }
}

#[cfg(test)]
mod tests;
