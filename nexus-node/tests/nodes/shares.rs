//! Members that write without end, by a program of their own: others go past them, and nothing is lost.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::rogue::{Line, Rogue};
use crate::world::{Link, World, eventually, has_text, key, memories};
use nexus_crdt::{Core, Field, Kind, LogId, SpaceId, Target, Verified, Write, Writes};
use nexus_node::{NewMemory, Node};
use tokio::task::JoinHandle;

const WORLD: World = World(212);
/// Entries of the eager author, and those in a frame.
const ENTRIES: usize = 3_000;
const IN_A_FRAME: usize = 1_000;

/// Local callers that write one memory after the other.
struct Callers(Arc<AtomicBool>, Vec<JoinHandle<usize>>);

impl Callers {
    fn of(node: &Node) -> Self {
        let goes_on = Arc::new(AtomicBool::new(true));
        let caller = |caller: usize| {
            let (brain, goes_on) = (node.brain(), goes_on.clone());
            tokio::spawn(async move {
                let mut written = 0;
                while goes_on.load(Ordering::Relaxed) {
                    brain.remember(NewMemory::note(format!("caller {caller}, {written}"))).await.unwrap();
                    written += 1;
                }
                written
            })
        };
        let callers = (0..4).map(caller).collect();
        Self(goes_on, callers)
    }

    /// Ends them. Returns the number of their memories.
    async fn end(self) -> usize {
        self.0.store(false, Ordering::Relaxed);
        let mut written = 0;
        for caller in self.1 {
            written += caller.await.unwrap();
        }
        written
    }
}

/// The entry by which a member tells everybody that it is one.
fn introduction(n: u8) -> Verified {
    let log = LogId { space: SpaceId::mesh(&WORLD.mesh()), ..WORLD.log(n) };
    WORLD.entry(log, None, Kind::CREDENTIAL, WORLD.chain(n).to_bytes(), n)
}

/// Entries of a member, each with one memory.
fn log_of(n: u8, entries: usize) -> Vec<Verified> {
    let mut log: Vec<Verified> = Vec::with_capacity(entries);
    for entry in 0..entries {
        let core = Core { text: format!("member {n}, {entry}"), kind: "note".to_owned(), ..Core::default() };
        let (target, field) = (Target::Create { page: 0 }, Field::named(Field::CORE));
        let payload = Writes(vec![Write { target, field, value: core.to_json(), over: vec![] }]).encode();
        log.push(WORLD.entry(WORLD.log(n), log.last(), Kind::WRITES, payload, n));
    }
    log
}

/// A node, and a member that passes on what others wrote.
async fn stage(authors: &[u8]) -> (Node, Rogue, Line) {
    let node = WORLD.start(0, Link::Memory).await;
    let rogue = Rogue::meet(WORLD, authors[0], Link::Memory, &node).await;
    let mut line = rogue.line(node.did()).await;
    let introductions: Vec<Verified> = authors.iter().map(|n| introduction(*n)).collect();
    line.entries(introductions.iter().map(|entry| &**entry)).await.unwrap();
    eventually("all are known", async || node.members().len() == authors.len() + 1).await;
    (node, rogue, line)
}

fn count_of(node: &Node, n: u8) -> usize {
    memories(node).iter().filter(|memory| memory.author == key(n).did()).count()
}

/// promise: Bad input | Entries of others go past those of an author that waits, and nothing of either is lost
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_of_others_go_past_those_of_an_author_that_waits() {
    const FORWARDER: u8 = 5;
    const EAGER: u8 = 6;
    const QUIET: u8 = 7;
    let (node, rogue, mut line) = stage(&[FORWARDER, EAGER, QUIET]).await;
    let (eager, quiet) = (log_of(EAGER, ENTRIES), log_of(QUIET, 1));
    let callers = Callers::of(&node);
    for frame in eager.chunks(IN_A_FRAME) {
        line.entries(frame.iter().map(|entry| &**entry)).await.unwrap();
    }
    line.entries([&*quiet[0]]).await.unwrap();
    has_text(&node, "member 7, 0").await;
    let before = count_of(&node, EAGER);
    assert!(before < ENTRIES, "they did not wait at all");
    let written = callers.end().await;
    // nobody else wants work any more
    eventually("all are taken", async || count_of(&node, EAGER) == ENTRIES).await;
    assert_eq!(memories(&node).len(), ENTRIES + 1 + written);
    drop(rogue);
    node.shutdown().await;
}

/// promise: Bad input | While others want work, an author has no more of it than each of them
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_writes_without_end_waits_for_local_callers_and_loses_nothing() {
    const EAGER: u8 = 6;
    let (node, rogue, mut line) = stage(&[EAGER]).await;
    let eager = log_of(EAGER, ENTRIES);
    let callers = Callers::of(&node);
    let sending = tokio::spawn(async move {
        for frame in eager.chunks(IN_A_FRAME) {
            line.entries(frame.iter().map(|entry| &**entry)).await.unwrap();
        }
        line
    });
    // With as much as it wants, all of its own are here before the callers have this many. The pauses of callers on a busy
    // machine are its to use, so that the bound is no share.
    let of_callers = || memories(&node).iter().filter(|memory| memory.author != key(EAGER).did()).count();
    eventually("callers write", async || of_callers() >= 200).await;
    assert!(count_of(&node, EAGER) < ENTRIES);
    let written = callers.end().await;
    eventually("all are taken", async || count_of(&node, EAGER) == ENTRIES).await;
    assert_eq!(memories(&node).len(), ENTRIES + written);
    drop((sending.await.unwrap(), rogue));
    node.shutdown().await;
}
