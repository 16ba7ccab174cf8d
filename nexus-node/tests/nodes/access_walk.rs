//! The law of spaces that say no: nothing of one reaches a member that may not read it. Every room is walked: all routes of its
//! own node, the streams that it follows, work for its workers, and the questions of a rogue that asks others by hand.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use nexus_crdt::{ADMINS_ALONE, EntryFrame, HIDDEN_FROM_READERS, SpaceId, TaskId};
use nexus_identity::Role;
use nexus_mesh::{FRAME_BYTES_MAX, Rooms, read_frame, write_frame};
use nexus_node::blobs::BlobHash;
use nexus_node::error::AccessError;
use nexus_node::tasks::{ClaimQuery, Task, TaskResult, TaskStatus, TaskWaits, TaskWhyNot};
use nexus_node::{NewMemory, NewTask, NodeError};
use prost::Message;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::sync::watch;

use crate::access::{OURS, Served, define, space_of, spaces_heard, start_as};
use crate::blobs::{BLOBS, Body, Envelope, Has, Want, part};
use crate::rogue::Rogue;
use crate::tasks_hostile::{Claim, Inner, Serving, TASKS, Waiting, ask};
use crate::world::{Link, SOON, address_of, eventually, has_text, key};

/// A word that is in everything that is written into the hidden space, and nowhere else.
const WORD: &str = "umbra";
const OPEN: &str = "spoken in the open";
const ROGUE: u8 = 4;

/// A mesh with a space that says no to some of its members.
struct Stage {
    founder: Served,
    /// It may read the space.
    insider: Served,
    /// It may not.
    outsider: Served,
    rogue: Rogue,
    /// All that was said to the rogue in the rooms of tasks and files.
    said: watch::Receiver<Vec<Vec<u8>>>,
    hidden: SpaceId,
    memory: String,
    /// A task that waits, and one that a worker of the founder does.
    waits: Task,
    runs: Task,
    blob: BlobHash,
}

fn of_space(space: SpaceId, mut new: NewTask) -> NewTask {
    new.space = Some(space.to_string());
    new
}

fn in_hidden(hidden: SpaceId, input: Value) -> NewTask {
    of_space(hidden, NewTask::new("work", input))
}

impl Stage {
    async fn new(access: u16, (inside, outside): (Role, Role)) -> Self {
        let founder = Served::new(OURS.start(0, Link::Memory).await).await;
        let hidden = define(&founder.node, access).await;
        let outsider = Served::new(start_as(2, outside, &founder.node).await).await;
        let insider = Served::new(start_as(1, inside, &founder.node).await).await;
        let (heard, said) = watch::channel(Vec::new());
        let rooms = hearing(heard);
        let chain = OURS.chain_as(ROGUE, outside);
        let address = address_of(&founder.node);
        let rogue = Rogue::start_with(rooms, OURS.mesh(), chain, &key(ROGUE), Link::Memory, address).await;
        // both are known before anything is written
        for (node, count) in [(&founder.node, 5), (&insider.node, 4), (&outsider.node, 4)] {
            eventually("all know each other", || async { node.members().len() >= count }).await;
        }
        let brain = founder.node.brain();
        let memory = |text: String| NewMemory::note(text).space(hidden.to_string());
        let long = format!("{WORD} {}", "at length ".repeat(20_000));
        brain.remember(memory(long.clone())).await.unwrap();
        let written = brain.remember(memory(format!("{WORD} in words")).key(format!("{WORD}-key"))).await.unwrap();
        let board = founder.node.tasks();
        let runs = board.submit(in_hidden(hidden, json!(format!("{WORD} runs")))).await.unwrap();
        let claimed = board.claim(ClaimQuery::of("work")).await.unwrap().unwrap();
        assert_eq!(claimed.task.id, runs.id);
        board.note_log(runs.id, claimed.token, 0, &format!("{WORD} on stderr\n")).await.unwrap();
        let done = board.submit(in_hidden(hidden, json!(format!("{WORD} is done")))).await.unwrap();
        let claimed = board.claim(ClaimQuery::of("work")).await.unwrap().unwrap();
        let output = json!(format!("{WORD} {}", "as a blob ".repeat(10_000)));
        board.finish(done.id, claimed.token, TaskResult::Succeeded(output.into())).await.unwrap();
        board.submit(in_hidden(hidden, json!(format!("{WORD} wants a word"))).needs_approval()).await.unwrap();
        let waits = board.submit(in_hidden(hidden, json!(format!("{WORD} waits")))).await.unwrap();
        #[cfg(feature = "documents")]
        founder.node.documents().create(Some(&hidden.to_string()), &format!("{WORD}-plan")).await.unwrap();
        let (memory, blob) = (written.id.to_string(), BlobHash::of(long.as_bytes()));
        Self { founder, insider, outsider, rogue, said, hidden, memory, waits, runs, blob }
    }

    /// Something is written in the open, and all that was written before is where it goes.
    async fn written(&self) {
        self.founder.node.brain().remember(NewMemory::note(OPEN)).await.unwrap();
        for node in [&self.insider.node, &self.outsider.node] {
            has_text(node, OPEN).await;
        }
        has_text(&self.insider.node, &format!("{WORD} in words")).await;
        let seen = || async { self.insider.node.tasks().get(self.waits.id).await.is_ok() };
        eventually("the insider sees the task", seen).await;
    }

    /// The addresses of all routes with `GET`, with the names of hidden things in them; and whether each is a stream.
    async fn routes(&self, served: &Served) -> Vec<(String, bool)> {
        let document = served.json("/openapi.json").await;
        let mut routes = Vec::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            let Some(about) = methods.get("get") else { continue };
            let is_stream = about["responses"].as_object().unwrap().values().any(|answer| {
                answer["content"].as_object().is_some_and(|types| types.contains_key("text/event-stream"))
            });
            let id = match path.as_str() {
                path if path.starts_with("/v1/tasks") => self.waits.id.to_string(),
                _ => self.memory.clone(),
            };
            let member = served.node.did().to_string();
            let names = [
                ("{id}", id.as_str()),
                ("{space}", &self.hidden.to_string()),
                ("{blob}", &self.blob.to_string()),
                ("{member}", &member),
                ("{key}", &format!("{WORD}-plan")),
                ("{name}", "n"),
                ("{code}", "c"),
                ("{word}", WORD),
            ];
            let path = names.into_iter().fold(path.clone(), |path, (name, value)| path.replace(name, value));
            assert!(!path.contains('{'), "{path}: name what stands for its parameter");
            routes.push((path, is_stream));
        }
        let hidden = self.hidden;
        for (path, is_stream) in [
            ("/v1/memories?q=umbra".to_owned(), false),
            (format!("/v1/memories?space={hidden}"), false),
            (format!("/v1/memories/{}?whole=true", self.memory), false),
            (format!("/v1/export?space={hidden}"), false),
            ("/v1/export?full=true".to_owned(), false),
            ("/v1/backup?blobs=true".to_owned(), false),
            #[cfg(feature = "documents")]
            (format!("/v1/documents?space={hidden}"), false),
            #[cfg(feature = "documents")]
            (format!("/v1/documents/{WORD}-plan?space={hidden}"), false),
            #[cfg(feature = "documents")]
            (format!("/v1/documents/{WORD}-plan/file?space={hidden}"), false),
            ("/v1/tasks?state=succeeded".to_owned(), false),
            (format!("/v1/tasks/{}/log", self.runs.id), false),
            ("/v1/events?kinds=all".to_owned(), true),
            (format!("/v1/events?kinds=all&space={hidden}"), true),
        ] {
            routes.push((path, is_stream));
        }
        routes
    }

    /// The addresses and tools by which a node tells its own people something of the space.
    async fn told(&self, served: &Served) -> BTreeSet<String> {
        let mut told = BTreeSet::new();
        for (path, _) in self.routes(served).await.into_iter().filter(|(_, is_stream)| !is_stream) {
            let (status, body) = served.get(&path).await;
            if self.tells(status, &body, path.starts_with("/v1/backup")) {
                told.insert(path);
            }
        }
        let calls = [
            ("/mcp", "session_start", json!({})),
            ("/mcp", "recall", json!({ "query": WORD })),
            ("/mcp/full", "task_update", json!({ "id": self.waits.id.to_string() })),
            ("/mcp/graph", "search_nodes", json!({ "query": WORD })),
        ];
        for (path, name, arguments) in calls {
            let params = json!({ "name": name, "arguments": arguments });
            let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
            let (status, body) = served.send("POST", path, &call.to_string()).await;
            assert_eq!(status, 200, "{path} {name}: {body}");
            let status = if body.contains("\"isError\":true") { 404 } else { status };
            if self.tells(status, &body, false) {
                told.insert(format!("{path} {name}"));
            }
        }
        told
    }

    /// Whether an answer tells something of the space. A refusal may name what was asked for. The entry that made the space
    /// is the mesh's, and a backup has it.
    fn tells(&self, status: u16, body: &str, is_backup: bool) -> bool {
        let ids = [self.hidden.to_string(), self.memory.clone(), self.waits.id.to_string(), self.runs.id.to_string()];
        let names_some = || ids.iter().any(|id| body.contains(id.as_str())) || body.contains("council");
        let is_asked_for = body.matches(WORD).count() == 1 && status >= 400;
        body.contains(WORD) && !is_asked_for || status == 200 && !is_backup && names_some()
    }

    /// Follows all streams of a node: each with its address, and all that comes on it from now on.
    async fn follow(&self, served: &Served) -> Vec<(String, Arc<Mutex<Vec<u8>>>)> {
        let mut followed = Vec::new();
        for (path, _) in self.routes(served).await.into_iter().filter(|(_, is_stream)| *is_stream) {
            let (heard, mut stream) = (Arc::new(Mutex::new(Vec::new())), served.open("GET", &path, "").await);
            let mut begin = vec![0; 1_024];
            let count = tokio::time::timeout(SOON, stream.read(&mut begin)).await.unwrap().unwrap();
            heard.lock().unwrap().extend(&begin[..count]);
            followed.push((path, heard.clone()));
            tokio::spawn(async move {
                let mut bytes = vec![0; 65_536];
                while let Ok(count @ 1..) = stream.read(&mut bytes).await {
                    heard.lock().unwrap().extend(&bytes[..count]);
                }
            });
        }
        followed
    }
}

/// The rooms of a rogue that keeps what is said to it about tasks and files, and answers nothing.
fn hearing(heard: watch::Sender<Vec<Vec<u8>>>) -> Rooms {
    let (mut rooms, heard) = (Rooms::new(), Arc::new(heard));
    for room in [TASKS, BLOBS] {
        let (mut streams, heard) = (rooms.register(room, 64), heard.clone());
        tokio::spawn(async move {
            while let Some((_, mut stream)) = streams.recv().await {
                let heard = heard.clone();
                tokio::spawn(async move {
                    while let Ok(Some(frame)) = read_frame(&mut stream, FRAME_BYTES_MAX).await {
                        heard.send_modify(|all| all.push(frame));
                    }
                });
            }
        });
    }
    rooms
}

fn holds(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|part| part == word)
}

/// The rules that say no, each with the role that reads and the one that does not.
const SAY_NO: [(u16, (Role, Role)); 2] =
    [(HIDDEN_FROM_READERS, (Role::Member, Role::Reader)), (ADMINS_ALONE, (Role::Admin, Role::Member))];

/// promise: Nodes | Nothing of a space reaches a member that may not read it: by no route of its node, on no stream, as no work for its workers
#[tokio::test(flavor = "multi_thread")]
async fn every_room_keeps_a_hidden_space_from_a_member_that_may_not_read_it() {
    for (access, roles) in SAY_NO {
        let stage = Stage::new(access, roles).await;
        let (within, without) = (stage.follow(&stage.insider).await, stage.follow(&stage.outsider).await);
        stage.written().await;
        // its worker gets what is open, and nothing else
        if roles.1 == Role::Member {
            work_goes_to_those_that_read(&stage).await;
        }
        // one more of each, for those that follow
        let brain = stage.founder.node.brain();
        brain.remember(NewMemory::note(format!("{WORD} once more")).space(stage.hidden.to_string())).await.unwrap();
        let board = stage.founder.node.tasks();
        board.submit(in_hidden(stage.hidden, json!(format!("{WORD} once more")))).await.unwrap();
        let last = brain.remember(NewMemory::note("the last")).await.unwrap().id.to_string();
        for node in [&stage.insider.node, &stage.outsider.node] {
            has_text(node, "the last").await;
        }
        let told = stage.told(&stage.insider).await;
        let expected = [
            "/v1/memories",
            "/v1/export",
            "/v1/backup",
            "/v1/spaces",
            "/v1/tasks",
            "/v1/blobs",
            #[cfg(feature = "documents")]
            "/v1/documents?space=",
            "/mcp session_start",
            "/mcp recall",
            "/mcp/full task_update",
        ];
        for path in expected {
            assert!(told.iter().any(|told| told.starts_with(path)), "the insider is told by {path}: {told:?}");
        }
        assert_eq!(stage.told(&stage.outsider).await, BTreeSet::new());
        let heard = |of: &[(String, Arc<Mutex<Vec<u8>>>)], word: &str| -> BTreeSet<String> {
            let has = |bytes: &Arc<Mutex<Vec<u8>>>| holds(&bytes.lock().unwrap(), word.as_bytes());
            of.iter().filter(|(_, bytes)| has(bytes)).map(|(path, _)| path.clone()).collect()
        };
        for all in [&within, &without] {
            eventually("the streams are alive", || async { heard(all, &last).contains("/v1/events?kinds=all") }).await;
        }
        eventually("the insider follows", || async {
            let heard = heard(&within, "council");
            heard.contains("/v1/events?kinds=all") && heard.contains("/v1/tasks/events")
        })
        .await;
        for word in [WORD, "council", &stage.hidden.to_string()] {
            // a refusal names the space that was asked for
            let told: Vec<String> = heard(&without, word).into_iter().filter(|path| !path.contains(word)).collect();
            assert_eq!(told, [""; 0], "{word}");
        }
        let open = stage.outsider.node.brain().spaces().await.unwrap();
        assert!(open.iter().all(|space| space.id != stage.hidden), "{open:?}");
    }
}

/// Tasks that the outsider may not read go to none of its workers; they name no member that may not read them.
async fn work_goes_to_those_that_read(stage: &Stage) {
    let (board, outsider) = (stage.founder.node.tasks(), &stage.outsider.node);
    let far = outsider.tasks();
    let worker = tokio::spawn(async move { far.claim(ClaimQuery::of("work").wait(SOON)).await.unwrap() });
    let name = outsider.name().to_string();
    eventually("the hidden task says why that worker is no choice", || async {
        let why = board.get(stage.waits.id).await.unwrap().why;
        let not = (name.clone(), TaskWhyNot::MayNotRead);
        matches!(why, Some(TaskWaits::Nodes { nodes, .. }) if nodes.contains(&not))
    })
    .await;
    let open = board.submit(NewTask::new("work", json!("open"))).await.unwrap();
    assert_eq!(worker.await.unwrap().unwrap().task.id, open.id);
    let task = board.get(stage.waits.id).await.unwrap();
    assert_eq!((task.status, task.claims), (TaskStatus::Pending, 0));
    let named = |new: NewTask| board.submit(of_space(stage.hidden, new));
    let input = || json!(format!("{WORD} for somebody"));
    for refused in
        [named(NewTask::new("work", input()).to(&name)).await, named(NewTask::new("work", input()).heir(&name)).await]
    {
        let Err(NodeError::Refused(AccessError::MayNotRead { name: said, space })) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!((said, space.as_str()), (name.clone(), "council"));
    }
    named(NewTask::new("idle", input()).to(stage.insider.node.name().to_string())).await.unwrap();
}

/// promise: Nodes | A rogue that asks others by hand for entries, files, work or logs gets nothing of a space that it may not read
#[tokio::test(flavor = "multi_thread")]
async fn a_rogue_gets_nothing_of_a_hidden_space_by_asking() {
    for (access, roles) in SAY_NO {
        let mut stage = Stage::new(access, roles).await;
        stage.written().await;
        let node = stage.founder.node.did();
        // entries
        assert!(!spaces_heard(&stage.rogue, node).await.contains(&stage.hidden));
        // files
        let mut stream = stage.rogue.mesh.open(node, &BLOBS).await.unwrap();
        let hash = stage.blob.as_bytes().as_slice();
        for (id, body, none) in [
            (1, Body::Want(Want { hashes: vec![hash.to_vec()] }), Some(Body::Has(Has { sizes: vec![0] }))),
            (2, part(hash, 0), None),
        ] {
            write_frame(&mut stream, &Envelope { id, body: Some(body) }.encode_to_vec()).await.unwrap();
            let answer = read_frame(&mut stream, FRAME_BYTES_MAX).await.unwrap().unwrap();
            assert_eq!(Envelope::decode(answer.as_slice()).unwrap().body, none);
        }
        // nobody names it to the rogue either, to keep a copy or to ask who has it
        let blobs = stage.founder.node.blobs();
        let open = blobs.add(std::io::Cursor::new(b"for all".to_vec())).await.unwrap().hash;
        for hash in [stage.blob, open] {
            blobs.want_copies(hash, 4).await.unwrap();
        }
        blobs.holders(&[stage.blob, open]).await;
        let named = |hash: BlobHash| stage.said.borrow().iter().any(|frame| holds(frame, hash.as_bytes()));
        eventually("the rogue is asked about the open one", || async { named(open) }).await;
        let fetched = || async { stage.insider.node.blobs().info(stage.blob).await.unwrap().is_some() };
        eventually("the insider keeps a copy", fetched).await;
        assert!(!named(stage.blob));
        // the log of an attempt, and words about it
        let mut answers = Vec::new();
        let task = |of: TaskId| of.to_bytes().to_vec();
        let claim = Some(Claim { task: task(stage.runs.id), token: vec![9; 16] });
        let result = Inner { claim: claim.clone(), came: 1, output: "1".to_owned() }.encode_to_vec();
        // a claim alone, and a task's name alone, are the first fields of these questions
        let log = Claim { task: task(stage.runs.id), token: Vec::new() }.encode_to_vec();
        let serving = Waiting { capability: "work".to_owned(), workers: 9 };
        let serving = Serving { waiting: vec![serving] }.encode_to_vec();
        for (field, question) in [(10, log), (4, result.clone()), (5, result), (2, serving)] {
            let mut stream = stage.rogue.mesh.open(node, &TASKS).await.unwrap();
            ask(&mut stream, field, &question).await;
            answers.extend(read_frame(&mut stream, FRAME_BYTES_MAX).await.unwrap());
        }
        // work: it says that workers wait, and is offered what is open
        if roles.1 == Role::Member {
            let open = NewTask::new("work", json!("for the rogue")).to(key(ROGUE).did().to_string());
            stage.founder.node.tasks().submit(open).await.unwrap();
            let offered = stage.said.wait_for(|said| said.iter().any(|frame| holds(frame, b"for the rogue")));
            tokio::time::timeout(SOON, offered).await.expect("it is offered what is open").unwrap();
        }
        answers.extend(stage.said.borrow().iter().cloned());
        assert!(answers.iter().all(|answer| !holds(answer, WORD.as_bytes())), "it is offered nothing else");
        let waits = stage.founder.node.tasks().get(stage.waits.id).await.unwrap();
        assert_eq!((waits.status, waits.claims), (TaskStatus::Pending, 0));
        // gossip
        while let Ok(bytes) = stage.rogue.gossip.try_recv() {
            let entry = EntryFrame::decode(bytes.as_slice()).unwrap();
            assert_ne!(space_of(entry), stage.hidden);
        }
    }
}
