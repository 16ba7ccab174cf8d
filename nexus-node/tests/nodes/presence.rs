//! Words of programs about a document, which nobody keeps: between nodes, and from a member that has no node.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::time::Instant;

use nexus_crdt::HIDDEN_FROM_READERS;
use nexus_documents::{DocumentId, EPHEMERAL_BYTES_MAX, RepoBody, RepoMessage};
use nexus_identity::Role;
use nexus_mesh::quota::Receiver;
use nexus_mesh::{Rooms, Stream, StreamProtocol, read_frame};
use nexus_node::Node;
use nexus_node::documents::Listener;

use crate::access::{OURS, define, start_as};
use crate::rogue::{Line, Rogue};
use crate::world::{Link, SOON, World, address_of, eventually, key};

const WORLD: World = World(231);
const PRESENCE: StreamProtocol = StreamProtocol::new("/nexus/presence/1");
/// The number of the rogue member.
const ROGUE: u8 = 9;

/// A program at a node that has a document open, once the document is there.
async fn listener(node: &Node, space: Option<&str>, program: &'static str) -> Listener {
    eventually(program, || async { node.documents().listener(space, "plan", program).await.is_ok() }).await;
    node.documents().listener(space, "plan", program).await.unwrap()
}

async fn heard(listener: &mut Listener) -> (String, u64, Vec<u8>) {
    tokio::time::timeout(SOON, listener.heard()).await.expect("a word in time").unwrap()
}

/// Says something until another program hears it: a word is dropped while nodes do not know each other's rooms. Returns the next
/// number.
async fn until_heard(speaker: &mut Listener, other: &mut Listener) -> u64 {
    let mut count = 0;
    let said = async {
        loop {
            count += 1;
            speaker.say(count, b"hello").await;
            if let Ok(Some(_)) = tokio::time::timeout(std::time::Duration::from_millis(60), other.heard()).await {
                return;
            }
        }
    };
    tokio::time::timeout(SOON, said).await.expect("they hear each other");
    count + 1
}

/// The frame of a word.
fn frame((space, document): ([u8; 32], [u8; 16]), session: &str, count: u64, data: Vec<u8>) -> Vec<u8> {
    let document = DocumentId::from_bytes(document);
    let body = RepoBody::Ephemeral { document, session: session.to_owned(), count, data };
    let message = RepoMessage { sender: "rogue".to_owned(), target: String::new(), body };
    [&space[..], &message.write()].concat()
}

/// promise: Documents | A program's words about a document reach the programs that have it open, on all nodes, and each once
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_pass_between_the_programs_of_two_nodes() {
    let node = WORLD.start(0, Link::Memory).await;
    let friend = WORLD.start_beside(1, Link::Memory, &node).await;
    node.documents().create(None, "plan").await.unwrap();
    node.documents().create(None, "another").await.unwrap();
    let (mut a, mut c) = (listener(&node, None, "a").await, listener(&node, None, "c").await);
    let mut b = listener(&friend, None, "b").await;
    let mut elsewhere = node.documents().listener(None, "another", "elsewhere").await.unwrap();
    let next = until_heard(&mut a, &mut b).await;
    while tokio::time::timeout(std::time::Duration::ZERO, c.heard()).await.is_ok() {}
    while tokio::time::timeout(std::time::Duration::ZERO, b.heard()).await.is_ok() {}

    assert!(a.say(next, b"here").await);
    assert!(!a.say(next, b"here").await && !a.say(next - 1, b"here").await, "it has come");
    assert!(!a.say(next + 1, &[0; EPHEMERAL_BYTES_MAX + 1]).await, "it is too long");
    let word = ("a".to_owned(), next, b"here".to_vec());
    assert_eq!((heard(&mut b).await, heard(&mut c).await), (word.clone(), word));
    assert!(b.say(1, b"there").await);
    let word = ("b".to_owned(), 1, b"there".to_vec());
    assert_eq!((heard(&mut a).await, heard(&mut c).await), (word.clone(), word), "its own it does not hear");
    assert!(elsewhere.say(1, b"other").await);
    drop(elsewhere);
    assert!(b.say(2, b"after").await);
    assert_eq!((heard(&mut a).await.1, heard(&mut c).await.1), (2, 2), "nor those about another document");

    let begun = Instant::now();
    let mut passed = 0;
    for count in 0..500 {
        passed += u32::from(c.say(count + 1, b"flood").await);
    }
    let most = 21 + 20 * u32::try_from(begun.elapsed().as_secs() + 1).unwrap();
    assert!((1..=most).contains(&passed), "{passed} of at most {most}");
}

/// A member that has no node: it hears what comes to its room, and says what it likes.
async fn rogue(world: World, role: Role, node: &Node) -> (Rogue, Receiver<Stream>) {
    let mut rooms = Rooms::new();
    let streams = rooms.register(PRESENCE, 4);
    let (chain, address) = (world.chain_as(ROGUE, role), address_of(node));
    let rogue = Rogue::start_with(rooms, world.mesh(), chain, &key(ROGUE), Link::Memory, address).await;
    (rogue, streams)
}

/// promise: Documents | Words about a document of a space go to no member that may not read it, and none of such a member are taken
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_of_a_space_stay_among_its_readers() {
    let node = OURS.start(0, Link::Memory).await;
    let space = define(&node, HIDDEN_FROM_READERS).await.to_string();
    let council = Some(space.as_str());
    let friend = start_as(1, Role::Member, &node).await;
    for space in [None, council] {
        node.documents().create(space, "plan").await.unwrap();
    }
    let (mut open, mut hidden) = (listener(&node, None, "open").await, listener(&node, council, "hidden").await);
    let mut member = listener(&friend, council, "member").await;
    let (reader, mut streams) = rogue(OURS, Role::Reader, &node).await;
    // the reader is a member by now, as the node sees it
    eventually("it is known", || async { node.members().iter().any(|member| member.did == key(ROGUE).did()) }).await;
    let next = until_heard(&mut hidden, &mut member).await;
    assert!(open.say(1, b"for all").await);
    let (_, mut stream) = tokio::time::timeout(SOON, streams.recv()).await.unwrap().unwrap();
    let first = tokio::time::timeout(SOON, read_frame(&mut stream, 8_192)).await.unwrap().unwrap().unwrap();
    assert_eq!(first[..32], open.place().0, "the first word that it hears is the one for all");

    let mut line = Line(reader.mesh.open(node.did(), &PRESENCE).await.unwrap());
    line.frame(&frame(hidden.place(), "run", 1, b"by a reader".to_vec())).await.unwrap();
    line.frame(&frame(open.place(), "run", 2, b"by a reader".to_vec())).await.unwrap();
    assert_eq!(heard(&mut open).await, ("rogue".to_owned(), 2, b"by a reader".to_vec()), "a reader may speak");
    assert!(member.say(next, b"by a member").await);
    loop {
        let (sender, count, _) = heard(&mut hidden).await;
        assert_eq!(sender, "member");
        if count == next {
            break;
        }
    }
}

/// promise: Documents | A member that floods a node with words is heard up to 256 KiB a second, and others are heard beside it
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_words_is_dropped_and_others_are_heard() {
    let node = WORLD.start(0, Link::Memory).await;
    let friend = WORLD.start_beside(1, Link::Memory, &node).await;
    node.documents().create(None, "plan").await.unwrap();
    let (mut here, mut there) = (listener(&node, None, "here").await, listener(&friend, None, "there").await);
    let next = until_heard(&mut there, &mut here).await;
    let (rogue, _streams) = rogue(WORLD, Role::Member, &node).await;
    let begun = Instant::now();
    let (place, to) = (here.place(), node.did());
    let flood = tokio::spawn(async move {
        let mut count = 0;
        loop {
            let Ok(stream) = rogue.mesh.open(to, &PRESENCE).await else { continue };
            let mut line = Line(stream);
            // each is a run of its own, and new
            while line.frame(&frame(place, &count.to_string(), 1, vec![0; 4_000])).await.is_ok() {
                count += 1;
            }
        }
    });
    let mut words_of_rogue = 0_u64;
    let (mut of_friend, mut count) = (0, next);
    let hearing = async {
        while words_of_rogue < 100 || of_friend < 5 {
            if there.say(count, b"beside it").await {
                count += 1;
            }
            while let Ok(Some((sender, ..))) =
                tokio::time::timeout(std::time::Duration::from_millis(50), here.heard()).await
            {
                words_of_rogue += u64::from(sender == "rogue");
                if sender == "there" {
                    of_friend += 1;
                    break;
                }
            }
        }
    };
    tokio::time::timeout(SOON, hearing).await.expect("both are heard");
    let most = (begun.elapsed().as_secs() + 2) * (256 << 10) / 4_000;
    assert!(words_of_rogue <= most, "{words_of_rogue} of at most {most}");
    flood.abort();
}
