//! Tasks with heirs: another node settles them while their submitter's is down.
//!
//! A node settles tasks with heirs only while the coordinators keep its key that says so, one for each submitter. The key
//! runs out unless it is written anew, and is only given while no other member has one of this submitter's tasks. A member
//! that has the key takes over the tasks that it may settle, by an event for each. Before it writes that tasks have ended,
//! it has the coordinators note that: whoever takes over later leaves those alone, whether it has heard of their ends or
//! not. So a task has one end, whoever returns.
//!
//! A submitter that is back asks for its tasks, by a key that runs out soon after it is gone. Its heirs begin nothing of them
//! then, nor take more over, and delete their keys once the attempts that run have ended: what they cannot do, another one
//! can.
//!
//! Without a quorum of the coordinators such a task waits. A submitter that names an heir trusts it with its tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nexus_crdt::{LogId, ReturnCause, TASK_OWNERSHIP_MAX, TaskEvent, TaskId, TaskPhase, TaskReturn, TaskToken};
use nexus_identity::Did;
use nexus_identity::plants::{planted, reached};

use super::heirs::{GivenBack, Note, OTHERS_MAX, Right, Settling};
use super::held::Held;
use super::{BATCH_MAX, Settler};
use crate::coordinator::{Condition, OWN_PREFIX, Put, Step, Txn};
use crate::critical::{Critical, DeleteOptions, Item, KeyQuery};
use crate::engine::{Command, Outcome, TaskAnswer};
use crate::error::NodeError;
use crate::ledger::rows::TaskRow;
use crate::ledger::{self, entry_place};
use crate::memory::read::Reader;
use crate::store::{StoreError, View};
use crate::tasks::read::{self, Found};
use crate::tasks::scheduler::core::Action;

/// The part of the time of a key that a settler leaves unused, counted from when it last asked: clocks differ in speed.
const MARGIN: u32 = 8;
/// A settler's key is written anew after this part of its time. An heir asks whether a submitter's node is down after as
/// long without a session.
const REFRESH: u32 = 4;
/// The longest time between two looks at tasks with heirs, while there are some.
const LOOK: Duration = Duration::from_secs(5);
/// The time for which it is noted that a task has ended. After as long without a word of an heir it is not waited for.
const NOTED: Duration = Duration::from_secs(7 * 86_400);
/// The pause before an end is noted again for want of a quorum.
const AGAIN: Duration = Duration::from_secs(2);
/// The most submitters that are gone and whose tasks a node settles, and the most that are looked at to find them.
const SUBMITTERS_MAX: usize = 1_024;
const LOOKED_AT_MAX: usize = 4_096;
/// The most tasks that a node settles at a time: of one other submitter, of all others in equal shares, and of its own.
const TASKS_MAX: usize = 1_000;
const ALL_TASKS_MAX: usize = 64_000;
const OWN_TASKS_MAX: usize = 10_000;
/// The most tasks of a submitter whose ends others have noted. Beyond it nobody takes its tasks over, until those ends have
/// reached all that may settle them and the notes are gone.
const NOTED_MAX: usize = 100_000;
/// The most settlers of a task before its submitter takes it for good: heirs take over no task that had so many.
const OWNERS_MAX: usize = 15;

/// The open tasks of a submitter that this node may settle.
#[derive(Debug, Default)]
struct Moving {
    tasks: Vec<(TaskId, TaskRow)>,
    others: BTreeSet<Did>,
    crowded_out: Vec<TaskId>,
}

/// The key of a member that settles tasks of a submitter.
fn key_of(settler: &Did, submitter: &Did) -> String {
    format!("{OWN_PREFIX}{settler}/settles/{submitter}")
}

/// The key by which a submitter asks its heirs for its tasks.
fn asks_of(submitter: &Did) -> String {
    format!("{OWN_PREFIX}{submitter}/asks/{submitter}")
}

/// The beginning of the keys in which a settler notes that tasks of a submitter have ended.
fn notes_of(settler: &Did, submitter: &Did) -> String {
    format!("{}{submitter}/", notes_by(settler))
}

/// The prefix of all its notes.
fn notes_by(settler: &Did) -> String {
    format!("{OWN_PREFIX}{settler}/ended/")
}

impl Settler {
    /// Takes up a task with heirs for this node, if it settles it. Returns whether it does.
    pub(super) fn settles(&self, held: &mut Held, found: &Found) -> bool {
        let Found { id, row, state, .. } = found;
        let me = self.me();
        if !row.moves() {
            return row.submitter == me;
        }
        let Some((ownership, owner)) = state.owner() else { return false };
        let right = held.settling.right(&row.submitter, self.now());
        let stays = |right: &Right| !right.is_asked_for || held.core.has(*id);
        let is_ours = owner == me && right.is_some_and(|right| right.allows(&me, *id, row) && stays(right));
        if is_ours && !matches!(state.phase, TaskPhase::Over(_)) {
            held.settling.tasks.insert(*id, (row.submitter, ownership));
        }
        is_ours
    }

    /// The rights of this node are looked at now: a task with heirs is new, or an attempt at one has ended.
    pub(in crate::tasks) fn ask_to_settle(&self) {
        self.held().settling.is_urgent = true;
        self.0.moving.notify_one();
    }

    /// Keeps the rights of this node to tasks with heirs, until the node ends.
    pub(in crate::tasks) async fn keep_settling(self) {
        // it closes with the engine
        let mut members = self.here().identity.follow();
        let mut looked: Option<Duration> = None;
        let mut has_some = true;
        loop {
            let now = self.now();
            let next = {
                let settling = &mut self.held().settling;
                let paced = looked.map_or(Duration::ZERO, |looked| looked + LOOK.min(self.here().takeover / MARGIN));
                let is_wanted = has_some || settling.has_news;
                match std::mem::take(&mut settling.is_urgent) {
                    true => now,
                    false if is_wanted => paced,
                    false => Duration::MAX,
                }
            };
            if next <= now {
                self.held().settling.has_news = false;
                looked = Some(now);
                let Ok(some) = self.look_at_moving().await else { return };
                has_some = some;
                continue;
            }
            tokio::select! {
                () = self.0.moving.notified() => {}
                () = self.here().world.sleep_until(next) => {}
                changed = members.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Looks at the open tasks with heirs that this node may settle. Returns whether there are any, or rights to them.
    async fn look_at_moving(&self) -> Result<bool, NodeError> {
        let (moving, has_submitters) = self.reading(|settler, view, reader| Ok(settler.moving(view, reader)?)).await?;
        let left: Vec<Did> = {
            let mut held = self.held();
            let now = self.now();
            let lapsed: BTreeSet<Did> =
                held.settling.rights.iter().filter(|(_, right)| right.until <= now).map(|(did, _)| *did).collect();
            held.settling.rights.retain(|submitter, _| !lapsed.contains(submitter));
            lapsed.iter().for_each(|submitter| held.lose_those_of(submitter));
            held.settling.unheard.retain(|submitter, _| moving.contains_key(submitter));
            held.settling.crowded_out = moving.values().flat_map(|moving| moving.crowded_out.iter().copied()).collect();
            held.settling.rights.keys().filter(|submitter| !moving.contains_key(*submitter)).copied().collect()
        };
        if let Ok(critical) = self.critical() {
            if has_submitters && !self.held().settling.has_recalled && self.recall_notes(&critical).await.is_ok() {
                self.held().settling.has_recalled = true;
            }
            for (submitter, moving) in moving {
                self.settle_for(&critical, submitter, moving).await?;
            }
            for submitter in left {
                self.leave(&critical, submitter).await;
            }
            self.drop_notes(&critical).await;
        }
        let held = self.held();
        Ok(has_submitters || !held.settling.rights.is_empty() || !held.settling.notes.is_empty())
    }

    /// The tasks that this node settles, or would if the coordinators let it, by submitter. The second value says whether
    /// anybody has tasks that this node may settle: a submitter that is connected settles its own.
    fn moving(&self, view: &dyn View, reader: &Reader<'_>) -> Result<(BTreeMap<Did, Moving>, bool), StoreError> {
        let me = self.me();
        let submitters = ledger::moving_submitters(view, &me, LOOKED_AT_MAX)?;
        let has_submitters = !submitters.is_empty();
        let held: BTreeSet<Did> = self.held().settling.rights.keys().copied().collect();
        // nobody works on for a member that is none any more
        let is_member = |submitter: &Did| self.here().identity.is_member(submitter);
        let is_gone = |other: &Did| held.contains(other) || !self.is_connected(*other);
        let others = submitters.into_iter().filter(|other| *other != me && is_member(other) && is_gone(other));
        let mut others: Vec<Did> = others.collect();
        // a right is kept while the tasks last
        others.sort_by_key(|submitter| !held.contains(submitter));
        others.truncate(SUBMITTERS_MAX);
        let share = TASKS_MAX.min(ALL_TASKS_MAX / others.len().max(1));
        let own = is_member(&me).then_some((me, OWN_TASKS_MAX));
        let mut found: BTreeMap<Did, Moving> = BTreeMap::new();
        for (submitter, most) in others.into_iter().map(|other| (other, share)).chain(own) {
            for task in ledger::moving_tasks(view, &me, &submitter, most)? {
                let Some((_, row)) = ledger::find_task(view, task)? else { continue };
                // a member that may not read a task does not settle it, whoever named it an heir
                if reader.space_numbered(row.space).is_none() {
                    continue;
                }
                let moving = found.entry(submitter).or_default();
                let others = || row.owners().filter(|owner| *owner != me);
                let new = others().filter(|other| !moving.others.contains(other)).count();
                if moving.others.len() + new <= OTHERS_MAX {
                    moving.others.extend(others());
                    moving.tasks.push((task, row));
                } else {
                    moving.crowded_out.push(task);
                }
            }
        }
        Ok((found, has_submitters))
    }

    fn is_connected(&self, member: Did) -> bool {
        self.here().sessions.of(member).is_some_and(|(_, live)| live)
    }

    /// Settles the tasks of a submitter if the coordinators let this node.
    async fn settle_for(&self, critical: &Critical, submitter: Did, moving: Moving) -> Result<(), NodeError> {
        let (me, now) = (self.me(), self.now());
        let is_due = {
            let mut held = self.held();
            let Settling { rights, unheard, .. } = &mut held.settling;
            match rights.get(&submitter) {
                Some(right) => {
                    right.asked + self.here().takeover / REFRESH <= now || !moving.others.is_subset(&right.others)
                }
                None if submitter == me => true,
                None if self.is_connected(submitter) => {
                    unheard.remove(&submitter);
                    false
                }
                None => *unheard.entry(submitter).or_insert(now) + self.here().takeover / REFRESH <= now,
            }
        };
        if is_due && let Ok(Some(right)) = self.ask_for(critical, submitter, &moving).await {
            self.held().settling.rights.insert(submitter, right);
        }
        let given_back = self.held().give_back_those_of(&submitter);
        match given_back {
            None => self.take_over(submitter, moving).await,
            Some(GivenBack::Some) => Ok(()),
            Some(GivenBack::All) => {
                tracing::info!(submitter = %submitter.short(), "its tasks go back to a node that is up again");
                reached("heir_gives_back");
                self.leave(critical, submitter).await;
                Ok(())
            }
        }
    }

    /// Gives up the right to the tasks of a submitter. Notes of ends stay until all have these.
    async fn leave(&self, critical: &Critical, submitter: Did) {
        {
            let mut held = self.held();
            held.settling.rights.remove(&submitter);
            held.lose_those_of(&submitter);
        }
        // without a quorum it runs out
        let _ = critical.delete(&key_of(&self.me(), &submitter), DeleteOptions::default()).await;
    }

    /// Has the coordinators keep this node's key for the tasks of a submitter. `None` if another one has such a key.
    async fn ask_for(&self, critical: &Critical, submitter: Did, moving: &Moving) -> Result<Option<Right>, NodeError> {
        let (me, asked, others) = (self.me(), self.now(), &moving.others);
        let (key, asks) = (key_of(&me, &submitter), asks_of(&submitter));
        let found = critical.get(&key).await?.and_then(|item| item.text().and_then(|text| text.parse::<u32>().ok()));
        let (ownership, is) = match found {
            Some(ownership) => (ownership, Condition::Value(ownership.to_string().into_bytes())),
            // later keys have later revisions
            None => {
                let next = critical.revision().await?.saturating_add(1);
                (u32::try_from(next).unwrap_or(TASK_OWNERSHIP_MAX).min(TASK_OWNERSHIP_MAX), Condition::Absent)
            }
        };
        let mut put = Put::new(&key, ownership.to_string());
        put.ttl_ms = u64::try_from(self.here().takeover.as_millis()).ok();
        let is_new = is == Condition::Absent;
        let mut txn = Txn::new().check(&key, is).then(put.clone());
        if submitter == me {
            txn = txn.then(Step::Delete(asks.clone())).otherwise(Put { key: asks, ..put });
        } else {
            // an heir that gave them back leaves them to the submitter
            txn = if is_new { txn.check(&asks, Condition::Absent) } else { txn };
            txn = txn.then(Step::Get(asks));
        }
        for other in others.iter().filter(|_| !planted("settles_beside_others")) {
            txn = txn.check(key_of(other, &submitter), Condition::Absent);
        }
        let done = critical.txn(txn).await?;
        if !done.held {
            return Ok(None);
        }
        let is_asked_for = submitter != me && matches!(done.items.last(), Some(Some(_)));
        let before = {
            let held = self.held();
            // a key that never lapsed kept its ownership, and nobody noted ends beside it
            let right = held.settling.rights.get(&submitter).filter(|right| right.ownership == ownership);
            // whoever noted an end and was cut off before it wrote it takes its note back
            let right = right.filter(|right| moving.tasks.iter().all(|(task, _)| !right.ended.contains(task)));
            right.map(|right| (right.others.clone(), right.ended.clone()))
        };
        let (known, mut ended) = before.unwrap_or_default();
        for other in others.difference(&known).filter(|other| self.here().identity.is_member(other)) {
            let notes = noted(critical, other, &submitter).await?;
            ended.extend(notes.into_iter().flat_map(|(_, tasks)| tasks));
        }
        if ended.len() > NOTED_MAX {
            tracing::warn!(submitter = %submitter.short(), "its tasks wait: too many notes of their ends are kept");
            critical.delete(&key, DeleteOptions::default()).await?;
            return Ok(None);
        }
        let until = asked + (self.here().takeover - self.here().takeover / MARGIN);
        Ok(Some(Right { ownership, until, asked, others: others.clone(), ended, is_asked_for }))
    }

    /// Takes over the tasks of a submitter that others have settled until now, and takes up those that are this node's.
    async fn take_over(&self, submitter: Did, moving: Moving) -> Result<(), NodeError> {
        let me = self.me();
        let (ownership, tasks): (u32, Vec<TaskId>) = {
            let held = self.held();
            let Some(right) = held.settling.right(&submitter, self.now()) else { return Ok(()) };
            let is_new = |(task, row): &(TaskId, TaskRow)| !held.core.has(*task) && right.allows(&me, *task, row);
            (right.ownership, moving.tasks.into_iter().filter(is_new).map(|(task, _)| task).collect())
        };
        for tasks in tasks.chunks(BATCH_MAX) {
            let tasks = tasks.to_vec();
            let (events, own) = self
                .reading(move |_, view, reader| {
                    let (mut events, mut own) = (Vec::new(), Vec::new());
                    for task in tasks {
                        let found = read::find(view, reader, task)?;
                        let Some(found) = found.filter(|found| !matches!(found.state.phase, TaskPhase::Over(_))) else {
                            continue;
                        };
                        match found.state.owner() {
                            Some((_, owner)) if owner == me => own.push(task),
                            Some((owned, _))
                                if owned < ownership && (submitter == me || found.state.owners.len() < OWNERS_MAX) =>
                            {
                                events.push((found.space.0, moved(&found, ownership)));
                                own.push(task);
                            }
                            // whoever wrote that number keeps the task from all others: its submitter trusted it
                            _ => {}
                        }
                    }
                    Ok((events, own))
                })
                .await?;
            if !events.is_empty() {
                tracing::info!(tasks = events.len(), submitter = %submitter.short(), "takes over tasks of a node that is down");
                reached("heir_takes_over");
                if self.is_connected(submitter) {
                    reached("heir_takes_over_while_its_submitter_is_back");
                }
                let engine = &self.here().engine;
                let run = engine.run_once_there_is_room(&self.here().world, || Command::Tasks(events.clone()));
                if !matches!(run.await?, Outcome::Tasks(_)) {
                    return Ok(());
                }
            }
            self.held().said.extend(own);
            self.wake();
        }
        Ok(())
    }

    /// Notes that tasks with heirs have ended, then writes it. It goes on until a quorum answers, or the right is over.
    pub(super) fn end_moving(&self, actions: Vec<Action>) {
        let settler = self.clone();
        self.here().world.spawn("ends of tasks", async move {
            let (mut of, mut lost) = (BTreeMap::<Did, Vec<(Action, u32)>>::new(), Vec::new());
            for action in actions {
                match settler.held().settling.tasks.get(&action.task()) {
                    Some((submitter, ownership)) => of.entry(*submitter).or_default().push((action, *ownership)),
                    None => lost.push(action.task()),
                }
            }
            for (submitter, actions) in of {
                let tasks: Vec<TaskId> = actions.iter().map(|(action, _)| action.task()).collect();
                let Some(note) = tasks.first().map(|first| format!("{}{first}", notes_of(&settler.me(), &submitter)))
                else {
                    continue;
                };
                let is_noted = settler.note_ends(submitter, &note, &tasks).await;
                let written = if is_noted { settler.write_now(actions).await.ok() } else { None };
                if written.is_none() {
                    lost.extend(tasks);
                }
                settler.place_note(&note, written.unwrap_or_default()).await;
            }
            let mut held = settler.held();
            lost.into_iter().for_each(|task| held.lose(task));
        });
    }

    /// Has the coordinators note that tasks have ended. Returns whether this node may write it; not if the right is over.
    async fn note_ends(&self, submitter: Did, key: &str, tasks: &[TaskId]) -> bool {
        let (me, Ok(critical)) = (self.me(), self.critical()) else { return false };
        if planted("ends_unnoted") {
            return true;
        }
        let text: Vec<String> = tasks.iter().map(|task| task.to_hex()).collect();
        loop {
            let (ownership, others) = {
                let held = self.held();
                let Some(right) = held.settling.right(&submitter, self.now()) else { return false };
                (right.ownership, right.others.clone())
            };
            let mut put = Put::new(key, text.join(" "));
            put.ttl_ms = u64::try_from(NOTED.as_millis()).ok();
            let is = Condition::Value(ownership.to_string().into_bytes());
            // it may be written whatever the answer is
            self.held().settling.note(key, others);
            match critical.txn(Txn::new().check(key_of(&me, &submitter), is).then(put)).await {
                Ok(done) if done.held => return true,
                Ok(_) => {
                    reached("end_noted_too_late");
                    return false;
                }
                Err(error) => {
                    tracing::debug!(%error, "the end of a task with heirs cannot be noted now");
                    let again = self.now() + AGAIN;
                    self.here().world.sleep_until(again).await;
                }
            }
        }
    }

    /// Remembers the notes that this node made before its start, whoever may settle those tasks now. Those of ends that it
    /// did not write are of no use, and keep others from the tasks: nobody has seen such an end, nor ever will.
    async fn recall_notes(&self, critical: &Critical) -> Result<(), NodeError> {
        let mut kept = notes_under(critical, &notes_by(&self.me())).await?;
        let known: BTreeSet<String> = self.held().settling.notes.iter().map(|note| note.key.clone()).collect();
        kept.retain(|(key, _)| !known.contains(key));
        let me = self.me();
        let recalled = self.reading(move |_, view, reader| {
            let mut recalled = Vec::new();
            for (key, tasks) in kept {
                let (mut at, mut others) = (Vec::new(), BTreeSet::new());
                for task in tasks {
                    let Some(found) = read::find(view, reader, task)? else { continue };
                    others.extend(found.row.owners().filter(|owner| *owner != me));
                    if let Some(end) = found.state.settled_by {
                        at.extend(entry_place(view, end.entry)?);
                    }
                }
                recalled.push(Note { key, others, at: Some(at) });
            }
            Ok(recalled)
        });
        let recalled = recalled.await?;
        self.held().settling.notes.extend(recalled);
        Ok(())
    }

    /// Remembers where the ends of a note are in this node's log.
    async fn place_note(&self, key: &str, answers: Vec<TaskAnswer>) {
        let dots: Vec<TaskId> = answers
            .into_iter()
            .filter_map(|answer| match answer {
                TaskAnswer::Written(dot) => Some(dot),
                _ => None,
            })
            .collect();
        let places = self.reading(move |_, view, _| {
            let places = dots.into_iter().map(|dot| entry_place(view, dot.entry));
            Ok(places.collect::<Result<Vec<_>, _>>()?)
        });
        let places: Vec<(LogId, u64)> = places.await.unwrap_or_default().into_iter().flatten().collect();
        let mut held = self.held();
        if let Some(note) = held.settling.notes.iter_mut().find(|note| note.key == key) {
            note.at = Some(places);
        }
        drop(held);
        self.0.moving.notify_one();
    }

    /// Deletes the notes of which all that may settle the tasks have the ends on their disks.
    async fn drop_notes(&self, critical: &Critical) {
        let has = |peer: &Did, (log, seq): &(LogId, u64)| {
            self.here().sessions.of(*peer).is_some_and(|(frontier, _)| frontier.covers(log, *seq))
        };
        let all_have = |note: &Note| {
            let mut members = note.others.iter().filter(|other| self.here().identity.is_member(other));
            note.at.as_ref().is_some_and(|places| members.all(|peer| places.iter().all(|at| has(peer, at))))
        };
        let done: Vec<String> =
            self.held().settling.notes.iter().filter(|note| all_have(note)).map(|note| note.key.clone()).collect();
        for key in done {
            match critical.delete(&key, DeleteOptions::default()).await {
                Ok(_) | Err(NodeError::NotFound { .. }) => {}
                Err(_) => return,
            }
            self.held().settling.notes.retain(|note| note.key != key);
        }
    }
}

/// The event by which a task is taken over.
fn moved(found: &Found, ownership: u32) -> TaskEvent {
    let token = found.state.claim.map_or(TaskToken::from_bytes([0; 16]), |(token, ..)| token);
    let error = "its settler was not heard of".to_owned();
    TaskEvent::Returned(TaskReturn { task: found.id, ownership, token, cause: ReturnCause::Expired, error })
}

/// The notes of a settler about a submitter's tasks that have ended: their keys and their tasks.
async fn noted(critical: &Critical, settler: &Did, submitter: &Did) -> Result<Vec<(String, Vec<TaskId>)>, NodeError> {
    notes_under(critical, &notes_of(settler, submitter)).await
}

/// The notes under a prefix. More than [`NOTED_MAX`] tasks are not read.
async fn notes_under(critical: &Critical, prefix: &str) -> Result<Vec<(String, Vec<TaskId>)>, NodeError> {
    let (mut next, mut found, mut tasks) = (None, Vec::new(), 0);
    loop {
        let page = critical.list(KeyQuery::prefix(prefix).after(next)).await?;
        let notes = page.items.iter().map(|(key, item)| (key.clone(), tasks_in(item)));
        found.extend(notes.inspect(|(_, noted)| tasks += noted.len()));
        next = page.next;
        if next.is_none() || tasks > NOTED_MAX {
            return Ok(found);
        }
    }
}

/// The tasks in a note.
fn tasks_in(note: &Item) -> Vec<TaskId> {
    note.text().unwrap_or_default().split(' ').filter_map(TaskId::from_hex).collect()
}
