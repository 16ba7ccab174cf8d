//! Attempts at tasks that are done once: the coordinators note that one begins here, and what came of it.

use std::collections::BTreeMap;
use std::time::Duration;

use nexus_crdt::{TaskId, TaskToken};
use nexus_identity::Did;
use nexus_identity::plants::planted;

use super::Workers;
use crate::coordinator::{Condition, Put, Step, Txn};
use crate::critical::{Critical, DeleteOptions, KeyQuery, LockGuard, LockOptions, PutOptions};
use crate::error::NodeError;
use crate::tasks::claim::TaskResult;
use crate::tasks::once::{BEAT, KEPT_MAX, REMEMBERED, TaskFence, key_of, keys_of, lock_of, right_of, right_to};

/// The lock of an attempt before may be on its way back.
const IN_LINE: Duration = Duration::from_secs(5);

/// The beginning of an attempt.
enum Begun {
    /// It may run.
    Now(LockGuard),
    /// Another attempt has begun, or may have.
    Before,
    /// The coordinators could not be asked.
    NotNow,
}

impl Workers {
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
                if self.0.guests.finish(task, token, &TaskResult::Released, "").await.is_none() {
                    self.0.settler.release(task, token);
                }
                return None;
            }
        };
        let fence = TaskFence { lock: guard.name().to_owned(), token: guard.token() };
        self.held().fences.insert((task, token), fence.token);
        let ended = self.until_over(task, token);
        // it may have ended meanwhile
        if self.heard(task, token, None).is_err() {
            self.held().fences.remove(&(task, token));
            return None;
        }
        let workers = self.clone();
        self.here().world.spawn("task lock", async move {
            let mut guard = guard;
            let is_lost = tokio::select! {
                () = guard.lost() => true,
                _ = ended => false,
            };
            workers.held().fences.remove(&(task, token));
            if is_lost {
                workers.lose(task, token).await;
            } else {
                // without a quorum it runs out
                let _ = guard.release().await;
            }
        });
        Some(fence)
    }

    async fn ask_to_begin(&self, task: TaskId, token: TaskToken) -> Begun {
        let Ok(critical) = self.here().critical() else { return Begun::NotNow };
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
        self.0.guests.attempt_of(task, token).map_or_else(|| self.me(), |(_, settler)| settler)
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
            self.held().kept.learn(*settler, tasks);
        }
        let now = self.now();
        Ok(self.held().kept.take((settler, &line), task, now))
    }

    /// A worker says what came of an attempt: before that counts, the coordinators note it.
    pub(super) async fn note_once(&self, task: TaskId, token: TaskToken, result: &TaskResult) {
        let fence = self.held().fences.get(&(task, token)).copied();
        let (Some(fence), Ok(critical)) = (fence, self.here().critical()) else { return };
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
        if !self.0.guests.lose(task, token).await {
            self.0.settler.lose(task, token);
        }
    }
}
