//! The proof of an offer: the signed entries that submitted, approved and claimed a task. A worker's node begins no task of
//! another node before it has them, so whatever runs has an author.

use nexus_crdt::{
    EntryFrame, HeardEvent, Hlc, Kind, SpaceId, Submission, TaskClaim, TaskEvent, TaskId, TaskSaid, TaskToken,
    TaskVerb, TaskWord, Verified, task_event_alone, task_event_at, task_events_of,
};
use nexus_identity::Did;

use super::read::{Found, Rights};
use super::scheduler::approved::Approved;
use crate::error::NodeError;
use crate::ledger::{entry_of, find_task, read_entry};
use crate::store::View;

/// The entries of an offer: submission, approval, claim.
const ENTRIES_MAX: usize = 3;

/// A task of another node, as signed entries show it.
pub(super) struct OfferedTask {
    pub(super) submission: Submission,
    pub(super) submitter: Did,
    pub(super) submitted_at: Hlc,
    pub(super) space: SpaceId,
    pub(super) claim: TaskClaim,
    /// The members whose signed word about it is an approval.
    approved_by: Vec<Did>,
}

/// The parts of a proof that were found so far.
#[derive(Default)]
struct Parts {
    submission: Option<(Submission, Did, Hlc, SpaceId)>,
    claim: Option<(TaskClaim, Did)>,
    approved_by: Vec<Did>,
}

impl OfferedTask {
    /// Reads the entries of an offer. `None` if they do not show that `settler` claimed the task for `worker`.
    pub(super) fn of_entries(
        entries: Vec<EntryFrame>,
        (task, token): (TaskId, TaskToken),
        (mesh, settler, worker): (Did, Did, Did),
    ) -> Option<Self> {
        if entries.len() > ENTRIES_MAX {
            return None;
        }
        let mut parts = Parts::default();
        for frame in entries {
            let entry = frame.parse().and_then(|entry| entry.verify(&mesh)).ok()?;
            if !entry.header().kind.is_tasks() {
                return None;
            }
            parts.hear(&entry, task, token);
        }
        parts.whole(settler, worker)
    }

    /// The same of what this node's own ledger has.
    pub(super) fn of_ledger(
        view: &dyn View,
        found: Found,
        token: TaskToken,
        (settler, worker): (Did, Did),
    ) -> Result<Option<Self>, NodeError> {
        let mut parts = Parts::default();
        let said = found.heard.iter().find(|heard| is_claim(heard, token));
        if let Some(said) = said
            && let Some(entry) = entry_of(view, said.dot.entry)?
        {
            parts.hear(&entry, found.id, token);
        }
        for heard in &found.heard {
            if heard.said == TaskSaid::Word(TaskVerb::Approve) {
                parts.approved_by.push(heard.by);
            }
        }
        parts.submission = Some((found.submission, found.row.submitter, found.row.hlc, found.space.0));
        Ok(parts.whole(settler, worker))
    }

    /// How far it is approved, by the rights that members have on it. Nobody approves one that asks for no approval.
    pub(super) fn approved(&self, rights: &Rights<'_>) -> Approved {
        if self.submission.needs_approval { rights.approved(&self.approved_by) } else { Approved::Not }
    }
}

impl Parts {
    fn hear(&mut self, entry: &Verified, task: TaskId, token: TaskToken) {
        let header = entry.header();
        if entry.id() == task.entry
            && let Some(TaskEvent::Submitted(submission)) = task_event_at(entry, task.index)
        {
            self.submission = Some((*submission, header.author, header.hlc, header.space));
        }
        for placed in task_events_of(entry).unwrap_or_default() {
            match placed.event {
                TaskEvent::Claimed(claim) if claim.task == task && claim.token == token => {
                    self.claim = Some((claim, header.author));
                }
                TaskEvent::Word(TaskWord { task: of, verb: TaskVerb::Approve, .. }) if of == task => {
                    self.approved_by.push(header.author);
                }
                _ => {}
            }
        }
    }

    fn whole(self, settler: Did, worker: Did) -> Option<OfferedTask> {
        let (submission, submitter, submitted_at, space) = self.submission?;
        let (claim, claimed_by) = self.claim?;
        let heirs = submission.heirs(&submitter);
        let may_settle = match claim.ownership {
            0 => settler == submitter,
            _ => !heirs.is_empty() && (settler == submitter || heirs.contains(&settler)),
        };
        let is_for_us = claim.worker == worker && submission.to.is_none_or(|to| to == worker);
        let stands = claimed_by == settler && may_settle && is_for_us;
        stands.then_some(OfferedTask {
            submission,
            submitter,
            submitted_at,
            space,
            claim,
            approved_by: self.approved_by,
        })
    }
}

/// The entries that show a claim of a task to its worker's node.
pub(super) fn entries_of(view: &dyn View, found: &Found, token: TaskToken) -> Result<Vec<Verified>, NodeError> {
    let Some((eno, _)) = find_task(view, found.id)? else { return Ok(Vec::new()) };
    let mut entries = Vec::with_capacity(ENTRIES_MAX);
    entries.extend(read_entry(view, eno)?.map(|entry| task_event_alone(entry, found.id.index)));
    let approval = found.state.approval.filter(|(approved, _)| *approved).map(|(_, dot)| dot);
    let claim = found.heard.iter().find(|heard| is_claim(heard, token)).map(|heard| heard.dot);
    for dot in approval.into_iter().chain(claim) {
        entries.extend(entry_of(view, dot.entry)?.map(|entry| task_event_alone(entry, dot.index)));
    }
    Ok(entries)
}

/// Whether members of an earlier version may have to read an offer of the task in this entry.
pub(super) fn is_for_earlier_versions(entries: &[Verified]) -> bool {
    entries.first().is_none_or(|entry| entry.header().kind == Kind::TASKS)
}

fn is_claim(heard: &HeardEvent, of: TaskToken) -> bool {
    matches!(heard.said, TaskSaid::Claimed { token, .. } if token == of)
}
