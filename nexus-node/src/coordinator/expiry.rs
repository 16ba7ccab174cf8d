//! The leader's deadlines: when it proposes that something has expired.
//!
//! Only a leader's own clock counts, and only forward. A time runs in full from its grant, from its
//! renewal, or from the beginning of this leadership, whichever was last. So no lease ends early,
//! whatever the other clocks show. After a change of leaders a lease may last longer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::command::Expiry;
use super::state::{Machine, Timed};

/// The most expiries of one proposal.
const BATCH_MAX: usize = 256;

/// A leader's deadlines. Times count from some moment of this node's own.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    due: BTreeSet<(Duration, Expiry)>,
    at: BTreeMap<Expiry, Duration>,
    /// The last revision looked at. Every new or renewed time makes another revision.
    seen: Option<u64>,
}

impl Deadlines {
    /// Follows the current state. A new time runs in full from `now` on. A time that is gone or was
    /// renewed is dropped.
    pub(super) fn follow(&mut self, now: Duration, machine: &Machine) {
        if self.seen.replace(machine.revision()) == Some(machine.revision()) {
            return;
        }
        let mut gone = std::mem::take(&mut self.at);
        for Timed { expiry, ms } in machine.timed() {
            let deadline = gone.remove(&expiry).unwrap_or_else(|| now.saturating_add(Duration::from_millis(ms)));
            if self.at.insert(expiry.clone(), deadline).is_none() {
                self.due.insert((deadline, expiry));
            }
        }
        for (expiry, deadline) in gone {
            self.due.remove(&(deadline, expiry));
        }
    }

    /// Drops all: this node is not the leader any more.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The expiries that are due, oldest first, at most as many as fit one proposal.
    pub(super) fn due(&self, now: Duration) -> Vec<Expiry> {
        self.due.iter().take_while(|(at, _)| *at <= now).take(BATCH_MAX).map(|(_, expiry)| expiry.clone()).collect()
    }

    /// The time of the next expiry.
    #[cfg(test)]
    pub(super) fn next(&self) -> Option<Duration> {
        self.due.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordinator::command::{Command, Group, Proposal, Put};
    use crate::coordinator::state::LogPlace;
    use nexus_identity::Did;

    const SECOND: Duration = Duration::from_secs(1);

    fn machine() -> Machine {
        Machine::new(Group { generation: 0, id: 7 })
    }

    fn put(machine: &mut Machine, seq: u64, ttl_ms: u64) {
        let by = Did::from_bytes([1; 32]);
        let put = Put { key: "k".into(), value: "v".into(), ttl_ms: Some(ttl_ms), fence: None };
        let commands = vec![Command::Put(put)];
        let proposal = Proposal {
            format: 0,
            group: machine.group(),
            by,
            session: 1,
            seq,
            answered: 0,
            base: 0,
            at_ms: 0,
            commands,
        };
        machine.apply(LogPlace { index: seq, leader: by }, &proposal);
    }

    /// promise: Keys and locks | A time to live ends after its whole time, and not if it was renewed
    #[test]
    fn a_whole_time_runs_from_the_write_and_from_taking_over() {
        let (mut machine, mut deadlines) = (machine(), Deadlines::default());
        put(&mut machine, 1, 5_000);
        deadlines.follow(SECOND, &machine);
        assert_eq!(deadlines.next(), Some(6 * SECOND));
        assert!(deadlines.due(5 * SECOND).is_empty());
        assert_eq!(deadlines.due(6 * SECOND).len(), 1);

        // another leader counts from its own beginning
        deadlines.clear();
        assert_eq!(deadlines.next(), None);
        deadlines.follow(4 * SECOND, &machine);
        assert_eq!(deadlines.next(), Some(9 * SECOND));
    }

    /// promise: Keys and locks | A time to live ends after its whole time, and not if it was renewed
    #[test]
    fn a_renewal_in_between_starts_the_time_anew() {
        let (mut machine, mut deadlines) = (machine(), Deadlines::default());
        put(&mut machine, 1, 5_000);
        deadlines.follow(SECOND, &machine);
        put(&mut machine, 2, 5_000);
        deadlines.follow(5 * SECOND, &machine);
        assert!(deadlines.due(6 * SECOND).is_empty());
        assert_eq!(deadlines.next(), Some(10 * SECOND));
        // looking again changes nothing
        deadlines.follow(7 * SECOND, &machine);
        assert_eq!(deadlines.next(), Some(10 * SECOND));
    }
}
