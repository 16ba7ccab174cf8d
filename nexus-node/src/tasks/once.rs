//! Tasks that are done once.
//!
//! A task's node gives the right to it to one worker at a time, in a key of its own that the coordinators keep. The worker's
//! node writes that the task has begun in a key of its own, if the right is still that worker's. The right goes on only
//! while the worker before has not begun, or has said that the task is not done. No other member can write these keys, or
//! take the lock that the worker checks at its effect.
//!
//! A worker's node keeps so many bytes for each other member, and begins no more of its tasks until some run out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nexus_crdt::{TaskId, TaskToken};
use nexus_identity::Did;

use crate::coordinator::OWN_PREFIX;

/// The time for which it is remembered that a task has begun: the longest that a key may have.
pub(super) const REMEMBERED: Duration = Duration::from_secs(30 * 86_400);
/// The bytes of keys that this node keeps for the tasks of another member, a quarter of its share.
const KEPT_BYTES_MAX: usize = 8 << 20;
/// The bytes that one key counts: its name, its value and the coordinators' own bookkeeping.
const KEY_BYTES: usize = 512;
/// The most keys for the tasks of another member.
pub(super) const KEPT_MAX: usize = KEPT_BYTES_MAX / KEY_BYTES;
/// The time between two words for a worker whose attempt begins.
pub(super) const BEAT: Duration = Duration::from_millis(300);

/// The right to the effects of a task that is done once.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskFence {
    /// The lock's name.
    pub lock: String,
    /// The lease's token. Later ones are larger.
    pub token: u64,
}

/// The name of the lock of an attempt.
pub(super) fn lock_of(worker: &Did, settler: &Did, task: TaskId) -> String {
    format!("{OWN_PREFIX}{worker}/task/{settler}/{task}")
}

/// The beginning of a worker's keys about the tasks of a settler.
pub(super) fn keys_of(worker: &Did, settler: &Did) -> String {
    format!("{OWN_PREFIX}{worker}/begun/{settler}/")
}

/// The key that says that a task has begun at a worker.
pub(super) fn key_of(worker: &Did, settler: &Did, task: TaskId) -> String {
    format!("{}{task}", keys_of(worker, settler))
}

/// The key that says which worker has the right to a task.
pub(super) fn right_to(settler: &Did, task: TaskId) -> String {
    format!("{OWN_PREFIX}{settler}/right/{task}")
}

/// The value of that key: the claim and the worker's node.
pub(super) fn right_of(token: TaskToken, worker: &Did) -> String {
    format!("{token} {worker}")
}

/// The tasks of others of which this node keeps keys, by settler, each with the time at which its key runs out.
#[derive(Debug, Default)]
pub(super) struct Kept(BTreeMap<Did, BTreeMap<String, Duration>>);

impl Kept {
    /// Whether the keys of a settler were counted since this node's start.
    pub(super) fn knows(&self, settler: &Did) -> bool {
        self.0.contains_key(settler)
    }

    /// The keys of a settler that are kept, as the coordinators say.
    pub(super) fn learn(&mut self, settler: Did, tasks: BTreeMap<String, Duration>) {
        self.0.entry(settler).or_insert(tasks);
    }

    /// Takes room for the key of a task, unless there is none. All keys of a settler's line have one room. Keys that ran
    /// out make room.
    ///
    /// Room is given back only for a key that was deleted: whoever makes beginnings fail gains nothing.
    pub(super) fn take(&mut self, (settler, line): (Did, &BTreeSet<Did>), task: TaskId, now: Duration) -> bool {
        if self.of_line(line) >= KEPT_MAX {
            for key in line {
                if let Some(tasks) = self.0.get_mut(key) {
                    tasks.retain(|_, until| *until > now);
                }
            }
        }
        let task = task.to_string();
        let is_kept = self.0.get(&settler).is_some_and(|tasks| tasks.contains_key(&task));
        let has_room = is_kept || self.of_line(line) < KEPT_MAX;
        if has_room {
            self.0.entry(settler).or_default().insert(task, now.saturating_add(REMEMBERED));
        }
        has_room
    }

    /// The number of keys that are kept for the tasks of a member and its former keys.
    fn of_line(&self, line: &BTreeSet<Did>) -> usize {
        line.iter().filter_map(|key| self.0.get(key)).map(BTreeMap::len).sum()
    }

    pub(super) fn give_back(&mut self, settler: &Did, task: TaskId) {
        if let Some(tasks) = self.0.get_mut(settler) {
            tasks.remove(&task.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn member(n: u8) -> Did {
        Did::from_bytes([n; 32])
    }

    /// promise: Tasks | The tasks of one member that are done once fill a quarter of the worker's share at most, until their keys run out
    #[test]
    fn a_member_fills_its_own_part_and_no_more() {
        let mut kept = Kept::default();
        let (max, second) = (u16::try_from(KEPT_MAX).unwrap(), Duration::from_secs(1));
        let task = |index| TaskId { entry: nexus_crdt::EntryId::of(b"x"), index };
        let mut take = |n, of, at| kept.take((member(n), &BTreeSet::from([member(n)])), task(of), at);
        assert!((0..max).all(|n| take(1, n, second)));
        assert!(!take(1, max, second));
        assert!(take(1, 7, second), "its key is there");
        assert!(take(2, max, second), "the tasks of others go on");
        kept.give_back(&member(1), task(7));
        let mut take = |n, of, at| kept.take((member(n), &BTreeSet::from([member(n)])), task(of), at);
        assert!(take(1, max, second), "a worker said that it failed");
        assert!(!take(1, 7, second));
        assert!(take(1, 7, second + REMEMBERED), "keys ran out");
    }

    /// promise: Tasks | A new key gives a member no other part of a worker's share for tasks that are done once
    #[test]
    fn a_new_key_has_no_part_of_its_own() {
        let mut kept = Kept::default();
        let (max, second) = (u16::try_from(KEPT_MAX).unwrap(), Duration::from_secs(1));
        let task = |index| TaskId { entry: nexus_crdt::EntryId::of(b"x"), index };
        let (former, line) = (BTreeSet::from([member(1)]), BTreeSet::from([member(1), member(2)]));
        assert!((0..max - 1).all(|n| kept.take((member(1), &former), task(n), second)));
        assert!(kept.take((member(2), &line), task(max), second), "one is left");
        assert!(!kept.take((member(2), &line), task(max + 1), second));
        assert!(kept.take((member(2), &line), task(max), second), "its key is there");
        kept.give_back(&member(1), task(7));
        assert!(kept.take((member(2), &line), task(max + 1), second), "room of a former key is the line's");
        assert!(kept.take((member(2), &line), task(max + 2), second + REMEMBERED), "keys ran out");
    }

    #[test]
    fn a_key_counts_no_more_than_it_is_counted_as() {
        let key = key_of(&member(8), &member(9), TaskId { entry: nexus_crdt::EntryId::of(b"x"), index: u16::MAX });
        // the coordinators count 256 bytes beyond the key and its value
        assert!(key.len() + 32 + 256 <= KEY_BYTES, "{key}");
    }
}
