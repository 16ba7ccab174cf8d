//! Real nodes in one process: real sockets on loopback, real files.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::time::Duration;

use nexus_node::error::{AccessError, ConflictError};
use nexus_node::memory::{ListQuery, Was};
use nexus_node::net::JoinRefusal;
use nexus_node::node::{JoinOptions, PeerPath, Stopped};
use nexus_node::{Invite, Memory, NewMemory, Node, NodeError, Patch, RecallQuery, Ticket, WatchQuery, node};
use tempfile::TempDir;

use crate::world::eventually;

/// A node on loopback in a directory of its own.
async fn start(dir: &TempDir, name: &str) -> Node {
    let builder = Node::builder(dir.path().join("data")).name(name.parse().unwrap()).mdns(false);
    let listen = ["/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0"].map(|address| address.parse().unwrap());
    builder.listen(listen).start().await.unwrap()
}

/// A second member of a node's mesh.
async fn join(inviter: &Node, dir: &TempDir, name: &str) -> Node {
    let ticket = inviter.invite(Invite::default()).await.unwrap().ticket;
    let options = JoinOptions::default().name(name.parse().unwrap());
    node::join(&dir.path().join("data"), &ticket, options).await.unwrap();
    start(dir, name).await
}

/// Waits, change by change, until a node's memories are as wanted.
async fn until(node: &Node, wanted: impl Fn(&[Memory]) -> bool) -> Vec<Memory> {
    let brain = node.brain();
    let mut watch = brain.watch(WatchQuery::from_now()).await.unwrap();
    let seen = async {
        loop {
            let items = brain.list(ListQuery::newest().limit(1_000)).await.unwrap().items;
            if wanted(&items) {
                return items;
            }
            watch.next().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(30), seen).await.expect("in time")
}

fn texts(memories: &[Memory]) -> Vec<&str> {
    let mut texts: Vec<&str> = memories.iter().map(|memory| memory.text.as_str()).collect();
    texts.sort_unstable();
    texts
}

/// promise: Nodes | A memory written on one node is seen on the other and survives restarts
#[tokio::test(flavor = "multi_thread")]
async fn a_memory_written_on_one_node_is_seen_on_the_other_and_survives_restarts() {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let founder = start(&one, "terminal").await;
    founder.brain().remember(NewMemory::note("before anybody joined")).await.unwrap();
    let joiner = join(&founder, &two, "ide").await;
    until(&joiner, |memories| texts(memories) == ["before anybody joined"]).await;
    joiner.brain().remember(NewMemory::note("from the ide")).await.unwrap();
    let seen = until(&founder, |memories| memories.len() == 2).await;
    assert_eq!(texts(&seen), ["before anybody joined", "from the ide"]);
    assert_eq!(seen.iter().find(|memory| memory.text == "from the ide").unwrap().author, joiner.did());
    joiner.shutdown().await;
    assert!(matches!(joiner.stopped().await, Stopped::Asked));
    drop(joiner);
    let again = start(&two, "ide").await;
    assert_eq!(again.brain().list(ListQuery::newest()).await.unwrap().items.len(), 2);
    again.brain().remember(NewMemory::note("after the restart")).await.unwrap();
    until(&founder, |memories| memories.len() == 3).await;
}

/// promise: Nodes | `durability.replicated` counts the members that have it on disk
#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_counts_the_members_that_have_it_on_disk() {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let founder = start(&one, "a").await;
    let alone = founder.brain().remember(NewMemory::note("alone")).await.unwrap();
    assert_eq!((alone.durability.local, alone.durability.replicated), (true, 0));
    let joiner = join(&founder, &two, "b").await;
    until(&joiner, |memories| memories.len() == 1).await;
    let replicated = async {
        loop {
            // the same key and content is answered as the first time, with the current count
            let memory = NewMemory::note("counted").key("k");
            if founder.brain().remember(memory).await.unwrap().durability.replicated == 1 {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), replicated).await.unwrap();
    founder.set_offline(true).await.unwrap();
    let apart = founder.brain().remember(NewMemory::note("apart")).await.unwrap();
    assert_eq!(apart.durability.replicated, 0);
}

/// promise: Nodes | Both sides write while apart, converge, and show the conflict
#[tokio::test(flavor = "multi_thread")]
async fn both_sides_write_while_apart_and_converge_with_the_conflict_in_sight() {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let left = start(&one, "left").await;
    let right = join(&left, &two, "right").await;
    let id = left.brain().remember(NewMemory::note("plan")).await.unwrap().id;
    until(&right, |memories| memories.len() == 1).await;
    right.set_offline(true).await.unwrap();
    left.brain().edit(&id, Patch::text("plan A")).await.unwrap();
    right.brain().edit(&id, Patch::text("plan B")).await.unwrap();
    right.brain().remember(NewMemory::note("written offline")).await.unwrap();
    right.set_offline(false).await.unwrap();
    let converged =
        |memories: &[Memory]| memories.len() == 2 && memories.iter().any(|memory| memory.conflicts.len() == 1);
    let (a, b) = (until(&left, converged).await, until(&right, converged).await);
    let version = |memories: &[Memory]| memories.iter().map(|memory| memory.version.clone()).collect::<Vec<_>>();
    assert_eq!(version(&a), version(&b));
    left.brain().edit(&id, Patch::text("plan C")).await.unwrap();
    let settled = |memories: &[Memory]| memories.iter().all(|memory| memory.conflicts.is_empty());
    assert_eq!(texts(&until(&right, settled).await), ["plan C", "written offline"]);
}

/// promise: Nodes | A node alone in its mesh joins another while it runs, and its memories come along
#[tokio::test(flavor = "multi_thread")]
async fn a_running_solo_node_joins_and_takes_its_memories_along() {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let founder = start(&one, "home").await;
    founder.brain().remember(NewMemory::note("of the mesh")).await.unwrap();
    let solo = start(&two, "solo").await;
    let old = solo.brain().remember(NewMemory::note("of the solo brain")).await.unwrap();
    let did = solo.did();
    let ticket = founder.invite(Invite::default()).await.unwrap().ticket;
    let joined = solo.join(&ticket, JoinOptions::default()).await.unwrap();
    assert_eq!((joined.did, joined.mesh_did), (did, founder.mesh_did()));
    assert!(matches!(solo.stopped().await, Stopped::Rejoined));
    drop(solo);
    let moved = start(&two, "solo").await;
    let both = |memories: &[Memory]| texts(memories) == ["of the mesh", "of the solo brain"];
    until(&moved, both).await;
    until(&founder, both).await;
    let memory = moved.brain().get(old.id).await.unwrap();
    assert_eq!(founder.brain().get(memory.id).await.unwrap().version, memory.version);
    assert_eq!((memory.text.as_str(), memory.was.as_deref()), ("of the solo brain", Some(old.id.to_string().as_str())));
    // the mesh has two members now, so neither can move to another
    let ticket = founder.invite(Invite::default()).await.unwrap().ticket;
    assert_eq!(moved.join(&ticket, JoinOptions::default()).await.unwrap_err().code(), "conflict");
}

/// promise: Nodes | A ticket works as often as it says; the same joiner may ask again
/// promise: Bad input | A used ticket
#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_works_once_and_its_holder_may_ask_again() {
    let dirs: Vec<TempDir> = (0..3).map(|_| TempDir::new().unwrap()).collect();
    let founder = start(&dirs[0], "a").await;
    let ticket = founder.invite(Invite::default()).await.unwrap().ticket;
    let options = JoinOptions::default();
    let path = dirs[1].path().join("data");
    let first = node::join(&path, &ticket, options.clone()).await.unwrap();
    let other = dirs[2].path().join("data");
    let refused = node::join(&other, &ticket, options.clone()).await.unwrap_err();
    assert_eq!(refused.code(), "refused");
    assert!(!other.exists(), "a refused join leaves nothing behind");
    // as if the machine had lost power before it kept the answer
    for file in ["brain.redb", "membership"] {
        std::fs::remove_file(path.join(file)).unwrap();
    }
    let again = node::join(&path, &ticket, options.clone()).await.unwrap();
    assert_eq!((again.did, again.mesh_did), (first.did, first.mesh_did));
    assert_eq!(founder.members().len(), 2);
    let elsewhere = node::join(&path, &ticket, options.clone()).await.unwrap_err();
    assert_eq!(elsewhere.code(), "conflict");
}

/// promise: Meeting | Nothing is spawned past the spawner; a node can be killed whole
#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_node_leaves_no_task_and_its_directory_free() {
    let dir = TempDir::new().unwrap();
    let node = start(&dir, "a").await;
    assert!(!node.running_tasks().is_empty());
    node.shutdown().await;
    let gone = async {
        while !node.running_tasks().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone).await.expect("no task is left");
    assert_eq!(node.brain().remember(NewMemory::note("late")).await.unwrap_err().code(), "stopping");
    start(&dir, "a").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_is_changed_takes_effect_at_once() {
    let dir = TempDir::new().unwrap();
    let node = start(&dir, "a").await;
    let text = "x".repeat(1_000);
    node.brain().remember(NewMemory::note(&text)).await.unwrap();
    let settings = nexus_node::config::Settings::resolve(Some("text_bytes_max = 500"), [], &[]).unwrap();
    node.configure(settings.config());
    assert_eq!(node.brain().remember(NewMemory::note(&text)).await.unwrap_err().code(), "too_large");
}

/// promise: Bad input | Names that fit several members
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_fits_several_members_is_refused_with_their_ids() {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let founder = start(&one, "laptop").await;
    founder.brain().remember(NewMemory::note("whose is it")).await.unwrap();
    join(&founder, &two, "other").await.shutdown().await;
    // a name of its own choice is not refused: it is told apart
    let joiner = start(&two, "laptop").await;
    until(&joiner, |memories| memories.len() == 1).await;
    // the start does not wait until the name is written
    eventually("the joiner has its name", async || joiner.name() == "laptop").await;
    let by = |name: String| RecallQuery::of("whose").by(name);
    let refused = joiner.brain().recall(by("laptop".to_owned())).await.unwrap_err();
    assert_eq!(refused.code(), "ambiguous");
    for node in [&founder, &joiner] {
        assert!(refused.to_string().contains(&node.did().to_string()), "{refused}");
    }
    assert_eq!(joiner.brain().recall(by(founder.did().to_string())).await.unwrap().hits.len(), 1);
}

/// promise: Nodes | Two whom a third one invited meet and stay in step without it
#[tokio::test(flavor = "multi_thread")]
async fn two_whom_a_third_invited_meet_and_stay_in_step_without_it() {
    let dirs: Vec<TempDir> = (0..3).map(|_| TempDir::new().unwrap()).collect();
    let inviter = start(&dirs[0], "inviter").await;
    let (one, two) = (join(&inviter, &dirs[1], "one").await, join(&inviter, &dirs[2], "two").await);
    let met = async {
        while !two.peers().await.iter().any(|peer| peer.did == one.did() && peer.path == Some(PeerPath::Direct)) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), met).await.expect("they meet");
    inviter.shutdown().await;
    one.brain().remember(NewMemory::note("without you")).await.unwrap();
    until(&two, |memories| texts(memories) == ["without you"]).await;
}

/// promise: Nodes | A program joins with a ticket as it starts a node; the next start asks nobody
#[tokio::test(flavor = "multi_thread")]
async fn a_builder_joins_with_a_ticket_and_the_next_start_asks_nobody() {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let founder = start(&one, "home").await;
    let ticket = founder.invite(Invite::default()).await.unwrap().ticket;
    let path = two.path().join("data");
    let builder = Node::builder(&path).name("ide".parse().unwrap()).mdns(false).listen([]).join(ticket);
    let joiner = builder.clone().start().await.unwrap();
    assert_eq!((joiner.mesh_did(), joiner.name().as_str()), (founder.mesh_did(), "ide"));
    joiner.shutdown().await;
    founder.shutdown().await;
    // the ticket is used up, and the inviter away
    let again = builder.start().await.unwrap();
    assert_eq!((again.did(), again.mesh_did()), (joiner.did(), founder.mesh_did()));
}

/// promise: Bad input | A used ticket
#[tokio::test(flavor = "multi_thread")]
async fn a_builder_says_why_a_ticket_is_refused_and_leaves_nothing_behind() {
    let dirs: Vec<TempDir> = (0..3).map(|_| TempDir::new().unwrap()).collect();
    let founder = start(&dirs[0], "home").await;
    let ticket = founder.invite(Invite::default()).await.unwrap().ticket;
    join_with(&dirs[1], ticket.clone()).await.unwrap();
    let refused = join_with(&dirs[2], ticket).await.unwrap_err();
    let NodeError::Refused(AccessError::Inviter { code: JoinRefusal::Used, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert!(!dirs[2].path().join("data").exists());
    // a member of one mesh does not move to another
    let other = start(&dirs[2], "other").await;
    let ticket = other.invite(Invite::default()).await.unwrap().ticket;
    let refused = join_with(&dirs[1], ticket).await.unwrap_err();
    assert!(matches!(refused, NodeError::Conflict(ConflictError::NotAlone)), "{refused:?}");
}

async fn join_with(dir: &TempDir, ticket: Ticket) -> Result<(), NodeError> {
    let builder = Node::builder(dir.path().join("data")).mdns(false).listen([]).join(ticket);
    builder.start().await?.shutdown().await;
    Ok(())
}

/// promise: Entries and memories | A former id is that of a memory by its own node's word: nobody takes the place of a forgotten one
#[tokio::test(flavor = "multi_thread")]
async fn a_former_id_that_another_member_claims_finds_nothing() {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let founder = start(&one, "a").await;
    let joiner = join(&founder, &two, "b").await;
    let forgotten = founder.brain().remember(NewMemory::note("the key is in the safe")).await.unwrap().id.to_string();
    founder.brain().forget(&forgotten).await.unwrap();
    let claim = |text: &str| NewMemory::note(text).was(Was::new(forgotten.clone(), founder.did().to_string(), 1));
    let planted = joiner.brain().remember(claim("the key is under the mat")).await.unwrap();
    for node in [&founder, &joiner] {
        until(node, |memories| texts(memories) == ["the key is under the mat"]).await;
    }
    assert_eq!(founder.brain().get(&forgotten).await.unwrap_err().code(), "not_found");
    assert_eq!(joiner.brain().get(&forgotten).await.unwrap().id, planted.id);
    // the claim of another does not hide the own one either
    let own = founder.brain().remember(claim("imported again")).await.unwrap();
    assert_eq!(founder.brain().get(&forgotten).await.unwrap().id, own.id);
}
