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
    pub const fn ownership(&self) -> Option<u32> {
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

    /// Whether somebody's membership has ended: it settles nothing more.
    fn has_left(&self, member: &Did) -> bool;
}

/// The last ownership that a member can have. Results that came too late are written in the name of later ones.
pub const TASK_OWNERSHIP_MAX: u32 = u32::MAX - 1;

/// The members that may settle a task: its submitter, and its heirs.
#[derive(Clone, Copy, Debug)]
pub struct TaskOwners<'a> {
    /// Its submitter: the settler in the name of ownership 0.
    pub submitter: &'a Did,
    /// Its heirs ([`Submission::heirs`](super::event::Submission::heirs)).
    pub heirs: &'a [Did],
}

impl TaskOwners<'_> {
    /// Whether a member may settle it in the name of an ownership.
    fn may_own(&self, member: &Did, ownership: u32) -> bool {
        match ownership {
            0 => member == self.submitter,
            1..=TASK_OWNERSHIP_MAX => {
                !self.heirs.is_empty() && (member == self.submitter || self.heirs.contains(member))
            }
            _ => false,
        }
    }
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
    /// The settlers, by their ownerships: the submitter from 0, then those that took it over. The last one settles it.
    pub owners: BTreeMap<u32, Did>,
    /// The number of its claims.
    pub claims: u32,
    /// The claims that ended with a failure.
    pub failures: u32,
    /// The claims that ended because nobody heard of the worker.
    pub expiries: u32,
    /// The last claim, if it stands: its token, its number, its worker.
    pub claim: Option<(TaskToken, u32, Did)>,
    /// The last attempt, if it ended only because another settler took the task over: its token and its worker. Its result
    /// counts until there is another attempt.
    pub taken_from: Option<(TaskToken, Did)>,
    /// The event that ended it.
    pub settled_by: Option<Dot>,
    /// The results that came too late to count, and those of others than the settler.
    pub late: Vec<Dot>,
    /// The first word of somebody who may approve it: whether it was an approval, and the word.
    pub approval: Option<(bool, Dot)>,
    /// The first word of somebody who may cancel it.
    pub cancelled: Option<Dot>,
}

impl TaskState {
    /// The settler, and its ownership.
    pub fn owner(&self) -> Option<(u32, Did)> {
        self.owners.last_key_value().map(|(ownership, owner)| (*ownership, *owner))
    }

    /// Whether an event is a settler's word in the name of its own ownership.
    pub fn is_of_owner(&self, heard: &HeardEvent) -> bool {
        heard.said.ownership().is_some_and(|ownership| self.owners.get(&ownership) == Some(&heard.by))
    }
}

/// A claim that counts.
struct Attempt {
    ownership: u32,
    /// Its number, stamp and event: of two claims the later one.
    order: (u32, Hlc, Dot),
    worker: Did,
}

/// The end of an attempt.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AttemptEnd {
    /// Nothing did.
    None,
    /// The word of the settler that gave it out.
    Returned(ReturnCause),
    /// The end of the task.
    With(TaskEnd),
    /// A later ownership.
    TakenOver,
}

/// The state of a task with everything that was said of it.
///
/// It depends on the set of events alone: they are sorted by ownership, stamp and dot, then folded. The first settlement
/// is the end. A settler whose store was put back and that settles again has a later stamp, so a returned result stays.
///
/// An ownership after 0 is that of the first member that may have it and that returns the task in its name. The attempts
/// of earlier ownerships end with that.
///
/// Once all that may settle it have left the mesh, the word of somebody who may cancel it ends it. The result of an attempt
/// is unknown then.
pub fn task_state(
    owners: TaskOwners<'_>,
    needs_approval: bool,
    heard: &[HeardEvent],
    rights: &impl TaskRights,
) -> TaskState {
    let may_own = owners;
    let mut heard: Vec<&HeardEvent> = heard.iter().collect();
    heard.sort_unstable_by_key(|heard| (heard.said.ownership().unwrap_or_default(), heard.hlc, heard.dot));
    heard.dedup_by_key(|heard| heard.dot);
    let mut owners = BTreeMap::from([(0, *may_own.submitter)]);
    for heard in &heard {
        if let TaskSaid::Returned { ownership, .. } = heard.said
            && may_own.may_own(&heard.by, ownership)
        {
            owners.entry(ownership).or_insert(heard.by);
        }
    }
    let last_ownership = owners.last_key_value().map_or(0, |(ownership, _)| *ownership);
    let owns =
        |heard: &HeardEvent| heard.said.ownership().is_some_and(|ownership| owners.get(&ownership) == Some(&heard.by));
    let (mut claims, mut returned) = (BTreeMap::<TaskToken, Attempt>::new(), BTreeMap::new());
    let (mut settled, mut last_end, mut late) = (None, None, Vec::new());
    let (mut approval, mut cancelled) = (None, None);
    for heard in heard {
        match heard.said {
            TaskSaid::Claimed { ownership, attempt, token, worker } if owns(heard) => {
                let order = (attempt, heard.hlc, heard.dot);
                claims.entry(token).or_insert(Attempt { ownership, order, worker });
            }
            TaskSaid::Returned { ownership, token, cause } if owns(heard) => {
                returned.entry((ownership, token)).or_insert(cause);
            }
            TaskSaid::Settled { outcome, token, .. } if owns(heard) && settled.is_none() => {
                (settled, last_end) = (Some((outcome, heard.dot)), token.map(|token| (token, outcome)));
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
    let end_of = |token: &TaskToken, attempt: &Attempt| match returned.get(&(attempt.ownership, *token)) {
        Some(cause) => AttemptEnd::Returned(*cause),
        // the last attempt ends with the task
        None if let Some((of, outcome)) = last_end
            && of == *token =>
        {
            AttemptEnd::With(outcome)
        }
        // whoever took the task over may not have known of all attempts
        None if attempt.ownership < last_ownership => AttemptEnd::TakenOver,
        None => AttemptEnd::None,
    };
    let (mut failures, mut expiries) = (0_u32, 0_u32);
    for (token, attempt) in &claims {
        match end_of(token, attempt) {
            AttemptEnd::Returned(ReturnCause::Failed) | AttemptEnd::With(TaskEnd::Failed) => failures += 1,
            AttemptEnd::Returned(ReturnCause::Expired) | AttemptEnd::With(TaskEnd::Unknown) | AttemptEnd::TakenOver => {
                expiries += 1;
            }
            AttemptEnd::Returned(_) | AttemptEnd::With(_) | AttemptEnd::None => {}
        }
    }
    let open = claims.iter().filter(|_| settled.is_none());
    let standing = open.clone().filter(|(token, attempt)| end_of(token, attempt) == AttemptEnd::None);
    let claim = standing.max_by_key(|(_, attempt)| attempt.order);
    let mut claim = claim.map(|(token, attempt)| (*token, attempt.order.0, attempt.worker));
    let newest = open.max_by_key(|(_, attempt)| attempt.order).filter(|_| claim.is_none());
    let taken_from = newest.filter(|(token, attempt)| end_of(token, attempt) == AttemptEnd::TakenOver);
    let mut taken_from = taken_from.map(|(token, attempt)| (*token, attempt.worker));
    let mut settlers = std::iter::once(may_own.submitter).chain(may_own.heirs);
    let is_abandoned = settled.is_none() && cancelled.is_some() && settlers.all(|settler| rights.has_left(settler));
    let abandoned = is_abandoned.then(|| match (claim.take(), taken_from.take()) {
        (None, None) => TaskEnd::Cancelled,
        _ => TaskEnd::Unknown,
    });
    let phase = match (settled.map(|(outcome, _)| outcome).or(abandoned), claim) {
        (Some(outcome), _) => TaskPhase::Over(outcome),
        (None, Some(_)) => TaskPhase::Assigned,
        (None, None) if needs_approval && !approval.is_some_and(|(approved, _)| approved) => {
            TaskPhase::AwaitingApproval
        }
        (None, None) => TaskPhase::Pending,
    };
    TaskState {
        phase,
        owners,
        claims: u32::try_from(claims.len()).unwrap_or(u32::MAX),
        failures,
        expiries,
        claim,
        taken_from,
        settled_by: settled.map(|(_, dot)| dot),
        late,
        approval,
        cancelled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry_id::EntryId;
    use proptest::prelude::*;

    /// Member 9 is an admin. Some members have left.
    #[derive(Default)]
    struct Admins {
        left: Vec<Did>,
    }

    impl TaskRights for Admins {
        fn may_approve(&self, member: &Did) -> bool {
            *member == did(9)
        }

        fn may_cancel(&self, member: &Did) -> bool {
            *member == did(9) || *member == did(0)
        }

        fn has_left(&self, member: &Did) -> bool {
            self.left.contains(member)
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

    /// Member 0 submitted it, and 1 and 2 are its heirs.
    const HEIRS: [Did; 2] = [Did::from_bytes([1; 32]), Did::from_bytes([2; 32])];

    fn fold(needs_approval: bool, heard: &[HeardEvent]) -> TaskState {
        task_state(TaskOwners { submitter: &did(0), heirs: &HEIRS }, needs_approval, heard, &Admins::default())
    }

    fn state(heard: &[HeardEvent]) -> TaskState {
        fold(false, heard)
    }

    fn returned(ownership: u32, token_of: u8) -> TaskSaid {
        TaskSaid::Returned { ownership, token: token(token_of), cause: ReturnCause::Expired }
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
        let after = fold(true, &rogue);
        assert_eq!((after.phase, after.claims, after.approval), (TaskPhase::AwaitingApproval, 0, None));
        assert_eq!(after.cancelled, None);
        assert_eq!(after.late, [rogue[1].dot, rogue[4].dot]);
    }

    /// promise: Tasks | An heir that takes a task over has it from then on: attempts before it are over, and earlier settlers' claims count no more
    #[test]
    fn an_heir_takes_a_task_over() {
        let claimed_by = |ownership| TaskSaid::Claimed { ownership, attempt: 1, token: token(5), worker: did(3) };
        let mut said = vec![heard(1, 0, claimed(1, 1)), heard(2, 1, returned(7, 0))];
        let moved = state(&said);
        assert_eq!((moved.phase, moved.owner(), moved.expiries), (TaskPhase::Pending, Some((7, did(1))), 1));
        assert_eq!(moved.taken_from, Some((token(1), did(1))));
        let named = [said[0], heard(2, 1, returned(7, 1))];
        assert_eq!((state(&named).taken_from, state(&named).expiries), (Some((token(1), did(1))), 1));
        said.push(heard(3, 2, returned(7, 0)));
        said.push(heard(4, 3, returned(9, 0)));
        said.push(heard(5, 0, claimed(2, 2)));
        let same = state(&said);
        assert_eq!((same.phase, same.owner()), (TaskPhase::Pending, Some((7, did(1)))), "others, and the one before");
        said.push(heard(6, 1, claimed_by(7)));
        assert_eq!((state(&said).claim, state(&said).taken_from), (Some((token(5), 1, did(3))), None));
        let end = TaskSaid::Settled { ownership: 7, token: Some(token(5)), outcome: TaskEnd::Succeeded };
        said.push(heard(7, 1, end));
        assert_eq!(state(&said).phase, TaskPhase::Over(TaskEnd::Succeeded));
        let none = task_state(TaskOwners { submitter: &did(0), heirs: &[] }, false, &said, &Admins::default());
        assert_eq!(none.owner(), Some((0, did(0))), "a task without heirs is its submitter's for ever");
    }

    /// promise: Tasks | A task whose submitter and heirs were all removed ends with an admin's word: cancelled, or unknown if a worker had it
    #[test]
    fn an_abandoned_task_ends_with_an_admins_word() {
        let fold = |left: &[u8], heard: &[HeardEvent]| {
            let rights = Admins { left: left.iter().copied().map(did).collect() };
            task_state(TaskOwners { submitter: &did(0), heirs: &HEIRS }, false, heard, &rights)
        };
        let cancel = heard(9, 9, TaskSaid::Word(TaskVerb::Cancel));
        let (begun, moved) = (heard(1, 0, claimed(1, 1)), heard(2, 1, returned(7, 0)));
        assert_eq!(fold(&[0, 1, 2], &[]).phase, TaskPhase::Pending, "nobody has ended it");
        assert_eq!(fold(&[0, 1], &[cancel]).phase, TaskPhase::Pending, "an heir is left, who cancels it");
        assert_eq!(fold(&[0, 1, 2], &[cancel]).phase, TaskPhase::Over(TaskEnd::Cancelled));
        for said in [&[begun, cancel][..], &[begun, moved, cancel]] {
            let over = fold(&[0, 1, 2], said);
            assert_eq!((over.phase, over.claim, over.taken_from), (TaskPhase::Over(TaskEnd::Unknown), None, None));
        }
        let done = [begun, heard(2, 0, settled(TaskEnd::Succeeded)), cancel];
        assert_eq!(fold(&[0, 1, 2], &done).phase, TaskPhase::Over(TaskEnd::Succeeded));
        let rogue = heard(9, 3, TaskSaid::Word(TaskVerb::Cancel));
        assert_eq!(fold(&[0, 1, 2], &[rogue]).phase, TaskPhase::Pending);
    }

    /// promise: Tasks | The first word of somebody who may approve a task counts; the submitter cannot approve its own
    #[test]
    fn the_first_word_of_an_approver_counts() {
        let own = [heard(1, 0, TaskSaid::Word(TaskVerb::Approve))];
        assert_eq!(fold(true, &own).phase, TaskPhase::AwaitingApproval);
        let said = [heard(3, 9, TaskSaid::Word(TaskVerb::Reject)), heard(2, 9, TaskSaid::Word(TaskVerb::Approve))];
        let approved = fold(true, &said);
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
            let folded = fold(needs_approval, &all);
            prop_assert_eq!(&folded, &fold(needs_approval, &shuffled));
            let twice: Vec<HeardEvent> = all.iter().chain(&shuffled).copied().collect();
            prop_assert_eq!(folded, fold(needs_approval, &twice));
        }

        /// promise: Tasks | A task that has ended stays so: nothing said later by its settler, by those after it or by others changes its end
        #[test]
        fn an_end_never_changes(before in any_heard(), said in any_said(), by in 0_u8..10) {
            let old = fold(false, &before);
            let mut after = before;
            let n = after.len() as u64;
            after.push(HeardEvent { hlc: Hlc(100), ..heard(n, by, said) });
            let new = fold(false, &after);
            // a settler before the one that ended it wrote nothing later: the coordinators saw to that
            let is_before = old.settled_by.is_some_and(|dot| {
                let of = |heard: &HeardEvent| heard.said.ownership();
                let end = after.iter().find(|heard| heard.dot == dot).and_then(of);
                after.last().and_then(of) < end
            });
            if !is_before && let TaskPhase::Over(_) = old.phase {
                prop_assert_eq!((old.phase, old.settled_by), (new.phase, new.settled_by));
            }
        }
    }
}
