//! Blobs between nodes: from several at once, over restarts, and beside members that lie about them.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::io::Read;
use std::time::Duration;

use crate::rogue::Rogue;
use crate::world::{Link, World, address_of, eventually, key};
use nexus_mesh::{FRAME_BYTES_MAX, Rooms, StreamProtocol, read_frame, write_frame};
use nexus_node::blobs::{BlobHash, Blobs};
use nexus_node::{Builder, Invite, JoinOptions, Node, NodeError, node};
use prost::Message;
use tempfile::TempDir;

const WORLD: World = World(213);
const BLOBS: StreamProtocol = StreamProtocol::new("/nexus/blobs/1");
const WAIT: Duration = Duration::from_secs(30);
const PART: usize = 256 * 1024;

fn content(size: usize) -> Vec<u8> {
    (0..size as u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()[5]).collect()
}

async fn read(blobs: &Blobs, hash: BlobHash) -> Vec<u8> {
    let mut reader = blobs.read(hash).await.unwrap();
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    bytes
}

async fn real(dir: &TempDir, inviter: Option<&Node>) -> Node {
    let path = dir.path().join("data");
    if let Some(inviter) = inviter {
        let ticket = inviter.invite(Invite::default()).await.unwrap().ticket;
        node::join(&path, &ticket, JoinOptions::default()).await.unwrap();
    }
    let builder: Builder = Node::builder(path).mdns(false);
    builder.listen(["/ip4/127.0.0.1/tcp/0".parse().unwrap()]).start().await.unwrap()
}

/// promise: Blobs | A blob comes from the members that have it, all at once, stays over a restart, and goes on to others
#[tokio::test(flavor = "multi_thread")]
async fn a_blob_comes_from_whoever_has_it() {
    let dirs: Vec<TempDir> = (0..3).map(|_| TempDir::new().unwrap()).collect();
    let one = real(&dirs[0], None).await;
    let two = real(&dirs[1], Some(&one)).await;
    let bytes = content(20 * PART + 17);
    let info = one.blobs().add(std::io::Cursor::new(bytes.clone())).await.unwrap();
    assert_eq!((info.hash, info.size), (BlobHash::of(&bytes), bytes.len() as u64));
    assert!(matches!(two.blobs().read(info.hash).await, Err(NodeError::NotFound { .. })));
    assert_eq!(two.blobs().fetch(info.hash, WAIT).await.unwrap(), info);
    assert_eq!(read(&two.blobs(), info.hash).await, bytes);
    two.shutdown().await;
    let two = real(&dirs[1], None).await;
    assert_eq!(two.blobs().list().await.unwrap(), [info]);

    let three = real(&dirs[2], Some(&one)).await;
    eventually("the third is beside both", async || three.peers().await.iter().filter(|peer| peer.synced).count() == 2)
        .await;
    let seen = std::sync::Mutex::new(None);
    let told = |progress: &nexus_node::blobs::BlobProgress| *seen.lock().unwrap() = Some(progress.clone());
    three.blobs().fetch_with(info.hash, WAIT, told).await.unwrap();
    assert_eq!(read(&three.blobs(), info.hash).await, bytes);
    let seen = seen.into_inner().unwrap().unwrap();
    assert_eq!(seen.size, Some(info.size));
    assert!(seen.sources.iter().all(|source| source.parts > 0) && seen.sources.len() == 2, "{seen:?}");
    for node in [three, two, one] {
        node.shutdown().await;
    }
}

/// promise: Blobs | A blob that nobody has is waited for, comes when somebody adds it, and is `not_found` if nobody does
#[tokio::test(flavor = "multi_thread")]
async fn a_blob_is_waited_for() {
    let one = WORLD.start(0, Link::Memory).await;
    let two = WORLD.start_beside(1, Link::Memory, &one).await;
    let bytes = content(PART);
    let hash = BlobHash::of(&bytes);
    let refused = two.blobs().fetch(BlobHash::of(b"nobody"), Duration::from_millis(50)).await;
    assert_eq!(refused.unwrap_err().code(), "not_found");
    let (blobs, others) = (two.blobs(), two.blobs());
    let waiting = tokio::spawn(async move { blobs.fetch(hash, WAIT).await });
    // of two who wait for the same blob each gets it
    let beside = tokio::spawn(async move { others.fetch(hash, WAIT).await });
    one.blobs().add(std::io::Cursor::new(bytes.clone())).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap(), beside.await.unwrap().unwrap());
    assert_eq!(read(&two.blobs(), hash).await, bytes);
    assert!(two.blobs().remove(hash).await.unwrap());
    assert!(two.blobs().list().await.unwrap().is_empty());
    for node in [two, one] {
        node.shutdown().await;
    }
}

#[derive(Clone, PartialEq, Message)]
struct Envelope {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(oneof = "Body", tags = "2, 3, 4, 5")]
    body: Option<Body>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Body {
    #[prost(bytes = "vec", tag = "2")]
    Want(Vec<u8>),
    #[prost(bytes = "vec", tag = "3")]
    Part(Vec<u8>),
    #[prost(uint64, tag = "4")]
    Has(u64),
    #[prost(bytes = "vec", tag = "5")]
    Slice(Vec<u8>),
}

/// A member that says it has every blob, of so many bytes, and sends these bytes for each part.
async fn liar(node: &Node, n: u8, size: u64, sent: Vec<u8>) -> Rogue {
    let mut rooms = Rooms::new();
    let mut streams = rooms.register(BLOBS, 64);
    tokio::spawn(async move {
        while let Some((_, mut stream)) = streams.recv().await {
            let sent = sent.clone();
            tokio::spawn(async move {
                while let Ok(Some(frame)) = read_frame(&mut stream, FRAME_BYTES_MAX).await {
                    let asked = Envelope::decode(frame.as_slice()).unwrap();
                    let body = match asked.body {
                        Some(Body::Want(_)) => Body::Has(size),
                        _ => Body::Slice(sent.clone()),
                    };
                    let answer = Envelope { id: asked.id, body: Some(body) }.encode_to_vec();
                    if write_frame(&mut stream, &answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    Rogue::start_with(rooms, WORLD.mesh(), WORLD.chain(n), &key(n), Link::Memory, address_of(node)).await
}

/// promise: Blobs | Members that offer what they do not have are named, nothing of theirs is kept, and the blob comes from the others
#[tokio::test(flavor = "multi_thread")]
async fn liars_are_named_and_nothing_of_theirs_is_kept() {
    let bytes = content(9 * PART + 1);
    let (hash, size) = (BlobHash::of(&bytes), bytes.len() as u64);
    let two = WORLD.start(0, Link::Memory).await;
    let liars = [
        liar(&two, 11, size, content(PART)).await,
        liar(&two, 12, u64::MAX, Vec::new()).await,
        liar(&two, 13, size + 1, vec![7; 900_000]).await,
        liar(&two, 14, 0, Vec::new()).await,
    ];
    let refused = two.blobs().fetch(hash, Duration::from_secs(2)).await;
    assert_eq!(refused.unwrap_err().code(), "not_found");
    assert!(two.blobs().list().await.unwrap().is_empty());

    let one = WORLD.start_beside(1, Link::Memory, &two).await;
    one.blobs().add(std::io::Cursor::new(bytes.clone())).await.unwrap();
    let seen = std::sync::Mutex::new(None);
    let told = |progress: &nexus_node::blobs::BlobProgress| *seen.lock().unwrap() = Some(progress.clone());
    two.blobs().fetch_with(hash, WAIT, told).await.unwrap();
    assert_eq!(read(&two.blobs(), hash).await, bytes);
    let sources = seen.into_inner().unwrap().unwrap().sources;
    let honest: Vec<_> = sources.iter().filter(|source| !source.lied).map(|source| source.peer).collect();
    assert_eq!(honest, [one.did()], "{sources:?}");
    drop(liars);
    for node in [two, one] {
        node.shutdown().await;
    }
}

/// promise: Blobs | A member that asks for parts without end and reads none keeps nobody else from a blob
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_reads_no_answer_keeps_nobody_from_a_blob() {
    let one = WORLD.start(0, Link::Memory).await;
    let info = one.blobs().add(std::io::Cursor::new(content(20 * PART))).await.unwrap();
    let rogue = Rogue::meet(WORLD, 9, Link::Memory, &one).await;
    let mut streams = Vec::new();
    for _ in 0..4 {
        let mut stream = rogue.mesh.open(one.did(), &BLOBS).await.unwrap();
        for id in 1..500 {
            let question = Envelope { id, body: Some(part(info.hash.as_bytes(), id % 20)) }.encode_to_vec();
            write_frame(&mut stream, &question).await.unwrap();
        }
        streams.push(stream);
    }
    let two = WORLD.start_beside(1, Link::Memory, &one).await;
    assert_eq!(two.blobs().fetch(info.hash, WAIT).await.unwrap(), info);
    drop(streams);
    for node in [two, one] {
        node.shutdown().await;
    }
}

/// The question for a part.
fn part(hash: &[u8], part: u64) -> Body {
    let mut bytes = vec![0x0a, u8::try_from(hash.len()).unwrap()];
    bytes.extend(hash);
    bytes.push(0x10);
    prost::encoding::encode_varint(part, &mut bytes);
    Body::Part(bytes)
}

/// promise: Blobs | A stranger's questions are answered like those of a member that lacks nothing: bounded, and never with a panic
#[tokio::test(flavor = "multi_thread")]
async fn malformed_questions_get_no_content() {
    let node = WORLD.start(0, Link::Memory).await;
    let info = node.blobs().add(std::io::Cursor::new(content(PART))).await.unwrap();
    let rogue = Rogue::meet(WORLD, 9, Link::Memory, &node).await;
    let hash = info.hash.as_bytes().as_slice();
    let asked = [Body::Want(Vec::new()), Body::Want(vec![7; 33]), Body::Want(vec![7; 32]), part(hash, 1)]
        .into_iter()
        .chain([part(hash, u64::MAX), part(&hash[..31], 0), part(&[9; 32], 0), Body::Has(5), Body::Slice(vec![1])]);
    let mut stream = rogue.mesh.open(node.did(), &BLOBS).await.unwrap();
    for (id, body) in (1..).zip(asked) {
        let question = Envelope { id, body: Some(body) }.encode_to_vec();
        write_frame(&mut stream, &question).await.unwrap();
        let answer = read_frame(&mut stream, FRAME_BYTES_MAX).await.unwrap().unwrap();
        let answer = Envelope::decode(answer.as_slice()).unwrap();
        assert_eq!((answer.id, answer.body), (id, None), "a word that is not `lacks`");
    }
    let question = Envelope { id: 99, body: Some(part(hash, 0)) }.encode_to_vec();
    write_frame(&mut stream, &question).await.unwrap();
    let answer = read_frame(&mut stream, FRAME_BYTES_MAX).await.unwrap().unwrap();
    assert!(matches!(Envelope::decode(answer.as_slice()).unwrap().body, Some(Body::Slice(_))));
    node.shutdown().await;
}
