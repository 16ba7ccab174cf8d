use std::collections::BTreeMap;

use nexus_crdt::{ASIDE_MAX, Frontier, Head, LogId, Members};

use crate::ledger;
use crate::ledger::rows::LogNo;
use crate::store::{StoreError, View};

/// The most logs that are looked at for branches of one peer.
const LOGS_MAX: usize = 1_024;
/// The most looks at one log, of one peer. The last one goes back to the beginning of the longest logs.
const LOOKS_MAX: u32 = 8;
/// How much further back each look goes than the one before.
const FURTHER: u64 = 4;

/// Logs of which a peer holds a branch that is not here. A peer sends what follows the head that it hears of, so it
/// hears of an earlier one: further back each time, until the branch joins.
#[derive(Debug, Default)]
pub(super) struct Branched {
    logs: BTreeMap<LogId, Branch>,
    /// Both heads at the last comparison, where the peer was ahead with an entry that was not here.
    ahead: BTreeMap<LogId, (Head, Head)>,
}

/// A branch that a peer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Branch {
    /// Its end.
    last: Head,
    /// How many entries before our own head the peer is to begin; `None` once it was sent, or did not join.
    back: Option<u64>,
    /// Whether entries came since the peer heard of the earlier head.
    answered: bool,
    /// The looks so far, at this branch and those before. A member that forks again and again costs no more.
    looks: u32,
}

impl Branched {
    /// Looks for branches by the heads that a peer says it has. Returns whether it must hear of other heads.
    pub(super) fn look(
        &mut self,
        ours: &Frontier,
        theirs: &Frontier,
        members: &Members,
        view: &dyn View,
    ) -> Result<bool, StoreError> {
        let ahead = std::mem::take(&mut self.ahead);
        let mut looks = false;
        for (log, their) in theirs.iter() {
            let Some(our) = ours.head(log).filter(|our| our.id != their.id) else { continue };
            // pins decide about a former member's logs
            if members.has_verdict(&log.author) || ledger::find_entry(view, their.id)?.is_some() {
                continue;
            }
            let known = self.logs.get(log).copied();
            if known.is_some_and(|known| known.last == *their || known.looks == LOOKS_MAX) {
                continue;
            }
            // it may be on its way
            if their.seq > our.seq && ahead.get(log) != Some(&(*our, *their)) {
                if self.ahead.len() < LOGS_MAX {
                    self.ahead.insert(*log, (*our, *their));
                }
                continue;
            }
            if known.is_some() || self.logs.len() < LOGS_MAX {
                let looks_before = known.map_or(0, |known| known.looks);
                let branch = Branch { last: *their, back: Some(ASIDE_MAX), answered: false, looks: looks_before + 1 };
                self.logs.insert(*log, branch);
                looks = true;
            }
        }
        Ok(looks)
    }

    /// Notes that an entry of a log came.
    pub(super) fn came(&mut self, log: &LogId) {
        if let Some(branch) = self.logs.get_mut(log) {
            branch.answered = true;
        }
    }

    /// Looks further back where what came did not join. Returns whether the peer must hear of other heads.
    pub(super) fn look_further(&mut self, ours: &Frontier, view: &dyn View) -> Result<bool, StoreError> {
        let mut looks = false;
        for (log, branch) in &mut self.logs {
            if !std::mem::take(&mut branch.answered) {
                continue;
            }
            let Some(back) = branch.back else { continue };
            let reaches = ours.head(log).is_none_or(|our| our.seq < back) || branch.looks == LOOKS_MAX;
            branch.back = match ledger::find_entry(view, branch.last.id)? {
                None if !reaches => Some(back.saturating_mul(FURTHER)),
                _ => None,
            };
            branch.looks += u32::from(branch.back.is_some());
            // it hears of our head again, too
            looks = true;
        }
        Ok(looks)
    }

    /// Whether something came of a branch that is looked for.
    pub(super) fn is_answered(&self) -> bool {
        self.logs.values().any(|branch| branch.answered && branch.back.is_some())
    }

    /// The head of which the peer hears, of a log that is held up to `head`; `None` if it is to send all.
    pub(super) fn said(&self, log: &LogId, no: LogNo, head: Head, view: &dyn View) -> Result<Option<Head>, StoreError> {
        let Some(back) = self.logs.get(log).and_then(|branch| branch.back) else { return Ok(Some(head)) };
        match head.seq.checked_sub(back) {
            Some(seq) => ledger::head_at(view, no, seq),
            None => Ok(None),
        }
    }

    /// Whether a branch of a log is looked for. An acknowledgement of our head would end that.
    pub(super) fn is_sought(&self, log: &LogId) -> bool {
        self.logs.get(log).is_some_and(|branch| branch.back.is_some())
    }
}
