use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Duration;

use nexus_crdt::{
    ApprovalRule, DotPrefix, EntryId, HeardEvent, Hlc, JsonText, ReturnCause, SpaceId, SpaceRule, Submission,
    TASK_OWNERSHIP_MAX, TaskEnd, TaskEvent, TaskId, TaskOwners, TaskPhase, TaskRights, TaskSaid, TaskState, TaskToken,
    TaskVerb, task_state,
};
use nexus_identity::plants::{planted, reached};
use nexus_identity::{Did, Role, Timestamp};

use super::claim::TaskResult;
use super::scheduler::approved::Approved;
use super::scheduler::core::Fault;
use super::task::{ApprovalGiven, Assignee, Task, TaskError, TaskHistory, TaskPage, TaskQuery, TaskRef, TaskStatus};
use super::why::Waits;
use crate::error::{InputError, NodeError, Resource};
use crate::ledger::rows::{self, TaskAt, TaskRow};
use crate::ledger::{
    LastEntries, OpenTasks, WantedTasks, end_of, find_entry, find_task, newest_tasks, said_by_owners, said_of_task,
    task_event, task_row,
};
use crate::memory::read::Reader;
use crate::store::{Order, StoreError, Table, View};

/// The most tasks that are named where several fit.
const CANDIDATES_MAX: usize = 8;
/// The most tasks that one page looks at.
const LOOKED_AT_MAX: usize = 10_000;

/// The rights of members on a submitter's task.
pub(super) struct Rights<'a> {
    pub(super) members: &'a nexus_crdt::Members,
    pub(super) submitter: Did,
    /// The rule by which it is approved.
    pub(super) rule: ApprovalRule,
    /// Its space, with the access rule.
    pub(super) space: SpaceRule,
}

impl<'a> Rights<'a> {
    pub(super) fn on(
        submission: &Submission,
        submitter: Did,
        space: SpaceRule,
        members: &'a nexus_crdt::Members,
    ) -> Self {
        Self { members, submitter, rule: submission.rule(), space }
    }
}

impl Rights<'_> {
    /// How far the words of these members approve the task. Nobody approves one that asks for no approval.
    pub(super) fn approved<'b>(&self, by: impl IntoIterator<Item = &'b Did>) -> Approved {
        let counts = by.into_iter().filter(|member| self.may_approve(member));
        counts.map(|member| Approved::by(self.members, member, &self.submitter)).max().unwrap_or_default()
    }

    /// Whether a member reads the task's space, by its present key.
    fn may_read(&self, member: &Did) -> bool {
        self.members.may_read(&self.members.present_key(member), &self.space)
    }

    /// Why a member may not approve it, in words.
    pub(super) fn why_not(&self, member: &Did) -> &'static str {
        match self.rule {
            _ if !self.may_read(member) => "it may not read the task's space",
            ApprovalRule::Person => "it is neither an admin's nor a machine of the submitter's person",
            ApprovalRule::Other if self.members.same_line(member, &self.submitter) => {
                "it submitted it, and the task's rule asks for another one"
            }
            ApprovalRule::Other => "by the task's rule it takes an admin that does not stand below the submitter",
            ApprovalRule::Later => "the task has a rule of a later version",
        }
    }
}

impl TaskRights for Rights<'_> {
    fn may_approve(&self, member: &Did) -> bool {
        let reads = self.may_read(member) || planted("former_approvers_count");
        let may = reads && self.members.may_approve_by(self.rule, member, &self.submitter);
        if !may && self.members.has_ended(member) {
            reached("word_of_a_former_approver");
        }
        may
    }

    fn may_cancel(&self, member: &Did) -> bool {
        *member == self.submitter || self.members.allows(member, Role::Admin) && self.may_read(member)
    }

    fn has_left(&self, member: &Did) -> bool {
        self.members.has_ended(member)
    }
}

/// A task as the ledger has it.
pub(super) struct Found {
    pub(super) id: TaskId,
    pub(super) row: TaskRow,
    pub(super) submission: Submission,
    pub(super) heard: Vec<HeardEvent>,
    pub(super) state: TaskState,
    /// Its space, with the name to show for it.
    pub(super) space: (SpaceId, String),
    /// The access rule of that space.
    pub(super) rule: SpaceRule,
}

impl Found {
    /// The rights of members on it.
    pub(super) fn rights<'a>(&self, members: &'a nexus_crdt::Members) -> Rights<'a> {
        Rights::on(&self.submission, self.row.submitter, self.rule, members)
    }

    /// How far it is approved: by the word that counts, which its offer shows.
    pub(super) fn approved(&self, members: &nexus_crdt::Members) -> Approved {
        let Some((true, dot)) = self.state.approval.filter(|_| self.row.needs_approval) else { return Approved::Not };
        let by = self.heard.iter().find(|heard| heard.dot == dot).map(|heard| heard.by);
        self.rights(members).approved(&by)
    }
}

/// A task that this node may read; `None` if there is none, or its content was erased.
pub(super) fn find(view: &dyn View, reader: &Reader<'_>, id: TaskId) -> Result<Option<Found>, StoreError> {
    let Some((eno, row)) = find_task(view, id)? else { return Ok(None) };
    find_placed(view, reader, (row.at(eno, id.index), row), &mut LastEntries::default())
}

/// The task at a place in the order of time, with the entry that was read before.
pub(super) fn find_at(
    view: &dyn View,
    reader: &Reader<'_>,
    at: TaskAt,
    last: &mut LastEntries,
) -> Result<Option<Found>, StoreError> {
    let Some(row) = task_row(view, at.eno, at.index)? else { return Ok(None) };
    find_placed(view, reader, (at, row), last)
}

fn find_placed(
    view: &dyn View,
    reader: &Reader<'_>,
    (at, row): (TaskAt, TaskRow),
    last: &mut LastEntries,
) -> Result<Option<Found>, StoreError> {
    let Some(space) = reader.space_numbered(row.space) else { return Ok(None) };
    let Some((id, TaskEvent::Submitted(submission))) = last.event_at(view, at.eno, at.index)? else { return Ok(None) };
    let heard = said_of_task(view, id, &row)?;
    let Some(rule) = reader.rule_of(space.0) else { return Ok(None) };
    let rights = Rights::on(&submission, row.submitter, rule, reader.members());
    let owners = TaskOwners { submitter: &row.submitter, heirs: &row.heirs() };
    let state = task_state(owners, row.needs_approval, &heard, &rights);
    Ok(Some(Found { id, row, submission: *submission, heard, state, space, rule }))
}

/// The id of the task that an id or its beginning names.
pub(super) fn resolve_id(view: &dyn View, reader: &Reader<'_>, text: &str) -> Result<TaskId, NodeError> {
    let missing = || NodeError::NotFound { what: Resource::Task, name: text.chars().take(64).collect() };
    let prefix: DotPrefix = text.parse().map_err(|()| missing())?;
    let (mut found, mut looked_at) = (Vec::new(), 0);
    view.try_scan_prefix(Table::Ids, &prefix.bytes(), Order::Forward, &mut |key, eno| {
        let id = key.try_into().map(EntryId::from_bytes).map_err(|_| rows::unreadable(Table::Ids))?;
        if let Some(dot) = prefix.dot_in(id)
            && let Some(row) = task_row(view, rows::read_eno(Table::Ids, eno)?, dot.index)?
            && reader.space_numbered(row.space).is_some()
        {
            found.push((dot, dot.to_string()));
        }
        looked_at += 1;
        let goes_on = found.len() < CANDIDATES_MAX && looked_at < LOOKED_AT_MAX;
        Ok(if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    if found.is_empty() { Err(missing()) } else { Resource::Task.the_one(text, found) }
}

/// The id of the task that a name stands for.
pub(super) fn resolve_ref(view: &dyn View, reader: &Reader<'_>, name: &TaskRef) -> Result<TaskId, NodeError> {
    match name {
        TaskRef::Id(id) => Ok(*id),
        TaskRef::Text(text) => resolve_id(view, reader, text),
    }
}

/// The task that a name stands for.
pub(super) fn resolve(view: &dyn View, reader: &Reader<'_>, name: &TaskRef) -> Result<Found, NodeError> {
    let id = resolve_ref(view, reader, name)?;
    let missing = || NodeError::NotFound { what: Resource::Task, name: name.to_string().chars().take(64).collect() };
    find(view, reader, id)?.ok_or_else(missing)
}

/// Whether a task has ended; `None` if there is none.
pub(super) fn is_over(view: &dyn View, reader: &Reader<'_>, id: TaskId) -> Result<Option<bool>, StoreError> {
    let Some((_, row)) = find_task(view, id)? else { return Ok(None) };
    let is_settled = end_of(view, id, &row)?.is_some();
    let is_over = |found: Found| matches!(found.state.phase, TaskPhase::Over(_));
    Ok(Some(is_settled || find(view, reader, id)?.is_some_and(is_over)))
}

/// A page of tasks, the newest first.
pub(super) fn list(view: &dyn View, reader: &Reader<'_>, query: &TaskQuery) -> Result<TaskPage, NodeError> {
    if !(1..=1_000).contains(&query.limit) {
        return Err(InputError::Limit { limit: query.limit, max: 1_000 }.into());
    }
    let after = query.after.as_deref().map(|place| read_place(view, place)).transpose()?;
    let (mut items, mut next, mut looked_at) = (Vec::new(), None, 0);
    let mut last = LastEntries::default();
    newest_tasks(view, &wanted(&query.states), after, &mut |at| {
        looked_at += 1;
        if let Some(found) = find_at(view, reader, at, &mut last)? {
            if items.len() == query.limit || looked_at > LOOKED_AT_MAX {
                return Ok(ControlFlow::Break(()));
            }
            next = Some(place(found.row.hlc, found.id));
            let status = status(found.state.phase);
            let wanted = |status| query.states.is_empty() || query.states.contains(&status);
            // which of those that are assigned run, only the submitter's node knows
            if wanted(status) || status == TaskStatus::Assigned && wanted(TaskStatus::Running) {
                items.push(task(view, reader, found, false)?);
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let full = items.len() == query.limit || looked_at > LOOKED_AT_MAX;
    Ok(TaskPage { items, next: next.filter(|_| full) })
}

/// A place in the list, for the next page.
fn place(hlc: Hlc, task: TaskId) -> String {
    format!("{:x}-{}", hlc.0, task.to_hex())
}

fn read_place(view: &dyn View, text: &str) -> Result<TaskAt, NodeError> {
    let read = || {
        let (hlc, task) = text.split_once('-')?;
        Some((Hlc(u64::from_str_radix(hlc, 16).ok()?), TaskId::from_hex(task)?))
    };
    let unknown = || InputError::Cursor(text.chars().take(64).collect());
    let (hlc, task) = read().ok_or_else(unknown)?;
    // its number is this store's own
    let eno = find_entry(view, task.entry)?.unwrap_or_default();
    Ok(TaskAt { hlc, eno, index: task.index })
}

/// The lines of tasks in which some in these states may be; all lines if there are none. A task whose settlers have all left
/// is in a line of open ones, also if somebody has ended it: whether that word counts depends on the members.
fn wanted(states: &BTreeSet<TaskStatus>) -> WantedTasks {
    let is_wanted = |status| states.is_empty() || states.contains(&status);
    let of_end = |end: &TaskEnd| is_wanted(status(TaskPhase::Over(*end)));
    let noted = [
        TaskStatus::AwaitingApproval,
        TaskStatus::Assigned,
        TaskStatus::Running,
        TaskStatus::Cancelled,
        TaskStatus::Unknown,
    ];
    let open = match () {
        () if is_wanted(TaskStatus::Pending) => OpenTasks::All,
        () if noted.into_iter().any(is_wanted) => OpenTasks::Noted,
        () => OpenTasks::None,
    };
    WantedTasks { open, ends: TaskEnd::ALL.into_iter().filter(of_end).collect() }
}

/// A task in words.
pub(super) fn task(view: &dyn View, reader: &Reader<'_>, found: Found, with_events: bool) -> Result<Task, StoreError> {
    let is_approvable_here =
        found.state.phase == TaskPhase::AwaitingApproval && found.rights(reader.members()).may_approve(&reader.me());
    let Found { id, row, submission, heard, state, space, rule: _ } = found;
    let name = |did: &Did| reader.name_of(did);
    let worker_of = |node: Did, agent: &str| Assignee { node, name: name(&node), agent: some(agent) };
    let status = status(state.phase);
    let mut last_entries = LastEntries::default();
    let (mut output, mut error, mut ended_at) = (None, None, None);
    if let Some(dot) = state.settled_by {
        ended_at = heard.iter().find(|heard| heard.dot == dot).map(|heard| heard.hlc.time());
        if let Some(TaskEvent::Settled(settled)) = last_entries.event(view, dot)? {
            output = some(&settled.output).map(|text| json(&text));
            let (code, message) = (settled.code, settled.error);
            error = (!code.is_empty() || !message.is_empty()).then_some(TaskError { code, message });
        }
    } else if status.is_over() {
        ended_at = heard.iter().find(|heard| Some(heard.dot) == state.cancelled).map(|heard| heard.hlc.time());
    }
    let is_gone = |did: &Did| reader.members().has_ended(did);
    let is_orphan = !status.is_over() && is_gone(&row.submitter) && row.heirs().iter().all(is_gone);
    let why = is_orphan.then_some(Waits::Orphan);
    // the last claim's worker, with its name
    let last = heard.iter().filter(|heard| matches!(heard.said, TaskSaid::Claimed { .. }) && state.is_of_owner(heard));
    let mut assigned_to = None;
    if let Some(last) = last.max_by_key(|heard| (heard.said.ownership(), heard.hlc, heard.dot))
        && !matches!(status, TaskStatus::Pending | TaskStatus::AwaitingApproval)
        && let Some(TaskEvent::Claimed(claim)) = last_entries.event(view, last.dot)?
    {
        assigned_to = Some(worker_of(claim.worker, &claim.agent));
    }
    let mut events = Vec::new();
    if with_events {
        events.push(TaskHistory {
            at: row.hlc.time(),
            event: "submitted",
            by: row.submitter,
            by_name: name(&row.submitter),
            worker: None,
            text: None,
        });
        let token_of = |heard: &HeardEvent| match heard.said {
            TaskSaid::Settled { token, .. } => token,
            _ => None,
        };
        let won = heard.iter().find(|heard| Some(heard.dot) == state.settled_by).and_then(token_of);
        let mut heard = heard.clone();
        heard.sort_by_key(|heard| (heard.hlc, heard.dot));
        let mut moved: BTreeSet<u32> = BTreeSet::from([0]);
        for said_then in heard {
            let HeardEvent { by, hlc, dot, said } = said_then;
            let is_owners = state.is_of_owner(&said_then);
            let counts = is_owners || matches!(said, TaskSaid::Word(_) | TaskSaid::Settled { .. });
            let Some(event) = last_entries.event(view, dot)?.filter(|_| counts) else { continue };
            let (word, worker, text) = match event {
                TaskEvent::Claimed(claim) => ("claimed", Some(worker_of(claim.worker, &claim.agent)), String::new()),
                // the first one of an ownership
                TaskEvent::Returned(returned) if moved.insert(returned.ownership) => ("moved", None, returned.error),
                TaskEvent::Returned(returned) => (returned.cause.as_str(), None, returned.error),
                // the settler took it from there
                TaskEvent::Settled(kept) if kept.token.is_some() && kept.token == won && !is_owners => {
                    continue;
                }
                TaskEvent::Settled(kept) if state.late.contains(&dot) => {
                    ("late", kept.worker().map(|worker| worker_of(worker, "")), String::new())
                }
                TaskEvent::Settled(settled) => (settled.outcome.as_str(), None, settled.error),
                TaskEvent::Word(word) => (word.verb.as_str(), None, word.why),
                TaskEvent::Submitted(_) | TaskEvent::Later(_) => continue,
            };
            let (at, by_name, text) = (hlc.time(), name(&by), some(&text));
            events.push(TaskHistory { at, event: word, by, by_name, worker, text });
        }
    }
    let verdict = state.approval.and_then(|(approved, dot)| {
        let by = heard.iter().find(|heard| heard.dot == dot)?.by;
        Some(ApprovalGiven { approved, by, name: name(&by), person: reader.members().person(&by) })
    });
    let whose = (row.submitter, name(&row.submitter));
    let settler = state.owner().map_or(row.submitter, |(_, owner)| owner);
    Ok(Task {
        settler,
        settler_name: name(&settler),
        verdict,
        is_approvable_here,
        status,
        assigned_to,
        claims: state.claims,
        failures: state.failures,
        expiries: state.expiries,
        output,
        error,
        why,
        ended_at,
        events,
        ..submitted(id, submission, whose, row.hlc.time(), space.1)
    })
}

/// A task as it was submitted, by a member with this name, in a space with this name.
pub(super) fn submitted(
    id: TaskId,
    submission: Submission,
    (submitter, submitter_name): (Did, Option<String>),
    submitted_at: Timestamp,
    space: String,
) -> Task {
    let (heirs, sandbox) = (submission.heirs(&submitter), submission.sandbox());
    let rule = submission.needs_approval.then(|| submission.rule());
    Task {
        id,
        input: json(&submission.input),
        space,
        priority: submission.priority,
        timeout: Duration::from_millis(submission.attempt_ms),
        deadline: submission.deadline_ms.map(Timestamp::from_ms),
        attempts: submission.attempts,
        request: some(&submission.request),
        once: submission.once,
        needs_approval: submission.needs_approval,
        rule,
        is_approvable_here: false,
        verdict: None,
        preemptible: submission.preemptible,
        after: submission.after,
        to: submission.to,
        retry_of: submission.retry_of,
        heirs,
        sandbox,
        settler: submitter,
        settler_name: submitter_name.clone(),
        submitter,
        submitter_name,
        agent: some(&submission.agent),
        capability: submission.capability,
        submitted_at,
        status: TaskStatus::Pending,
        why: None,
        assigned_to: None,
        claims: 0,
        failures: 0,
        expiries: 0,
        progress: None,
        worker_rest: None,
        output: None,
        error: None,
        ended_at: None,
        events: Vec::new(),
    }
}

/// The first word of somebody who may say it, in words: why a task ends without a worker.
pub(super) fn word_of(view: &dyn View, found: &Found) -> Result<Option<(TaskVerb, String)>, StoreError> {
    let rejected = found.state.approval.filter(|(approved, _)| !approved).map(|(_, dot)| dot);
    let Some(dot) = found.state.cancelled.or(rejected) else { return Ok(None) };
    Ok(match task_event(view, dot)? {
        Some(TaskEvent::Word(word)) => Some((word.verb, word.why)),
        _ => None,
    })
}

/// Whether a claim of a task of this node has ended as its worker says once more: the first answer was lost. Nobody but
/// the member to which the claim was given is told.
pub(super) fn has_ended_so(
    view: &dyn View,
    id: TaskId,
    (token, whose): (TaskToken, Did),
    result: &TaskResult,
) -> Result<bool, StoreError> {
    let Some((_, row)) = find_task(view, id)? else { return Ok(false) };
    let (end, cause) = match result {
        TaskResult::Succeeded(_) => (Some(TaskEnd::Succeeded), None),
        TaskResult::Failed { .. } => (Some(TaskEnd::Failed), Some(ReturnCause::Failed)),
        TaskResult::Released => (None, Some(ReturnCause::Released)),
    };
    let is_end = |heard: &HeardEvent| match heard.said {
        TaskSaid::Settled { ownership: 0..=TASK_OWNERSHIP_MAX, token: Some(of), outcome } => {
            of == token && end == Some(outcome)
        }
        TaskSaid::Returned { token: of, cause: why, .. } => of == token && cause == Some(why),
        _ => false,
    };
    let is_theirs = |heard: &HeardEvent| match heard.said {
        TaskSaid::Claimed { token: of, worker, .. } => of == token && worker == whose,
        _ => false,
    };
    let heard = said_by_owners(view, id, &row)?;
    Ok(heard.iter().any(is_theirs) && heard.iter().any(is_end))
}

/// The result that the worker of the claim that stands has kept in its own node's log, since this node was not reached. If
/// the task was taken over since, only a result of work that was done.
pub(super) fn result_of_worker(
    view: &dyn View,
    found: &Found,
) -> Result<Option<(TaskToken, TaskEnd, String, Fault)>, StoreError> {
    let stands = found.state.claim.map(|(token, _, worker)| (token, worker));
    let Some((held, worker)) = stands.or(found.state.taken_from) else { return Ok(None) };
    // a late result is the word of somebody else, which a settler only keeps
    let is_workers = |ownership| ownership <= TASK_OWNERSHIP_MAX || planted("takes_anybodys_result");
    let is_result = |heard: &&HeardEvent| match heard.said {
        TaskSaid::Settled { token, outcome, ownership } if is_workers(ownership) => {
            heard.by == worker && token == Some(held) && (stands.is_some() || outcome == TaskEnd::Succeeded)
        }
        _ => false,
    };
    let Some(heard) = found.heard.iter().filter(is_result).min_by_key(|heard| (heard.hlc, heard.dot)) else {
        return Ok(None);
    };
    Ok(match task_event(view, heard.dot)? {
        Some(TaskEvent::Settled(settled)) => {
            let fault = Fault { code: settled.code, error: settled.error };
            Some((held, settled.outcome, settled.output, fault))
        }
        _ => None,
    })
}

const fn status(phase: TaskPhase) -> TaskStatus {
    match phase {
        TaskPhase::AwaitingApproval => TaskStatus::AwaitingApproval,
        TaskPhase::Pending => TaskStatus::Pending,
        TaskPhase::Assigned => TaskStatus::Assigned,
        TaskPhase::Over(TaskEnd::Succeeded) => TaskStatus::Succeeded,
        TaskPhase::Over(TaskEnd::Failed | TaskEnd::DeadlineExceeded) => TaskStatus::Failed,
        TaskPhase::Over(TaskEnd::Cancelled) => TaskStatus::Cancelled,
        TaskPhase::Over(TaskEnd::Rejected) => TaskStatus::Rejected,
        TaskPhase::Over(TaskEnd::Unknown) => TaskStatus::Unknown,
    }
}

pub(super) fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// A text that was checked to be JSON.
fn json(text: &str) -> JsonText {
    JsonText::parse(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use nexus_crdt::{ADMINS_ALONE, Members};
    use nexus_identity::{Chain, Claims, Keypair};

    use super::*;

    const MESH: u8 = 0;
    const FOUNDER: u8 = 1;
    /// A machine of the founder's person, and an admin below the founder.
    const DESK: u8 = 2;
    const ADMIN: u8 = 3;

    fn key(n: u8) -> Keypair {
        Keypair::from_seed(&[n; 32])
    }

    fn members() -> Members {
        let claims = |issuer: u8, subject: u8, role, person: u8| {
            let (mesh, name) = (key(MESH).did(), format!("n{subject}").parse().unwrap());
            let claims = Claims::new(mesh, key(subject).did(), name, [role], Timestamp::from_ms(1));
            claims.issued_by(key(issuer).did()).of_person(Some(key(person).did())).sign(&key(issuer))
        };
        let founder = Chain::found(claims(MESH, FOUNDER, Role::Admin, MESH)).unwrap();
        let mut members = Members::of(key(MESH).did());
        members.admit_by(&key(FOUNDER).did(), &founder).unwrap();
        for (subject, role, person) in [(DESK, Role::Member, MESH), (ADMIN, Role::Admin, ADMIN)] {
            let chain = founder.extend(claims(FOUNDER, subject, role, person)).unwrap();
            for author in [FOUNDER, subject] {
                members.admit_by(&key(author).did(), &chain).unwrap();
            }
        }
        members
    }

    /// promise: Tasks | The word of a member that may not read a task approves, rejects and cancels nothing
    #[test]
    fn a_member_that_may_not_read_a_task_has_no_word_about_it() {
        let (members, submitter) = (members(), key(FOUNDER).did());
        let submission = Submission::new("deploy", "1").with_rule(ApprovalRule::Person);
        let space = SpaceId::from_bytes([5; 32]);
        let who = |space: SpaceRule, may: &dyn Fn(&Rights<'_>, &Did) -> bool| -> Vec<u8> {
            let rights = Rights::on(&submission, submitter, space, &members);
            [FOUNDER, DESK, ADMIN].into_iter().filter(|n| may(&rights, &key(*n).did())).collect()
        };
        let open = SpaceRule::open(space, submitter);
        let hidden = SpaceRule { access: ADMINS_ALONE, ..open };
        let approves = |rights: &Rights<'_>, did: &Did| rights.may_approve(did);
        assert_eq!(who(open, &approves), [FOUNDER, DESK, ADMIN]);
        assert_eq!(who(hidden, &approves), [FOUNDER, ADMIN]);
        assert_eq!(who(hidden, &|rights, did| rights.approved([did]) > Approved::Not), [FOUNDER, ADMIN]);
        assert_eq!(who(hidden, &|rights, did| rights.why_not(did) == "it may not read the task's space"), [DESK]);
        // of an admin that may not read it, as in a space of a rule that this version does not know
        let closed = SpaceRule { access: 7, ..open };
        assert_eq!(who(open, &|rights, did| rights.may_cancel(did)), [FOUNDER, ADMIN]);
        assert_eq!(who(closed, &|rights, did| rights.may_cancel(did)), [FOUNDER]);
        assert_eq!(who(closed, &approves), [0_u8; 0]);
    }
}
