use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};
use nexus_identity::Did;
use nexus_identity::plants::planted;

use super::Outcome;
use crate::coordinator::command::Proposal;
use crate::coordinator::limits::Limits;

/// The applied proposals. A repeated proposal is answered and not applied again.
///
/// A proposal counts only within a span of log entries after the index that it names. A session is kept
/// for the same span after its last proposal. A proposal of a dropped session can therefore never
/// count, however late it is repeated.
#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sessions {
    pub(super) sessions: BTreeMap<(Did, u64), ProposalSession>,
    /// The index at which silent sessions were last dropped.
    pub(super) swept: u64,
}

#[derive(BorshSerialize, BorshDeserialize, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ProposalSession {
    /// The highest seq up to which all proposals were answered. Their answers are dropped.
    pub(super) answered: u64,
    /// Answers beyond it, by seq.
    pub(super) done: BTreeMap<u64, Vec<Outcome>>,
    /// The index of its latest proposal.
    pub(super) last: u64,
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
        let Some(session) = self.sessions.get(&(proposal.by, proposal.session)) else { return Lookup::New };
        match session.done.get(&proposal.seq) {
            Some(_) if planted("applies_twice") => Lookup::New,
            Some(outcomes) => Lookup::Answered(outcomes.clone()),
            None if proposal.seq <= session.answered => Lookup::TooLate,
            None if session.done.len() >= limits.answers && proposal.answered <= session.answered => Lookup::TooMany,
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
            session.done = session.done.split_off(&proposal.answered.saturating_add(1));
        }
        if proposal.seq > session.answered {
            session.done.insert(proposal.seq, outcomes.to_vec());
        }
        if index >= self.swept.saturating_add(limits.session_span / 8) {
            self.swept = index;
            self.sessions.retain(|_, session| session.last.saturating_add(limits.session_span) >= index);
        }
    }
}
