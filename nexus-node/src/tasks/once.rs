//! Tasks that are done once. Before a worker begins, its node takes a lock from the coordinators, and writes under the lock's
//! token that the task has begun. Nobody begins it again after that, whoever hands it out, unless the worker itself says that
//! it is not done. The worker can check the token at its effect.

use std::time::Duration;

use nexus_crdt::{TaskId, TaskToken};

use super::TaskResult;
use super::board::TaskBoard;
use crate::critical::{Critical, DeleteOptions, LockGuard, LockOptions, PutOptions};
use crate::error::{ConflictError, InputError, NodeError};

/// The time for which it is remembered that a task has begun: the longest that a key may have.
const REMEMBERED: Duration = Duration::from_secs(30 * 86_400);
/// The lock of an attempt before may be on its way back.
const IN_LINE: Duration = Duration::from_secs(5);
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

/// The name of a task's lock and key.
fn name_of(task: TaskId) -> String {
    format!("task/{task}")
}

impl TaskBoard {
    fn critical(&self) -> Result<Critical, NodeError> {
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
                if self.finish_guest(task, token, &TaskResult::Released).await.is_none() {
                    let _ = self.held().core.release(task, token);
                    self.wake();
                }
                return None;
            }
        };
        let fence = TaskFence { lock: guard.name().to_owned(), token: guard.token() };
        let ended = {
            let mut held = self.held();
            held.fences.insert(task, (token, fence.token));
            held.until_end(task)
        };
        // it may have ended meanwhile
        if self.heard(task, token, None).is_err() {
            self.held().fences.remove(&task);
            return None;
        }
        let board = self.clone();
        self.here().world.spawn("task lock", async move {
            let mut guard = guard;
            let is_lost = tokio::select! {
                () = guard.lost() => true,
                _ = ended => false,
            };
            if board.held().fences.get(&task).is_some_and(|(of, _)| *of == token) {
                board.held().fences.remove(&task);
            }
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
        let name = name_of(task);
        let Ok(guard) = critical.lock(&name, LockOptions::default().wait(IN_LINE)).await else { return Begun::NotNow };
        let under = PutOptions::default().ttl(REMEMBERED).fence(guard.token());
        match critical.cas(&name, None, token.to_string(), under).await {
            Ok(_) => Begun::Now(guard),
            Err(NodeError::Conflict(ConflictError::Mismatch { .. })) => Begun::Before,
            // it was not written, and this worker has not begun
            Err(NodeError::Conflict(_) | NodeError::Refused(_) | NodeError::Invalid(_)) => Begun::NotNow,
            // it may have been written
            Err(_) => Begun::Before,
        }
    }

    /// A worker says what came of an attempt: before that counts, the coordinators note it.
    pub(super) async fn note_once(&self, task: TaskId, token: TaskToken, result: &TaskResult) {
        let fence = self.held().fences.get(&task).filter(|(of, _)| *of == token).map(|(_, fence)| *fence);
        let (Some(fence), Ok(critical)) = (fence, self.critical()) else { return };
        let name = name_of(task);
        // if that is not possible, the task counts as begun: it is not begun again
        let _ = match result {
            TaskResult::Succeeded(_) => {
                critical.put(&name, "succeeded", PutOptions::default().ttl(REMEMBERED).fence(fence)).await
            }
            TaskResult::Failed { .. } | TaskResult::Released => {
                critical.delete(&name, DeleteOptions::default().fence(fence)).await
            }
        };
    }

    /// Nobody knows what became of an attempt here.
    async fn lose(&self, task: TaskId, token: TaskToken) {
        let guest = {
            let mut held = self.held();
            let is_guest = held.guests.get(&task).is_some_and(|guest| guest.has(token));
            let guest = if is_guest { held.let_go(task) } else { None };
            if guest.is_none() {
                let _ = held.core.lose(task, token);
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
