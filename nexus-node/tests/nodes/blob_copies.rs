//! Copies of blobs that members keep for each other.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::io::Cursor;
use std::time::Duration;

use nexus_blobs::{Part as Place, Shape};
use nexus_mesh::{FRAME_BYTES_MAX, Rooms, StreamProtocol, read_frame, write_frame};
use nexus_node::blobs::{BlobHash, Blobs, Collection, CollectionFile, FileKind, Keep};
use nexus_node::config::{Bounded, Config};
use nexus_node::{Node, NodeError};
use prost::Message;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::rogue::Rogue;
use crate::world::{Link, World, address_of, eventually, key};

const WORLD: World = World(231);
const BLOBS: StreamProtocol = StreamProtocol::new("/nexus/blobs/1");
const MIB: usize = 1 << 20;

fn content(size: usize) -> Vec<u8> {
    (0..size as u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()[5]).collect()
}

async fn add(node: &Node, bytes: Vec<u8>) -> BlobHash {
    node.blobs().add(Cursor::new(bytes)).await.unwrap().hash
}

/// A node beside another one, with other settings.
async fn beside(n: u8, other: &Node, change: impl FnOnce(&mut Config)) -> Node {
    let mut env = WORLD.env(n, Link::Memory);
    env.config.bootstrap.0 = vec![address_of(other)];
    change(&mut env.config);
    let node = Node::with_env(env).await.unwrap();
    eventually("they know each other", async || node.peers().await.iter().any(|peer| peer.synced)).await;
    node
}

/// A pinned directory with so many files, whose files have no pin.
async fn add_directory(node: &Node, count: usize) -> (BlobHash, Collection) {
    let (blobs, mut files) = (node.blobs(), Vec::new());
    for n in 0..count {
        let hash = add(node, content(1_000 + n)).await;
        blobs.unpin(hash).await.unwrap();
        files.push(CollectionFile { path: format!("d/{n}"), hash, kind: FileKind::Plain });
    }
    let collection = Collection::new(files).unwrap();
    add(node, collection.names()).await;
    let links = add(node, collection.links()).await;
    (blobs.keep_directory(links, Keep::Pinned).await.unwrap().hash, collection)
}

/// The number of copies of a blob that count at its own node.
async fn copies(blobs: &Blobs, hash: BlobHash) -> usize {
    blobs.entry(hash).await.unwrap().unwrap().copies.map_or(1, |copies| copies.count)
}

/// Whether a blob is kept at a node for another one.
async fn keeps(node: &Node, hash: BlobHash, of: &Node) -> bool {
    let entry = node.blobs().entry(hash).await.unwrap();
    entry.is_some_and(|entry| entry.kept_for.contains(&of.did()))
}

/// Waits until a node knows the rogue as a member: the engine reads its credentials beside the connection.
async fn is_known(node: &Node) {
    while node.members().iter().all(|member| member.did != key(9).did()) {
        tokio::task::yield_now().await;
    }
}

/// promise: Blobs | As many copies are kept as are wanted, of directories with all their files; those who keep them let go once fewer are wanted
#[tokio::test(flavor = "multi_thread")]
async fn others_keep_the_copies_that_are_wanted() {
    let one = WORLD.start(0, Link::Memory).await;
    let (two, three) = (beside(1, &one, |_| {}).await, beside(2, &one, |_| {}).await);
    let blobs = one.blobs();
    let file = add(&one, content(MIB)).await;
    let (directory, collection) = add_directory(&one, 3).await;
    let first = collection.files()[0].hash;

    blobs.want_copies(file, 2).await.unwrap();
    blobs.want_copies(directory, 3).await.unwrap();
    eventually("the copies are there", async || {
        copies(&blobs, file).await == 2 && copies(&blobs, directory).await == 3
    })
    .await;
    let holders = [keeps(&two, file, &one).await, keeps(&three, file, &one).await];
    assert_eq!(holders.iter().filter(|keeps| **keeps).count(), 1, "no more than are wanted");
    for node in [&two, &three] {
        assert_eq!(node.blobs().gc(Duration::ZERO, false).await.unwrap().blobs, 0, "they are kept");
        assert_eq!(node.blobs().evict(0).await.unwrap().blobs, 0);
        assert!(node.blobs().info(first).await.unwrap().is_some());
    }

    // also after the owner's restart: the wish is on its disk
    let refused = blobs.want_copies(file, 17).await.unwrap_err();
    assert!(matches!(refused, NodeError::Invalid(_)) && refused.to_string().contains("1 to 16"), "{refused}");
    blobs.want_copies(file, 1).await.unwrap();
    eventually("it is let go of", async || {
        let entry = blobs.entry(file).await.unwrap().unwrap();
        entry.copies.is_none() && !keeps(&two, file, &one).await && !keeps(&three, file, &one).await
    })
    .await;
    blobs.remove(directory).await.unwrap();
    eventually("what is removed is let go of, too", async || {
        !keeps(&two, directory, &one).await && !keeps(&three, directory, &one).await
    })
    .await;
    let gone = two.blobs().gc(Duration::ZERO, false).await.unwrap().blobs;
    assert!(gone >= 5, "{gone}");
}

/// promise: Blobs | A member keeps so many bytes for each other one and no more; what it kept for a member goes with that membership
#[tokio::test(flavor = "multi_thread")]
async fn copies_count_against_the_member_that_wants_them() {
    let founder = WORLD.start(0, Link::Memory).await;
    let laptop = beside(1, &founder, |_| {}).await;
    let small = beside(2, &founder, |config| config.blob_copies_bytes = Bounded::new(3 * MIB as u64).unwrap()).await;
    let none = beside(3, &founder, |config| config.blob_copies_bytes = Bounded::new(0).unwrap()).await;
    let blobs = laptop.blobs();
    let hashes = [add(&laptop, content(2 * MIB)).await, add(&laptop, content(2 * MIB + 1)).await];
    for hash in hashes {
        blobs.want_copies(hash, 3).await.unwrap();
    }
    // the founder has room for both, the small one for one, and another one for none
    eventually("whoever has room keeps one", async || {
        copies(&blobs, hashes[0]).await + copies(&blobs, hashes[1]).await == 5
    })
    .await;
    let kept = [keeps(&small, hashes[0], &laptop).await, keeps(&small, hashes[1], &laptop).await];
    assert_eq!(kept.iter().filter(|kept| **kept).count(), 1);
    for hash in hashes {
        assert!(keeps(&founder, hash, &laptop).await && !keeps(&none, hash, &laptop).await);
    }
    assert_eq!(none.blobs().entry(hashes[0]).await.unwrap(), None, "nothing was fetched");
    // its own do not count
    add(&small, content(4 * MIB)).await;

    founder.revoke(laptop.did(), None).await.unwrap();
    assert_eq!(founder.blobs().gc(Duration::ZERO, false).await.unwrap().blobs, 2);
    eventually("the others know", async || small.members().len() == 3).await;
    assert_eq!(small.blobs().gc(Duration::ZERO, false).await.unwrap().blobs, 1);
}

#[derive(Clone, PartialEq, Message)]
struct Frame {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(message, optional, tag = "2")]
    want: Option<Want>,
    #[prost(message, optional, tag = "3")]
    part: Option<Part>,
    #[prost(message, optional, tag = "4")]
    has: Option<Has>,
    #[prost(bytes = "vec", optional, tag = "5")]
    slice: Option<Vec<u8>>,
    #[prost(message, optional, tag = "6")]
    lacks: Option<Lacks>,
    #[prost(message, optional, tag = "7")]
    keep: Option<Keeping>,
    #[prost(message, optional, tag = "8")]
    kept: Option<Kept>,
    #[prost(message, optional, tag = "9")]
    release: Option<Keeping>,
}

#[derive(Clone, PartialEq, Message)]
struct Want {
    #[prost(bytes = "vec", repeated, tag = "1")]
    hashes: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Has {
    #[prost(uint64, repeated, tag = "1")]
    sizes: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct Lacks {}

#[derive(Clone, PartialEq, Message)]
struct Part {
    #[prost(bytes = "vec", tag = "1")]
    hash: Vec<u8>,
    #[prost(uint64, tag = "2")]
    part: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Keeping {
    #[prost(bytes = "vec", tag = "1")]
    hash: Vec<u8>,
    #[prost(uint64, tag = "2")]
    size: u64,
    #[prost(uint64, tag = "3")]
    files: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Kept {
    #[prost(int32, tag = "1")]
    state: i32,
}

/// A member that says it keeps whatever it is asked to keep, and what it shows of that; `None` if it lacks the part. The
/// parts that it is asked for follow.
async fn claimant(
    node: &Node,
    shows: impl Fn(Part) -> Option<Vec<u8>> + Clone + Send + 'static,
) -> (Rogue, UnboundedReceiver<Part>) {
    let mut rooms = Rooms::new();
    let mut streams = rooms.register(BLOBS, 64);
    let (asked, questions) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some((_, mut stream)) = streams.recv().await {
            let (asked, shows) = (asked.clone(), shows.clone());
            tokio::spawn(async move {
                while let Ok(Some(frame)) = read_frame(&mut stream, FRAME_BYTES_MAX).await {
                    let Frame { id, part, keep, .. } = Frame::decode(frame.as_slice()).unwrap();
                    let mut answer = Frame { id, ..Frame::default() };
                    match part {
                        Some(part) => {
                            // its test may have ended
                            let _ = asked.send(part.clone());
                            answer.slice = shows(part);
                            answer.lacks = answer.slice.is_none().then(Lacks::default);
                        }
                        None if keep.is_some() => answer.kept = Some(Kept { state: 1 }),
                        None => answer.lacks = Some(Lacks {}),
                    }
                    write_frame(&mut stream, &answer.encode_to_vec()).await.unwrap();
                }
            });
        }
    });
    let rogue = Rogue::start_with(rooms, WORLD.mesh(), WORLD.chain(9), &key(9), Link::Memory, address_of(node)).await;
    (rogue, questions)
}

/// promise: Blobs | A member that says it keeps a copy must show a part of it that it cannot foresee; else the copy does not count
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_only_claimed_does_not_count() {
    let one = WORLD.start(0, Link::Memory).await;
    let (_rogue, mut questions) = claimant(&one, |_| Some(vec![7; 300])).await;
    let hash = add(&one, content(3 * MIB)).await;
    one.blobs().want_copies(hash, 2).await.unwrap();
    questions.recv().await.unwrap();
    let honest = beside(1, &one, |_| {}).await;
    eventually("the honest one keeps it", async || keeps(&honest, hash, &one).await).await;
    eventually("it counts", async || copies(&one.blobs(), hash).await == 2).await;
    let holders = one.blobs().entry(hash).await.unwrap().unwrap().copies.unwrap().holders;
    assert_eq!(holders, [honest.did()]);
}

/// promise: Blobs | A member that keeps only the list of a directory's files keeps no copy of it: it must show a file, too
#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_files_is_no_copy_of_a_directory() {
    let one = WORLD.start(0, Link::Memory).await;
    let (directory, collection) = add_directory(&one, 20).await;
    let links = collection.links();
    let (_rogue, mut questions) = claimant(&one, move |part| {
        let is_list = part.hash == directory.as_bytes();
        is_list.then(|| {
            nexus_blobs::slice(
                directory,
                Shape::of(links.len() as u64),
                Place(part.part),
                links.as_slice(),
                [0; 0].as_slice(),
            )
            .unwrap()
        })
    })
    .await;
    one.blobs().want_copies(directory, 2).await.unwrap();
    assert_eq!(questions.recv().await.unwrap().hash, directory.as_bytes(), "it shows the list");
    let asked = questions.recv().await.unwrap().hash;
    assert!(collection.files().iter().any(|file| file.hash.as_bytes() == asked.as_slice()), "and then a file");
    let honest = beside(1, &one, |_| {}).await;
    eventually("the honest one keeps it", async || keeps(&honest, directory, &one).await).await;
    eventually("it counts", async || copies(&one.blobs(), directory).await == 2).await;
    let holders = one.blobs().entry(directory).await.unwrap().unwrap().copies.unwrap().holders;
    assert_eq!(holders, [honest.did()]);
}

/// The answer to a wish for a copy of a file, or that it need not be kept any more.
async fn wish(stream: &mut nexus_mesh::Stream, hash: &[u8], size: u64, keep: bool) -> i32 {
    let wish = Some(Keeping { hash: hash.to_vec(), size, files: 0 });
    let (keep, release) = if keep { (wish, None) } else { (None, wish) };
    let question = Frame { id: 1, keep, release, ..Frame::default() }.encode_to_vec();
    write_frame(stream, &question).await.unwrap();
    let answer = read_frame(stream, FRAME_BYTES_MAX).await.unwrap().unwrap();
    Frame::decode(answer.as_slice()).unwrap().kept.unwrap_or_default().state
}

/// promise: Blobs | Wishes of a rogue member for copies keep nothing beyond its quota, whatever size it claims, and cost no answer
#[tokio::test(flavor = "multi_thread")]
async fn wishes_of_a_rogue_member_are_bounded() {
    let node = WORLD.start(0, Link::Memory).await;
    let real = add(&node, content(MIB)).await;
    node.blobs().unpin(real).await.unwrap();
    let rogue = Rogue::meet(WORLD, 9, Link::Memory, &node).await;
    is_known(&node).await;
    let mut stream = rogue.mesh.open(node.did(), &BLOBS).await.unwrap();
    let mut ask = async |hash: &[u8], size: u64, keep: bool| wish(&mut stream, hash, size, keep).await;
    let (no, kept, coming, full) = (0, 1, 2, 3);
    let hash = real.as_bytes().as_slice();
    assert_eq!(ask(&hash[..31], MIB as u64, true).await, no);
    assert_eq!(ask(hash, u64::MAX, true).await, full);
    // of another size it is not what is here, and nobody has that
    assert_eq!(ask(hash, 7, true).await, coming);
    while ask(hash, MIB as u64, true).await == coming {
        tokio::task::yield_now().await;
    }
    assert_eq!(ask(hash, MIB as u64, true).await, kept);
    let mib = MIB as u64;
    assert_eq!(ask(&[9; 32], (1 << 30) - 2 * mib, true).await, coming);
    for n in 10..30 {
        assert_eq!(ask(&[n; 32], 2 * MIB as u64, true).await, full);
    }
    assert_eq!(ask(&[1; 33], 0, false).await, no);
    assert_eq!(ask(hash, 0, false).await, no);
    assert_eq!(node.blobs().entry(real).await.unwrap().unwrap().kept_for, []);
    assert_eq!(ask(&[3; 32], 2 * mib - (16 << 10) + 1, true).await, full, "what comes is counted, and a file with it");
    // empty ones are none for nothing, and few come at a time
    let mut count = 0;
    while ask(&[40 + count; 32], 0, true).await == coming {
        count += 1;
    }
    assert_eq!(count, 63);
}

/// promise: Blobs | Whatever came for a member counts for it until it is removed, also if it let go of it, or had said something else of it
#[tokio::test(flavor = "multi_thread")]
async fn content_that_is_not_kept_counts_until_it_is_gone() {
    let node = WORLD.start(0, Link::Memory).await;
    let rogue = Rogue::meet(WORLD, 9, Link::Memory, &node).await;
    is_known(&node).await;
    let honest = beside(1, &node, |_| {}).await;
    let mut stream = rogue.mesh.open(node.did(), &BLOBS).await.unwrap();
    let mut ask = async |hash: &BlobHash, size: u64, keep: bool| wish(&mut stream, hash.as_bytes(), size, keep).await;
    let (no, kept, coming, full, mib) = (0, 1, 2, 3, MIB as u64);
    let room = |left: u64| (1 << 30) - left - (8 << 10);
    let (first, second) = (add(&honest, content(MIB)).await, add(&honest, content(2 * MIB)).await);

    // it comes, is let go of, and counts as long as it is here
    while ask(&first, mib, true).await == coming {
        tokio::task::yield_now().await;
    }
    assert_eq!(ask(&first, mib, true).await, kept);
    assert_eq!(ask(&first, 0, false).await, no);
    assert_eq!(node.blobs().entry(first).await.unwrap().unwrap().kept_for, []);
    let nobody = BlobHash::from_bytes([7; 32]);
    let used = mib + (8 << 10);
    assert_eq!(ask(&nobody, room(used) + 1, true).await, full);
    // the same again counts once
    assert_eq!(ask(&first, mib, true).await, kept);
    assert_eq!(ask(&nobody, room(used) + 1, true).await, full);
    assert_eq!(ask(&first, 0, false).await, no);

    // it is not as it was said, and is not kept; the bytes that were said count
    assert_eq!(ask(&second, 3 * mib, true).await, coming);
    eventually("it is here", async || node.blobs().info(second).await.unwrap().is_some()).await;
    let used = used + 3 * mib + (8 << 10);
    assert_eq!(ask(&nobody, room(used) + 1, true).await, full);
    eventually("it is looked at", async || node.blobs().transfers().is_empty()).await;
    assert_eq!(node.blobs().entry(second).await.unwrap().unwrap().kept_for, []);

    eventually("both can go", async || node.blobs().gc(Duration::ZERO, true).await.unwrap().blobs == 2).await;
    assert_eq!(node.blobs().gc(Duration::ZERO, false).await.unwrap().blobs, 2);
    assert_eq!(ask(&first, room(4 * mib), true).await, coming, "there is room again");
}

/// promise: Blobs | A member that claims large sizes for the files of a directory keeps nobody from a copy of it
#[tokio::test(flavor = "multi_thread")]
async fn claimed_sizes_keep_nobody_from_a_copy_of_a_directory() {
    let one = WORLD.start(0, Link::Memory).await;
    let (directory, _) = add_directory(&one, 5).await;
    let mut rooms = Rooms::new();
    let mut streams = rooms.register(BLOBS, 64);
    tokio::spawn(async move {
        while let Some((_, mut stream)) = streams.recv().await {
            tokio::spawn(async move {
                while let Ok(Some(frame)) = read_frame(&mut stream, FRAME_BYTES_MAX).await {
                    let Frame { id, want, .. } = Frame::decode(frame.as_slice()).unwrap();
                    // each is less than the directory, and all five are more
                    let has = want.map(|want| Has { sizes: vec![3_001; want.hashes.len()] });
                    let slice = has.is_none().then(|| vec![7; 300]);
                    let answer = Frame { id, has, slice, ..Frame::default() }.encode_to_vec();
                    if write_frame(&mut stream, &answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let two = beside(1, &one, |_| {}).await;
    let liar = Rogue::start_with(rooms, WORLD.mesh(), WORLD.chain(9), &key(9), Link::Memory, address_of(&two)).await;
    eventually("the liar is heard of", async || {
        two.blobs().holders(&[directory]).await.get(&directory).is_some_and(|said| said.len() == 2)
    })
    .await;
    one.blobs().want_copies(directory, 2).await.unwrap();
    eventually("it is kept", async || keeps(&two, directory, &one).await).await;
    drop(liar);
}

/// promise: Blobs | A member for whom blobs come slowly, or never, keeps no other from its copies
#[tokio::test(flavor = "multi_thread")]
async fn slow_blobs_of_a_member_keep_no_other_from_its_copies() {
    let node = WORLD.start(0, Link::Memory).await;
    let rogue = Rogue::meet(WORLD, 9, Link::Memory, &node).await;
    is_known(&node).await;
    let mut stream = rogue.mesh.open(node.did(), &BLOBS).await.unwrap();
    eventually("it counts as a member", async || node.members().len() == 2).await;
    // nobody has them, so each is waited for
    for n in 0..64 {
        assert_eq!(wish(&mut stream, &[n; 32], 7, true).await, 2);
    }
    eventually("some are looked for", async || !node.blobs().transfers().is_empty()).await;
    let honest = beside(1, &node, |_| {}).await;
    let hash = add(&honest, content(MIB)).await;
    honest.blobs().want_copies(hash, 2).await.unwrap();
    eventually("it is kept", async || keeps(&node, hash, &honest).await).await;
}

/// promise: Blobs | A rogue member that wants copies of a wrong size, or of what nobody has, delays nobody here who wants the same blob
#[tokio::test(flavor = "multi_thread")]
async fn wishes_of_a_rogue_member_delay_no_fetch() {
    let node = WORLD.start(0, Link::Memory).await;
    let rogue = Rogue::meet(WORLD, 9, Link::Memory, &node).await;
    is_known(&node).await;
    let honest = beside(1, &node, |_| {}).await;
    let hash = add(&honest, content(MIB)).await;
    let nobody = BlobHash::from_bytes([7; 32]);
    let mut stream = rogue.mesh.open(node.did(), &BLOBS).await.unwrap();
    eventually("it counts as a member", async || node.members().len() == 3).await;
    for wanted in [hash, nobody] {
        assert_eq!(wish(&mut stream, wanted.as_bytes(), 7, true).await, 2);
    }
    eventually("both are looked for", async || node.blobs().transfers().len() == 2).await;
    // its own fetches go on for two minutes
    let wait = Duration::from_secs(60);
    let info = tokio::time::timeout(wait, node.blobs().fetch(hash, Duration::ZERO)).await.unwrap().unwrap();
    assert_eq!(info.size, MIB as u64);
    let missing = tokio::time::timeout(wait, node.blobs().fetch(nobody, Duration::ZERO)).await.unwrap().unwrap_err();
    assert!(matches!(missing, NodeError::NotFound { .. }), "{missing}");
    assert_eq!(node.blobs().transfers().len(), 1, "it waits for the other one as before");
    eventually("it is not kept for the rogue", async || {
        node.blobs().entry(hash).await.unwrap().unwrap().kept_for.is_empty()
    })
    .await;
}

/// promise: Blobs | A wish of a rogue member takes no more than it says once nobody else wants the blob: what another began ends with that one
#[tokio::test(flavor = "multi_thread")]
async fn a_wish_takes_no_more_once_others_are_gone() {
    let node = WORLD.start(0, Link::Memory).await;
    let rogue = Rogue::meet(WORLD, 9, Link::Memory, &node).await;
    is_known(&node).await;
    let honest = beside(1, &node, |_| {}).await;
    let hash = add(&honest, content(128 * MIB)).await;
    let mut stream = rogue.mesh.open(node.did(), &BLOBS).await.unwrap();
    eventually("it counts as a member", async || node.members().len() == 3).await;
    assert_eq!(wish(&mut stream, hash.as_bytes(), 7, true).await, 2);
    eventually("it is looked for", async || node.blobs().transfers().len() == 1).await;
    let (blobs, begun) = (node.blobs(), tokio::sync::Notify::new());
    let told = |progress: &nexus_node::blobs::BlobProgress| {
        if progress.bytes > 0 {
            begun.notify_one();
        }
    };
    tokio::select! {
        _ = blobs.fetch_with(hash, Duration::from_secs(60), told) => panic!("it has come before anybody hung up"),
        () = begun.notified() => {}
    }
    eventually("it ends", async || node.blobs().transfers().is_empty()).await;
    assert_eq!(node.blobs().info(hash).await.unwrap(), None);
}
