use std::collections::BTreeMap;

use borsh::{BorshDeserialize, BorshSerialize};
use nexus_identity::Did;

use super::event::{ReturnCause, TaskEnd, TaskEvent, TaskId, TaskToken, TaskVerb};
use crate::hlc::Hlc;
use crate::record::Dot;

/// The part of an event that a task's state depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub enum TaskSaid {
    /// A worker has it.
    Claimed {
        /// The settler's ownership.
        ownership: u32,
        /// The number of the attempt, from 1.
        attempt: u32,
        /// The token of the claim.
        token: TaskToken,
        /// The member whose node has the worker.
        worker: Did,
    },
    /// Its worker has it no more.
    Returned {
        /// The settler's ownership.
        ownership: u32,
        /// The token of the claim.
        token: TaskToken,
        /// The cause.
        cause: ReturnCause,
    },
    /// It is over.
    Settled {
        /// The settler's ownership.
        ownership: u32,
        /// The token of the claim whose result it is.
        token: Option<TaskToken>,
        /// The end.
        outcome: TaskEnd,
    },
    /// Somebody else's word.
    Word(TaskVerb),
}

impl TaskSaid {
    /// The part of an event about a task that is there already.
    pub fn of(event: &TaskEvent) -> Option<(TaskId, Self)> {
        match event {
            TaskEvent::Submitted(_) | TaskEvent::Later(_) => None,
            TaskEvent::Claimed(claim) => {
                let (ownership, attempt, token, worker) = (claim.ownership, claim.attempt, claim.token, claim.worker);
                Some((claim.task, Self::Claimed { ownership, attempt, token, worker }))
            }
            TaskEvent::Returned(returned) => {
                let (ownership, token, cause) = (returned.ownership, returned.token, returned.cause);
                Some((returned.task, Self::Returned { ownership, token, cause }))
            }
            TaskEvent::Settled(settled) => {
                let (ownership, token, outcome) = (settled.ownership, settled.token, settled.outcome);
                Some((settled.task, Self::Settled { ownership, token, outcome }))
            }
            TaskEvent::Word(word) => Some((word.task, Self::Word(word.verb))),
        }
    }

    /// The ownership in whose name it is said.
    const fn ownership(&self) -> Option<u32> {
        match self {
            Self::Claimed { ownership, .. } | Self::Returned { ownership, .. } | Self::Settled { ownership, .. } => {
                Some(*ownership)
            }
            Self::Word(_) => None,
        }
    }
}

/// An event as it was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeardEvent {
    /// Its author.
    pub by: Did,
    /// The stamp of its entry.
    pub hlc: Hlc,
    /// Its dot.
    pub dot: Dot,
    /// Its content.
    pub said: TaskSaid,
}

/// The rights of members on a task, as far as its state depends on them.
pub trait TaskRights {
    /// Whether a member may approve or reject it.
    fn may_approve(&self, member: &Did) -> bool;

    /// Whether a member may cancel it.
    fn may_cancel(&self, member: &Did) -> bool;
}

/// Where a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskPhase {
    /// Somebody has to approve it first.
    AwaitingApproval,
    /// It waits for a worker.
    Pending,
    /// A worker has it.
    Assigned,
    /// It is over.
    Over(TaskEnd),
}

/// The state that follows from a task's events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskState {
    /// Where it is.
    pub phase: TaskPhase,
    /// The number of its claims.
    pub claims: u32,
    /// The claims that ended with a failure.
    pub failures: u32,
    /// The claims that ended because nobody heard of the worker.
    pub expiries: u32,
    /// The last claim, if it stands: its token, its number, its worker.
    pub claim: Option<(TaskToken, u32, Did)>,
    /// The event that ended it.
    pub settled_by: Option<Dot>,
    /// The results that came too late to count, and those of others than the settler.
    pub late: Vec<Dot>,
    /// The first word of somebody who may approve it: whether it was an approval, and the word.
    pub approval: Option<(bool, Dot)>,
    /// The first word of somebody who may cancel it.
    pub cancelled: Option<Dot>,
}

/// The state of a task that `submitter` submitted, with everything that was said of it.
///
/// It depends on the set of events alone: they are sorted by ownership, stamp and dot, then folded. The first settlement
/// is the end. A settler whose store was put back and that settles again has a later stamp, so a returned result stays.
pub fn task_state(submitter: &Did, needs_approval: bool, heard: &[HeardEvent], rights: &impl TaskRights) -> TaskState {
    let mut heard: Vec<&HeardEvent> = heard.iter().collect();
    heard.sort_unstable_by_key(|heard| (heard.said.ownership().unwrap_or_default(), heard.hlc, heard.dot));
    heard.dedup_by_key(|heard| heard.dot);
    // only the submitter owns a task so far: what is said in the name of later ownerships waits for a later version
    let owns = |heard: &HeardEvent| heard.said.ownership() == Some(0) && heard.by == *submitter;
    let (mut claims, mut returned) = (BTreeMap::new(), BTreeMap::new());
    let (mut settled, mut last_end, mut late) = (None, None, Vec::new());
    let (mut approval, mut cancelled) = (None, None);
    for heard in heard {
        match heard.said {
            TaskSaid::Claimed { attempt, token, worker, .. } if owns(heard) => {
                claims.entry(token).or_insert((attempt, heard.hlc, heard.dot, worker));
            }
            TaskSaid::Returned { token, cause, .. } if owns(heard) => {
                returned.entry(token).or_insert(cause);
            }
            TaskSaid::Settled { outcome, token, .. } if owns(heard) && settled.is_none() => {
                (settled, last_end) = (Some((outcome, heard.dot)), Some((outcome, token)));
            }
            TaskSaid::Settled { .. } => late.push(heard.dot),
            TaskSaid::Word(verb @ (TaskVerb::Approve | TaskVerb::Reject)) if rights.may_approve(&heard.by) => {
                approval = approval.or(Some((verb == TaskVerb::Approve, heard.dot)));
            }
            TaskSaid::Word(TaskVerb::Cancel) if rights.may_cancel(&heard.by) => {
                cancelled = cancelled.or(Some(heard.dot));
            }
            TaskSaid::Claimed { .. } | TaskSaid::Returned { .. } | TaskSaid::Word(_) => {}
        }
    }
    // the last attempt ends with the task
    let last_as = |end| {
        let token = last_end.filter(|(outcome, _)| *outcome == end).and_then(|(_, token)| token);
        usize::from(token.is_some_and(|token| claims.contains_key(&token) && !returned.contains_key(&token)))
    };
    let ended_as = |cause| returned.iter().filter(|(token, why)| claims.contains_key(token) && **why == cause).count();
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let last = claims.iter().filter(|(token, _)| !returned.contains_key(token));
    let last = last.max_by_key(|(_, (attempt, hlc, dot, _))| (*attempt, *hlc, *dot));
    let claim = last.map(|(token, (attempt, .., worker))| (*token, *attempt, *worker)).filter(|_| settled.is_none());
    let phase = match (settled, claim) {
        (Some((outcome, _)), _) => TaskPhase::Over(outcome),
        (None, Some(_)) => TaskPhase::Assigned,
        (None, None) if needs_approval && !approval.is_some_and(|(approved, _)| approved) => {
            TaskPhase::AwaitingApproval
        }
        (None, None) => TaskPhase::Pending,
    };
    TaskState {
        phase,
        claims: count(claims.len()),
        failures: count(ended_as(ReturnCause::Failed) + last_as(TaskEnd::Failed)),
        expiries: count(ended_as(ReturnCause::Expired) + last_as(TaskEnd::Unknown)),
        claim,
        settled_by: settled.map(|(_, dot)| dot),
        late,
        approval,
        cancelled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::EntryId;
    use proptest::prelude::*;

    /// Member 9 is an admin.
    struct Admins;

    impl TaskRights for Admins {
        fn may_approve(&self, member: &Did) -> bool {
            *member == did(9)
        }

        fn may_cancel(&self, member: &Did) -> bool {
            *member == did(9) || *member == did(0)
        }
    }

    fn did(n: u8) -> Did {
        Did::from_bytes([n; 32])
    }

    fn token(n: u8) -> TaskToken {
        TaskToken::from_bytes([n; 16])
    }

    fn heard(n: u64, by: u8, said: TaskSaid) -> HeardEvent {
        HeardEvent { by: did(by), hlc: Hlc(n), dot: Dot { entry: EntryId::of(&n.to_le_bytes()), index: 0 }, said }
    }

    fn claimed(attempt: u32, token_of: u8) -> TaskSaid {
        TaskSaid::Claimed { ownership: 0, attempt, token: token(token_of), worker: did(1) }
    }

    fn settled(outcome: TaskEnd) -> TaskSaid {
        TaskSaid::Settled { ownership: 0, token: Some(token(1)), outcome }
    }

    fn state(heard: &[HeardEvent]) -> TaskState {
        task_state(&did(0), false, heard, &Admins)
    }

    #[test]
    fn a_task_goes_from_pending_to_its_end() {
        assert_eq!(state(&[]).phase, TaskPhase::Pending);
        let mut said = vec![heard(1, 0, claimed(1, 1))];
        assert_eq!(state(&said).claim, Some((token(1), 1, did(1))));
        let expired = TaskSaid::Returned { ownership: 0, token: token(1), cause: ReturnCause::Expired };
        said.push(heard(2, 0, expired));
        let waiting = state(&said);
        assert_eq!((waiting.phase, waiting.claims, waiting.failures, waiting.expiries), (TaskPhase::Pending, 1, 0, 1));
        said.push(heard(3, 0, claimed(2, 2)));
        assert_eq!(state(&said).phase, TaskPhase::Assigned);
        said.push(heard(4, 0, settled(TaskEnd::Succeeded)));
        let over = state(&said);
        assert_eq!((over.phase, over.claim), (TaskPhase::Over(TaskEnd::Succeeded), None));
        let said = [heard(1, 0, claimed(1, 1)), heard(2, 0, settled(TaskEnd::Failed))];
        assert_eq!(state(&said).failures, 1, "the attempt that ended the task counts, too");
    }

    /// promise: Tasks | Only the submitter's node claims, returns and ends a task; whatever others say of it changes nothing, and their results are kept as late
    #[test]
    fn a_rogue_member_ends_nobodys_task() {
        let rogue = [
            heard(1, 3, claimed(9, 9)),
            heard(2, 3, settled(TaskEnd::Succeeded)),
            heard(3, 3, TaskSaid::Word(TaskVerb::Cancel)),
            heard(4, 3, TaskSaid::Word(TaskVerb::Approve)),
            heard(5, 0, TaskSaid::Settled { ownership: 7, token: None, outcome: TaskEnd::Failed }),
        ];
        let after = task_state(&did(0), true, &rogue, &Admins);
        assert_eq!((after.phase, after.claims, after.approval), (TaskPhase::AwaitingApproval, 0, None));
        assert_eq!(after.cancelled, None);
        assert_eq!(after.late, [rogue[1].dot, rogue[4].dot]);
    }

    /// promise: Tasks | The first word of somebody who may approve a task counts; the submitter cannot approve its own
    #[test]
    fn the_first_word_of_an_approver_counts() {
        let own = [heard(1, 0, TaskSaid::Word(TaskVerb::Approve))];
        assert_eq!(task_state(&did(0), true, &own, &Admins).phase, TaskPhase::AwaitingApproval);
        let said = [heard(3, 9, TaskSaid::Word(TaskVerb::Reject)), heard(2, 9, TaskSaid::Word(TaskVerb::Approve))];
        let approved = task_state(&did(0), true, &said, &Admins);
        assert_eq!((approved.phase, approved.approval), (TaskPhase::Pending, Some((true, said[1].dot))));
    }

    fn any_said() -> impl Strategy<Value = TaskSaid> {
        let (ownership, token) = (0_u32..2, (0_u8..4).prop_map(token));
        let outcome = prop::sample::select(&TaskEnd::ALL);
        let verb = prop::sample::select(&[TaskVerb::Approve, TaskVerb::Reject, TaskVerb::Cancel]);
        let cause = prop::sample::select(&[ReturnCause::Failed, ReturnCause::Expired, ReturnCause::Released]);
        prop_oneof![
            (ownership.clone(), 1_u32..4, token.clone(), 1_u8..4).prop_map(|(ownership, attempt, token, worker)| {
                TaskSaid::Claimed { ownership, attempt, token, worker: did(worker) }
            }),
            (ownership.clone(), token.clone(), cause).prop_map(|(ownership, token, cause)| TaskSaid::Returned {
                ownership,
                token,
                cause
            }),
            (ownership, prop::option::of(token), outcome).prop_map(|(ownership, token, outcome)| TaskSaid::Settled {
                ownership,
                token,
                outcome
            }),
            verb.prop_map(TaskSaid::Word),
        ]
    }

    fn any_heard() -> impl Strategy<Value = Vec<HeardEvent>> {
        let by = prop::sample::select(&[0_u8, 0, 0, 1, 9]);
        prop::collection::vec((0_u64..8, by, any_said()), 0..14).prop_map(|all| {
            let heard_at = |(n, (hlc, by, said)): (usize, (u64, u8, TaskSaid))| HeardEvent {
                hlc: Hlc(hlc),
                ..heard(n as u64, by, said)
            };
            all.into_iter().enumerate().map(heard_at).collect()
        })
    }

    proptest! {
        /// promise: Tasks | The state of a task is a function of the set of its events, in whichever order and however often they come
        #[test]
        fn a_state_depends_on_the_set_alone(
            (all, shuffled) in any_heard().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
            needs_approval: bool,
        ) {
            let folded = task_state(&did(0), needs_approval, &all, &Admins);
            prop_assert_eq!(&folded, &task_state(&did(0), needs_approval, &shuffled, &Admins));
            let twice: Vec<HeardEvent> = all.iter().chain(&shuffled).copied().collect();
            prop_assert_eq!(folded, task_state(&did(0), needs_approval, &twice, &Admins));
        }

        /// promise: Tasks | A task that has ended stays so: nothing said later by its settler, and nothing said by others, changes its end
        #[test]
        fn an_end_never_changes(before in any_heard(), said in any_said(), by in 0_u8..10) {
            let old = task_state(&did(0), false, &before, &Admins);
            let mut after = before;
            let n = after.len() as u64;
            after.push(HeardEvent { hlc: Hlc(100), ..heard(n, by, said) });
            let new = task_state(&did(0), false, &after, &Admins);
            if let TaskPhase::Over(_) = old.phase {
                prop_assert_eq!((old.phase, old.settled_by), (new.phase, new.settled_by));
            }
        }
    }
}
