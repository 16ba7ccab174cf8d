//! Words of programs about a document, which nobody keeps: between nodes, and from a member that has no node.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::time::Instant;

use nexus_crdt::HIDDEN_FROM_READERS;
use nexus_documents::{DocumentId, EPHEMERAL_BYTES_MAX, RepoBody, RepoMessage};
use nexus_identity::{Did, Role};
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

/// The frame of a word, which nobody passes on.
fn frame(place: ([u8; 32], [u8; 16]), session: &str, count: u64, data: Vec<u8>) -> Vec<u8> {
    frame_to(place, "", session, count, data)
}

/// The frame of a word that members were told, by what stands in the target's name.
fn frame_to((space, document): ([u8; 32], [u8; 16]), told: &str, session: &str, count: u64, data: Vec<u8>) -> Vec<u8> {
    let document = DocumentId::from_bytes(document);
    let body = RepoBody::Ephemeral { document, session: session.to_owned(), count, data };
    let message = RepoMessage { sender: "rogue".to_owned(), target: told.to_owned(), body };
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
    rogue_of(world, ROGUE, role, node).await
}

/// The same, of a number.
async fn rogue_of(world: World, number: u8, role: Role, node: &Node) -> (Rogue, Receiver<Stream>) {
    let mut rooms = Rooms::new();
    let streams = rooms.register(PRESENCE, 4);
    let (chain, address) = (world.chain_as(number, role), address_of(node));
    let rogue = Rogue::start_with(rooms, world.mesh(), chain, &key(number), Link::Memory, address).await;
    (rogue, streams)
}

/// Floods a node with words about a document, each a run of its own, and new.
fn flood(rogue: Rogue, to: Did, place: ([u8; 32], [u8; 16])) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let mut count = 0;
        loop {
            let Ok(stream) = rogue.mesh.open(to, &PRESENCE).await else { continue };
            let mut line = Line(stream);
            while line.frame(&frame(place, &format!("{to} {count}"), 1, vec![0; 4_000])).await.is_ok() {
                count += 1;
            }
        }
    })
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
    let flood = flood(rogue, node.did(), here.place());
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

/// promise: Documents | Members that flood a node with words together are heard up to 1 MiB a second, and others are heard beside them
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_flood_together_leave_room_for_others() {
    const ROGUES: u8 = 8;
    let node = WORLD.start(0, Link::Memory).await;
    let friend = WORLD.start_beside(1, Link::Memory, &node).await;
    node.documents().create(None, "plan").await.unwrap();
    let (mut here, mut there) = (listener(&node, None, "here").await, listener(&friend, None, "there").await);
    let next = until_heard(&mut there, &mut here).await;
    let mut rogues = Vec::new();
    for number in 0..ROGUES {
        rogues.push(rogue_of(WORLD, ROGUE + number, Role::Member, &node).await);
    }
    let begun = Instant::now();
    let (floods, _streams): (Vec<_>, Vec<_>) =
        rogues.into_iter().map(|(rogue, streams)| (flood(rogue, node.did(), here.place()), streams)).unzip();
    let (mut of_rogues, mut of_friend, mut count) = (0_u64, 0, next);
    let hearing = async {
        while of_rogues < 800 || of_friend < 10 {
            if there.say(count, b"beside them").await {
                count += 1;
            }
            while let Ok(Some((sender, ..))) =
                tokio::time::timeout(std::time::Duration::from_millis(50), here.heard()).await
            {
                of_rogues += u64::from(sender == "rogue");
                if sender == "there" {
                    of_friend += 1;
                    break;
                }
            }
        }
    };
    tokio::time::timeout(SOON, hearing).await.expect("all are heard");
    let most = (begun.elapsed().as_secs() + 2) * (1 << 20) / 4_000;
    assert!(of_rogues <= most, "{of_rogues} of at most {most}");
    floods.iter().for_each(tokio::task::JoinHandle::abort);
}

/// promise: Documents | A word reaches a member that is connected with a third one alone, which passes it on once
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_word_is_passed_on_by_a_third_member_once() {
    let middle = WORLD.start(0, Link::Memory).await;
    let node = WORLD.start_beside(1, Link::Memory, &middle).await;
    middle.documents().create(None, "plan").await.unwrap();
    let mut here = listener(&node, None, "here").await;
    // the rogue member is connected with the one in the middle alone, where no program has the document open
    let (rogue, mut streams) = rogue(WORLD, Role::Member, &middle).await;
    let mut line = Line(rogue.mesh.open(middle.did(), &PRESENCE).await.unwrap());
    let said = async {
        for count in 1.. {
            // a word that was passed on before goes no further, and one that says who was told does
            line.frame(&frame(here.place(), "passed on before", count, b"no".to_vec())).await.unwrap();
            line.frame(&frame_to(here.place(), "AAAAAAAA", "first hand", count, b"yes".to_vec())).await.unwrap();
            let heard = tokio::time::timeout(std::time::Duration::from_millis(200), here.heard()).await;
            if let Ok(Some((_, _, data))) = heard {
                return data;
            }
        }
        Vec::new()
    };
    assert_eq!(tokio::time::timeout(SOON, said).await.expect("a word in time"), b"yes");
    while let Ok(Some((.., data))) = tokio::time::timeout(std::time::Duration::from_millis(100), here.heard()).await {
        assert_eq!(data, b"yes", "what was passed on before went further");
    }

    // and the other way; what arrives is not to be passed on once more
    let (heard, mut stream) = async {
        let mut count = 0;
        loop {
            count += 1;
            here.say(count, b"from here").await;
            if let Ok(Some((_, stream))) =
                tokio::time::timeout(std::time::Duration::from_millis(100), streams.recv()).await
            {
                return (count, stream);
            }
        }
    }
    .await;
    let first = tokio::time::timeout(SOON, read_frame(&mut stream, 8_192)).await.unwrap().unwrap().unwrap();
    let message = RepoMessage::read(&first[32..]).unwrap();
    assert_eq!((message.sender.as_str(), message.target.as_str()), ("here", ""));
    let RepoBody::Ephemeral { count, data, .. } = message.body else { panic!("{message:?}") };
    assert!((1..=heard).contains(&count) && data == b"from here", "{count}");
}
