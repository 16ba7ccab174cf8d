//! The right to a task that is done once, which its settler gives to one worker at a time.

use std::time::Duration;

use nexus_crdt::{TaskId, TaskToken};
use nexus_identity::Did;
use nexus_identity::plants::planted;

use super::Settler;
use super::hand_out::Receiver;
use crate::coordinator::{Condition, Put, Step, Txn};
use crate::critical::PutOptions;
use crate::error::{ConflictError, NodeError};
use crate::tasks::once::{BEAT, REMEMBERED, key_of, right_of, right_to};

/// The most tries to give a right while it changes.
const RIGHT_TRIES: usize = 3;
/// The time between two looks for a quorum, while a task waits for one.
const LOOK: Duration = Duration::from_secs(1);

/// The right to a task that is done once.
enum Right {
    /// It is the worker's.
    Given,
    /// A worker that had it has begun, or may have.
    Begun,
    /// The coordinators could not be asked.
    NotNow,
}

impl Settler {
    /// Gives a worker the right to a task that is done once, then the task.
    pub(super) fn give_right(&self, task: TaskId, token: TaskToken, attempt: u32, worker: Did, to: Receiver) {
        let settler = self.clone();
        self.here().world.spawn("right to a task", async move {
            let right = {
                let give = settler.ask_for_right(task, token, worker);
                tokio::pin!(give);
                loop {
                    tokio::select! {
                        right = &mut give => break right,
                        () = settler.here().world.sleep_until(settler.now() + BEAT) => {
                            // the worker has not heard of it yet
                            let now = settler.now();
                            if settler.held().core.heard(task, token, now).is_err() {
                                return;
                            }
                        }
                    }
                }
            };
            let now = settler.now();
            match right {
                Right::Given => settler.hand(&mut settler.held(), to, task, token, attempt),
                Right::Begun => settler.held().core.withhold(task, token, true, now),
                Right::NotNow => settler.held().core.withhold(task, token, false, now),
            }
            settler.wake();
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

    /// Looks for a quorum while a task waits for one, until the node ends.
    pub(in crate::tasks) async fn watch_quorum(self) {
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
