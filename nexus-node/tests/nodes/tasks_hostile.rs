//! A member with real credentials wants others' tasks: it claims, ends, cancels and approves them, and speaks for workers
//! that are not its own. They are done as if it were not there.

#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::disallowed_methods, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::rogue::{Line, Rogue};
use crate::world::{Link, World, address_of, are_well, eventually, key};
use futures::AsyncWriteExt;
use nexus_crdt::{
    Content, Kind, LogId, Settlement, SpaceId, Submission, TaskClaim, TaskEnd, TaskEvent, TaskId, TaskReturn,
    TaskToken, TaskVerb, TaskWord, Verified,
};
use nexus_mesh::{FRAME_BYTES_MAX, Stream, StreamProtocol, read_frame};
use nexus_node::config::Bounded;
use nexus_node::tasks::{ClaimQuery, Task, TaskResult, TaskStatus};
use nexus_node::{NewTask, Node};
use prost::Message;
use serde_json::json;

pub(crate) const WORLD: World = World(210);
/// The number of the rogue member.
pub(crate) const ROGUE: u8 = 9;
pub(crate) const TASKS: StreamProtocol = StreamProtocol::new("/nexus/tasks/1");

pub(crate) struct Stage {
    pub(crate) node: Node,
    pub(crate) friend: Node,
    pub(crate) rogue: Rogue,
    pub(crate) line: Line,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let node = Node::with_env(WORLD.env(0, Link::Memory)).await.unwrap();
        let mut env = WORLD.env(1, Link::Memory);
        env.config.bootstrap.0 = vec![address_of(&node)];
        let friend = Node::with_env(env).await.unwrap();
        are_well(&node, &friend, "before").await;
        let rogue = Rogue::meet(WORLD, ROGUE, Link::Memory, &node).await;
        let mut line = rogue.line(node.did()).await;
        let log = LogId { space: SpaceId::mesh(&WORLD.mesh()), ..WORLD.log(ROGUE) };
        let introduction = WORLD.entry(log, None, Kind::CREDENTIAL, WORLD.chain(ROGUE).to_bytes(), ROGUE);
        line.entries([&*introduction]).await.unwrap();
        eventually("the friend knows the rogue", || async { friend.members().len() == 3 }).await;
        Self { node, friend, rogue, line }
    }

    /// Waits until both nodes have some task, which is behind all that the rogue said before.
    pub(crate) async fn heard(&self, id: TaskId) {
        for node in [&self.node, &self.friend] {
            let id = id.to_string();
            eventually("what the rogue said is there", || async { node.tasks().get(&id).await.is_ok() }).await;
        }
    }
}

/// Entries of the rogue in the space of tasks, with these events each.
fn said(events: impl IntoIterator<Item = Vec<Vec<u8>>>) -> Vec<Verified> {
    said_by(ROGUE, events)
}

pub(crate) fn said_by(author: u8, events: impl IntoIterator<Item = Vec<Vec<u8>>>) -> Vec<Verified> {
    let log = LogId { space: SpaceId::tasks_of(&WORLD.mesh()), ..WORLD.log(author) };
    let mut entries: Vec<Verified> = Vec::new();
    for events in events {
        let parts = events.into_iter().map(|event| ([7; 16], event)).collect();
        let after = entries.last().cloned();
        entries.push(WORLD.entry(log, after.as_ref(), Kind::TASKS, Content::Parts(parts), author));
    }
    entries
}

/// Everything that a rogue could say of a task.
fn attacks(task: TaskId, token: TaskToken) -> Vec<TaskEvent> {
    let (agent, error, code, more) = (String::new(), String::new(), String::new(), String::new());
    let (ownership, worker) = (0, key(ROGUE).did());
    let settled = |ownership, outcome| {
        let (output, code, error, more) = ("\"stolen\"".to_owned(), code.clone(), error.clone(), more.clone());
        let token = Some(token);
        TaskEvent::Settled(Box::new(Settlement { task, ownership, token, outcome, output, code, error, more }))
    };
    let word = |verb| TaskEvent::Word(TaskWord { task, verb, why: "mine".to_owned() });
    vec![
        TaskEvent::Claimed(TaskClaim { task, ownership, attempt: 7, token, worker, agent }),
        TaskEvent::Returned(TaskReturn {
            task,
            ownership,
            token,
            cause: nexus_crdt::ReturnCause::Expired,
            error: error.clone(),
        }),
        settled(0, TaskEnd::Succeeded),
        settled(1, TaskEnd::Cancelled),
        settled(u32::MAX, TaskEnd::Unknown),
        word(TaskVerb::Cancel),
        word(TaskVerb::Approve),
        word(TaskVerb::Reject),
    ]
}

async fn done(node: &Node, id: &str) -> Task {
    let claimed = node.tasks().claim(ClaimQuery::of("add")).await.unwrap().expect("a task");
    assert_eq!(claimed.task.id.to_string(), id);
    node.tasks().finish(id, claimed.token, TaskResult::Succeeded(json!("honest").into())).await.unwrap()
}

/// promise: Tasks | A member that claims, ends, cancels or approves tasks of others, a thousand times, changes none of them
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rogue_claims_ends_and_cancels_nobodys_task() {
    let mut stage = Stage::new().await;
    let board = stage.node.tasks();
    let task = board.submit(NewTask::new("add", json!(1))).await.unwrap();
    let waits = board.submit(NewTask::new("deploy", json!(1)).needs_approval()).await.unwrap();
    let token = TaskToken::from_bytes([3; 16]);
    let attacks: Vec<Vec<u8>> =
        [task.id, waits.id].iter().flat_map(|task| attacks(*task, token)).map(|event| event.encode()).collect();
    let own = TaskEvent::Submitted(Box::new(Submission::new("add", "0"))).encode();
    let entries = said(std::iter::repeat_n(attacks, 64).chain([vec![own]]));
    stage.line.entries(entries.iter().map(|entry| &**entry)).await.unwrap();
    stage.heard(TaskId { entry: entries.last().unwrap().id(), index: 0 }).await;
    assert_eq!(board.get(&waits.id.to_string()).await.unwrap().status, TaskStatus::AwaitingApproval);
    let over = done(&stage.node, &task.id.to_string()).await;
    assert_eq!((over.status, over.output, over.claims), (TaskStatus::Succeeded, Some(json!("honest").into()), 1));
    // its words are kept within a bound
    assert!(over.events.len() < 64, "{}", over.events.len());
    let id = task.id.to_string();
    eventually("the friend sees the honest end", || async {
        stage.friend.tasks().get(&id).await.is_ok_and(|task| task.output == Some(json!("honest").into()))
    })
    .await;
    are_well(&stage.node, &stage.friend, "after").await;
}

/// promise: Tasks | Tasks that nobody can do, of a hundred submitters that are gone, keep their heir from no other task, nor from its own
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_nobody_can_do_keep_their_heir_from_no_other() {
    /// The numbers of submitters with one task each, which nobody can do, and the tasks of another one.
    const FEW: std::ops::Range<u8> = 20..120;
    const MANY: usize = 1_050;
    let mut env = WORLD.env(0, Link::Memory);
    env.config.task_takeover_ms = Bounded::of::<4_000>();
    let node = Node::with_env(env).await.unwrap();
    let rogue = Rogue::meet(WORLD, ROGUE, Link::Memory, &node).await;
    let mut line = rogue.line(node.did()).await;
    let submitted = |capability: &str| {
        TaskEvent::Submitted(Box::new(Submission::new(capability, "0").with_heirs(&[node.did()]))).encode()
    };
    for n in FEW.chain([ROGUE + 1]) {
        let log = LogId { space: SpaceId::mesh(&WORLD.mesh()), ..WORLD.log(n) };
        let introduction = WORLD.entry(log, None, Kind::CREDENTIAL, WORLD.chain(n).to_bytes(), n);
        line.entries([&*introduction]).await.unwrap();
        let (tasks, capability) = if n == ROGUE + 1 { (MANY, "add") } else { (1, "nobody-can") };
        let events: Vec<Vec<u8>> = (0..tasks).map(|_| submitted(capability)).collect();
        let entries = said_by(n, events.chunks(64).map(<[_]>::to_vec));
        line.entries(entries.iter().map(|entry| &**entry)).await.unwrap();
    }
    let own = node.tasks().submit(NewTask::new("add", json!(1)).heir("member-number-20")).await.unwrap().id;
    let mut done = BTreeSet::new();
    while done.len() < MANY + 1 {
        let query = ClaimQuery::of("add").from("member").wait(Duration::from_secs(60));
        let claimed = node.tasks().claim(query).await.unwrap().expect("a task");
        let id = claimed.task.id.to_string();
        node.tasks().finish(&id, claimed.token, TaskResult::Succeeded(json!(1).into())).await.unwrap();
        assert!(done.insert(claimed.task.id), "done twice");
    }
    assert!(done.contains(&own));
    node.shutdown().await;
}

/// promise: Tasks | Entries of tasks that break a rule of form do not count, and what follows them does
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_events_do_not_count() {
    let mut stage = Stage::new().await;
    let submitted = |submission: Submission| TaskEvent::Submitted(Box::new(submission)).encode();
    let good = submitted(Submission::new("add", "0"));
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let bad = [
        Vec::new(),
        vec![0],
        vec![1; 200],
        submitted(Submission::new("ADD", "0")),
        submitted(Submission::new("add", "{\"a\":1,\"a\":2}")),
        submitted(Submission::new("add", deep)),
        submitted(Submission { attempt_ms: u64::MAX, deadline_ms: Some(u64::MAX), ..Submission::new("add", "0") }),
        [good.as_slice(), &[0]].concat(),
    ];
    let later = vec![250, 1, 2, 3];
    let entries = said(bad.into_iter().map(|bad| vec![bad]).chain([vec![later, good]]));
    stage.line.entries(entries.iter().map(|entry| &**entry)).await.unwrap();
    stage.heard(TaskId { entry: entries.last().unwrap().id(), index: 1 }).await;
    are_well(&stage.node, &stage.friend, "after").await;
}

/// A question of the room, by hand: a number, and the message of a field.
pub(crate) async fn ask(stream: &mut Stream, field: u8, message: &[u8]) {
    let mut body = vec![8, 1, field << 3 | 2];
    prost::encode_length_delimiter(message.len(), &mut body).unwrap();
    body.extend(message);
    let frame = [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat();
    stream.write_all(&frame).await.unwrap();
    stream.flush().await.unwrap();
}

/// A claim in the room's form.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Claim {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) task: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) token: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Inner {
    #[prost(message, optional, tag = "1")]
    pub(crate) claim: Option<Claim>,
    #[prost(uint32, tag = "2")]
    pub(crate) came: u32,
    #[prost(string, tag = "3")]
    pub(crate) output: String,
}

/// promise: Tasks | A member that speaks for another's worker, with its token or a guess, is not heard, and offers of one that is no admin are not taken
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rogue_speaks_for_nobodys_worker() {
    let stage = Stage::new().await;
    let board = stage.node.tasks();
    let id = board.submit(NewTask::new("add", json!(1))).await.unwrap().id;
    let claimed = board.claim(ClaimQuery::of("add")).await.unwrap().unwrap();
    let open = async || stage.rogue.mesh.open(stage.node.did(), &TASKS).await.unwrap();
    let real = claimed.token.as_bytes().to_vec();
    for (field, token, task) in [
        (4, real.clone(), id.to_bytes().to_vec()),
        (5, real.clone(), id.to_bytes().to_vec()),
        (5, vec![9; 16], id.to_bytes().to_vec()),
        (5, vec![9; 3], vec![1, 2, 3]),
        (3, vec![5; 16], id.to_bytes().to_vec()),
        (2, real, vec![255; 60]),
        (7, Vec::new(), Vec::new()),
        (15, Vec::new(), Vec::new()),
    ] {
        let claim = Some(Claim { task, token });
        let message = Inner { claim, came: 1, output: "\"stolen\"".to_owned() }.encode_to_vec();
        let mut stream = open().await;
        ask(&mut stream, field, &message).await;
        // bytes that are no question end their stream
        let _ = read_frame(&mut stream, FRAME_BYTES_MAX).await;
    }
    let over =
        board.finish(&id.to_string(), claimed.token, TaskResult::Succeeded(json!("honest").into())).await.unwrap();
    assert_eq!((over.output, over.claims), (Some(json!("honest").into()), 1));
    // a worker here takes no task of a member that is no admin
    let waits = board.claim(ClaimQuery::of("add").wait(Duration::from_secs(1)));
    let mut stream = open().await;
    let offers = async {
        let submission = TaskEvent::Submitted(Box::new(Submission::new("add", "1"))).encode();
        let mut offer =
            Inner { claim: Some(Claim { task: vec![1; 34], token: vec![2; 16] }), came: 1, output: String::new() }
                .encode_to_vec();
        offer.extend([4 << 3 | 2, u8::try_from(submission.len()).unwrap()]);
        offer.extend(submission);
        for _ in 0..20 {
            ask(&mut stream, 3, &offer).await;
            read_frame(&mut stream, FRAME_BYTES_MAX).await.unwrap();
        }
    };
    let (taken, ()) = tokio::join!(waits, offers);
    assert!(taken.unwrap().is_none());
    are_well(&stage.node, &stage.friend, "after").await;
}

/// Workers that wait, in the room's form.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Serving {
    #[prost(message, repeated, tag = "1")]
    pub(crate) waiting: Vec<Waiting>,
}

/// A node's words about its workers, in the room's form.
#[derive(Clone, PartialEq, Message)]
struct Workers {
    #[prost(message, repeated, tag = "1")]
    workers: Vec<Worker>,
    #[prost(uint32, tag = "2")]
    cpu: u32,
    #[prost(uint32, tag = "3")]
    memory: u32,
    #[prost(btree_map = "string, string", tag = "4")]
    labels: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct Worker {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, repeated, tag = "2")]
    capabilities: Vec<String>,
    #[prost(uint32, tag = "3")]
    waiting: u32,
    #[prost(uint32, tag = "4")]
    running: u32,
    #[prost(string, tag = "6")]
    input_schema: String,
}

/// promise: Tasks | A member's words about its workers are kept within 1,000 names, 512 KiB and 1 KiB of labels; words that break a rule change nothing
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_about_workers_are_bounded() {
    let stage = Stage::new().await;
    let mut stream = stage.rogue.mesh.open(stage.node.did(), &TASKS).await.unwrap();
    let worker = |n: usize| Worker {
        name: format!("w{n}"),
        capabilities: vec!["add".to_owned()],
        waiting: u32::MAX,
        running: u32::MAX,
        input_schema: String::new(),
    };
    let fine = || Workers { workers: (0..1_000).map(worker).collect(), cpu: u32::MAX, memory: 1, ..Workers::default() };
    let mut says = async |serving: Workers| {
        ask(&mut stream, 9, &serving.encode_to_vec()).await;
        // field 8 after the number: the answer, which says whether it was heard
        let answer = read_frame(&mut stream, FRAME_BYTES_MAX).await.unwrap().unwrap();
        answer.ends_with(&[8 << 3 | 2, 2, 8, 1])
    };
    assert!(says(fine()).await);
    let agents = stage.node.tasks().agents();
    assert_eq!((agents.len(), agents[0].load.cpu, agents[0].load.memory), (1_000, Some(100), Some(0)));
    let mut many = fine();
    many.workers.push(worker(1_000));
    let mut large = fine();
    large.workers.iter_mut().for_each(|worker| worker.name = "x".repeat(128));
    let named = |change: &dyn Fn(&mut Worker)| {
        let mut workers = vec![worker(0)];
        change(&mut workers[0]);
        Workers { workers, ..Workers::default() }
    };
    let label = |key: &str, value: &str| Workers {
        labels: BTreeMap::from([(key.to_owned(), value.to_owned())]),
        ..named(&|_| {})
    };
    // labels are shown with each worker, and what is short to send may be long to keep
    let labels = (0..5).map(|n| (format!("{n}"), "x".repeat(250))).collect();
    let labelled = Workers { labels, ..named(&|_| {}) };
    let abilities: Vec<String> = (0..40).map(|n| format!("{n}")).collect();
    let able = |n: usize| Worker { capabilities: abilities.clone(), ..worker(n) };
    let able = Workers { workers: (0..600).map(able).collect(), ..Workers::default() };
    assert!(able.encoded_len() < 128 * 1024);
    for bad in [
        many,
        large,
        named(&|worker| worker.name = "x".repeat(129)),
        named(&|worker| worker.capabilities = vec!["ADD \n".to_owned()]),
        named(&|worker| worker.capabilities = vec!["add".to_owned(); 65]),
        named(&|worker| worker.input_schema = "{".to_owned()),
        named(&|worker| worker.input_schema = "[".repeat(1_000) + &"]".repeat(1_000)),
        named(&|worker| worker.input_schema = format!("[{}]", " ".repeat(4_095))),
        label("a b", ""),
        label("region", "two\nlines"),
        label("region", &"x".repeat(256)),
        labelled,
        able,
    ] {
        assert!(!says(bad).await);
        assert_eq!(stage.node.tasks().agents().len(), 1_000);
    }
    // of whoever goes, nothing stays
    drop(stream);
    let Stage { node, friend, rogue, line } = stage;
    drop(line);
    rogue.mesh.shutdown().await;
    eventually("the rogue's workers are gone", || async { node.tasks().agents().is_empty() }).await;
    are_well(&node, &friend, "after").await;
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Waiting {
    #[prost(string, tag = "1")]
    pub(crate) capability: String,
    #[prost(uint32, tag = "2")]
    pub(crate) workers: u32,
}

/// promise: Tasks | A member that says that its workers wait, and takes no task, makes others write a bounded number of claims
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rogue_that_takes_no_task_is_soon_offered_none() {
    const TASKS_OPEN: u32 = 64;
    let stage = Stage::new().await;
    let board = stage.node.tasks();
    let mut ids = Vec::new();
    for n in 0..TASKS_OPEN {
        ids.push(board.submit(NewTask::new("add", json!(n))).await.unwrap().id.to_string());
    }
    let claims = async || {
        let mut claims = 0;
        for id in &ids {
            claims += board.get(id).await.unwrap().claims;
        }
        claims
    };
    let mut stream = stage.rogue.mesh.open(stage.node.did(), &TASKS).await.unwrap();
    let mut says = async |capabilities: u32| {
        let named = |n| if n == 0 { "add".to_owned() } else { format!("c{n}") };
        let waiting = |n| Waiting { capability: named(n), workers: u32::MAX };
        let waiting = (0..capabilities).map(waiting).collect();
        let body = Serving { waiting }.encode_to_vec();
        ask(&mut stream, 2, &body).await;
        read_frame(&mut stream, FRAME_BYTES_MAX).await.unwrap()
    };
    let refused = says(257).await;
    assert_eq!(claims().await, 0, "a message with too many capabilities counts for nothing");
    let mut said = 0;
    while says(1).await != refused {
        said += 1;
        assert!(said < 100_000, "it is offered tasks for ever");
    }
    // those on their way come back
    eventually("all tasks wait", || async {
        let mut all = true;
        for id in &ids {
            all &= board.get(id).await.unwrap().status == TaskStatus::Pending;
        }
        all
    })
    .await;
    let before = claims().await;
    assert!((1..=1_024 + 2 * TASKS_OPEN).contains(&before), "{before}");
    for _ in 0..100 {
        says(1).await;
    }
    // time forgives one each five seconds
    assert!(claims().await <= before + TASKS_OPEN);
    assert!(board.claim(ClaimQuery::of("add")).await.unwrap().is_some());
    are_well(&stage.node, &stage.friend, "after").await;
}
