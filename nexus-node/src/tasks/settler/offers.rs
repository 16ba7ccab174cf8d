//! Tasks of this node, workers at others: offers to their nodes, and these nodes' words.

use nexus_crdt::{
    EntryFrame, JsonText, Settlement, TASK_ERROR_BYTES_MAX, TASK_JSON_BYTES_MAX, TASK_NAME_BYTES_MAX, TaskEnd,
    TaskEvent, TaskId, TaskToken,
};
use nexus_identity::Did;
use nexus_identity::plants::reached;

use super::Settler;
use crate::engine::LATE;
use crate::error::{ConflictError, NodeError};
use crate::formats::RAISES_PERSONS;
use crate::tasks::claim::TaskResult;
use crate::tasks::offered;
use crate::tasks::read::{self, find, has_ended_so};
use crate::tasks::scheduler::core::{Fault, LEASE_ELSEWHERE};
use crate::tasks::task::{TaskProgress, cut};
use crate::tasks::wire::{Answer, Attempt, Body, CLAIMS_MAX, Came, Claim, Claims, Offer, Serving, Taken};

impl Settler {
    pub(in crate::tasks) fn hear_serving(&self, peer: Did, serving: Serving) -> bool {
        let Some(waiting) = serving.read() else { return false };
        let is_earlier = self.here().sessions.critical_format_of(&peer).is_none_or(|reads| reads < RAISES_PERSONS);
        let mut held = self.held();
        held.core.note_version(peer, is_earlier);
        let done = held.core.serving(peer, waiting, self.now());
        drop(held);
        self.wake();
        done
    }

    /// Notes that workers of a peer live. Returns the claims that no longer stand.
    pub(in crate::tasks) fn hear_alive(&self, peer: Did, Claims { claims }: Claims) -> Claims {
        let now = self.now();
        let mut held = self.held();
        let mut over = Vec::new();
        for claim in claims.into_iter().take(CLAIMS_MAX) {
            let Some((task, token)) = claim.read() else { continue };
            if held.core.holder_of(task, token) != Some(peer) || held.core.heard(task, token, now).is_err() {
                over.push(Claim::new(task, token));
                continue;
            }
            if claim.percent > 0 || !claim.text.is_empty() {
                let percent = claim.percent.checked_sub(1).map(|percent| u8::try_from(percent.min(100)).unwrap_or(100));
                held.note_progress(task, &TaskProgress { percent, text: claim.text });
            }
        }
        Claims { claims: over }
    }

    /// Takes what came of an attempt of a peer's worker. Returns whether it counts; it is on the disk then. `None` if this
    /// node stops before that.
    pub(in crate::tasks) async fn hear_result(&self, peer: Did, attempt: Attempt) -> Option<Answer> {
        let came = attempt.came();
        let Attempt { claim, output, code, error, .. } = attempt;
        let Some((task, token)) = claim.and_then(|claim| claim.read()) else { return Some(false.into()) };
        let is_json = output.len() <= TASK_JSON_BYTES_MAX && JsonText::check(&output).is_ok();
        if came == Came::Succeeded && !is_json {
            return Some(false.into());
        }
        let fault = Fault { code: cut(&code, TASK_NAME_BYTES_MAX), error: cut(&error, TASK_ERROR_BYTES_MAX) };
        let written = {
            let now = self.now();
            let mut held = self.held();
            match held.core.holder_of(task, token) == Some(peer) {
                true => {
                    if came == Came::Released {
                        held.core.turned_down(peer, self.now());
                    }
                    let taken = match came {
                        Came::Succeeded => held.core.succeed(task, token, output.clone(), now),
                        Came::Failed => held.core.fail(task, token, fault, now),
                        Came::Released => held.core.release(task, token, now),
                        Came::Lost | Came::Unspecified => held.core.lose(task, token, now),
                    };
                    let rest = held.core.rest_after(task, now).filter(|_| came == Came::Failed);
                    taken.map(|()| (held.until_end(task), rest.map(|rest| (rest.until.saturating_sub(now), rest)))).ok()
                }
                false => None,
            }
        };
        let Some((written, rest)) = written else {
            let said = match came {
                Came::Succeeded => TaskResult::Succeeded(JsonText::default()),
                Came::Failed => TaskResult::Failed { code: String::new(), message: String::new() },
                Came::Released | Came::Lost | Came::Unspecified => TaskResult::Released,
            };
            let again = self.reading(move |_, view, _| Ok(has_ended_so(view, task, (token, peer), &said)?)).await;
            if again.ok()? {
                reached("result_told_twice");
                return Some(true.into());
            }
            if came == Came::Succeeded {
                // it is refused in any case
                // only the worker to which the claim was given has a word here
                reached("result_after_its_claim");
                let _ = self.keep_late(task, token, output, peer).await;
            }
            return Some(false.into());
        };
        self.wake();
        let counts = written.await.ok()?;
        if counts && came == Came::Succeeded {
            self.0.attachments.keep_output(peer, &output);
        }
        let (rests_ms, failures) = rest.map_or((0, 0), |(left, rest)| {
            let ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
            (ms, u32::try_from(rest.failures).unwrap_or(u32::MAX))
        });
        Some(Answer { done: counts, rests_ms, failures })
    }

    /// Keeps a result that came too late to count, as the word of the member whose node had the claim.
    pub(in crate::tasks) async fn keep_late(
        &self,
        task: TaskId,
        token: TaskToken,
        output: String,
        whose: Did,
    ) -> Result<(), NodeError> {
        let space = self.reading(move |settler, view, reader| {
            let found = read::find(view, reader, task)?.filter(|found| found.row.may_settle(&settler.me()));
            Ok(found.map(|found| found.space.0))
        });
        let Some(space) = space.await? else { return Ok(()) };
        let settlement = Settlement {
            task,
            ownership: LATE,
            token: Some(token),
            outcome: TaskEnd::Succeeded,
            output,
            code: String::new(),
            error: String::new(),
            more: String::new(),
        };
        let settlement = Box::new(settlement.of_worker(&whose));
        self.here().write_one(vec![(space, TaskEvent::Settled(settlement))]).await.map(drop)
    }

    /// Offers a task that is claimed for another node, on the disk.
    pub(super) fn offer(&self, node: Did, task: TaskId, token: TaskToken, attempt: u32) {
        let settler = self.clone();
        self.here().world.spawn("task offer", async move {
            let offer = settler.reading(move |settler, view, reader| {
                let found = find(view, reader, task)?.ok_or(ConflictError::ClaimOver)?;
                // it may have lost that right since the task was claimed for it
                if !settler.here().identity.members().may_read(&node, &found.rule) {
                    return Ok(None);
                }
                let entries = offered::entries_of(view, &found, token)?;
                let mut offer = Offer {
                    claim: Some(Claim::new(task, token)),
                    attempt,
                    lease_ms: u64::try_from(LEASE_ELSEWHERE.as_millis()).unwrap_or(u64::MAX),
                    entries: entries.iter().map(|entry| EntryFrame::new(entry)).collect(),
                    ..Offer::default()
                };
                if offered::is_for_earlier_versions(&entries) {
                    offer.event = TaskEvent::Submitted(Box::new(found.submission)).encode();
                    offer.submitted_ms = found.row.hlc.time().as_ms();
                    offer.space = found.space.0.as_bytes().to_vec();
                }
                Ok(Some(offer))
            });
            let Ok(offer) = offer.await else { return };
            let asked = settler.now();
            let answer = match offer {
                Some(offer) => settler.here().ask(node, Body::Offer(offer)).await,
                None => Ok(None),
            };
            match answer {
                Ok(Some(Body::Taken(Taken { agent }))) => {
                    let mut held = settler.held();
                    held.core.answered(&node, settler.now().saturating_sub(asked));
                    held.core.taken(task, token, cut(&agent, TASK_NAME_BYTES_MAX));
                }
                // it has the task, or not: the lease tells
                Err(error) if error.may_have_asked() => {}
                Ok(_) | Err(_) => {
                    let mut held = settler.held();
                    held.core.turned_down(node, settler.now());
                    let _ = held.core.release(task, token, settler.now());
                    drop(held);
                    settler.wake();
                }
            }
        });
    }
}
