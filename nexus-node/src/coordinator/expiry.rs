//! The leader's deadlines: when it proposes that something has expired.
//!
//! Only a leader's own clock counts, and only forward. A time runs in full from its grant, from its
//! renewal, or from the beginning of this leadership, whichever was last. So no lease ends early,
//! whatever the other clocks show. After a change of leaders a lease may last longer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::command::Expiry;
use super::state::{CriticalChange, CriticalEvent, Machine, Timed};

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
    /// renewed is dropped. `changes` are those after [`seen`](Self::seen); `None` if some are not kept any
    /// more, or nothing was seen. Then everything is looked at.
    pub(super) fn follow<'a>(
        &mut self,
        now: Duration,
        machine: &Machine,
        changes: Option<impl Iterator<Item = &'a CriticalChange>>,
    ) {
        if self.seen.replace(machine.revision()) == Some(machine.revision()) {
            return;
        }
        let Some(changes) = changes else {
            self.renew(now, self.at.clone(), machine.timed());
            return;
        };
        let (mut keys, mut leases, mut lines) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for change in changes {
            match &change.event {
                CriticalEvent::Put { key, .. } | CriticalEvent::Deleted { key, .. } => {
                    keys.insert(key.as_str());
                }
                CriticalEvent::Renewed { name, .. } | CriticalEvent::Released { name, .. } => {
                    leases.insert(name.as_str());
                }
                CriticalEvent::Granted { name, .. } => {
                    leases.insert(name.as_str());
                    lines.insert(name.as_str());
                }
                CriticalEvent::Line { name, .. } => {
                    lines.insert(name.as_str());
                }
            }
        }
        for key in keys {
            let of = |revision| Expiry::Key { key: key.to_owned(), revision };
            self.renew(now, self.between(of(0), of(u64::MAX)), machine.timed_key(key).into_iter());
        }
        for name in leases {
            let of = |token, renewals| Expiry::Lease { name: name.to_owned(), token, renewals };
            let all = self.between(of(0, 0), of(u64::MAX, u64::MAX));
            self.renew(now, all, machine.timed_lease(name).into_iter());
        }
        for name in lines {
            let of = |waiter| Expiry::Waiter { name: name.to_owned(), waiter };
            self.renew(now, self.between(of(0), of(u64::MAX)), machine.timed_line(name));
        }
    }

    /// The last revision looked at.
    pub(super) const fn seen(&self) -> Option<u64> {
        self.seen
    }

    fn between(&self, first: Expiry, last: Expiry) -> BTreeMap<Expiry, Duration> {
        self.at.range(first..=last).map(|(expiry, deadline)| (expiry.clone(), *deadline)).collect()
    }

    /// Replaces some deadlines by those of the current times. Times that are still the same go on.
    fn renew(&mut self, now: Duration, before: BTreeMap<Expiry, Duration>, timed: impl Iterator<Item = Timed>) {
        let mut gone = before;
        for Timed { expiry, ms } in timed {
            if gone.remove(&expiry).is_none() {
                let deadline = now.saturating_add(Duration::from_millis(ms));
                self.due.insert((deadline, expiry.clone()));
                self.at.insert(expiry, deadline);
            }
        }
        for (expiry, deadline) in gone {
            self.at.remove(&expiry);
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
    use proptest::prelude::*;

    impl Deadlines {
        fn follow_all(&mut self, now: Duration, machine: &Machine) {
            self.follow(now, machine, None::<std::iter::Empty<&CriticalChange>>);
        }
    }

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
            requests: Vec::new(),
        };
        machine.apply(LogPlace { index: seq, leader: by }, &proposal);
    }

    /// promise: Keys and locks | A time to live ends after its whole time, and not if it was renewed
    #[test]
    fn a_whole_time_runs_from_the_write_and_from_taking_over() {
        let (mut machine, mut deadlines) = (machine(), Deadlines::default());
        put(&mut machine, 1, 5_000);
        deadlines.follow_all(SECOND, &machine);
        assert_eq!(deadlines.next(), Some(6 * SECOND));
        assert!(deadlines.due(5 * SECOND).is_empty());
        assert_eq!(deadlines.due(6 * SECOND).len(), 1);

        // another leader counts from its own beginning
        deadlines.clear();
        assert_eq!(deadlines.next(), None);
        deadlines.follow_all(4 * SECOND, &machine);
        assert_eq!(deadlines.next(), Some(9 * SECOND));
    }

    fn command() -> impl Strategy<Value = Command> {
        let name = || (0..3u8).prop_map(|n| format!("n{n}"));
        let put = |key, ttl_ms| Command::Put(Put { ttl_ms, ..Put::new(key, "v") });
        prop_oneof![
            (name(), proptest::option::of(1_000..9_000u64)).prop_map(move |(key, ttl_ms)| put(key, ttl_ms)),
            name().prop_map(|key| Command::Delete { key, fence: None }),
            (name(), 0..2u64).prop_map(|(name, wait)| Command::Acquire { name, ttl_ms: 5_000, wait_ms: wait * 1_000 }),
            (name(), 0..40u64).prop_map(|(name, token)| Command::Release { name, token }),
            (name(), 0..40u64).prop_map(|(name, token)| Command::Renew { name, token, ttl_ms: None }),
            (name(), 0..40u64).prop_map(|(name, waiter)| Command::Withdraw { name, waiter }),
            name().prop_map(|name| Command::Steal { name, ttl_ms: 5_000 }),
        ]
    }

    proptest! {
        /// A follower of the changes has the deadlines of one that looks at everything.
        #[test]
        fn following_the_changes_is_as_good_as_looking_at_all(
            steps in proptest::collection::vec(proptest::collection::vec(command(), 1..4), 1..30),
        ) {
            let (mut machine, mut by_changes, mut by_all) = (machine(), Deadlines::default(), Deadlines::default());
            let by = Did::from_bytes([1; 32]);
            for (seq, commands) in (1..).zip(steps) {
                let group = machine.group();
                let proposal =
                    Proposal { format: 0, group, by, session: 1, seq, answered: 0, base: 0, at_ms: 0, commands, requests: Vec::new() };
                let changes = machine.apply(LogPlace { index: seq, leader: by }, &proposal).changes;
                let now = SECOND * u32::try_from(seq).unwrap();
                by_changes.follow(now, &machine, Some(changes.iter()));
                by_all.follow_all(now, &machine);
                prop_assert_eq!((&by_changes.at, &by_changes.due), (&by_all.at, &by_all.due));
            }
        }
    }

    /// promise: Keys and locks | A time to live ends after its whole time, and not if it was renewed
    #[test]
    fn a_renewal_in_between_starts_the_time_anew() {
        let (mut machine, mut deadlines) = (machine(), Deadlines::default());
        put(&mut machine, 1, 5_000);
        deadlines.follow_all(SECOND, &machine);
        put(&mut machine, 2, 5_000);
        deadlines.follow_all(5 * SECOND, &machine);
        assert!(deadlines.due(6 * SECOND).is_empty());
        assert_eq!(deadlines.next(), Some(10 * SECOND));
        // looking again changes nothing
        deadlines.follow_all(7 * SECOND, &machine);
        assert_eq!(deadlines.next(), Some(10 * SECOND));
    }
}
