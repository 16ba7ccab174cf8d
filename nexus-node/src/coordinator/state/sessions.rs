use std::collections::BTreeMap;
use std::ops::Bound;

use borsh::{BorshDeserialize, BorshSerialize};
use nexus_identity::Did;
use nexus_identity::plants::planted;

use super::outcome::Outcome;
use crate::coordinator::command::Proposal;
use crate::coordinator::limits::Limits;

/// The applied proposals. A repeated proposal is answered and not applied again.
///
/// A proposal counts only within a span of log entries after the index that it names. A session is kept
/// for the same span after its last proposal. A proposal of a dropped session can therefore never
/// count, however late it is repeated.
///
/// From format 2 on a member has a bounded number of sessions, and of bytes in their answers. The oldest
/// session goes, and with it everything of this member in unknown sessions that names an index up to the
/// session's last.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sessions {
    pub(super) sessions: BTreeMap<(Did, u64), ProposalSession>,
    /// The index at which silent sessions were last dropped.
    pub(super) swept: u64,
    /// The highest index of a session that was dropped for another of the same member. Only from format 2
    /// on, behind the rest of the machine.
    #[borsh(skip)]
    pub(super) floors: BTreeMap<Did, u64>,
}

#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ProposalSession {
    /// The highest seq up to which all proposals were answered. Their answers are dropped.
    pub(super) answered: u64,
    /// Answers beyond it, by seq.
    pub(super) done: BTreeMap<u64, Vec<Outcome>>,
    /// The index of its latest proposal.
    pub(super) last: u64,
    /// The size of the answers.
    #[borsh(skip)]
    pub(super) bytes: u64,
}

/// The state of a proposal.
pub(super) enum Lookup {
    /// It was not applied.
    New,
    /// It was applied, with these outcomes.
    Answered(Vec<Outcome>),
    /// It does not count any more.
    TooLate,
    /// Its session has too many answers that it did not drop.
    TooMany,
}

impl Sessions {
    pub(super) fn look_up(&self, index: u64, proposal: &Proposal, limits: &Limits) -> Lookup {
        if proposal.base.saturating_add(limits.session_span) < index || proposal.base > index || proposal.seq == 0 {
            return Lookup::TooLate;
        }
        let Some(session) = self.sessions.get(&(proposal.by, proposal.session)) else {
            let gone = self.floors.get(&proposal.by).is_some_and(|floor| proposal.base <= *floor);
            return if gone { Lookup::TooLate } else { Lookup::New };
        };
        match session.done.get(&proposal.seq) {
            Some(_) if planted("applies_twice") => Lookup::New,
            Some(outcomes) => Lookup::Answered(outcomes.clone()),
            None if proposal.seq <= session.answered => Lookup::TooLate,
            None if session.is_full(proposal, limits) => Lookup::TooMany,
            None => Lookup::New,
        }
    }

    /// Whether a kept answer has a value that is no text.
    pub(super) fn have_bytes(&self) -> bool {
        self.sessions.values().flat_map(|session| session.done.values().flatten()).any(Outcome::has_bytes)
    }

    pub(super) fn note(&mut self, index: u64, proposal: &Proposal, outcomes: &[Outcome], limits: &Limits) {
        let session = self.sessions.entry((proposal.by, proposal.session)).or_default();
        session.last = index;
        if proposal.answered > session.answered {
            session.answered = proposal.answered;
            let rest = session.done.split_off(&proposal.answered.saturating_add(1));
            let gone = std::mem::replace(&mut session.done, rest);
            session.bytes -= gone.values().map(|outcomes| kept(outcomes)).sum::<u64>();
        }
        if proposal.seq > session.answered {
            session.bytes += kept(outcomes);
            if let Some(before) = session.done.insert(proposal.seq, outcomes.to_vec()) {
                session.bytes -= kept(&before);
            }
        }
        if limits.bounds_members() {
            self.bound(proposal.by, proposal.session, limits);
        }
        if index >= self.swept.saturating_add(limits.session_span / 8) {
            self.swept = index;
            let counts = |last: u64| last.saturating_add(limits.session_span) >= index;
            self.sessions.retain(|_, session| counts(session.last));
            self.floors.retain(|_, floor| counts(*floor));
        }
    }

    /// Drops all sessions of a former member. None of its earlier proposals counts any more.
    pub(super) fn end(&mut self, by: Did, index: u64) {
        self.sessions.retain(|(of, _), _| *of != by);
        self.floors.insert(by, index);
    }

    /// Drops the oldest sessions of a member beyond its bounds, and never the one in use.
    fn bound(&mut self, by: Did, in_use: u64, limits: &Limits) {
        loop {
            let mine = || self.sessions.range((by, 0)..=(by, u64::MAX));
            let bytes: u64 = mine().map(|(_, session)| session.bytes).sum();
            if mine().count() <= limits.sessions && bytes <= limits.kept_bytes {
                return;
            }
            let others = mine().filter(|((_, number), _)| *number != in_use);
            let Some((last, oldest)) = others.map(|(of, session)| (session.last, *of)).min() else { return };
            self.sessions.remove(&oldest);
            let floor = self.floors.entry(by).or_default();
            *floor = last.max(*floor);
        }
    }

    /// Counts the bytes of all answers, which are no part of the machine's bytes.
    pub(super) fn count(&mut self) {
        for session in self.sessions.values_mut() {
            session.bytes = session.done.values().map(|outcomes| kept(outcomes)).sum();
        }
    }
}

impl ProposalSession {
    /// Whether it has no room for one more answer.
    fn is_full(&self, proposal: &Proposal, limits: &Limits) -> bool {
        let full = |count: usize, bytes: u64| count >= limits.answers || bytes >= limits.kept_bytes;
        if !full(self.done.len(), self.bytes) {
            return false;
        }
        if !limits.bounds_members() {
            return proposal.answered <= self.answered;
        }
        let stay = self.done.range((Bound::Excluded(proposal.answered), Bound::Unbounded));
        let (count, bytes) = stay.fold((0, 0), |(count, bytes), (_, outcomes)| (count + 1, bytes + kept(outcomes)));
        full(count, bytes)
    }
}

/// The size of a kept answer, in bytes.
fn kept(outcomes: &[Outcome]) -> u64 {
    const OVERHEAD: u64 = 64;
    outcomes.iter().map(|outcome| OVERHEAD + outcome.shown()).sum::<u64>() + OVERHEAD
}
