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
use nexus_identity::plants::planted;

use super::TaskResult;
use super::board::TaskBoard;
use super::elsewhere::Guest;
use super::hand_out::Receiver;
use crate::coordinator::{Condition, OWN_PREFIX, Put, Step, Txn};
use crate::critical::{Critical, DeleteOptions, KeyQuery, LockGuard, LockOptions, PutOptions};
use crate::error::{ConflictError, InputError, NodeError};

/// The time for which it is remembered that a task has begun: the longest that a key may have.
const REMEMBERED: Duration = Duration::from_secs(30 * 86_400);
/// The bytes of keys that this node keeps for the tasks of another member, a quarter of its share.
const KEPT_BYTES_MAX: usize = 8 << 20;
/// The bytes that one key counts: its name, its value and the coordinators' own bookkeeping.
const KEY_BYTES: usize = 512;
/// The most keys for the tasks of another member.
const KEPT_MAX: usize = KEPT_BYTES_MAX / KEY_BYTES;
/// The lock of an attempt before may be on its way back.
const IN_LINE: Duration = Duration::from_secs(5);
/// The most tries to give a right while it changes.
const RIGHT_TRIES: usize = 3;
/// The time between two looks for a quorum, while a task waits for one.
const LOOK: Duration = Duration::from_secs(1);
/// The time between two words for a worker whose attempt begins.
const BEAT: Duration = Duration::from_millis(300);

/// The right to the effects of a task that is done once.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TaskFence {
    /// The lock's name.
    pub lock: String,
    /// The lease's token. Later ones are larger.
    pub token: u64,
}

/// The beginning of an attempt.
enum Begun {
    /// It may run.
    Now(LockGuard),
    /// Another attempt has begun, or may have.
    Before,
    /// The coordinators could not be asked.
    NotNow,
}

/// The right to a task that is done once.
enum Right {
    /// It is the worker's.
    Given,
    /// A worker that had it has begun, or may have.
    Begun,
    /// The coordinators could not be asked.
    NotNow,
}

/// The name of the lock of an attempt.
fn lock_of(worker: &Did, settler: &Did, task: TaskId) -> String {
    format!("{OWN_PREFIX}{worker}/task/{settler}/{task}")
}

/// The beginning of a worker's keys about the tasks of a settler.
fn keys_of(worker: &Did, settler: &Did) -> String {
    format!("{OWN_PREFIX}{worker}/begun/{settler}/")
}

/// The key that says that a task has begun at a worker.
fn key_of(worker: &Did, settler: &Did, task: TaskId) -> String {
    format!("{}{task}", keys_of(worker, settler))
}

/// The key that says which worker has the right to a task.
fn right_to(settler: &Did, task: TaskId) -> String {
    format!("{OWN_PREFIX}{settler}/right/{task}")
}

/// The value of that key: the claim and the worker's node.
fn right_of(token: TaskToken, worker: &Did) -> String {
    format!("{token} {worker}")
}

/// The tasks of others of which this node keeps keys, by settler, each with the time at which its key runs out.
#[derive(Debug, Default)]
pub(super) struct Kept(BTreeMap<Did, BTreeMap<String, Duration>>);

impl Kept {
    /// Whether the keys of a settler were counted since this node's start.
    fn knows(&self, settler: &Did) -> bool {
        self.0.contains_key(settler)
    }

    /// Takes room for the key of a task, unless there is none. All keys of a settler's line have one room. Keys that ran
    /// out make room.
    ///
    /// Room is given back only for a key that was deleted: whoever makes beginnings fail gains nothing.
    fn take(&mut self, (settler, line): (Did, &BTreeSet<Did>), task: TaskId, now: Duration) -> bool {
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

    fn give_back(&mut self, settler: &Did, task: TaskId) {
        if let Some(tasks) = self.0.get_mut(settler) {
            tasks.remove(&task.to_string());
        }
    }
}

impl TaskBoard {
    /// Gives a worker the right to a task that is done once, then the task.
    pub(super) fn give_right(&self, task: TaskId, token: TaskToken, attempt: u32, worker: Did, to: Receiver) {
        let board = self.clone();
        self.here().world.spawn("right to a task", async move {
            let right = {
                let give = board.ask_for_right(task, token, worker);
                tokio::pin!(give);
                loop {
                    tokio::select! {
                        right = &mut give => break right,
                        () = board.here().world.sleep_until(board.now() + BEAT) => {
                            // the worker has not heard of it yet
                            let now = board.now();
                            if board.held().core.heard(task, token, now).is_err() {
                                return;
                            }
                        }
                    }
                }
            };
            let now = board.now();
            match right {
                Right::Given => board.hand(&mut board.held(), to, task, token, attempt),
                Right::Begun => board.held().core.withhold(task, token, true, now),
                Right::NotNow => board.held().core.withhold(task, token, false, now),
            }
            board.wake();
        });
    }

    async fn ask_for_right(&self, task: TaskId, token: TaskToken, worker: Did) -> Right {
        let (Ok(critical), me) = (self.critical(), self.me()) else { return Right::NotNow };
        let (key, mine) = (right_to(&me, task), right_of(token, &worker));
        let mut put = Put::new(&key, mine.as_str());
        put.ttl_ms = u64::try_from(REMEMBERED.as_millis()).ok();
        for _ in 0..RIGHT_TRIES {
            match critical.cas(&key, None, mine.as_str(), PutOptions::default().ttl(REMEMBERED)).await {
                Ok(_) => return Right::Given,
                Err(NodeError::Conflict(ConflictError::Mismatch { .. })) => {}
                // if it was written after all, the next claim finds it
                Err(_) => return Right::NotNow,
            }
            let Ok(found) = critical.get(&key).await else { return Right::NotNow };
            let Some(found) = found else { continue };
            if found.text() == Some(&mine) {
                return Right::Given;
            }
            // nobody else writes it
            let before = found.text().and_then(|text| text.split_once(' ')?.1.parse().ok());
            let Some(before) = before else { return Right::Begun };
            let begun = key_of(&before, &me, task);
            let mut goes_on = Txn::new().check(&key, Condition::Revision(found.revision)).then(put.clone());
            if !planted("begins_again") {
                goes_on = goes_on.check(&begun, Condition::Absent);
            }
            match critical.txn(goes_on.otherwise(Step::Get(begun))).await {
                Ok(done) if done.held => return Right::Given,
                Ok(done) if done.items.iter().any(Option::is_some) => return Right::Begun,
                Ok(_) => {}
                Err(_) => return Right::NotNow,
            }
        }
        Right::NotNow
    }

    pub(super) fn critical(&self) -> Result<Critical, NodeError> {
        Ok(Critical::new(self.here().coordinator.clone().ok_or(InputError::NoCoordinator)?))
    }

    /// Has the coordinators note that an attempt begins here, and keeps its lock until the claim is over. `None` if it must
    /// not run: the task is given back then, or nobody knows whether it was done.
    pub(super) async fn begin_once(&self, task: TaskId, token: TaskToken) -> Option<TaskFence> {
        let begin = self.ask_to_begin(task, token);
        tokio::pin!(begin);
        let begun = loop {
            tokio::select! {
                begun = &mut begin => break begun,
                () = self.here().world.sleep_until(self.now() + BEAT) => {
                    // the worker waits here, and lives
                    if self.heard(task, token, None).is_err() {
                        return None;
                    }
                }
            }
        };
        let guard = match begun {
            Begun::Now(guard) => guard,
            Begun::Before => {
                self.lose(task, token).await;
                return None;
            }
            Begun::NotNow => {
                if self.finish_guest(task, token, &TaskResult::Released, "").await.is_none() {
                    let now = self.now();
                    let _ = self.held().core.release(task, token, now);
                    self.wake();
                }
                return None;
            }
        };
        let fence = TaskFence { lock: guard.name().to_owned(), token: guard.token() };
        let ended = {
            let mut held = self.held();
            held.fences.insert((task, token), fence.token);
            held.until_over(task, token)
        };
        // it may have ended meanwhile
        if self.heard(task, token, None).is_err() {
            self.held().fences.remove(&(task, token));
            return None;
        }
        let board = self.clone();
        self.here().world.spawn("task lock", async move {
            let mut guard = guard;
            let is_lost = tokio::select! {
                () = guard.lost() => true,
                _ = ended => false,
            };
            board.held().fences.remove(&(task, token));
            if is_lost {
                board.lose(task, token).await;
            } else {
                // without a quorum it runs out
                let _ = guard.release().await;
            }
        });
        Some(fence)
    }

    async fn ask_to_begin(&self, task: TaskId, token: TaskToken) -> Begun {
        let Ok(critical) = self.critical() else { return Begun::NotNow };
        let settler = self.settler_of(task, token);
        match self.take_room(&critical, settler, task).await {
            Ok(true) => {}
            Ok(false) => {
                let settler = settler.short();
                tracing::warn!(%task, %settler, "too many tasks of this member began here that are done once");
                return Begun::NotNow;
            }
            Err(_) => return Begun::NotNow,
        }
        let me = self.me();
        let key = key_of(&me, &settler, task);
        let lock = LockOptions::default().wait(IN_LINE);
        let Ok(guard) = critical.lock(&lock_of(&me, &settler, task), lock).await else { return Begun::NotNow };
        let mut begin = Put::new(&key, token.to_string());
        (begin.ttl_ms, begin.fence) = (u64::try_from(REMEMBERED.as_millis()).ok(), Some(guard.token()));
        let right = Condition::Value(right_of(token, &me).into_bytes());
        let mut txn = Txn::new().check(right_to(&settler, task), right).then(begin).otherwise(Step::Get(key.clone()));
        if !planted("begins_again") {
            txn = txn.check(key, Condition::Absent);
        }
        match critical.txn(txn).await {
            Ok(done) if done.held => Begun::Now(guard),
            Ok(done) if done.items.iter().any(Option::is_some) => Begun::Before,
            // the right is another's by now
            Ok(_) => Begun::NotNow,
            // it was not written, and this worker has not begun
            Err(NodeError::Conflict(_) | NodeError::Refused(_) | NodeError::Invalid(_)) => Begun::NotNow,
            // it may have been written
            Err(_) => Begun::Before,
        }
    }

    /// The member whose node hands a task out to a worker here.
    fn settler_of(&self, task: TaskId, token: TaskToken) -> Did {
        let held = self.held();
        held.guests.get(&(task, token)).map_or_else(|| self.me(), Guest::settler)
    }

    /// Takes room for the key of a task. The keys of another member's tasks are counted when the first one comes.
    async fn take_room(&self, critical: &Critical, settler: Did, task: TaskId) -> Result<bool, NodeError> {
        let me = self.me();
        if settler == me {
            return Ok(true);
        }
        let line = self.here().identity.members().line(&settler);
        for settler in line.iter().filter(|key| **key != me) {
            if self.held().kept.knows(settler) {
                continue;
            }
            let (prefix, now) = (keys_of(&me, settler), self.now());
            let (mut next, mut tasks) = (None, BTreeMap::new());
            while tasks.len() < KEPT_MAX {
                let page = critical.list(KeyQuery::prefix(&prefix).after(next)).await?;
                tasks.extend(page.items.into_iter().filter_map(|(key, item)| {
                    // at the most: the coordinators count from its writing
                    let left = item.ttl_ms.map_or(REMEMBERED, Duration::from_millis);
                    Some((key.strip_prefix(&prefix)?.to_owned(), now.saturating_add(left)))
                }));
                next = page.next;
                if next.is_none() {
                    break;
                }
            }
            self.held().kept.0.entry(*settler).or_insert(tasks);
        }
        let now = self.now();
        Ok(self.held().kept.take((settler, &line), task, now))
    }

    /// A worker says what came of an attempt: before that counts, the coordinators note it.
    pub(super) async fn note_once(&self, task: TaskId, token: TaskToken, result: &TaskResult) {
        let fence = self.held().fences.get(&(task, token)).copied();
        let (Some(fence), Ok(critical)) = (fence, self.critical()) else { return };
        let settler = self.settler_of(task, token);
        let key = key_of(&self.me(), &settler, task);
        // if that is not possible, the task counts as begun: it is not begun again
        match result {
            TaskResult::Succeeded(_) => {
                let done = PutOptions::default().ttl(REMEMBERED).fence(fence);
                let _ = critical.put(&key, "succeeded", done).await;
            }
            TaskResult::Failed { .. } | TaskResult::Released => {
                if critical.delete(&key, DeleteOptions::default().fence(fence)).await.is_ok() {
                    self.held().kept.give_back(&settler, task);
                }
            }
        }
    }

    /// Nobody knows what became of an attempt here.
    async fn lose(&self, task: TaskId, token: TaskToken) {
        let guest = {
            let mut held = self.held();
            let guest = held.let_go(task, token);
            if guest.is_none() {
                let _ = held.core.lose(task, token, self.now());
            }
            guest
        };
        self.wake();
        if let Some(guest) = guest {
            self.tell_lost(&guest).await;
        }
    }

    /// Looks for a quorum while a task waits for one, until the node ends.
    pub(crate) async fn watch_quorum(self) {
        // it closes with the engine
        let mut members = self.here().identity.follow();
        loop {
            let waits = self.held().core.waits_for_quorum();
            if waits {
                let seen = match &self.here().coordinator {
                    Some(coordinator) => coordinator.overview().await,
                    None => None,
                };
                let now = self.now();
                self.held().core.set_quorum(seen.is_some_and(|seen| seen.quorum), now);
                self.wake();
            }
            let next = if waits { self.now() + LOOK } else { Duration::MAX };
            tokio::select! {
                () = self.0.once.notified() => {}
                () = self.here().world.sleep_until(next) => {}
                changed = members.changed() => if changed.is_err() { return },
            }
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
