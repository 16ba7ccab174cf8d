//! The scheduler alone, step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nexus_crdt::{Dot, EntryId, ReturnCause, SpaceId, TaskEnd, TaskId, TaskToken};
use nexus_identity::Did;
use proptest::prelude::*;

use super::approved::{Approved, WaitingWorkers, WorkersElsewhere};
use super::audience::Audience;
use super::core::{
    Action, Before, Call, CallId, Claimant, Fault, Holder, NotChosen, Said, Scheduler, Seen, Spec, TURNS_MAX, TakesFrom,
};
use super::route::About;
use crate::config::TaskRouting;
use crate::load::Load;
use crate::tasks::agent::Agent;

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn task(n: u16) -> TaskId {
    Dot { entry: EntryId::of(b"tasks"), index: n }
}

fn spec(capability: &str, rank: u64) -> Spec {
    Spec {
        capability: capability.to_owned(),
        space: SpaceId::from_bytes([0; 32]),
        submitter: Did::from_bytes([1; 32]),
        to: None,
        rank,
        attempt: secs(300),
        deadline: None,
        attempts: 3,
        once: false,
        awaits_approval: false,
        by_person: false,
        approved: Approved::Not,
        after: BTreeSet::new(),
        critical: false,
        preemptible: false,
    }
}

fn call(capabilities: &[&str]) -> Call {
    let holder = Holder { node: Did::from_bytes([1; 32]), agent: "worker".to_owned() };
    let capabilities = capabilities.iter().map(|name| (*name).to_owned()).collect();
    let (from, lease, insists_on) = (TakesFrom::default(), secs(30), Approved::Not);
    Call { holder, capabilities, from, lease, cpu_max: 100, memory_max: 100, insists_on }
}

fn core() -> Scheduler {
    let mut core = Scheduler::of(Did::from_bytes([1; 32]), TaskRouting::Weighted);
    core.set_audience(SpaceId::from_bytes([0; 32]), Audience::All, secs(0));
    core.give_tokens((0..200_u8).map(|n| TaskToken::from_bytes([n; 16])));
    core
}

/// Carries out one claim, as the shell does.
fn claimed(core: &mut Scheduler, now: Duration) -> (TaskId, CallId, TaskToken) {
    match core.next_action() {
        Some(Action::Claim { task, to: Claimant::Call(call), token, .. }) => {
            core.claimed(task, now);
            (task, call, token)
        }
        other => panic!("a claim was expected, not {other:?}"),
    }
}

/// promise: Persons | A task that a person approved is not handed to a node whose program would not count that
#[test]
fn an_earlier_version_gets_no_task_that_it_would_turn_down() {
    let other = Did::from_bytes([7; 32]);
    let mut core = core();
    core.note_version(other, true);
    core.serving(other, BTreeMap::from([("build".to_owned(), WaitingWorkers::of(2).into())]), secs(0));
    core.open(task(1), Spec { by_person: true, ..spec("build", 1) }, Before::default(), secs(0));
    assert_eq!(core.next_action(), None);
    core.open(task(2), spec("build", 2), Before::default(), secs(0));
    assert!(matches!(core.next_action(), Some(Action::Claim { task: claimed, .. }) if claimed == task(2)));
    core.note_version(other, false);
    core.serving(other, BTreeMap::from([("build".to_owned(), WaitingWorkers::of(1).into())]), secs(1));
    assert!(matches!(core.next_action(), Some(Action::Claim { task: claimed, .. }) if claimed == task(1)));
}

/// promise: Tasks | A task of a space that a member may not read goes to none of its workers, and takes none from another task
#[test]
fn workers_of_members_that_may_not_read_a_task_do_not_get_it() {
    let (me, other, third) = (Did::from_bytes([1; 32]), Did::from_bytes([7; 32]), Did::from_bytes([8; 32]));
    let hidden = SpaceId::from_bytes([5; 32]);
    let in_hidden = |rank| Spec { space: hidden, critical: true, ..spec("build", rank) };
    let these = |members: &[Did]| Audience::These(members.iter().copied().collect());
    let one = || BTreeMap::from([("build".to_owned(), WaitingWorkers::of(1).into())]);
    let mut core = core();
    core.serving(other, one(), secs(0));
    let builds = Agent { capabilities: BTreeSet::from(["build".to_owned()]), ..Agent::new(other, "") };
    core.hear_of(other, Said { agents: vec![builds], ..Said::default() });
    // nobody knows who may read it
    core.open(task(1), in_hidden(1), Before::default(), secs(0));
    assert_eq!(core.next_action(), None);
    core.set_audience(hidden, these(&[me, third]), secs(0));
    assert_eq!(core.next_action(), None);
    let why: Vec<_> = core.explain(task(1), secs(0)).into_iter().map(|row| (row.node, row.not)).collect();
    assert_eq!(why, [(other, Some(NotChosen::MayNotRead))]);
    // its worker does an open task, which a critical one that it may not read leaves to it
    core.open(task(2), Spec { preemptible: true, ..spec("build", 2) }, Before::default(), secs(0));
    assert!(
        matches!(core.next_action(), Some(Action::Claim { task: of, holder, .. }) if of == task(2) && holder.node == other)
    );
    core.claimed(task(2), secs(0));
    core.open(task(3), in_hidden(1), Before::default(), secs(20));
    assert_eq!(core.next_action(), None);
    core.serving(third, one(), secs(21));
    assert!(matches!(core.next_action(), Some(Action::Claim { holder, .. }) if holder.node == third));
    // those that insist on an approval are no reason either
    core.serving(
        other,
        BTreeMap::from([("build".to_owned(), WaitingWorkers::insisting(Approved::ByOther, 1).into())]),
        secs(22),
    );
    assert_eq!(core.insists(task(3)), None);
    core.serving(other, one(), secs(22));
    core.open(task(4), in_hidden(1), Before::default(), secs(22));
    assert_eq!(core.next_action(), None);
    // once it may read, it gets what waits; a worker here that may not does not
    core.set_audience(hidden, these(&[other]), secs(23));
    assert!(matches!(core.next_action(), Some(Action::Claim { holder, .. }) if holder.node == other));
    core.call(call(&["build"]), secs(23));
    assert_eq!(core.next_action(), None);
    core.set_audience(hidden, Audience::All, secs(24));
    assert!(matches!(core.next_action(), Some(Action::Claim { holder, .. }) if holder.node == me));
}

/// promise: Persons | A worker that insists on an approval gets no task without it, and the task says whose worker wants what
#[test]
fn a_worker_that_insists_gets_what_was_approved() {
    let mut core = core();
    let (me, other) = (Did::from_bytes([1; 32]), Did::from_bytes([7; 32]));
    let approved = |n: u16, approved| (task(n), Spec { approved, ..spec("build", n.into()) });
    let open = |core: &mut Scheduler, n, so_far| {
        let (id, spec) = approved(n, so_far);
        core.open(id, spec, Before::default(), secs(0));
        id
    };
    // here
    let call =
        |insists_on| Call { insists_on, from: TakesFrom { members: true, ..TakesFrom::default() }, ..call(&["build"]) };
    core.call(call(Approved::ByOther), secs(0));
    let plain = open(&mut core, 1, Approved::Not);
    let by_rule = open(&mut core, 2, Approved::ByRule);
    assert_eq!(core.next_action(), None);
    assert_eq!(core.insists(plain), Some((me, Approved::ByOther)));
    let why: Vec<_> = core.explain(by_rule, secs(0)).into_iter().map(|row| (row.node, row.not)).collect();
    assert_eq!(why, [(me, Some(NotChosen::Insists(Approved::ByOther)))]);
    core.open(task(3), Spec { awaits_approval: true, ..spec("build", 9) }, Before::default(), secs(0));
    core.approve(task(3), Approved::ByOther, secs(0));
    assert_eq!(claimed(&mut core, secs(0)).0, task(3));
    // the word of somebody who may approve more counts later as well
    core.call(call(Approved::ByOther), secs(0));
    core.approve(by_rule, Approved::ByOther, secs(0));
    assert_eq!(claimed(&mut core, secs(0)).0, by_rule);
    // tasks of others
    core.call(call(Approved::ByRule), secs(0));
    assert_eq!(core.waiting_for((&other, false), &[])["build"].any, WaitingWorkers::insisting(Approved::ByRule, 1));
    assert!(core.take_offer("build", &[(other, false)], Approved::Not).is_none());
    assert!(core.take_offer("build", &[(other, false)], Approved::ByRule).is_some());
    // elsewhere: of those that fit, the one that insists on most
    let mut two = WaitingWorkers::of(1);
    two.add(Approved::ByRule, 1);
    open(&mut core, 4, Approved::ByRule);
    core.serving(other, BTreeMap::from([("build".to_owned(), two.into())]), secs(0));
    let mut got = Vec::new();
    while let Some(Action::Claim { task, to: Claimant::Node(node), .. }) = core.next_action() {
        assert_eq!(node, other);
        core.claimed(task, secs(0));
        got.push(task);
    }
    assert_eq!(got, [plain, task(4)]);
    core.serving(
        other,
        BTreeMap::from([("build".to_owned(), WaitingWorkers::insisting(Approved::ByRule, 1).into())]),
        secs(0),
    );
    let plain = open(&mut core, 5, Approved::Not);
    assert_eq!((core.next_action(), core.insists(plain)), (None, Some((other, Approved::ByRule))));
    core.serving(other, BTreeMap::from([("build".to_owned(), WaitingWorkers::of(1).into())]), secs(0));
    assert_eq!(core.insists(plain), None);
}

#[test]
fn the_lowest_rank_goes_first_and_the_longest_waiting_worker_gets_it() {
    let mut core = core();
    for (n, rank) in [(1, 30), (2, 10), (3, 20)] {
        core.open(task(n), spec("build", rank), Before::default(), secs(0));
    }
    let first = core.call(call(&["test", "build"]), secs(1));
    assert_eq!(claimed(&mut core, secs(1)).0, task(2));
    let waits = core.call(call(&["deploy"]), secs(2));
    let waits_too = core.call(call(&["deploy"]), secs(2));
    core.open(task(4), spec("deploy", 5), Before::default(), secs(3));
    let (got, by, _) = claimed(&mut core, secs(3));
    assert_eq!((got, by), (task(4), waits));
    assert!(!core.hang_up(first) && !core.hang_up(waits) && core.hang_up(waits_too));
    assert_eq!(core.next_action(), None);
}

#[test]
fn a_task_for_a_member_waits_for_its_workers() {
    let mut core = core();
    core.call(call(&["build"]), secs(0));
    let to = Some(Did::from_bytes([2; 32]));
    core.open(task(1), Spec { to, ..spec("build", 1) }, Before::default(), secs(0));
    assert_eq!(core.next_action(), None);
    core.open(task(2), spec("build", 2), Before::default(), secs(0));
    assert_eq!(claimed(&mut core, secs(0)).0, task(2));
}

/// promise: Tasks | A task that fails is tried again after 0 and 1 s, and has failed for good after its last attempt
#[test]
fn a_failure_is_tried_again_after_a_pause_and_ends_after_the_last_attempt() {
    let mut core = core();
    core.open(task(1), spec("build", 1), Before::default(), secs(0));
    let fault = || Fault { code: "exit".to_owned(), error: "exit code 1".to_owned() };
    let mut now = secs(0);
    for (pause, error) in [(0, "this"), (1, "that")] {
        core.call(call(&["build"]), now);
        let (_, _, token) = claimed(&mut core, now);
        core.fail(task(1), token, Fault { error: error.to_owned(), ..fault() }, secs(0)).unwrap();
        let Some(Action::Return { cause: ReturnCause::Failed, .. }) = core.next_action() else { panic!() };
        core.returned(task(1), ReturnCause::Failed, now);
        if pause > 0 {
            assert_eq!(core.seen(task(1)), Some(Seen::Paused(now + secs(pause))));
        }
        now += secs(pause);
        core.due(now);
        assert_eq!(core.seen(task(1)), Some(Seen::Ready));
    }
    core.call(call(&["build"]), now);
    let (_, _, token) = claimed(&mut core, now);
    core.fail(task(1), token, fault(), secs(0)).unwrap();
    let Some(Action::Settle { end: TaskEnd::Failed, fault: said, .. }) = core.next_action() else { panic!() };
    assert_eq!(said, fault());
    assert!(core.fail(task(1), token, fault(), secs(0)).is_err(), "once");
}

/// The pauses after attempts that took so long each and failed with these errors.
fn pauses(deadline: Option<u64>, attempts: &[(u64, &str)]) -> Vec<u64> {
    let mut core = core();
    let spec = Spec { attempts: 100, deadline: deadline.map(secs), ..spec("build", 1) };
    core.open(task(1), spec, Before::default(), secs(0));
    let mut now = secs(0);
    let each = attempts.iter().map(|(took, error)| {
        // another worker each time: none rests
        core.call(call(&["build"]), now);
        let (_, _, token) = claimed(&mut core, now);
        now += secs(*took);
        core.fail(task(1), token, Fault { code: "exit_1".to_owned(), error: (*error).to_owned() }, now).unwrap();
        core.next_action().unwrap();
        core.returned(task(1), ReturnCause::Failed, now);
        let pause = match core.seen(task(1)) {
            Some(Seen::Paused(until)) => until - now,
            _ => secs(0),
        };
        now += pause;
        core.due(now);
        pause.as_secs()
    });
    each.collect()
}

/// promise: Tasks | An attempt that fails at once with the error of the one before is repeated after 5 s, then 30 s, then a minute each, before its deadline
#[test]
fn attempts_that_fail_at_once_and_alike_wait_longer_each_time() {
    assert_eq!(pauses(None, &[(0, "no"); 7]), [0, 5, 30, 60, 60, 60, 60]);
    assert_eq!(
        pauses(None, &[(0, "no"), (0, "no"), (0, "other"), (0, "other")]),
        [0, 5, 2, 5],
        "another error is news"
    );
    assert_eq!(pauses(None, &[(10, "no"); 4]), [0, 1, 2, 2], "they tried");
    assert_eq!(pauses(None, &[(0, "no"), (10, "no"), (0, "no")]), [0, 1, 2]);
    let numbers = [(0, "/tmp/nexus-task-aBc12/task/x: line 7"), (0, "/tmp/nexus-task-Zz9xy/task/x: line 8")];
    assert_eq!(pauses(None, &numbers), [0, 5], "numbers and its own directory make no difference");
    assert_eq!(pauses(Some(100), &[(0, "no"); 4]), [0, 5, 30, 32], "half of the time that is left");
}

/// promise: Tasks | A worker that is not heard of loses its claim, which counts as no failure; after three such claims the task is unknown
#[test]
fn a_silent_worker_loses_its_claim_and_the_third_one_leaves_it_unknown() {
    let mut core = core();
    core.open(task(1), Spec { attempts: 1, ..spec("build", 1) }, Before::default(), secs(0));
    let mut now = secs(0);
    for round in 0..3 {
        core.call(call(&["build"]), now);
        let (_, _, token) = claimed(&mut core, now);
        core.due(now + secs(29));
        core.heard(task(1), token, now + secs(29)).unwrap();
        core.due(now + secs(58));
        assert_eq!(core.next_action(), None, "it was heard of");
        now += secs(59);
        core.due(now);
        assert!(core.heard(task(1), token, now).is_err());
        match core.next_action() {
            Some(Action::Return { cause: ReturnCause::Expired, .. }) if round < 2 => {
                core.returned(task(1), ReturnCause::Expired, now);
            }
            Some(Action::Settle { end: TaskEnd::Unknown, .. }) if round == 2 => {}
            other => panic!("{other:?}"),
        }
        now += secs(10);
        core.due(now);
    }
}

#[test]
fn a_worker_whose_connection_ended_must_be_heard_of_within_a_second() {
    let mut core = core();
    core.call(call(&["build"]), secs(0));
    core.open(task(1), spec("build", 1), Before::default(), secs(0));
    let (_, _, token) = claimed(&mut core, secs(0));
    core.disconnected(task(1), token, secs(5));
    assert_eq!(core.next_timer(), Some(secs(6)));
    core.heard(task(1), token, secs(5)).unwrap();
    assert_eq!(core.next_timer(), Some(secs(35)), "it is back");
}

/// promise: Tasks | An attempt ends at its timeout, and a task at its deadline, whoever has it
#[test]
fn an_attempt_ends_at_its_timeout_and_a_task_at_its_deadline() {
    let mut core = core();
    core.call(call(&["build"]), secs(0));
    let limits = Spec { attempt: secs(10), deadline: Some(secs(15)), ..spec("build", 1) };
    core.open(task(1), limits, Before::default(), secs(0));
    let (_, _, token) = claimed(&mut core, secs(0));
    core.due(secs(9));
    assert_eq!(core.next_action(), None);
    core.due(secs(10));
    let Some(Action::Return { fault, cause: ReturnCause::Failed, .. }) = core.next_action() else { panic!() };
    assert_eq!(fault.code, "timeout");
    assert!(core.succeed(task(1), token, "null".to_owned(), secs(0)).is_err());
    core.returned(task(1), ReturnCause::Failed, secs(10));
    core.due(secs(15));
    let Some(Action::Settle { end: TaskEnd::DeadlineExceeded, .. }) = core.next_action() else { panic!() };
}

#[test]
fn workers_elsewhere_get_what_no_worker_here_waits_for() {
    let mut core = core();
    let (near, far) = (Did::from_bytes([2; 32]), Did::from_bytes([3; 32]));
    let waiting = |workers| BTreeMap::from([("build".to_owned(), WaitingWorkers::of(workers).into())]);
    core.open(task(1), spec("build", 1), Before::default(), secs(0));
    core.serving(near, waiting(1), secs(0));
    let to = |core: &mut Scheduler| match core.next_action() {
        Some(Action::Claim { task, to, .. }) => (task, to),
        other => panic!("{other:?}"),
    };
    assert_eq!(to(&mut core), (task(1), Claimant::Node(near)));
    core.serving(near, waiting(1), secs(0));
    core.serving(far, waiting(2), secs(0));
    let call = core.call(call(&["build"]), secs(0));
    for (n, by) in
        [(2, Claimant::Call(call)), (3, Claimant::Node(far)), (4, Claimant::Node(near)), (5, Claimant::Node(far))]
    {
        core.open(task(n), spec("build", 1), Before::default(), secs(0));
        assert_eq!(to(&mut core), (task(n), by));
    }
    core.open(task(6), spec("build", 1), Before::default(), secs(0));
    assert_eq!(core.next_action(), None);
    core.serving(far, BTreeMap::new(), secs(0));
    assert!(!core.waits_for("build"));
}

#[test]
fn a_node_that_turns_down_too_many_tasks_gets_one_each_five_seconds() {
    let (mut core, node, friend) = (core(), Did::from_bytes([7; 32]), Did::from_bytes([8; 32]));
    let waiting = || BTreeMap::from([("build".to_owned(), WaitingWorkers::of(1).into())]);
    for _ in 0..TURNS_MAX {
        assert!(core.serving(node, waiting(), secs(9)));
        core.turned_down(node, secs(9));
    }
    assert!(!core.serving(node, waiting(), secs(9)) && core.nodes_elsewhere().is_empty());
    core.open(task(1), spec("build", 1), Before::default(), secs(9));
    assert_eq!(core.next_action(), None);
    assert!(core.serving(friend, BTreeMap::new(), secs(9)), "others are not concerned");
    assert!(!core.serving(node, waiting(), secs(13)));
    assert!(core.serving(node, waiting(), secs(14)));
    assert!(matches!(core.next_action(), Some(Action::Claim { to: Claimant::Node(to), .. }) if to == node));
    core.turned_down(node, secs(14));
    assert!(!core.serving(node, waiting(), secs(18)) && core.serving(node, waiting(), secs(19)));
}

fn named(agent: &str, capabilities: &[&str]) -> Call {
    let call = call(capabilities);
    Call { holder: Holder { agent: agent.to_owned(), ..call.holder.clone() }, ..call }
}

/// Fails the task that was claimed last, as its worker says.
fn failed(core: &mut Scheduler, task: TaskId, token: TaskToken, now: Duration) {
    core.fail(task, token, Fault::default(), now).unwrap();
    match core.next_action() {
        Some(Action::Return { .. }) => core.returned(task, ReturnCause::Failed, now),
        Some(Action::Settle { .. }) => core.ended(task),
        other => panic!("{other:?}"),
    }
}

/// promise: Tasks | An attempt that failed is made again by another worker, if one waits
#[test]
fn what_failed_is_tried_by_another_worker() {
    let mut core = core();
    core.call(named("a", &["build"]), secs(0));
    core.open(task(1), spec("build", 1), Before::default(), secs(0));
    let (_, _, token) = claimed(&mut core, secs(0));
    // it asks again before the other one does
    let again = core.call(named("a", &["build"]), secs(0));
    let other = core.call(named("b", &["build"]), secs(0));
    failed(&mut core, task(1), token, secs(1));
    let (_, by, token) = claimed(&mut core, secs(1));
    assert_eq!(by, other);
    // without another one it gets what it failed at
    failed(&mut core, task(1), token, secs(1));
    core.due(secs(6));
    assert_eq!(claimed(&mut core, secs(6)).1, again);
}

/// promise: Tasks | A worker that rests gets the work that waits as soon as its rest is over: one task, and more once that is done
#[test]
fn a_rest_has_an_end() {
    let mut core = core();
    for n in 1..=8 {
        core.call(call(&["build"]), secs(0));
        core.open(task(n), Spec { attempts: 1, ..spec("build", 1) }, Before::default(), secs(0));
        let (_, _, token) = claimed(&mut core, secs(0));
        failed(&mut core, task(n), token, secs(0));
    }
    let calls: Vec<CallId> = (0..3).map(|_| core.call(call(&["build"]), secs(1))).collect();
    for n in 9..=11 {
        core.open(task(n), spec("build", n.into()), Before::default(), secs(1));
    }
    assert_eq!((core.next_action(), core.next_timer()), (None, Some(secs(30))));
    // another worker is not concerned
    core.call(named("other", &["build"]), secs(2));
    assert_eq!(claimed(&mut core, secs(2)).0, task(9));
    core.due(secs(30));
    let (tries, by, token) = claimed(&mut core, secs(30));
    assert_eq!((tries, by, core.next_action()), (task(10), calls[0], None));
    // the task that tries it is taken back: that says nothing, and the next one tries it
    core.end(tries, TaskEnd::Cancelled, "cancelled", String::new(), secs(31));
    assert!(core.succeed(tries, token, "1".to_owned(), secs(31)).is_err());
    let Some(Action::Settle { .. }) = core.next_action() else { panic!() };
    core.due(secs(31));
    let (tries, by, token) = claimed(&mut core, secs(31));
    assert_eq!((tries, by, core.next_action()), (task(11), calls[1], None));
    core.open(task(12), spec("build", 12), Before::default(), secs(31));
    assert_eq!(core.next_action(), None);
    core.succeed(tries, token, "1".to_owned(), secs(32)).unwrap();
    let Some(Action::Settle { .. }) = core.next_action() else { panic!() };
    core.due(secs(32));
    assert_eq!(claimed(&mut core, secs(32)).0, task(12));
}

/// promise: Tasks | A critical task takes the worker of the least urgent preemptible one, which waits again and fails no attempt
#[test]
fn a_critical_task_preempts_one() {
    let mut core = core();
    let mut running = BTreeMap::new();
    for (n, rank, preemptible) in [(1, 50, true), (2, 90, true), (3, 95, false), (4, 5, true)] {
        core.call(call(&["build"]), secs(0));
        core.open(task(n), Spec { preemptible, ..spec("build", rank) }, Before::default(), secs(0));
        running.insert(n, claimed(&mut core, secs(0)).2);
    }
    let critical = |rank| Spec { critical: true, ..spec("build", rank) };
    core.open(task(10), critical(10), Before::default(), secs(1));
    let taken = |core: &mut Scheduler| match core.next_action() {
        Some(Action::Return { task, token, cause: ReturnCause::Preempted, .. }) => (task, token),
        other => panic!("{other:?}"),
    };
    assert_eq!(taken(&mut core), (task(2), running[&2]));
    assert!(core.heard(task(2), running[&2], secs(1)).is_err(), "its worker stops");
    // one worker for each critical task
    core.set_quorum(true, secs(1));
    core.set_load(Load::default(), secs(1));
    assert_eq!(core.next_action(), None);
    core.open(task(11), critical(11), Before::default(), secs(1));
    assert_eq!(taken(&mut core), (task(1), running[&1]));
    // older tasks and those that are not preemptible keep their workers
    core.open(task(12), critical(12), Before::default(), secs(1));
    assert_eq!(core.next_action(), None);
    for n in [1, 2] {
        core.returned(task(n), ReturnCause::Preempted, secs(1));
    }
    // the workers come back: to the critical ones first
    let got: Vec<TaskId> = (0..4)
        .map(|_| {
            core.call(call(&["build"]), secs(2));
            claimed(&mut core, secs(2)).0
        })
        .collect();
    assert_eq!(got, [10, 11, 12, 1].map(task));
    core.open(task(13), Spec { to: Some(Did::from_bytes([9; 32])), ..critical(13) }, Before::default(), secs(2));
    assert_eq!(core.next_action(), None, "those workers are of no use to it");
}

/// promise: Tasks | A task that comes after others waits until all have succeeded, and fails if one did not
/// promise: Tasks | A task whose approver is no member any more waits for an approval again; an attempt that began goes on
#[test]
fn a_task_that_lost_its_approval_waits_for_one_again() {
    let mut core = core();
    let unapproved = || Spec { awaits_approval: true, ..spec("build", 1) };
    core.open(task(1), unapproved(), Before::default(), secs(0));
    core.approve(task(1), Approved::ByRule, secs(1));
    core.unapprove(task(1));
    core.call(call(&["build"]), secs(1));
    assert_eq!((core.next_action(), core.seen(task(1))), (None, Some(Seen::Approval)));
    core.approve(task(1), Approved::ByRule, secs(2));
    let (id, _, token) = claimed(&mut core, secs(2));
    assert_eq!(id, task(1));
    // the attempt fails, and there is no other one without an approval
    core.unapprove(task(1));
    core.fail(task(1), token, Fault::default(), secs(3)).unwrap();
    let Some(Action::Return { .. }) = core.next_action() else { panic!() };
    core.returned(task(1), ReturnCause::Failed, secs(3));
    core.call(call(&["build"]), secs(60));
    core.due(secs(60));
    assert_eq!((core.next_action(), core.seen(task(1))), (None, Some(Seen::Approval)));
}

#[test]
fn a_task_comes_after_others() {
    let mut core = core();
    let after = |tasks: &[u16]| Spec { after: tasks.iter().map(|n| task(*n)).collect(), ..spec("build", 1) };
    core.call(call(&["build"]), secs(0));
    core.open(task(3), after(&[1, 2]), Before::default(), secs(0));
    assert_eq!((core.next_action(), core.seen(task(3))), (None, Some(Seen::After(task(1)))));
    core.before_ended(task(1), TaskEnd::Succeeded, secs(1));
    assert_eq!((core.next_action(), core.seen(task(3))), (None, Some(Seen::After(task(2)))));
    assert!(core.is_awaited(task(2)) && !core.is_awaited(task(1)));
    core.before_ended(task(2), TaskEnd::Succeeded, secs(1));
    assert_eq!(claimed(&mut core, secs(1)).0, task(3));
    assert_eq!(core.awaited().count(), 0);
    // with an approval, too
    core.call(call(&["build"]), secs(1));
    core.open(task(4), Spec { awaits_approval: true, ..after(&[1]) }, Before::default(), secs(1));
    core.approve(task(4), Approved::ByRule, secs(1));
    assert_eq!((core.next_action(), core.seen(task(4))), (None, Some(Seen::After(task(1)))));
    for end in [TaskEnd::Failed, TaskEnd::Cancelled, TaskEnd::Unknown] {
        core.open(task(5), after(&[1]), Before::default(), secs(1));
        core.before_ended(task(1), end, secs(1));
        let mut ended = BTreeSet::new();
        while let Some(action) = core.next_action() {
            let Action::Settle { task, end: TaskEnd::Failed, fault, .. } = action else { panic!("{action:?}") };
            assert_eq!(fault.code, "after");
            core.ended(task);
            ended.insert(task);
        }
        assert!(ended.contains(&task(5)), "{end:?}");
    }
    // the task that comes before one that is taken back is awaited no more
    core.open(task(6), after(&[7]), Before::default(), secs(1));
    core.end(task(6), TaskEnd::Cancelled, "cancelled", String::new(), secs(1));
    core.next_action().unwrap();
    core.ended(task(6));
    assert!(!core.is_awaited(task(7)));
}

/// promise: Tasks | A worker gets nothing while its machine is busier than it allows, and gets what waits once it is not
#[test]
fn a_busy_machine_gets_no_work() {
    let (mut core, node) = (core(), Did::from_bytes([2; 32]));
    let load = |cpu, memory| Load { cpu: Some(cpu), memory: Some(memory) };
    let modest = || Call {
        from: TakesFrom { admins: true, ..TakesFrom::default() },
        cpu_max: 80,
        memory_max: 90,
        ..call(&["build"])
    };
    core.set_load(load(81, 0), secs(0));
    let first = core.call(modest(), secs(0));
    core.open(task(1), spec("build", 1), Before::default(), secs(0));
    assert_eq!(core.next_action(), None);
    assert!(
        core.waiting_for((&node, true), &[]).is_empty()
            && core.take_offer("build", &[(node, true)], Approved::Not).is_none()
    );
    core.set_load(load(80, 91), secs(1));
    assert_eq!(core.next_action(), None);
    // a worker that allows more gets it
    let other = core.call(named("other", &["build"]), secs(1));
    assert_eq!(claimed(&mut core, secs(1)).1, other);
    core.open(task(2), spec("build", 1), Before::default(), secs(1));
    assert_eq!(core.next_action(), None);
    core.set_load(load(80, 90), secs(2));
    assert_eq!(claimed(&mut core, secs(2)).1, first);
    core.call(modest(), secs(2));
    assert_eq!(core.waiting_for((&node, true), &[]).len(), 1);
    assert!(core.take_offer("build", &[(node, true)], Approved::Not).is_some());
}

/// promise: Tasks | A task that waits, and one that was handed out, say of each node that was looked at why it gets it or not
#[test]
fn each_choice_is_explained() {
    let mut core = core();
    let [idle, busy, full, able] = [2, 3, 4, 5].map(|n| Did::from_bytes([n; 32]));
    let said = |node: Did, cpu| {
        let mut agent = Agent::new(node, "w");
        agent.capabilities.insert("build".to_owned());
        let load = Load { cpu: Some(cpu), memory: Some(10) };
        Said { agents: vec![agent], about: About { load, ..About::default() }, ..Said::default() }
    };
    for (node, cpu) in [(idle, 5), (busy, 95), (full, 5)] {
        core.hear_of(node, said(node, cpu));
    }
    core.hear_of(able, Said::default());
    let reasons = |core: &Scheduler, task| -> BTreeMap<Did, Option<NotChosen>> {
        core.explain(task, secs(0)).into_iter().map(|choice| (choice.node, choice.not)).collect()
    };
    core.open(task(1), spec("build", 1), Before::default(), secs(0));
    let none = Some(NotChosen::NoneWaits);
    assert_eq!(reasons(&core, task(1)), [(idle, none), (busy, none), (full, none)].into());
    core.serving(busy, BTreeMap::from([("build".to_owned(), WaitingWorkers::of(1).into())]), secs(0));
    let Some(Action::Claim { to: Claimant::Node(to), task: given, .. }) = core.next_action() else { panic!() };
    assert_eq!((to, given), (busy, task(1)), "the only one that waits");
    core.claimed(task(1), secs(0));
    assert_eq!(reasons(&core, task(1)), [(busy, None)].into());
    // both wait: the idle one gets it
    core.serving(busy, BTreeMap::from([("build".to_owned(), WaitingWorkers::of(1).into())]), secs(0));
    core.serving(idle, BTreeMap::from([("build".to_owned(), WaitingWorkers::of(1).into())]), secs(0));
    core.open(task(2), spec("build", 1), Before::default(), secs(0));
    let Some(Action::Claim { to: Claimant::Node(to), .. }) = core.next_action() else { panic!() };
    assert_eq!(to, idle);
    assert_eq!(reasons(&core, task(2)), [(idle, None), (busy, Some(NotChosen::Worse))].into());
    let choice = core.explain(task(2), secs(0)).remove(0);
    assert!(choice.score.is_some_and(|score| score.cpu > 18.9 && score.sum() > 50.0), "{choice:?}");
    // of one for another member
    core.open(task(3), Spec { to: Some(full), ..spec("build", 1) }, Before::default(), secs(0));
    let not = Some(NotChosen::NotMeant);
    assert_eq!(reasons(&core, task(3)), [(idle, not), (busy, not), (full, none)].into());
    // a node that is gone is not looked at
    core.is_gone(&idle);
    assert_eq!(reasons(&core, task(3)).len(), 2);
    assert!(core.agents_elsewhere(secs(0), nexus_identity::Timestamp::from_ms(0)).count() == 2);
}

#[test]
fn choices_are_kept_within_a_bound() {
    let (mut core, node) = (core(), Did::from_bytes([2; 32]));
    for n in 0..3_000 {
        core.give_tokens(std::iter::once(TaskToken::from_bytes([7; 16])));
        core.serving(node, BTreeMap::from([("build".to_owned(), WaitingWorkers::of(1).into())]), secs(0));
        core.open(task(n), spec("build", 1), Before::default(), secs(0));
        assert!(matches!(core.next_action(), Some(Action::Claim { .. })));
        core.ended(task(n));
    }
    assert!(core.explain(task(0), secs(0)).is_empty() && core.explain(task(1_999), secs(0)).is_empty());
    assert_eq!(core.explain(task(2_000), secs(0)).len(), 1);
}

#[test]
fn a_worker_takes_tasks_of_those_that_it_admits() {
    let mut core = core();
    let (admin, member) = (Did::from_bytes([2; 32]), Did::from_bytes([3; 32]));
    core.call(Call { from: TakesFrom { admins: true, ..TakesFrom::default() }, ..call(&["build"]) }, secs(0));
    assert_eq!(core.waiting_for((&admin, true), &[]).len(), 1);
    assert!(
        core.waiting_for((&member, false), &[]).is_empty()
            && core.take_offer("build", &[(member, false)], Approved::Not).is_none()
    );
    assert!(core.take_offer("build", &[(admin, true)], Approved::Not).is_some());
    assert!(core.take_offer("build", &[(admin, true)], Approved::Not).is_none(), "once");
}

/// promise: Tasks | A worker takes a task from its submitter's heir if it takes tasks of the submitter; the heir's own ones it does not
#[test]
fn a_worker_takes_tasks_of_its_submitters_from_their_heirs() {
    let [submitter, heir, other] = [2, 3, 4].map(|n| Did::from_bytes([n; 32]));
    // at the worker's node
    let mut core = core();
    let from = TakesFrom { others: BTreeSet::from([submitter]), ..TakesFrom::default() };
    core.call(Call { from: from.clone(), ..call(&["build"]) }, secs(0));
    assert!(core.waiting_for((&heir, false), &[(other, false)]).is_empty());
    let waiting = core.waiting_for((&heir, false), &[(other, false), (submitter, false)]);
    let of = |workers| BTreeMap::from([(submitter, WaitingWorkers::of(workers))]);
    assert_eq!(waiting["build"], WorkersElsewhere { of: of(1), ..WorkersElsewhere::default() });
    assert!(core.take_offer("build", &[(heir, false), (other, false)], Approved::Not).is_none());
    assert!(core.take_offer("build", &[(heir, false), (submitter, false)], Approved::Not).is_some());
    // a worker that takes the heir's, too, counts once
    core.call(Call { from: TakesFrom { members: true, ..from }, ..call(&["build"]) }, secs(0));
    let waiting = core.waiting_for((&heir, false), &[(submitter, false)]);
    assert_eq!(waiting["build"], WorkersElsewhere::from(WaitingWorkers::of(1)));
    // at the heir's
    let mut core = self::core();
    let worker = Did::from_bytes([9; 32]);
    let said = WorkersElsewhere { any: WaitingWorkers::of(1), of: of(1) };
    core.open(task(1), Spec { submitter: other, ..spec("build", 1) }, Before::default(), secs(0));
    core.serving(
        worker,
        BTreeMap::from([("build".to_owned(), WorkersElsewhere { of: of(1), ..Default::default() })]),
        secs(0),
    );
    assert_eq!(core.next_action(), None);
    core.open(task(2), Spec { submitter, ..spec("build", 2) }, Before::default(), secs(0));
    assert!(
        matches!(core.next_action(), Some(Action::Claim { task: of, holder, .. }) if of == task(2) && holder.node == worker)
    );
    assert_eq!(core.next_action(), None, "it was one");
    core.open(task(3), Spec { submitter, ..spec("build", 3) }, Before::default(), secs(0));
    core.serving(worker, BTreeMap::from([("build".to_owned(), said)]), secs(1));
    let claims: Vec<TaskId> = std::iter::from_fn(|| core.next_action()).map(|action| action.task()).collect();
    assert_eq!(claims, [task(1), task(3)], "each of the two gets the one that it takes");
}

#[test]
fn what_waits_for_an_approval_is_handed_out_after_it() {
    let mut core = core();
    core.call(call(&["build"]), secs(0));
    core.open(task(1), Spec { awaits_approval: true, ..spec("build", 1) }, Before::default(), secs(0));
    assert_eq!(core.next_action(), None);
    core.approve(task(1), Approved::ByRule, secs(1));
    assert_eq!(claimed(&mut core, secs(1)).0, task(1));
}

#[test]
fn a_claim_that_is_taken_up_at_a_start_has_a_whole_lease() {
    let mut core = core();
    let token = TaskToken::from_bytes([250; 16]);
    let holder = Holder { node: Did::from_bytes([1; 32]), agent: String::new() };
    let before = Before { claims: 1, claim: Some((token, holder)), ..Before::default() };
    core.open(task(1), spec("build", 1), before, secs(100));
    core.call(call(&["build"]), secs(100));
    core.due(secs(129));
    assert_eq!(core.next_action(), None);
    core.succeed(task(1), token, "1".to_owned(), secs(0)).unwrap();
}

/// promise: Tasks | A task that is done once waits for a quorum, and ends as unknown where nobody knows what became of its attempt
#[test]
fn a_task_that_is_done_once_waits_for_a_quorum_and_is_tried_once() {
    let once = || Spec { once: true, ..spec("build", 1) };
    let mut core = core();
    core.open(task(1), once(), Before::default(), secs(0));
    core.call(call(&["build"]), secs(0));
    core.serving(Did::from_bytes([2; 32]), [("build".to_owned(), WaitingWorkers::of(1).into())].into(), secs(0));
    assert_eq!(core.next_action(), None);
    assert!(core.waits_for_quorum());
    // others pass it
    core.open(task(2), spec("build", 2), Before::default(), secs(0));
    assert_eq!(claimed(&mut core, secs(0)).0, task(2));
    core.serves_no_more(&Did::from_bytes([2; 32]));
    core.call(call(&["build"]), secs(1));
    core.set_quorum(true, secs(1));
    let (_, _, token) = claimed(&mut core, secs(1));
    assert!(!core.waits_for_quorum());
    // its node could not ask the coordinators: it is tried later
    core.release(task(1), token, secs(0)).unwrap();
    let returned = core.next_action().unwrap();
    assert!(matches!(returned, Action::Return { cause: ReturnCause::Released, .. }));
    core.call(call(&["build"]), secs(1));
    core.returned(task(1), ReturnCause::Released, secs(1));
    assert_eq!(core.next_action(), None);
    core.due(secs(11));
    let (_, _, token) = claimed(&mut core, secs(11));
    core.call(call(&["build"]), secs(11));
    core.lose(task(1), token, secs(0)).unwrap();
    let ended = core.next_action().unwrap();
    assert!(matches!(ended, Action::Settle { end: TaskEnd::Unknown, .. }), "{ended:?}");
    // an attempt that takes too long may have been done, too
    core.ended(task(1));
    core.open(task(3), Spec { attempt: secs(5), ..once() }, Before::default(), secs(20));
    let (_, _, token) = claimed(&mut core, secs(20));
    core.due(secs(25));
    let ended = core.next_action().unwrap();
    assert!(matches!(ended, Action::Settle { end: TaskEnd::Unknown, .. }), "{ended:?}");
    assert!(core.succeed(task(3), token, String::new(), secs(0)).is_err());
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Quorum(bool),
    Submit,
    Call,
    HangUp,
    Hear,
    Succeed,
    Fail,
    Release,
    Cancel,
    Later(u64),
    Write,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => any::<bool>().prop_map(Step::Quorum),
        2 => Just(Step::Submit),
        3 => Just(Step::Call),
        1 => Just(Step::HangUp),
        1 => Just(Step::Hear),
        2 => Just(Step::Succeed),
        1 => Just(Step::Fail),
        1 => Just(Step::Release),
        1 => Just(Step::Cancel),
        2 => (0_u64..40).prop_map(Step::Later),
        4 => Just(Step::Write),
    ]
}

proptest! {
    /// promise: Tasks | Whatever workers do, a task has one worker at a time and one end, and ends once there are workers
    #[test]
    fn every_task_has_one_worker_at_a_time_and_one_end(steps in prop::collection::vec(any_step(), 1..120)) {
        let mut core = core();
        let (mut now, mut next) = (secs(0), 0);
        let (mut ended, mut claims) = (BTreeSet::new(), BTreeMap::new());
        let mut calls = BTreeSet::new();
        // the shell, with a task's claim until it is returned or over
        let mut write = |core: &mut Scheduler, claims: &mut BTreeMap<TaskId, TaskToken>, calls: &mut BTreeSet<CallId>, now| {
            let Some(action) = core.next_action() else { return Ok(false) };
            match action {
                Action::Claim { to: Claimant::Node(_), .. } => prop_assert!(false, "nobody serves elsewhere"),
                Action::Claim { task, to: Claimant::Call(call), token, .. } => {
                    prop_assert!(!ended.contains(&task), "it is over");
                    prop_assert_eq!(claims.insert(task, token), None, "two workers");
                    prop_assert!(calls.remove(&call), "a worker that waits");
                    core.claimed(task, now);
                }
                Action::Return { task, token, cause, .. } => {
                    prop_assert_eq!(claims.remove(&task), Some(token));
                    core.returned(task, cause, now);
                }
                Action::Settle { task, .. } => {
                    claims.remove(&task);
                    prop_assert!(ended.insert(task), "two ends");
                    core.ended(task);
                }
            }
            Ok(true)
        };
        for step in steps {
            let held = claims.iter().next().map(|(task, token): (&TaskId, &TaskToken)| (*task, *token));
            match (step, held) {
                (Step::Quorum(quorum), _) => core.set_quorum(quorum, now),
                (Step::Submit, _) => {
                    let spec = Spec { once: next % 3 == 0, ..spec("build", u64::from(next)) };
                    core.open(task(next), spec, Before::default(), now);
                    next += 1;
                }
                (Step::Call, _) => {
                    calls.insert(core.call(call(&["build"]), now));
                }
                (Step::HangUp, _) => {
                    if let Some(call) = calls.first().copied().filter(|call| core.hang_up(*call)) {
                        calls.remove(&call);
                    }
                }
                (Step::Cancel, _) => core.end(task(next / 2), TaskEnd::Cancelled, "cancelled", String::new(), now),
                (Step::Later(passed), _) => {
                    now += secs(passed);
                    core.due(now);
                }
                (Step::Write, _) => {
                    write(&mut core, &mut claims, &mut calls, now)?;
                }
                (Step::Hear, Some((task, token))) => drop(core.heard(task, token, now)),
                (Step::Succeed, Some((task, token))) => drop(core.succeed(task, token, "1".to_owned(), now)),
                (Step::Fail, Some((task, token))) => drop(core.fail(task, token, Fault::default(), now)),
                (Step::Release, Some((task, token))) => drop(core.release(task, token, now)),
                (_, None) => {}
            }
        }
        // with workers that do what they get each task ends
        core.set_quorum(true, now);
        for _ in 0..1_000 {
            while write(&mut core, &mut claims, &mut calls, now)? {}
            for (task, token) in claims.clone() {
                let _ = core.succeed(task, token, "1".to_owned(), now);
            }
            calls.insert(core.call(call(&["build"]), now));
            now += secs(1);
            core.due(now);
            core.give_tokens((0..2).map(|n| TaskToken::from_bytes([201 + n; 16])).take(2 - core.tokens().min(2)));
            if core.len() == 0 {
                break;
            }
        }
        prop_assert_eq!(core.len(), 0, "every task ends");
    }
}
