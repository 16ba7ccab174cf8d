//! The stderr of a task's command, asked for over the mesh: a member that asks without end, and one that lies about its own.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::AsyncWriteExt;
use nexus_crdt::{Kind, LogId, SpaceId};
use nexus_mesh::{FRAME_BYTES_MAX, Rooms, Stream, read_frame};
use nexus_node::error::ContactError;
use nexus_node::tasks::{ClaimQuery, TaskLogQuery};
use nexus_node::{NewTask, Node, NodeError};
use prost::Message;
use serde_json::json;
use tokio::sync::watch;

use crate::rogue::Rogue;
use crate::tasks_hostile::{ROGUE, Stage, TASKS, WORLD, ask};
use crate::world::{Link, address_of, are_well, eventually, key};

/// The most bytes of one answer about a log.
const PART_BYTES_MAX: usize = 32 << 10;

/// A question for a log, in the room's form.
#[derive(Clone, PartialEq, Message)]
struct LogQuestion {
    #[prost(bytes = "vec", tag = "1")]
    task: Vec<u8>,
}

/// A part of a log, in the room's form.
#[derive(Clone, PartialEq, Message)]
struct LogPart {
    #[prost(bool, tag = "1")]
    found: bool,
    #[prost(uint32, tag = "2")]
    attempt: u32,
    #[prost(uint64, tag = "3")]
    from: u64,
    #[prost(bytes = "vec", tag = "4")]
    text: Vec<u8>,
    #[prost(bool, tag = "5")]
    open: bool,
}

/// A frame of the room, with the messages that a worker's node is asked and answers.
#[derive(Clone, PartialEq, Message)]
struct Frame {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(bytes = "vec", optional, tag = "3")]
    offer: Option<Vec<u8>>,
    #[prost(message, optional, tag = "6")]
    taken: Option<Taken>,
    #[prost(bytes = "vec", optional, tag = "8")]
    answer: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "10")]
    log_question: Option<Vec<u8>>,
    #[prost(message, optional, tag = "11")]
    log: Option<LogPart>,
}

#[derive(Clone, PartialEq, Message)]
struct Taken {
    #[prost(string, tag = "1")]
    agent: String,
}

/// promise: Tasks | A member that asks for a task's log without end, and reads no answer, keeps nobody else from it
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_questions_keeps_nobody_from_a_log() {
    let stage = Stage::new().await;
    let board = stage.node.tasks();
    let task = board.submit(NewTask::new("build", json!(1))).await.unwrap().id;
    let id = task.to_string();
    let claimed = board.claim(ClaimQuery::of("build")).await.unwrap().unwrap();
    board.note_log(&id, claimed.token, 0, &"a line\n".repeat(4_000)).await.unwrap();
    eventually("the friend knows who does it", || async {
        stage.friend.tasks().get(&id).await.is_ok_and(|task| task.assigned_to.is_some())
    })
    .await;
    let question = LogQuestion { task: task.to_bytes().to_vec() }.encode_to_vec();
    let (mut flood, asked) = (tokio::task::JoinSet::new(), Arc::new(AtomicU64::new(0)));
    for _ in 0..16 {
        let (mesh, node) = (stage.rogue.mesh.clone(), stage.node.did());
        let (question, asked) = (question.clone(), asked.clone());
        flood.spawn(async move {
            loop {
                let Ok(mut stream) = mesh.open(node, &TASKS).await else { continue };
                // until the node has enough of it
                while write(&mut stream, &question).await.is_ok() {
                    asked.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }
    eventually("the flood runs", || async { asked.load(Ordering::Relaxed) > 1_000 }).await;
    for part in 0..20 {
        let log = stage.friend.tasks().log(&id, TaskLogQuery::new()).await.unwrap();
        assert_eq!((log.from, log.text.len(), log.open), (0, 28_000, true), "part {part}");
    }
    assert!(flood.try_join_next().is_none(), "the flood goes on");
    drop(flood);
    are_well(&stage.node, &stage.friend, "after").await;
}

/// Writes a question of field 10 by hand; a stream that the other side ended is an error.
async fn write(stream: &mut Stream, question: &[u8]) -> std::io::Result<()> {
    let frame = Frame { id: 1, log_question: Some(question.to_vec()), ..Frame::default() }.encode_to_vec();
    let bytes = [&u32::try_from(frame.len()).unwrap().to_be_bytes()[..], &frame].concat();
    stream.write_all(&bytes).await?;
    stream.flush().await
}

/// Takes each offer, and answers each question for a log with the bytes of the moment, after the number of the question.
async fn lie(mut stream: Stream, said: watch::Receiver<Vec<u8>>) {
    while let Ok(Some(bytes)) = read_frame(&mut stream, FRAME_BYTES_MAX).await {
        let frame = Frame::decode(&*bytes).unwrap();
        let mut answer = Frame { id: frame.id, ..Frame::default() };
        let mut log = Vec::new();
        if frame.offer.is_some() {
            answer.taken = Some(Taken { agent: "liar".to_owned() });
        } else if frame.log_question.is_some() {
            log.clone_from(&said.borrow());
        } else {
            answer.answer = Some(Vec::new());
        }
        let bytes = [answer.encode_to_vec(), log].concat();
        let bytes = [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], &bytes].concat();
        if stream.write_all(&bytes).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

/// promise: Tasks | A worker's node that answers with too long a log, or with none, is cut or refused; its reader goes on
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_a_rogue_s_node_gives_is_bounded() {
    let node = Node::with_env(WORLD.env(0, Link::Memory)).await.unwrap();
    let mut rooms = Rooms::new();
    let mut asked = rooms.register(TASKS, 8);
    let chain = WORLD.chain(ROGUE);
    let rogue = Rogue::start_with(rooms, WORLD.mesh(), chain, &key(ROGUE), Link::Memory, address_of(&node)).await;
    let (say, said) = watch::channel(Vec::new());
    tokio::spawn(async move {
        while let Some((_, stream)) = asked.recv().await {
            tokio::spawn(lie(stream, said.clone()));
        }
    });
    let mut line = rogue.line(node.did()).await;
    let own = LogId { space: SpaceId::mesh(&WORLD.mesh()), ..WORLD.log(ROGUE) };
    let introduction = WORLD.entry(own, None, Kind::CREDENTIAL, WORLD.chain(ROGUE).to_bytes(), ROGUE);
    line.entries([&*introduction]).await.unwrap();
    eventually("the node knows the rogue", || async { node.members().len() == 2 }).await;
    let mut waits = rogue.mesh.open(node.did(), &TASKS).await.unwrap();
    // one worker waits for tasks of the ability `build`
    ask(&mut waits, 2, &[10, 9, 10, 5, b'b', b'u', b'i', b'l', b'd', 16, 1]).await;
    let board = node.tasks();
    let id = board.submit(NewTask::new("build", json!(1))).await.unwrap().id.to_string();
    eventually("the rogue has it", || async {
        board.get(&id).await.unwrap().assigned_to.is_some_and(|worker| worker.node == key(ROGUE).did())
    })
    .await;
    let answers = |part: LogPart| {
        say.send_replace(Frame { log: Some(part), ..Frame::default() }.encode_to_vec());
    };
    let part = LogPart { found: true, attempt: 1, from: 0, text: Vec::new(), open: true };
    let log = async || board.log(&id, TaskLogQuery::new()).await;

    // "ü" has two bytes, and an odd number of bytes goes before them: no character is cut
    let long = format!("x{}", "ü".repeat(400_000)).into_bytes();
    answers(LogPart { text: long, ..part.clone() });
    let cut = log().await.unwrap();
    assert!((PART_BYTES_MAX - 1..=PART_BYTES_MAX).contains(&cut.text.len()), "{}", cut.text.len());
    assert_eq!(cut.next, cut.text.len() as u64);
    answers(LogPart { from: u64::MAX, attempt: u32::MAX, text: b"late".to_vec(), ..part.clone() });
    let late = log().await.unwrap();
    assert_eq!((late.next, late.text.as_str()), (u64::MAX, "late"), "what it says never overflows");
    answers(LogPart { found: false, text: b"none".to_vec(), ..part.clone() });
    assert_eq!(log().await.unwrap().text, "");

    let refused = async || matches!(log().await, Err(NodeError::Unreachable(ContactError::NoLog { .. })));
    answers(LogPart { text: vec![0xff; 9], ..part.clone() });
    assert!(refused().await, "no text");
    answers(LogPart { text: vec![b'x'; FRAME_BYTES_MAX], ..part.clone() });
    assert!(refused().await, "longer than a frame");
    say.send_replace(Frame { answer: Some(Vec::new()), ..Frame::default() }.encode_to_vec());
    assert!(refused().await, "another kind of answer");
    answers(LogPart { text: b"well".to_vec(), ..part });
    assert_eq!(log().await.unwrap().text, "well", "its reader goes on");
    let longest = board.log(&id, TaskLogQuery::new().after(&cut, Duration::from_secs(1))).await.unwrap();
    assert_eq!(longest.text, "well");
}
