//! Blobs between nodes: from several at once, over restarts, and beside members that lie about them.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::rogue::Rogue;
use crate::world::{Link, World, address_of, eventually, key};
use futures::AsyncWriteExt;
use nexus_blobs::Shape;
use nexus_identity::Did;
use nexus_mesh::{FRAME_BYTES_MAX, Rooms, StreamProtocol, read_frame, write_frame};
use nexus_node::blobs::{
    BlobHash, BlobInfo, Blobs, BlobsToVerify, Collection, CollectionFile, DirectoryProgress, FileKind, Keep,
};
use nexus_node::config::{Bounded, Config};
use nexus_node::node::JoinOptions;
use nexus_node::{Builder, Invite, Node, NodeError, node};
use prost::Message;
use tempfile::TempDir;

const WORLD: World = World(213);
pub(crate) const BLOBS: StreamProtocol = StreamProtocol::new("/nexus/blobs/1");
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

/// The blobs that are here whole, with the files of directories.
async fn list(blobs: &Blobs) -> Vec<BlobHash> {
    blobs.page(None, 1_000, true).await.unwrap().blobs.into_iter().map(|blob| blob.hash).collect()
}

async fn add(blobs: &Blobs, content: &[u8]) -> BlobInfo {
    blobs.add(std::io::Cursor::new(content.to_vec())).await.unwrap()
}

/// The figures of blobs count those that are listed.
async fn check_figures(blobs: &Blobs) {
    let page = blobs.page(None, 1_000, true).await.unwrap().blobs;
    let mut bytes = 0;
    for listed in &page {
        bytes += blobs.info(listed.hash).await.unwrap().unwrap().size;
    }
    let figures = blobs.figures().await.unwrap();
    assert_eq!((figures.blobs, figures.bytes), (page.len() as u64, bytes));
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
    assert_eq!(list(&two.blobs()).await, [info.hash]);

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
    assert_eq!(two.blobs().remove(hash).await.unwrap().blobs, 1);
    assert!(list(&two.blobs()).await.is_empty());
    for node in [two, one] {
        node.shutdown().await;
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Envelope {
    #[prost(uint64, tag = "1")]
    pub(crate) id: u64,
    #[prost(oneof = "Body", tags = "2, 3, 4, 5")]
    pub(crate) body: Option<Body>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Body {
    #[prost(message, tag = "2")]
    Want(Want),
    #[prost(bytes = "vec", tag = "3")]
    Part(Vec<u8>),
    #[prost(message, tag = "4")]
    Has(Has),
    #[prost(bytes = "vec", tag = "5")]
    Slice(Vec<u8>),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Want {
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(crate) hashes: Vec<Vec<u8>>,
}

/// A question for a part, without the hash.
#[derive(Clone, PartialEq, Message)]
struct Asked {
    #[prost(uint64, tag = "2")]
    part: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Has {
    #[prost(uint64, repeated, tag = "1")]
    pub(crate) sizes: Vec<u64>,
}

/// A member that says it has every blob, of so many bytes, and sends these bytes for each part.
async fn liar(node: &Node, n: u8, size: u64, sent: Vec<u8>) -> Rogue {
    provider(node, n, size, Some(sent)).await
}

/// A member that says it has every blob, of so many bytes. It sends these bytes for each part, or nothing at all.
async fn provider(node: &Node, n: u8, size: u64, sent: Option<Vec<u8>>) -> Rogue {
    let mut rooms = Rooms::new();
    let mut streams = rooms.register(BLOBS, 64);
    tokio::spawn(async move {
        while let Some((_, mut stream)) = streams.recv().await {
            let sent = sent.clone();
            tokio::spawn(async move {
                while let Ok(Some(frame)) = read_frame(&mut stream, FRAME_BYTES_MAX).await {
                    let asked = Envelope::decode(frame.as_slice()).unwrap();
                    let body = match asked.body {
                        Some(Body::Want(want)) => {
                            Body::Has(Has { sizes: vec![size.saturating_add(1); want.hashes.len()] })
                        }
                        _ => match &sent {
                            Some(sent) => Body::Slice(sent.clone()),
                            None => continue,
                        },
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
    assert!(list(&two.blobs()).await.is_empty());

    let one = WORLD.start_beside(1, Link::Memory, &two).await;
    one.blobs().add(std::io::Cursor::new(bytes.clone())).await.unwrap();
    let seen = std::sync::Mutex::new(None);
    let told = |progress: &nexus_node::blobs::BlobProgress| *seen.lock().unwrap() = Some(progress.clone());
    two.blobs().fetch_with(hash, WAIT, told).await.unwrap();
    assert_eq!(read(&two.blobs(), hash).await, bytes);
    let sources = seen.into_inner().unwrap().unwrap().sources;
    let honest: Vec<_> = sources.iter().filter(|source| !source.lied).map(|source| source.peer).collect();
    assert_eq!(honest, [one.did()], "{sources:?}");
    let figures = two.blobs().figures().await.unwrap();
    assert_eq!((figures.blobs, figures.bytes, figures.fetched_bytes), (1, size, size), "{figures:?}");
    assert!(figures.bad_parts >= 1 && figures.served_bytes == 0, "{figures:?}");
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
pub(crate) fn part(hash: &[u8], part: u64) -> Body {
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
    let want = |hashes: &[&[u8]]| Body::Want(Want { hashes: hashes.iter().map(|hash| hash.to_vec()).collect() });
    let asked = [
        want(&[[7; 32].as_slice(); 257]),
        part(hash, 1),
        part(hash, u64::MAX),
        part(&hash[..31], 0),
        part(&[9; 32], 0),
    ]
    .into_iter()
    .chain([Body::Has(Has { sizes: vec![5] }), Body::Slice(vec![1])]);
    let mut stream = rogue.mesh.open(node.did(), &BLOBS).await.unwrap();
    for (id, body) in (1..).zip(asked) {
        let question = Envelope { id, body: Some(body) }.encode_to_vec();
        write_frame(&mut stream, &question).await.unwrap();
        let answer = read_frame(&mut stream, FRAME_BYTES_MAX).await.unwrap().unwrap();
        let answer = Envelope::decode(answer.as_slice()).unwrap();
        assert_eq!((answer.id, answer.body), (id, None), "a word that is not `lacks`");
    }
    let asked = want(&[[].as_slice(), [7; 33].as_slice(), hash, [7; 32].as_slice()]);
    let question = Envelope { id: 98, body: Some(asked) }.encode_to_vec();
    write_frame(&mut stream, &question).await.unwrap();
    let answer = read_frame(&mut stream, FRAME_BYTES_MAX).await.unwrap().unwrap();
    let sizes = vec![0, 0, info.size + 1, 0];
    assert_eq!(Envelope::decode(answer.as_slice()).unwrap().body, Some(Body::Has(Has { sizes })));
    let question = Envelope { id: 99, body: Some(part(hash, 0)) }.encode_to_vec();
    write_frame(&mut stream, &question).await.unwrap();
    let answer = read_frame(&mut stream, FRAME_BYTES_MAX).await.unwrap().unwrap();
    assert!(matches!(Envelope::decode(answer.as_slice()).unwrap().body, Some(Body::Slice(_))));
    node.shutdown().await;
}

/// Adds a directory of these files.
async fn add_directory(blobs: &Blobs, files: &[(&str, &[u8])], keep: Keep) -> BlobHash {
    let write = async |content: &[u8]| {
        let mut writer = blobs.writer(Keep::Cached).await.unwrap();
        writer.write(content).await.unwrap();
        writer.finish().await.unwrap().hash
    };
    let mut named = Vec::new();
    for (path, content) in files {
        let hash = write(content).await;
        named.push(CollectionFile { path: (*path).to_owned(), hash, kind: FileKind::Plain });
    }
    let collection = Collection::new(named).unwrap();
    write(&collection.names()).await;
    let links = write(&collection.links()).await;
    blobs.keep_directory(links, keep).await.unwrap().hash
}

/// promise: Blobs | A directory comes with all its files, and those alone are fetched that are not here
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_comes_with_all_its_files() {
    let dirs: Vec<TempDir> = (0..2).map(|_| TempDir::new().unwrap()).collect();
    let one = real(&dirs[0], None).await;
    let two = real(&dirs[1], Some(&one)).await;
    let contents: Vec<(String, Vec<u8>)> = (0..200).map(|n| (format!("d{}/f{n}", n % 7), content(n * 331))).collect();
    let big = content(3 * PART + 5);
    let mut files: Vec<(&str, &[u8])> =
        contents.iter().map(|(path, content)| (path.as_str(), content.as_slice())).collect();
    files.push(("big", &big));
    let hash = add_directory(&one.blobs(), &files, Keep::Pinned).await;
    add(&two.blobs(), &big).await;
    let seen = std::sync::Mutex::new(Vec::new());
    let told = |progress: &DirectoryProgress| seen.lock().unwrap().push(progress.clone());
    let entry = two.blobs().fetch_all(hash, WAIT, told).await.unwrap();
    let size = files.iter().map(|(_, content)| content.len() as u64).sum::<u64>();
    assert_eq!((entry.files, entry.size, entry.pinned), (Some(201), size, false));
    for (_, content) in &files {
        assert_eq!(read(&two.blobs(), BlobHash::of(content)).await, *content);
    }
    let seen = seen.into_inner().unwrap();
    let first = seen.iter().find(|progress| progress.files == Some(201)).unwrap();
    assert!(first.bytes >= big.len() as u64 && first.size == Some(size), "{first:?}");
    assert!(seen.iter().all(|progress| progress.bytes <= progress.size.unwrap_or(u64::MAX)));
    assert_eq!(seen.last().map(|progress| (progress.files_here, progress.bytes)), Some((201, size)));

    // its files are not listed by themselves, but for the one that was added here
    let listed = two.blobs().page(None, 1_000, false).await.unwrap().blobs;
    let mut expected = [hash, BlobHash::of(&big)];
    expected.sort();
    assert_eq!(listed.iter().map(|blob| blob.hash).collect::<Vec<_>>(), expected);
    let holders = two.blobs().holders(&[hash, BlobHash::of(b"nobody")]).await;
    assert_eq!(holders.into_iter().collect::<Vec<_>>(), [(hash, vec![(one.did(), 202 * 32)])]);
    for node in [two, one] {
        node.shutdown().await;
    }
}

/// promise: Blobs | A file of a whole number of hashes that is no directory comes as a file, and nothing is fetched for it
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_looks_like_links_is_a_file() {
    let one = WORLD.start(0, Link::Memory).await;
    let two = WORLD.start_beside(1, Link::Memory, &one).await;
    let innocent = add(&one.blobs(), &content(PART)).await;
    let other = add(&one.blobs(), b"no names").await;
    // it begins with the hash of something else that is there
    let sly = add(&one.blobs(), &[other.hash.as_bytes().as_slice(), &[7; 32]].concat()).await;
    let huge = add(&one.blobs(), &content(17 << 20)).await;
    let bait = add(&one.blobs(), huge.hash.as_bytes()).await;
    for info in [innocent, sly, bait] {
        let entry = two.blobs().fetch_all(info.hash, WAIT, |_| {}).await.unwrap();
        assert_eq!((entry.files, entry.size), (None, info.size));
    }
    // more than names can have is not fetched as names
    assert!(two.blobs().info(huge.hash).await.unwrap().is_none());
    for node in [two, one] {
        node.shutdown().await;
    }
}

/// promise: Blobs | All blobs stay that a pin, a tag or a kept directory keeps; others go once nobody used them for a while, and a dry run takes none
#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_that_is_kept() {
    let dir = TempDir::new().unwrap();
    let node = real(&dir, None).await;
    let blobs = node.blobs();
    let now = Duration::ZERO;
    let pinned = add(&blobs, b"pinned").await.hash;
    let old = add_directory(&blobs, &[("a", b"both"), ("b", b"old")], Keep::Tagged("release".into())).await;
    let new = add_directory(&blobs, &[("a", b"both"), ("c", b"new")], Keep::Tagged("release".into())).await;
    assert_eq!(blobs.resolve("release").await.unwrap(), new);
    assert_eq!(blobs.resolve(&new.to_string()[..16]).await.unwrap(), new);
    let recent = blobs.gc(Duration::from_secs(3_600), false).await.unwrap();
    assert_eq!(recent.blobs, 0, "all of it was used just now");
    let would = blobs.gc(now, true).await.unwrap();
    assert_eq!(list(&blobs).await.len(), 8);
    check_figures(&blobs).await;
    let gone = blobs.gc(now, false).await.unwrap();
    check_figures(&blobs).await;
    assert_eq!((&would, gone.blobs), (&gone, 3), "the former directory, its names, and one file of it");
    assert!(gone.hashes.contains(&old) && gone.hashes.contains(&BlobHash::of(b"old")));
    assert_eq!(read(&blobs, BlobHash::of(b"both")).await, b"both");

    // a file of a directory stays, whatever is asked
    let refused = blobs.remove(BlobHash::of(b"both")).await;
    assert_eq!(refused.unwrap_err().code(), "conflict");
    add(&blobs, b"new").await;
    blobs.pin(new).await.unwrap();
    assert_eq!(blobs.untag("release").await.unwrap(), new);
    assert_eq!(blobs.untag("release").await.unwrap_err().code(), "not_found");
    node.shutdown().await;
    let node = real(&dir, None).await;
    let blobs = node.blobs();
    assert_eq!(blobs.gc(now, false).await.unwrap().blobs, 0, "marks stay over a restart");
    let removed = blobs.remove(new).await.unwrap();
    assert_eq!(removed.blobs, 3, "the directory, its names and a file; the other file is pinned by itself");
    check_figures(&blobs).await;
    assert!(blobs.unpin(pinned).await.unwrap() && !blobs.unpin(pinned).await.unwrap());
    assert_eq!(blobs.gc(now, false).await.unwrap().hashes, [pinned]);
    assert_eq!(list(&blobs).await, [BlobHash::of(b"new")]);
    node.shutdown().await;
}

/// promise: Blobs | Figures of blobs are those of this moment, and cost no look at the disk while none comes or goes
#[tokio::test(flavor = "multi_thread")]
async fn figures_of_blobs_at_rest_cost_nothing() {
    let dir = TempDir::new().unwrap();
    let node = real(&dir, None).await;
    let blobs = node.blobs();
    let hash = add(&blobs, b"rests").await.hash.to_string();
    check_figures(&blobs).await;
    // behind the node's back, so that a look would see it
    let path = dir.path().join("data/blobs").join(&hash[..2]).join(&hash);
    std::fs::remove_file(path).unwrap();
    assert_eq!(blobs.figures().await.unwrap().blobs, 1);
    add(&blobs, b"another").await;
    check_figures(&blobs).await;
    node.shutdown().await;
}

/// promise: Bad input | Tags of blobs that are empty, too long, or read as a hash; directories whose files are missing
#[tokio::test(flavor = "multi_thread")]
async fn bad_tags_and_directories_are_refused() {
    let node = WORLD.start(0, Link::Memory).await;
    let blobs = node.blobs();
    let info = add(&blobs, b"content").await;
    for tag in ["", "a\u{7}b", &"x".repeat(129), &info.hash.to_string()] {
        assert_eq!(blobs.tag(tag, info.hash).await.unwrap_err().code(), "invalid", "{tag:?}");
    }
    let nobody = BlobHash::of(b"nobody");
    assert_eq!(blobs.tag("x", nobody).await.unwrap_err().code(), "not_found");
    assert_eq!(blobs.pin(nobody).await.unwrap_err().code(), "not_found");
    for name in ["x", "zzzz", "00", "é", ""] {
        assert_eq!(blobs.resolve(name).await.unwrap_err().code(), "not_found", "{name:?}");
    }
    assert_eq!(blobs.keep_directory(info.hash, Keep::Pinned).await.unwrap_err().code(), "invalid");
    let file = CollectionFile { path: "a".into(), hash: nobody, kind: FileKind::Plain };
    let lacking = Collection::new(vec![file]).unwrap();
    add(&blobs, &lacking.names()).await;
    let links = add(&blobs, &lacking.links()).await.hash;
    assert_eq!(blobs.keep_directory(links, Keep::Pinned).await.unwrap_err().code(), "conflict");
    node.shutdown().await;
}

/// promise: Blobs | Content that the disk has changed is neither read nor handed out
#[tokio::test(flavor = "multi_thread")]
async fn damaged_content_is_not_read() {
    let dir = TempDir::new().unwrap();
    let node = real(&dir, None).await;
    let info = add(&node.blobs(), &content(3 * PART)).await;
    let name = info.hash.to_string();
    let path = dir.path().join("data/blobs").join(&name[..2]).join(&name);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[PART + 9] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let mut reader = node.blobs().read(info.hash).await.unwrap();
    let mut read = Vec::new();
    let error = reader.read_to_end(&mut read).unwrap_err();
    assert_eq!((error.kind(), read.len()), (std::io::ErrorKind::InvalidData, PART));
    node.shutdown().await;
}

/// The place of a blob's content on the disk of a node.
fn content_path(dir: &TempDir, hash: BlobHash) -> std::path::PathBuf {
    let name = hash.to_string();
    dir.path().join("data/blobs").join(&name[..2]).join(&name)
}

/// Changes a bit of a file.
fn flip(path: &std::path::Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

/// promise: Blobs | A member whose copy is damaged says so at once: whoever waits learns who has it and why nothing comes
#[tokio::test(flavor = "multi_thread")]
async fn whoever_wants_a_damaged_blob_is_told_at_once() {
    let dirs: Vec<TempDir> = (0..2).map(|_| TempDir::new().unwrap()).collect();
    let one = real(&dirs[0], None).await;
    let two = real(&dirs[1], Some(&one)).await;
    let bytes = content(3 * PART + 7);
    let info = add(&one.blobs(), &bytes).await;
    flip(&content_path(&dirs[0], info.hash), PART + 9);
    // the second time it is known, and said before anything is read
    for _ in 0..2 {
        let fetched = two.blobs();
        let error = tokio::time::timeout(WAIT, fetched.fetch(info.hash, 10 * WAIT)).await.unwrap().unwrap_err();
        assert_eq!(error.code(), "damaged");
        assert!(error.to_string().contains(&one.did().to_string()), "{error}");
        assert_eq!(one.blobs().damaged().into_iter().collect::<Vec<_>>(), [(info.hash, 1)]);
    }
    assert_eq!(one.blobs().entry(info.hash).await.unwrap().unwrap().damaged, 1);
    assert_eq!(one.blobs().figures().await.unwrap().damaged, 1);
    assert!(one.status().await.warnings.iter().any(|warning| warning.code == "blob_damaged"));
    assert_eq!(one.blobs().info(info.hash).await.unwrap(), None, "it does not count as whole");

    // it is known after a restart, and mended as soon as somebody has it
    one.shutdown().await;
    let one = Node::builder(dirs[0].path().join("data")).mdns(false);
    let one = one.listen(["/ip4/127.0.0.1/tcp/0".parse().unwrap()]).start().await.unwrap();
    eventually("it is known", async || one.blobs().damaged().len() == 1).await;
    assert_eq!(add(&two.blobs(), &bytes).await, info);
    eventually("they are beside each other", async || one.peers().await.iter().any(|peer| peer.synced)).await;
    let verified = one.blobs().verify(BlobsToVerify::One(info.hash), |_| {}).await.unwrap();
    eventually("it is whole", async || one.blobs().damaged().is_empty()).await;
    assert_eq!((verified.len(), verified[0].parts), (1, 4));
    assert_eq!(read(&one.blobs(), info.hash).await, bytes);
    assert_eq!(one.blobs().entry(info.hash).await.unwrap().unwrap().damaged, 0);
    assert!(!one.status().await.warnings.iter().any(|warning| warning.code == "blob_damaged"));
    for node in [two, one] {
        node.shutdown().await;
    }
}

/// promise: Blobs | A look through the blobs finds every damage of the disk, and mends it from whoever has the blob
#[tokio::test(flavor = "multi_thread")]
async fn every_damage_is_found_and_mended() {
    let dirs: Vec<TempDir> = (0..2).map(|_| TempDir::new().unwrap()).collect();
    let one = real(&dirs[0], None).await;
    let two = real(&dirs[1], Some(&one)).await;
    eventually("they are beside each other", async || one.peers().await.iter().any(|peer| peer.synced)).await;
    let whole = content(3 * PART + 7);
    for (kind, size) in [
        ("first", whole.len()),
        ("last", whole.len()),
        ("small", 100),
        ("index", whole.len()),
        ("no index", whole.len()),
        ("cut", whole.len()),
        ("longer", whole.len()),
        ("empty", whole.len()),
        ("all", whole.len()),
    ] {
        let bytes = [kind.as_bytes(), &whole[..size]].concat();
        let info = add(&one.blobs(), &bytes).await;
        add(&two.blobs(), &bytes).await;
        let path = content_path(&dirs[0], info.hash);
        let index = path.with_extension("obao4");
        match kind {
            "first" | "small" => flip(&path, 3),
            "last" => flip(&path, bytes.len() - 1),
            "index" => flip(&index, 40),
            "no index" => std::fs::remove_file(&index).unwrap(),
            "cut" => std::fs::write(&path, &bytes[..2 * PART]).unwrap(),
            "longer" => std::fs::write(&path, [&bytes[..], b"more"].concat()).unwrap(),
            "empty" => std::fs::write(&path, b"").unwrap(),
            _ => std::fs::write(&path, vec![0; bytes.len()]).unwrap(),
        }
        let verified = one.blobs().verify(BlobsToVerify::Kept, |_| {}).await.unwrap();
        let this = verified.iter().find(|verified| verified.hash == info.hash).unwrap();
        assert!(this.damaged > 0 && this.mended == this.damaged, "{kind}: {this:?}");
        assert!(verified.iter().all(|other| other.hash == info.hash || other.damaged == 0), "{kind}: {verified:?}");
        assert_eq!(read(&one.blobs(), info.hash).await, bytes, "{kind}");
        assert_eq!(one.blobs().info(info.hash).await.unwrap(), Some(info), "{kind}");
        assert!(one.blobs().damaged().is_empty(), "{kind}");
    }
    assert_eq!(std::fs::read_dir(dirs[0].path().join("data/blobs/part")).map_or(0, Iterator::count), 0);
    for node in [two, one] {
        node.shutdown().await;
    }
}

/// promise: Blobs | Members whose copies are damaged in different parts have the whole blob together
#[tokio::test(flavor = "multi_thread")]
async fn damaged_copies_make_a_whole_one() {
    let dirs: Vec<TempDir> = (0..3).map(|_| TempDir::new().unwrap()).collect();
    let one = real(&dirs[0], None).await;
    let two = real(&dirs[1], Some(&one)).await;
    let bytes = content(6 * PART);
    let info = add(&one.blobs(), &bytes).await;
    add(&two.blobs(), &bytes).await;
    flip(&content_path(&dirs[0], info.hash), 9);
    flip(&content_path(&dirs[1], info.hash), 4 * PART);
    let three = real(&dirs[2], Some(&one)).await;
    eventually("they are beside each other", async || {
        three.peers().await.iter().filter(|peer| peer.synced).count() == 2
    })
    .await;
    assert_eq!(three.blobs().fetch(info.hash, WAIT).await.unwrap(), info);
    assert_eq!(read(&three.blobs(), info.hash).await, bytes);
    for node in [three, two, one] {
        node.shutdown().await;
    }
}

/// promise: Blobs | A fetch that its caller gives up goes on where it was
#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_is_given_up_goes_on_where_it_was() {
    let dirs: Vec<TempDir> = (0..2).map(|_| TempDir::new().unwrap()).collect();
    let one = real(&dirs[0], None).await;
    let two = real(&dirs[1], Some(&one)).await;
    let info = add(&one.blobs(), &content(200 * PART)).await;
    let (told, mut seen) = tokio::sync::watch::channel(0);
    let blobs = two.blobs();
    let fetching = tokio::spawn(async move {
        let told = |progress: &nexus_node::blobs::BlobProgress| {
            told.send_replace(progress.bytes);
        };
        blobs.fetch_with(info.hash, WAIT, told).await
    });
    let before = *seen.wait_for(|bytes| *bytes >= 5 * PART as u64).await.unwrap();
    fetching.abort();
    assert!(fetching.await.unwrap_err().is_cancelled(), "it was given up before its end");
    let first = std::sync::Mutex::new(None);
    let told = |progress: &nexus_node::blobs::BlobProgress| {
        first.lock().unwrap().get_or_insert(progress.bytes);
    };
    two.blobs().fetch_with(info.hash, WAIT, told).await.unwrap();
    let first = first.into_inner().unwrap().unwrap();
    assert!(first >= before, "{first} bytes were there, of {before}");
    assert_eq!(read(&two.blobs(), info.hash).await, content(200 * PART));
    for node in [two, one] {
        node.shutdown().await;
    }
}

/// promise: Blobs | Nodes that make room at the same time leave two copies of each blob, and remove those that were unused for longest
#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_make_room_leave_copies() {
    let nodes = [WORLD.start(0, Link::Memory).await];
    let [one] = &nodes;
    let (two, three) = (WORLD.start_beside(1, Link::Memory, one).await, WORLD.start_beside(2, Link::Memory, one).await);
    eventually("all are beside each other", async || {
        [two.peers().await, three.peers().await]
            .iter()
            .all(|peers| peers.iter().filter(|peer| peer.synced).count() == 2)
    })
    .await;
    let mut hashes = Vec::new();
    for n in 0..24 {
        hashes.push(add(&one.blobs(), &content(1_000 + n)).await.hash);
    }
    hashes.push(add_directory(&one.blobs(), &[("a", b"first"), ("b", b"second")], Keep::Pinned).await);
    for hash in &hashes {
        for node in [&two, &three] {
            node.blobs().fetch_all(*hash, WAIT, |_| {}).await.unwrap();
        }
    }
    check_figures(&two.blobs()).await;
    assert_eq!(two.blobs().evict(1 << 20).await.unwrap().blobs, 0, "they fit");
    let (from_two, from_three) = (two.blobs(), three.blobs());
    let (two_gone, three_gone) = tokio::join!(from_two.evict(0), from_three.evict(0));
    let gone = two_gone.unwrap().blobs + three_gone.unwrap().blobs;
    assert!(gone > 4, "{gone}");
    check_figures(&from_two).await;
    let (mut copies, all) = (std::collections::BTreeMap::<BlobHash, u64>::new(), list(&one.blobs()).await);
    for node in [one, &two, &three] {
        for hash in list(&node.blobs()).await {
            *copies.entry(hash).or_default() += 1;
        }
    }
    assert!(all.iter().all(|hash| copies[hash] >= 2), "{copies:?}");
    assert_eq!(one.blobs().evict(0).await.unwrap().blobs, 0, "all is kept there");
    for hash in &hashes {
        two.blobs().fetch_all(*hash, WAIT, |_| {}).await.unwrap();
    }
    assert_eq!(list(&two.blobs()).await, all);
    check_figures(&two.blobs()).await;
    for node in nodes.into_iter().chain([three, two]) {
        node.shutdown().await;
    }
}

/// promise: Blobs | The blobs that are on their way to a node are told, with how far they are
#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_is_told_while_it_runs() {
    let dir = TempDir::new().unwrap();
    let node = real(&dir, None).await;
    let blobs = node.blobs();
    assert!(blobs.transfers().is_empty());
    let hash = BlobHash::of(b"nobody has it");
    let fetch = tokio::time::timeout(Duration::from_millis(300), blobs.fetch(hash, WAIT));
    let seen = async {
        loop {
            if let [one] = blobs.transfers().as_slice() {
                assert_eq!((one.hash, one.progress.size, one.progress.bytes), (hash, None, 0));
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let (fetched, ()) = tokio::join!(fetch, seen);
    assert!(fetched.is_err() && blobs.transfers().is_empty());
    node.shutdown().await;
}

/// promise: Blobs | A member that says it has a blob and sends nothing of it holds the blob up by seconds, and the others send it
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_sends_nothing_keeps_nobody_from_a_blob() {
    let two = WORLD.start(0, Link::Memory).await;
    let one = WORLD.start_beside(1, Link::Memory, &two).await;
    let info = add(&one.blobs(), &content(40 * PART)).await;
    let mut silent = Vec::new();
    for n in 11..14 {
        silent.push(provider(&two, n, info.size, None).await);
    }
    assert_eq!(two.blobs().fetch(info.hash, WAIT).await.unwrap(), info);
    drop(silent);
    for node in [two, one] {
        node.shutdown().await;
    }
}

/// A member that has a blob, and sends 1 KB of it each second. It counts the bytes that it sent.
async fn dripping(node: &Node, n: u8, info: BlobInfo, content: Vec<u8>) -> (Rogue, Arc<AtomicU64>) {
    let mut rooms = Rooms::new();
    let mut streams = rooms.register(BLOBS, 64);
    let sent = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&sent);
    let content = Arc::new(content);
    let shape = Shape::of(info.size);
    let mut index = vec![0; nexus_blobs::index_bytes(shape) as usize];
    nexus_blobs::index(content.as_slice(), shape, index.as_mut_slice()).unwrap();
    let index = Arc::new(index);
    tokio::spawn(async move {
        while let Some((_, mut stream)) = streams.recv().await {
            let (content, index, count) = (Arc::clone(&content), Arc::clone(&index), Arc::clone(&count));
            tokio::spawn(async move {
                while let Ok(Some(frame)) = read_frame(&mut stream, FRAME_BYTES_MAX).await {
                    let asked = Envelope::decode(frame.as_slice()).unwrap();
                    let body = match asked.body {
                        Some(Body::Want(want)) => Body::Has(Has { sizes: vec![info.size + 1; want.hashes.len()] }),
                        Some(Body::Part(part)) => {
                            let place = nexus_blobs::Part(Asked::decode(part.as_slice()).unwrap().part);
                            Body::Slice(
                                nexus_blobs::slice(info.hash, shape, place, content.as_slice(), index.as_slice())
                                    .unwrap(),
                            )
                        }
                        _ => continue,
                    };
                    let is_slow = matches!(body, Body::Slice(_));
                    let answer = Envelope { id: asked.id, body: Some(body) }.encode_to_vec();
                    let mut framed = futures::io::Cursor::new(Vec::new());
                    write_frame(&mut framed, &answer).await.unwrap();
                    for piece in framed.into_inner().chunks(1_000) {
                        if stream.write_all(piece).await.is_err() || stream.flush().await.is_err() {
                            return;
                        }
                        if is_slow {
                            count.fetch_add(piece.len() as u64, Ordering::Relaxed);
                            tokio::time::sleep(Duration::from_secs(1)).await;
                        }
                    }
                }
            });
        }
    });
    let rogue = Rogue::start_with(rooms, WORLD.mesh(), WORLD.chain(n), &key(n), Link::Tcp, address_of(node)).await;
    (rogue, sent)
}

/// promise: Blobs | Beside a member that sends 1 KB/s a blob comes from the good one: no part is waited for that the slow one began
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_member_beside_a_good_one_costs_no_part() {
    let two = WORLD.start(0, Link::Tcp).await;
    let one = WORLD.start_beside(1, Link::Tcp, &two).await;
    let bytes = content(120 * PART + 9);
    let info = add(&one.blobs(), &bytes).await;
    let (_slow, sent) = dripping(&two, 11, info, bytes.clone()).await;
    eventually("both say that they have it", async || {
        let said = two.blobs().holders(&[info.hash]).await;
        said.get(&info.hash).is_some_and(|said| said.len() == 2)
    })
    .await;
    let last = std::sync::Mutex::new(nexus_node::blobs::BlobProgress::default());
    let told = |progress: &nexus_node::blobs::BlobProgress| *last.lock().unwrap() = progress.clone();
    assert_eq!(two.blobs().fetch_with(info.hash, WAIT, told).await.unwrap(), info);
    let sources = last.into_inner().unwrap().sources;
    let parts = |of: Did| sources.iter().find(|source| source.peer == of).map_or(0, |source| source.parts);
    // the last part, of some bytes, is asked of both: it proves the size, and whoever is first counts
    assert_eq!(parts(one.did()) + parts(key(11).did()), 121, "{sources:?}");
    assert!(parts(key(11).did()) <= 1, "{sources:?}");
    assert!(sources.iter().all(|source| !source.lied), "{sources:?}");
    assert!(sent.load(Ordering::Relaxed) < PART as u64, "not one part of it was waited for");
    assert_eq!(read(&two.blobs(), info.hash).await, bytes);
    for node in [two, one] {
        node.shutdown().await;
    }
}

/// promise: Blobs | Two hundred blobs that are wanted in one moment come all, and so does one that is wanted fifty times
#[tokio::test(flavor = "multi_thread")]
async fn many_blobs_at_once_come_all() {
    let dirs = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let one = real(&dirs[0], None).await;
    let two = real(&dirs[1], Some(&one)).await;
    let mut wanted = Vec::new();
    for n in 0..200_usize {
        wanted.push(add(&one.blobs(), &content(n * 100 + 1)).await);
    }
    let large = add(&one.blobs(), &content(12 * PART + 5)).await;
    wanted.extend([large; 50]);
    let fetches = wanted.iter().map(|info| {
        let blobs = two.blobs();
        async move { blobs.fetch(info.hash, WAIT).await }
    });
    let fetched = futures::future::join_all(fetches).await;
    for (fetched, info) in fetched.into_iter().zip(&wanted) {
        assert_eq!(fetched.unwrap(), *info);
    }
    assert_eq!(list(&two.blobs()).await.len(), 201);
    assert_eq!(read(&two.blobs(), large.hash).await, content(12 * PART + 5));
    for node in [two, one] {
        node.shutdown().await;
    }
}

/// promise: Blobs | A disk without room ends a fetch and an addition with `disk_full`, and both go on once there is room
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_a_fetch_which_goes_on_later() {
    let dirs = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let one = real(&dirs[0], None).await;
    let two = real(&dirs[1], Some(&one)).await;
    let info = add(&one.blobs(), &content(30 * PART)).await;
    let reserve = |bytes| {
        let mut config = Config::default();
        config.disk_reserve_bytes = bytes;
        two.configure(&config);
    };
    reserve(Bounded::of::<{ 1 << 50 }>());
    let is_full = |what: Result<BlobInfo, NodeError>| what.unwrap_err().code() == "disk_full";
    assert!(is_full(two.blobs().fetch(info.hash, WAIT).await));
    assert!(is_full(two.blobs().add(std::io::Cursor::new(content(PART))).await));
    assert!(list(&two.blobs()).await.is_empty());
    reserve(Bounded::of::<0>());
    // the disk is asked once a second
    eventually("there is room", async || two.blobs().fetch(info.hash, WAIT).await.is_ok()).await;
    assert_eq!(read(&two.blobs(), info.hash).await, content(30 * PART));
    add(&two.blobs(), &content(PART)).await;
    for node in [two, one] {
        node.shutdown().await;
    }
}
