//! Whose word it is: a member with real credentials and its own program says things about others' tasks, with true tokens
//! and true signatures. Only the word of the member that it concerns is kept.

#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

use std::time::Duration;

use nexus_crdt::{
    Content, EntryFrame, Incarnation, Kind, LogId, Settlement, SpaceId, Submission, Succession, TaskClaim, TaskEnd,
    TaskEvent, TaskId, TaskToken, TaskVerb, TaskWord, Verified,
};
use nexus_identity::Did;
use nexus_mesh::{FRAME_BYTES_MAX, Stream, read_frame};
use nexus_node::error::{AccessError, ConflictError};
use nexus_node::tasks::{ApprovalRule, ClaimQuery, TaskProgress, TaskResult, TaskStatus, TaskWaits};
use nexus_node::{NewTask, Node, NodeError};
use prost::Message;
use serde_json::json;

use crate::rogue::Rogue;
use crate::succession::{admit, ask as ask_for_key, stranger};
use crate::tasks_hostile::{Claim, Inner, ROGUE, Stage, TASKS, WORLD, ask, said_by};
use crate::world::{Link, address_of, are_well, eventually, key};

/// An offer of a task, in the room's form.
#[derive(Clone, PartialEq, Message)]
struct Offer {
    #[prost(message, optional, tag = "1")]
    claim: Option<Claim>,
    #[prost(uint32, tag = "2")]
    attempt: u32,
    #[prost(bytes = "vec", tag = "4")]
    event: Vec<u8>,
    #[prost(bytes = "vec", tag = "6")]
    space: Vec<u8>,
    #[prost(message, repeated, tag = "7")]
    entries: Vec<EntryFrame>,
}

/// A claim with a word about how far its worker is, in the room's form.
#[derive(Clone, PartialEq, Message)]
struct Progress {
    #[prost(bytes = "vec", tag = "1")]
    task: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    token: Vec<u8>,
    /// The part that is done, in percent and 1; 0 for none.
    #[prost(uint32, tag = "3")]
    percent: u32,
    #[prost(string, tag = "4")]
    text: String,
}

/// Claims whose workers live, in the room's form.
#[derive(Clone, PartialEq, Message)]
struct Alive {
    #[prost(message, repeated, tag = "1")]
    claims: Vec<Progress>,
}

/// Asks, and returns whether the answer has a field of this number: 6 if a task was taken.
async fn has_answer(stream: &mut Stream, question: u8, message: &[u8], field: u8) -> bool {
    ask(stream, question, message).await;
    let answer = read_frame(stream, FRAME_BYTES_MAX).await.unwrap().unwrap();
    answer.get(2) == Some(&(field << 3 | 2))
}

fn words(task: &nexus_node::tasks::Task) -> Vec<&'static str> {
    task.events.iter().map(|event| event.event).collect()
}

/// promise: Tasks | A member that knows the token of another's claim has no word about it: no end, no late result, no progress, also where its own cancellation makes the settler look
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_with_the_true_token_of_anothers_claim_is_nobodys() {
    let mut stage = Stage::new().await;
    let there = Rogue::meet(WORLD, ROGUE, Link::Memory, &stage.friend).await;
    let mut looks = 0;
    for worker in [stage.node.clone(), stage.friend.clone()] {
        let board = stage.node.tasks();
        let new = NewTask::new("add", json!(1)).heir(stage.friend.did().to_string());
        let id = board.submit(new).await.unwrap().id;
        let takes = || ClaimQuery::of("add").wait(Duration::from_secs(30));
        let former = worker.tasks().claim(takes()).await.unwrap().unwrap();
        let _ = worker.tasks().finish(&id.to_string(), former.token, TaskResult::Released).await;
        let claimed = worker.tasks().claim(takes()).await.unwrap().unwrap();
        assert_eq!((former.task.id, claimed.task.id), (id, id));
        for (mesh, node) in [(&stage.rogue.mesh, &stage.node), (&there.mesh, &stage.friend)] {
            let mut stream = mesh.open(node.did(), &TASKS).await.unwrap();
            for token in [claimed.token, former.token] {
                // succeeded, failed, released, lost
                for came in 1..=4 {
                    let claim = Claim { task: id.to_bytes().to_vec(), token: token.as_bytes().to_vec() };
                    let message = Inner { claim: Some(claim), came, output: "\"stolen\"".to_owned() };
                    // an answer whose one field is not set: not done
                    ask(&mut stream, 5, &message.encode_to_vec()).await;
                    let answer = read_frame(&mut stream, FRAME_BYTES_MAX).await.unwrap().unwrap();
                    assert!(answer.ends_with(&[8 << 3 | 2, 0]), "{answer:?}");
                }
            }
        }
        // a word of its own makes the settler look again
        looks += 1;
        let log = LogId { space: SpaceId::tasks_of(&WORLD.mesh()), ..WORLD.log(ROGUE) };
        let log = LogId { incarnation: Incarnation([looks; 8]), ..log };
        let parts = |event: TaskEvent| Content::Parts(vec![([7; 16], event.encode())]);
        let cancel = parts(TaskEvent::Word(TaskWord { task: id, verb: TaskVerb::Cancel, why: String::new() }));
        let cancel = WORLD.entry(log, None, Kind::TASKS, cancel, ROGUE);
        let own = parts(TaskEvent::Submitted(Box::new(Submission::new("nothing", "0"))));
        let own = WORLD.entry(log, Some(&cancel), Kind::TASKS, own, ROGUE);
        stage.line.entries([&*cancel, &*own]).await.unwrap();
        stage.heard(TaskId { entry: own.id(), index: 0 }).await;
        let now = board.get(&id.to_string()).await.unwrap();
        assert!(matches!(now.status, TaskStatus::Running | TaskStatus::Assigned), "{now:?}");
        assert!(!words(&now).contains(&"late"), "{:?}", now.events);
        assert_eq!((now.output, now.progress), (None, None));
        let (at, honest) = (worker.tasks(), TaskResult::Succeeded(json!("honest").into()));
        let over = at.finish(&id.to_string(), claimed.token, honest).await.unwrap();
        assert_eq!(over.output, Some(json!("honest").into()));
        let over = board.get(&id.to_string()).await.unwrap();
        assert_eq!((over.status, over.output.clone()), (TaskStatus::Succeeded, Some(json!("honest").into())));
        assert!(!words(&over).contains(&"late"), "{:?}", over.events);
    }
    are_well(&stage.node, &stage.friend, "after").await;
}

/// promise: Tasks | A member that says how far the worker of another's claim is, with the token of that claim, has its words shown nowhere
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_of_anothers_claim_is_shown_nowhere() {
    let stage = Stage::new().await;
    let there = Rogue::meet(WORLD, ROGUE, Link::Memory, &stage.friend).await;
    for worker in [&stage.node, &stage.friend] {
        let board = stage.node.tasks();
        let id = board.submit(NewTask::new("add", json!(1))).await.unwrap().id;
        let takes = ClaimQuery::of("add").wait(Duration::from_secs(30));
        let claimed = worker.tasks().claim(takes).await.unwrap().unwrap();
        stage.heard(id).await;
        let lies = async || {
            let token = claimed.token.as_bytes().to_vec();
            for (mesh, node) in [(&stage.rogue.mesh, &stage.node), (&there.mesh, &stage.friend)] {
                let mut stream = mesh.open(node.did(), &TASKS).await.unwrap();
                for (percent, text) in [(43, "stolen"), (0, "stolen"), (101, ""), (u32::MAX, "stolen")] {
                    let (task, text) = (id.to_bytes().to_vec(), text.to_owned());
                    let alive = Alive { claims: vec![Progress { task, token: token.clone(), percent, text }] };
                    ask(&mut stream, 4, &alive.encode_to_vec()).await;
                    let answer = read_frame(&mut stream, FRAME_BYTES_MAX).await.unwrap().unwrap();
                    // the claims that do not stand, and this one among them
                    assert_eq!(answer.get(2), Some(&(7 << 3 | 2)), "{answer:?}");
                    assert!(answer.windows(token.len()).any(|of| of == token), "{answer:?}");
                }
            }
        };
        let shown = async |node: &Node| node.tasks().get(&id.to_string()).await.unwrap().progress;
        lies().await;
        assert_eq!((shown(&stage.node).await, shown(&stage.friend).await), (None, None));
        let honest = TaskProgress::new(Some(7), "honest");
        worker.tasks().renew(&id.to_string(), claimed.token, Some(honest.clone())).await.unwrap();
        eventually("the worker's own word is shown", async || shown(&stage.node).await == Some(honest.clone())).await;
        lies().await;
        assert_eq!(shown(&stage.node).await, Some(honest));
        let done = TaskResult::Succeeded(json!("honest").into());
        worker.tasks().finish(&id.to_string(), claimed.token, done).await.unwrap();
    }
    are_well(&stage.node, &stage.friend, "after").await;
}

/// promise: Tasks | A member that submits a task as another's, tried once more, changes nothing of that one, nor of those that wait for it
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_retry_of_anothers_task_changes_nothing() {
    let mut stage = Stage::new().await;
    let board = stage.node.tasks();
    let id = board.submit(NewTask::new("pay", json!(1)).request("one")).await.unwrap().id;
    let waits = board.submit(NewTask::new("pay", json!(2)).after(id.to_string())).await.unwrap().id;
    let claimed = board.claim(ClaimQuery::of("pay")).await.unwrap().unwrap();
    assert_eq!(claimed.task.id, id);
    let both = async || {
        let mut both = Vec::new();
        for id in [id, waits] {
            both.push(board.get(&id.to_string()).await.unwrap());
        }
        both
    };
    let forged = |n: u8| {
        let retry =
            Submission { retry_of: Some(id), request: "one".to_owned(), ..Submission::new("pay", "\"stolen\"") };
        let retry = TaskEvent::Submitted(Box::new(retry)).encode();
        let log = LogId { space: SpaceId::tasks_of(&WORLD.mesh()), ..WORLD.log(ROGUE) };
        let log = LogId { incarnation: Incarnation([n; 8]), ..log };
        let first = WORLD.entry(log, None, Kind::TASKS, Content::Parts(vec![([7; 16], retry)]), ROGUE);
        let again = TaskId { entry: first.id(), index: 0 };
        // done, by its own word, which it may say of its own task alone
        let done = |task| {
            let [output, code, error, more] = ["\"stolen\"", "", "", ""].map(str::to_owned);
            let (token, outcome) = (None, TaskEnd::Succeeded);
            let end = Settlement { task, ownership: 0, token, outcome, output, code, error, more };
            ([8; 16], TaskEvent::Settled(Box::new(end)).encode())
        };
        let ends = WORLD.entry(log, Some(&first), Kind::TASKS, Content::Parts(vec![done(again)]), ROGUE);
        (again, [first, ends])
    };
    let is_forged = async |again: TaskId| {
        for node in [&stage.node, &stage.friend] {
            eventually("the forged one is there, and over", async || {
                let shown = node.tasks().get(&again.to_string()).await;
                shown.is_ok_and(|task| task.status == TaskStatus::Succeeded && task.retry_of == Some(id))
            })
            .await;
        }
    };
    let before = both().await;
    let (again, entries) = forged(1);
    stage.line.entries(entries.iter().map(|entry| &**entry)).await.unwrap();
    is_forged(again).await;
    assert_eq!(both().await, before);
    assert_eq!(before[1].status, TaskStatus::Pending, "it waits for the true one");
    let failed = TaskResult::Failed { code: String::new(), message: "no money".to_owned() };
    board.finish(&id.to_string(), claimed.token, failed).await.unwrap();
    let paid = id.to_string();
    let cancel = board.cancel(&paid, "no more");
    // it is answered at once, and not when the wait for it is over
    tokio::time::timeout(Duration::from_secs(20), cancel).await.expect("an answer").unwrap();
    let over = board.get(&id.to_string()).await.unwrap();
    assert_eq!((over.status, over.output.clone()), (TaskStatus::Cancelled, None));
    // the task has ended: a member that is no admin tries it once more, by its node and by its own program
    let refused = stage.friend.tasks().retry(&id.to_string()).await;
    assert!(matches!(refused, Err(NodeError::Refused(AccessError::NotYourTask(_)))), "{refused:?}");
    let (again, entries) = forged(2);
    stage.line.entries(entries.iter().map(|entry| &**entry)).await.unwrap();
    is_forged(again).await;
    assert_eq!(board.get(&id.to_string()).await.unwrap(), over);
    are_well(&stage.node, &stage.friend, "after").await;
}

/// promise: Tasks | A late result names the worker whose word it is
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_result_of_another_node_names_its_worker() {
    let stage = Stage::new().await;
    let (board, there) = (stage.node.tasks(), stage.friend.tasks());
    let id = board.submit(NewTask::new("add", json!(1))).await.unwrap().id.to_string();
    let takes = || ClaimQuery::of("add").wait(Duration::from_secs(30));
    let slow = there.claim(takes()).await.unwrap().unwrap();
    board.cancel(&id, "no more").await.unwrap();
    let late = there.finish(&id, slow.token, TaskResult::Succeeded(json!("late").into())).await;
    assert!(matches!(late, Err(NodeError::Conflict(ConflictError::ClaimOver))), "{late:?}");
    let over = board.get(&id).await.unwrap();
    assert_eq!((over.status, over.output), (TaskStatus::Cancelled, None));
    let late = over.events.iter().find(|event| event.event == "late").expect("it is kept");
    assert_eq!(late.worker.as_ref().map(|worker| worker.node), Some(stage.friend.did()));
    are_well(&stage.node, &stage.friend, "after").await;
}

/// A submission of the rogue's, with the entry that claims it.
struct Bait {
    entries: Vec<Verified>,
    task: TaskId,
    token: TaskToken,
}

fn claim_of(task: TaskId, token: u8, worker: Did) -> TaskEvent {
    let (token, agent) = (TaskToken::from_bytes([token; 16]), String::new());
    TaskEvent::Claimed(TaskClaim { task, ownership: 0, attempt: 1, token, worker, agent })
}

impl Bait {
    fn new(submission: Submission, author: u8, token: u8, worker: Did) -> Self {
        let submitted = TaskEvent::Submitted(Box::new(submission)).encode();
        Self::of(said_by(author, [vec![submitted]]).remove(0), ROGUE, token, worker)
    }

    /// The submission in an entry, claimed by a member that may be another.
    fn of(first: Verified, by: u8, token: u8, worker: Did) -> Self {
        let task = TaskId { entry: first.id(), index: 0 };
        let claim = Content::Parts(vec![([7; 16], claim_of(task, token, worker).encode())]);
        let log = LogId { space: first.header().space, ..WORLD.log(by) };
        let after = (first.header().author == key(by).did()).then_some(&first);
        let claim = WORLD.entry(log, after, Kind::TASKS, claim, by);
        Self { entries: vec![first, claim], task, token: TaskToken::from_bytes([token; 16]) }
    }

    /// So many of a member's own, one after the other in its log.
    fn many(count: u8, by: u8, worker: Did) -> Vec<Self> {
        let submitted = || TaskEvent::Submitted(Box::new(Submission::new("bait", "1"))).encode();
        let entries = said_by(by, (0..count).map(|_| vec![submitted()]));
        entries.into_iter().zip(0..).map(|(first, token)| Self::of(first, by, token, worker)).collect()
    }

    fn submitter(&self) -> Did {
        self.entries[0].header().author
    }

    fn offer(&self) -> Offer {
        let (task, token) = (self.task.to_bytes().to_vec(), self.token.as_bytes().to_vec());
        let entries = self.entries.iter().map(|entry| EntryFrame::new(entry)).collect();
        Offer { claim: Some(Claim { task, token }), attempt: 1, entries, ..Offer::default() }
    }

    /// With the word of a member that approves it.
    fn approved_by(mut self, author: u8) -> Self {
        let word = TaskWord { task: self.task, verb: TaskVerb::Approve, why: String::new() };
        self.entries.insert(1, said_by(author, [vec![TaskEvent::Word(word).encode()]]).remove(0));
        self
    }
}

/// promise: Tasks | A worker's node begins no task of another node without the signed entries of its submission, its approval and its claim
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_runs_only_with_the_entries_that_show_whose_it_is() {
    let stage = Stage::new().await;
    let rogue = Rogue::meet(WORLD, ROGUE, Link::Memory, &stage.friend).await;
    let (there, me) = (stage.friend.tasks(), stage.friend.did());
    let bait = || Submission::new("bait", "\"run\"");
    let good = |token| Bait::new(bait(), ROGUE, token, me);
    let takes = ClaimQuery::of("bait").from(key(ROGUE).did().to_string()).wait(Duration::from_secs(60));
    let worker = tokio::spawn({
        let there = there.clone();
        async move { there.claim(takes).await }
    });
    let mut bad: Vec<(&str, Offer)> = vec![
        ("the submission alone", Offer { entries: good(1).offer().entries[..1].to_vec(), ..good(1).offer() }),
        ("the claim alone", Offer { entries: good(1).offer().entries[1..].to_vec(), ..good(1).offer() }),
        ("a claim with another token", Offer { claim: good(2).offer().claim, ..good(1).offer() }),
        ("a claim for another node", Bait::new(bait(), ROGUE, 1, stage.node.did()).offer()),
        ("a task of another member", Bait::new(bait(), 1, 1, me).offer()),
        ("a task for another node", {
            let to = Some(stage.node.did());
            Bait::new(Submission { to, ..bait() }, ROGUE, 1, me).offer()
        }),
        ("a task without its approval", {
            Bait::new(Submission { needs_approval: true, ..bait() }, ROGUE, 1, me).offer()
        }),
        ("its submitter's approval", {
            Bait::new(Submission { needs_approval: true, ..bait() }, ROGUE, 1, me).approved_by(ROGUE).offer()
        }),
        ("the approval of one that is no admin", {
            Bait::new(Submission { needs_approval: true, ..bait() }, ROGUE, 1, me).approved_by(1).offer()
        }),
    ];
    let mut altered = good(1).offer();
    *altered.entries[0].payload.as_mut().unwrap().last_mut().unwrap() ^= 1;
    bad.push(("another payload", altered));
    let mut unsigned = good(1).offer();
    unsigned.entries[1].signature[0] ^= 1;
    bad.push(("no signature", unsigned));
    let mut many = good(1).offer();
    many.entries.extend(many.entries.clone());
    bad.push(("too many entries", many));
    let mut of_kind = good(1).offer();
    let log = LogId { space: SpaceId::tasks_of(&WORLD.mesh()), ..WORLD.log(ROGUE) };
    of_kind.entries.push(EntryFrame::new(&WORLD.entry(log, None, Kind(4_000), vec![1], ROGUE)));
    bad.push(("an entry of another kind", of_kind));
    bad.push(("a task of a space that is not known here", {
        let log = LogId { space: SpaceId::from_bytes([7; 32]), ..WORLD.log(ROGUE) };
        let submitted = TaskEvent::Submitted(Box::new(bait())).encode();
        let first = WORLD.entry(log, None, Kind::TASKS, Content::Parts(vec![([7; 16], submitted)]), ROGUE);
        Bait::of(first, ROGUE, 1, me).offer()
    }));
    let event = TaskEvent::Submitted(Box::new(bait())).encode();
    let space = SpaceId::tasks_of(&WORLD.mesh()).as_bytes().to_vec();
    bad.push(("no entries", Offer { entries: Vec::new(), event, space, ..good(1).offer() }));
    let mut stream = rogue.mesh.open(me, &TASKS).await.unwrap();
    for (what, offer) in bad {
        assert!(!has_answer(&mut stream, 3, &offer.encode_to_vec(), 6).await, "{what}");
        assert!(!worker.is_finished(), "{what}");
    }
    // for a worker that insists on an approval its node refuses everything else
    let insists = ClaimQuery::of("other").from(key(ROGUE).did().to_string()).approved_by(ApprovalRule::Other);
    let insisting = tokio::spawn({
        let there = there.clone();
        async move { there.claim(insists.wait(Duration::from_secs(60))).await }
    });
    eventually("it waits", || async { there.agents().iter().any(|agent| agent.capabilities.contains("other")) }).await;
    let other = || Submission { needs_approval: true, ..Submission::new("other", "1") };
    let plain = Bait::new(Submission::new("other", "1"), ROGUE, 4, me);
    let said = Bait::new(Submission::new("other", "1"), ROGUE, 5, me).approved_by(0);
    let rule = Bait::new(other().with_rule(ApprovalRule::Person), ROGUE, 6, me).approved_by(ROGUE);
    for (what, bait) in [("no approval", plain), ("one that it did not ask for", said), ("its own approval", rule)] {
        assert!(!has_answer(&mut stream, 3, &bait.offer().encode_to_vec(), 6).await, "{what}");
        assert!(!insisting.is_finished(), "{what}");
    }
    let by_other = Bait::new(other().with_rule(ApprovalRule::Person), ROGUE, 7, me).approved_by(0);
    assert!(has_answer(&mut stream, 3, &by_other.offer().encode_to_vec(), 6).await);
    assert_eq!(insisting.await.unwrap().unwrap().expect("the task").task.id, by_other.task);
    let approved = Bait::new(Submission { needs_approval: true, ..bait() }, ROGUE, 3, me).approved_by(0);
    assert!(has_answer(&mut stream, 3, &approved.offer().encode_to_vec(), 6).await);
    let claimed = worker.await.unwrap().unwrap().expect("the task");
    assert_eq!((claimed.task.id, claimed.task.submitter), (approved.task, key(ROGUE).did()));
    are_well(&stage.node, &stage.friend, "after").await;
}

/// Offers a task until a worker has it, and returns what became of its result.
async fn worked(stream: &mut Stream, there: &Node, bait: &Bait) -> Result<nexus_node::tasks::Task, NodeError> {
    let takes = ClaimQuery::of("bait").from(bait.submitter().to_string()).wait(Duration::from_secs(30));
    let board = there.tasks();
    let worker = tokio::spawn(async move { board.claim(takes).await });
    while !has_answer(stream, 3, &bait.offer().encode_to_vec(), 6).await {
        assert!(!worker.is_finished());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let claimed = worker.await.unwrap().unwrap().expect("the task");
    let output = TaskResult::Succeeded(json!("x".repeat(30_000)).into());
    there.tasks().finish(&claimed.task.id.to_string(), claimed.token, output).await
}

/// promise: Tasks | A member that offers the same task again and again makes a worker's node keep one result of it
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_result_of_a_task_is_kept_until_its_settler_answers() {
    let mut stage = Stage::new().await;
    let rogue = Rogue::meet(WORLD, ROGUE, Link::Memory, &stage.friend).await;
    let me = stage.friend.did();
    let bait = |token| Bait::new(Submission::new("bait", "1"), ROGUE, token, me);
    // its submission is in its log, once; the claims never are
    stage.line.entries([&*bait(1).entries[0]]).await.unwrap();
    stage.heard(bait(1).task).await;
    let mut stream = rogue.mesh.open(me, &TASKS).await.unwrap();
    let kept = worked(&mut stream, &stage.friend, &bait(1)).await.unwrap();
    assert!(matches!(kept.why, Some(TaskWaits::ResultForSubmitter { .. })), "{kept:?}");
    for token in 2..5 {
        let again = worked(&mut stream, &stage.friend, &bait(token)).await;
        assert!(matches!(again, Err(NodeError::Conflict(ConflictError::ClaimOver))), "{again:?}");
    }
    let shown = stage.friend.tasks().get(&bait(1).task.to_string()).await.unwrap();
    let by_friend = shown.events.iter().filter(|event| event.by == me).count();
    assert!(by_friend <= 1, "{:?}", shown.events);
    are_well(&stage.node, &stage.friend, "after").await;
}

/// promise: Tasks | A member that offers many tasks makes a worker's node keep 4 MiB of their results a day, also under a new key
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_key_has_no_other_room_for_results_that_are_kept() {
    /// The number of the rogue's next key, and of a member whose results go on to be kept.
    const NEXT: u8 = 10;
    const OTHER: u8 = 11;
    const DAY_BYTES_MAX: usize = 4 << 20;
    let node = WORLD.start(0, Link::Memory).await;
    for n in [ROGUE, OTHER] {
        admit(&node, n).await;
    }
    let friend = WORLD.start_beside(1, Link::Memory, &node).await;
    let me = friend.did();
    let knows = async |n: u8| {
        eventually("the member is known", async || friend.members().iter().any(|member| member.did == key(n).did()))
            .await;
    };
    let offers = async |rogue: Rogue, baits: &[Bait]| {
        // a line that is closed at once may take its last words with it
        let mut line = rogue.line(me).await;
        line.entries(baits.iter().map(|bait| &*bait.entries[0])).await.unwrap();
        let last = baits.last().unwrap().task.to_string();
        eventually("its tasks are there", async || friend.tasks().get(&last).await.is_ok()).await;
        let mut stream = rogue.mesh.open(me, &TASKS).await.unwrap();
        let (mut kept, mut refused) = (0, None);
        for bait in baits {
            match worked(&mut stream, &friend, bait).await {
                Ok(task) => {
                    assert!(matches!(task.why, Some(TaskWaits::ResultForSubmitter { .. })), "{task:?}");
                    kept += 1;
                }
                Err(NodeError::Refused(AccessError::KeptEnough { member })) => {
                    refused = Some(member);
                    break;
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        rogue.mesh.shutdown().await;
        (kept, refused)
    };
    knows(ROGUE).await;
    let rogue = Rogue::meet(WORLD, ROGUE, Link::Memory, &friend).await;
    // each has an output of 30,000 characters, and a little beside it
    let (kept, refused) = offers(rogue, &Bait::many(150, ROGUE, me)).await;
    assert!((DAY_BYTES_MAX / 31_000..=DAY_BYTES_MAX / 30_000).contains(&kept), "{kept}");
    assert_eq!(refused, Some(key(ROGUE).did()));

    let succession = Succession::new(&WORLD.mesh(), &key(ROGUE), &key(NEXT), []).encode();
    let chain = ask_for_key(&stranger(NEXT), &node, succession).await.unwrap();
    knows(NEXT).await;
    let again = Rogue::start(WORLD.mesh(), chain, &key(NEXT), Link::Memory, address_of(&friend)).await;
    assert_eq!(offers(again, &Bait::many(1, NEXT, me)).await, (0, Some(key(NEXT).did())));

    knows(OTHER).await;
    let other = Rogue::meet(WORLD, OTHER, Link::Memory, &friend).await;
    assert_eq!(offers(other, &Bait::many(1, OTHER, me)).await, (1, None));
    for node in [node, friend] {
        node.shutdown().await;
    }
}

/// promise: Tasks | A member that offers a task with the id of another's keeps the true one from no worker
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rogue_that_offers_anothers_id_keeps_nothing_away() {
    let stage = Stage::new().await;
    let rogue = Rogue::meet(WORLD, ROGUE, Link::Memory, &stage.friend).await;
    let (board, there, me) = (stage.node.tasks(), stage.friend.tasks(), stage.friend.did());
    let id = board.submit(NewTask::new("pay", json!("true")).once()).await.unwrap().id;
    let bait = ClaimQuery::of("bait").from(key(ROGUE).did().to_string()).wait(Duration::from_secs(60));
    let baited = tokio::spawn({
        let there = there.clone();
        async move { there.claim(bait).await }
    });
    let mut stream = rogue.mesh.open(me, &TASKS).await.unwrap();
    for token in 1..=20 {
        let own = Bait::new(Submission::new("bait", "\"false\""), ROGUE, token, me);
        let claim = Claim { task: id.to_bytes().to_vec(), token: own.token.as_bytes().to_vec() };
        let offer = Offer { claim: Some(claim), ..own.offer() };
        assert!(!has_answer(&mut stream, 3, &offer.encode_to_vec(), 6).await);
    }
    assert!(!baited.is_finished());
    let pay = ClaimQuery::of("pay").wait(Duration::from_secs(30));
    let claimed = there.claim(pay).await.unwrap().expect("the true task");
    assert_eq!((claimed.task.id, claimed.task.submitter, claimed.attempt), (id, stage.node.did(), 1));
    assert_eq!(claimed.task.input, json!("true"));
    let (fence, id) = (claimed.fence.clone().unwrap(), id.to_string());
    assert!(there.renew(&id, claimed.token, None).await.is_ok());
    let lock = stage.node.critical().unwrap().lock_of(&fence.lock).await.unwrap().expect("it is locked");
    assert_eq!(lock.lease.token, fence.token);
    there.finish(&id, claimed.token, TaskResult::Succeeded(json!("honest").into())).await.unwrap();
    eventually("the settler has the honest end", || async {
        board.get(&id).await.is_ok_and(|task| task.output == Some(json!("honest").into()))
    })
    .await;
    baited.abort();
    are_well(&stage.node, &stage.friend, "after").await;
}
