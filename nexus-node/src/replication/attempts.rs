use std::collections::BTreeMap;

use nexus_crdt::{ASIDE_MAX, Frontier, Head, LogId, Range};

use crate::ledger;
use crate::store::{StoreError, View};

/// Comparisons between two attempts to send the same entries, at most.
const PAUSE_MAX: u32 = 16;
/// Digests that differ before frontiers are compared again, at first and at most.
const PATIENCE_MIN: u32 = 2;
const PATIENCE_MAX: u32 = 64;

/// The fate of the ranges that a peer was sent. A peer may refuse entries for good: a branch whose
/// beginning it lacks, or an author of whom it takes no more. Sending them at each comparison would never end.
#[derive(Debug, Default)]
pub(super) struct Attempts(BTreeMap<LogId, Attempt>);

/// The ranges of one log that were sent to a peer with one head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Attempt {
    /// The peer's head before.
    head: Option<Head>,
    /// Comparisons since then that found the same head, after a whole range was sent.
    in_vain: u32,
    /// Whether all of the last range went out.
    sent: bool,
}

impl Attempt {
    const fn first(head: Option<Head>) -> Self {
        Self { head, in_vain: 0, sent: false }
    }

    /// The attempt at the next comparison with the same head.
    const fn next(self) -> Self {
        Self { in_vain: self.in_vain.saturating_add(self.sent as u32), ..self }
    }

    const fn is_due(self) -> bool {
        !self.sent || (self.in_vain + 1).is_power_of_two() || self.in_vain.is_multiple_of(PAUSE_MAX)
    }
}

impl Attempts {
    /// Leaves out of a plan what the peer was sent in vain, with growing pauses. Of a branch that the peer does
    /// not hold, as much as it can keep aside is sent.
    pub(super) fn thin(
        &mut self,
        ranges: &mut Vec<Range>,
        theirs: &Frontier,
        view: &dyn View,
    ) -> Result<(), StoreError> {
        let before = std::mem::take(&mut self.0);
        let mut due = Vec::with_capacity(ranges.len());
        for mut range in ranges.drain(..) {
            let head = theirs.head(&range.log).copied();
            let same = before.get(&range.log).filter(|attempt| attempt.head == head);
            let attempt = same.map_or_else(|| Attempt::first(head), |attempt| attempt.next());
            let is_due = attempt.is_due();
            self.0.insert(range.log, Attempt { sent: attempt.sent && !is_due, ..attempt });
            if !is_due {
                continue;
            }
            if let Some(head) = head
                && ledger::find_entry(view, head.id)?.is_none()
            {
                range.to = range.to.min(range.from.saturating_add(ASIDE_MAX - 1));
            }
            due.push(range);
        }
        *ranges = due;
        Ok(())
    }

    /// Notes that all of a log's range was sent.
    pub(super) fn sent(&mut self, log: &LogId) {
        if let Some(attempt) = self.0.get_mut(log) {
            attempt.sent = true;
        }
    }

    /// Has everything sent again: other members or spaces may change what the peer takes.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

/// How many digests may differ before frontiers are compared again. It grows while comparing changes nothing
/// on either side.
#[derive(Debug)]
pub(super) struct Patience {
    differing: u32,
    until: u32,
    /// Both digests at the last comparison; `None` for one of another length.
    compared: Option<([u8; 32], Option<[u8; 32]>)>,
}

impl Default for Patience {
    fn default() -> Self {
        Self { differing: 0, until: PATIENCE_MIN, compared: None }
    }
}

impl Patience {
    /// Takes a digest of the peer beside ours. Returns whether to compare frontiers now.
    pub(super) fn hear(&mut self, ours: [u8; 32], theirs: &[u8]) -> bool {
        if ours == theirs {
            *self = Self::default();
            return false;
        }
        let both = Some((ours, theirs.try_into().ok()));
        let in_vain = self.compared == both;
        if !in_vain {
            self.until = PATIENCE_MIN;
        }
        self.differing += 1;
        if self.differing < self.until {
            return false;
        }
        self.differing = 0;
        if in_vain {
            self.until = (self.until * 2).min(PATIENCE_MAX);
        }
        self.compared = both;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_in_vain_is_sent_again_after_growing_pauses() {
        let mut attempt = Attempt::first(None);
        let mut due = Vec::new();
        for comparison in 0..60 {
            if attempt.is_due() {
                due.push(comparison);
            }
            attempt = Attempt { sent: true, ..attempt }.next();
        }
        assert_eq!(due, [0, 1, 3, 7, 15, 16, 31, 32, 48]);
    }

    #[test]
    fn what_is_still_on_its_way_is_not_in_vain() {
        let attempt = Attempt::first(None);
        assert_eq!((0..100).fold(attempt, |attempt, _| attempt.next()), attempt);
    }

    #[test]
    fn digests_that_differ_in_vain_are_compared_less_often_until_one_of_them_changes() {
        let mut patience = Patience::default();
        let mut compared = |count: u32, theirs: u8| -> Vec<u32> {
            (1..=count).filter(|_| patience.hear([0; 32], &[theirs; 32])).collect()
        };
        assert_eq!(compared(30, 1), [2, 4, 8, 16]);
        compared(1_000, 1);
        assert_eq!(compared(640, 1).len(), 10);
        assert_eq!(compared(8, 2), [1, 3, 7], "something moved");
        compared(1_000, 2);
        assert!(compared(1, 0).is_empty());
        assert_eq!(compared(3, 2), [2]);
    }
}
