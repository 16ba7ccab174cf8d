//! Questions to brains over stores that were made by hand.

use futures::FutureExt as _;
use nexus_crdt::{
    Draft, Field, HIDDEN_FROM_READERS, Head, Hlc, Incarnation, Kind, LogId, SpaceDefinition, Target, Verified, Write,
    Writes,
};
use nexus_identity::{Role, Timestamp};
use nexus_mesh::{Clock, TokioSpawner};
use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use super::*;
use crate::engine::{Engine, Input};
use crate::failure::Failure;
use crate::headroom::Headroom;
use crate::ledger;
use crate::memory::{ChangeKind, Subject};
use crate::notices::Notices;
use crate::replication::tests::{Peer, chain, chain_as, key, mesh};
use crate::runtime::{self, Runtime};
use crate::store::Overlay;
use crate::world::Inline;

/// A clock that goes on by an hour each time that somebody looks at it.
#[derive(Debug, Default)]
struct CountedClock(AtomicU64);

impl CountedClock {
    fn looks(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Clock for CountedClock {
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_ms(1_000_000 + self.0.fetch_add(1, Ordering::Relaxed) * 3_600_000)
    }
}

/// A clock that stands still.
#[derive(Debug)]
struct StoppedClock;

impl Clock for StoppedClock {
    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_ms(1_000_000)
    }
}

/// A brain over a peer's store, as this member may read it.
fn brain_of(peer: &Peer, me: Did, search: &Arc<Search>, clock: Arc<dyn Clock>) -> Brain {
    let world = World::new(Arc::new(TokioSpawner::current()), Arc::new(Inline), clock);
    let store = peer.store.clone();
    let engine = Engine::open(peer.key.clone(), &store.snapshot().unwrap()).unwrap();
    let overlay = Overlay::new(store.clone()).unwrap();
    let origin =
        runtime::Origin { engine, overlay, store: store.clone(), headroom: Headroom::new(None, 0), has_peers: false };
    let Runtime { engine, sessions, .. } = Runtime::start(origin, &world, Failure::default(), Notices::default());
    let identity = Identity::new(me, mesh(), channel::channel(peer.members()).1);
    let handles = Handles {
        identity,
        world,
        engine,
        store,
        store_name: [7; 8],
        former_names: vec![[6; 8]],
        search: search.clone(),
        vectors: Arc::new(Vectors::new(World::inline(), None, &Config::default())),
        sessions,
        clocks: Arc::default(),
        #[cfg(feature = "blobs")]
        blobs: None,
    };
    Brain::new(handles, &Config::default())
}

/// The same with an index of its own, at a fixed time.
fn reading(peer: &Peer, me: Did) -> Brain {
    brain_of(peer, me, &Arc::new(Search::new(None)), Arc::new(StoppedClock))
}

fn tell(from: &mut Peer, to: &mut Peer) {
    let news = std::mem::take(&mut from.published);
    to.receive(from.key.did(), news);
}

fn texts(memories: impl IntoIterator<Item = Memory>) -> Vec<String> {
    memories.into_iter().map(|memory| memory.text).collect()
}

/// All changes of a space, or of all, from the first one on.
fn changes(brain: &Brain, space: Option<SpaceId>) -> Vec<Change> {
    let (mut at, mut all) = (LogPlace { eno: 0, index: 0 }, Vec::new());
    loop {
        let (more, next) = brain.changes_after(at, u64::MAX, Told::of_memory(space)).unwrap();
        all.extend(more);
        if next == at {
            return all;
        }
        at = next;
    }
}

/// promise: The engine | Watchers get the changes of a long cut in batches, each change once
#[tokio::test]
async fn watchers_get_the_changes_of_a_long_cut_in_batches_each_once() {
    let mut peer = Peer::new(0);
    peer.input(Input::Chain(chain(1)));
    let log = LogId { space: SpaceId::default_of(&mesh()), author: key(1).did(), incarnation: Incarnation([1; 8]) };
    let entry = |after: Option<&Verified>, memories: usize, text: &str| {
        let create = |n| {
            let core = Core { text: format!("{text} {n}"), kind: "note".to_owned(), ..Core::default() };
            let target = Target::Create { page: 0 };
            Write { target, field: Field::named(Field::CORE), value: core.to_json(), over: vec![] }
        };
        let payload = Writes((0..memories).map(create).collect()).encode().into();
        let (after, kind) = (after.map(|entry| Head { seq: entry.header().seq, id: entry.id() }), Kind::WRITES);
        let draft = Draft { mesh: mesh(), log, after: after.as_ref(), hlc: Hlc(1), kind, refs: vec![], payload };
        Verified::write(draft, &key(1))
    };
    let mut entries: Vec<Verified> = Vec::new();
    for n in 0..12 {
        entries.push(entry(entries.last(), 500, &format!("{n}")));
    }
    let from = key(1).did();
    peer.input(Input::Entries { from, entries });
    let before = LogPlace::after(ledger::last_eno(&peer.store.snapshot().unwrap()).unwrap());
    peer.input(Input::Entries { from, entries: vec![entry(None, 1, "another")] });
    peer.remember("after it", None);
    let brain = reading(&peer, key(0).did());
    let (mut at, mut forgotten, mut batches) = (before, BTreeSet::new(), 0);
    loop {
        let (changes, next) = brain.changes_after(at, u64::MAX, Told::of_memory(None)).unwrap();
        assert!(changes.len() < 4_096, "{} changes in one batch", changes.len());
        batches += 1;
        for change in changes {
            match change.kind {
                ChangeKind::Forgotten => {
                    assert!(forgotten.insert(change.subject.memory().unwrap()), "{change:?} came twice")
                }
                kind => assert_eq!((kind, forgotten.len()), (ChangeKind::Remembered, 6_000)),
            }
        }
        if next == at {
            break;
        }
        at = next;
    }
    assert!(batches > 3, "{batches}");
}

/// promise: The engine | Watchers look at no change before the members that may see it are known
#[tokio::test]
async fn watchers_do_not_pass_changes_that_are_on_disk_and_not_announced() {
    let mut peer = Peer::new(0);
    peer.remember("before", None);
    let brain = reading(&peer, key(0).did());
    let mut watch = brain.watch_blocking(&WatchQuery::from_now()).unwrap();
    peer.remember("on disk", None);
    assert_eq!(brain.list_blocking(&ListQuery::newest()).unwrap().items.len(), 2);
    assert!(watch.next().now_or_never().is_none());
    let (changes, _) = brain.changes_after(watch.at, u64::MAX, Told::of_memory(None)).unwrap();
    assert_eq!(changes.len(), 1, "{changes:?}");
}

/// promise: Nodes | A member that may not read a space gets nothing of it: no frame, no gossip, no answer, no count
#[tokio::test]
async fn a_store_that_holds_a_hidden_space_shows_nothing_of_it_to_a_reader() {
    let mut peer = Peer::new(0);
    peer.input(Input::Chain(chain(1)));
    peer.input(Input::Chain(chain_as(2, Role::Reader)));
    let definition = SpaceDefinition { name: "council".parse().unwrap(), access: HIDDEN_FROM_READERS, salt: [0; 16] };
    let hidden = SpaceId::created_by(peer.take_first(1, SpaceId::mesh(&mesh()), Kind::SPACE, definition.encode()));
    let core = |text: &str, key: &str| {
        let (text, kind, key) = (text.to_owned(), "note".to_owned(), Some(key.to_owned()));
        Core { text, kind, key, ..Core::default() }
    };
    peer.create(SpaceId::default_of(&mesh()), core("spoken in the open", "open"));
    let secret = peer.create(hidden, core("spoken among writers", "secret"));
    peer.edit(secret, "spoken among writers alone");

    // one index for both: a writer's questions fill it
    let search = Arc::new(Search::new(None));
    let brain = |n| brain_of(&peer, key(n).did(), &search, Arc::new(StoppedClock));
    let (writer, reader) = (brain(1), brain(2));
    let (id, in_space) = (MemoryId::from(secret), hidden.to_string());
    let listed = |brain: &Brain| texts(brain.list_blocking(&ListQuery::newest()).unwrap().items);
    let recalled = |brain: &Brain| {
        let hits = brain.recall_blocking(&RecallQuery::of("spoken")).unwrap().hits;
        texts(hits.into_iter().map(|hit| hit.memory))
    };
    let of_hidden = |brain: &Brain| {
        let told = |change: &Change| change.space == "council" || change.subject == Subject::Memory(id);
        changes(brain, None).iter().filter(|change| told(change)).count() + changes(brain, Some(hidden)).len()
    };
    let spaces = |brain: &Brain| brain.spaces_blocking().unwrap().iter().any(|space| space.id == hidden);
    // nothing that names it finds it
    let named = |brain: &Brain| -> Vec<(&'static str, Result<(), NodeError>)> {
        let mut asked = vec![
            ("get", brain.get_blocking(id).map(drop)),
            ("history", brain.history_blocking(id).map(drop)),
            ("key", brain.key_of_blocking(id).map(drop)),
        ];
        for space in [in_space.as_str(), "council"] {
            asked.push(("list", brain.list_blocking(&ListQuery::newest().space(space)).map(drop)));
            asked.push(("recall", brain.recall_blocking(&RecallQuery::of("spoken").space(space)).map(drop)));
            asked.push(("pages", brain.pages_of(space).map(drop)));
            asked.push(("watch", brain.watch_blocking(&WatchQuery::from_now().space(space)).map(drop)));
        }
        asked
    };

    assert_eq!((listed(&writer).len(), recalled(&writer).len(), of_hidden(&writer)), (2, 2, 4));
    assert!(spaces(&writer));
    for (question, answer) in named(&writer) {
        assert!(answer.is_ok(), "{question}: {answer:?}");
    }
    assert_eq!(
        (listed(&reader), recalled(&reader)),
        (vec!["spoken in the open".to_owned()], vec!["spoken in the open".to_owned()])
    );
    assert_eq!(of_hidden(&reader), 0);
    assert!(!spaces(&reader));
    for (question, answer) in named(&reader) {
        assert!(matches!(answer, Err(NodeError::NotFound { .. })), "{question}: {answer:?}");
    }
}

#[tokio::test]
async fn a_memory_whose_text_another_member_edited_is_recalled_as_that_members() {
    let (mut one, mut two) = (Peer::new(0), Peer::new(1));
    one.input(Input::Chain(chain(1)));
    one.input(Input::Chain(chain(2)));
    two.input(Input::Chain(chain(0)));
    let record = one.remember("the harbour closes at night", None);
    // its author, in the eyes of nodes 0, 1 and 2
    let found = |one: &Peer| {
        [0, 1, 2].map(|n| {
            let recalled = reading(one, key(n).did()).recall_blocking(&RecallQuery::of("harbour")).unwrap();
            recalled.hits.into_iter().next().unwrap().memory.author
        })
    };
    assert_eq!(found(&one), [key(0).did(); 3]);

    tell(&mut one, &mut two);
    two.edit(record, "the harbour closes at dawn");
    tell(&mut two, &mut one);
    assert_eq!(found(&one), [key(1).did(); 3]);
}

#[tokio::test]
async fn a_recall_looks_at_the_clock_once() {
    let mut peer = Peer::new(0);
    for n in 0..5 {
        peer.remember(&format!("boat {n} in the harbour"), None);
    }
    let clock = Arc::new(CountedClock::default());
    let brain = brain_of(&peer, peer.key.did(), &Arc::new(Search::new(None)), clock.clone());
    let day = Duration::from_secs(86_400);
    for query in [RecallQuery::of("harbour"), RecallQuery::of("harbour").since(day).tokens(100).limit(2)] {
        let before = clock.looks();
        assert!(!brain.recall_blocking(&query).unwrap().hits.is_empty());
        assert_eq!(clock.looks() - before, 1);
    }
}

fn admit(peer: &mut Peer, members: impl IntoIterator<Item = u8>) {
    for n in members {
        peer.command(Command::Admit { chain: chain(n), with: crate::store::Batch::new(), replaces: None });
    }
}

fn space_named(peer: &mut Peer, author: u8, name: &str) -> SpaceId {
    let definition = SpaceDefinition { name: name.parse().unwrap(), access: 0, salt: [author; 16] };
    SpaceId::created_by(peer.take_first(author, SpaceId::mesh(&mesh()), Kind::SPACE, definition.encode()))
}

/// promise: Bad input | A member's space of a built-in name changes nothing for others
#[tokio::test]
async fn a_built_in_name_means_the_built_in_space_whatever_else_is_called_so() {
    let mut peer = Peer::new(0);
    admit(&mut peer, [1, 2]);
    let (fake, mesh_too) = (space_named(&mut peer, 1, "default"), space_named(&mut peer, 2, "mesh"));
    let core = Core { text: "planted".to_owned(), kind: "note".to_owned(), ..Core::default() };
    peer.create(fake, core);
    let brain = reading(&peer, key(0).did());

    let written = brain.remember(NewMemory::note("where it belongs")).await.unwrap();
    assert_eq!(written.space, "default");
    let named = brain.remember(NewMemory::note("by its name").space("default")).await.unwrap();
    for memory in [written.id, named.id] {
        assert_eq!(brain.get(memory).await.unwrap().space, "default");
    }
    let listed = brain.list(ListQuery::newest().space("default")).await.unwrap().items;
    assert_eq!(texts(listed).len(), 2, "the planted one is elsewhere");
    // the other one is shown by its id, and found by it
    let planted = brain.list(ListQuery::newest().space(fake.to_string())).await.unwrap().items;
    assert_eq!(planted[0].space, fake.to_string());
    let in_mesh = brain.remember(NewMemory::note("not there").space("mesh")).await;
    assert!(matches!(in_mesh, Err(NodeError::NotFound { what: Resource::Space, .. })), "{in_mesh:?}");
    let by_id = brain.remember(NewMemory::note("there").space(mesh_too.to_string())).await.unwrap();
    assert_eq!(by_id.space, mesh_too.to_string());
}

/// promise: Bad input | A name that fits several spaces means the one that this node has used, or none
#[tokio::test]
async fn of_spaces_with_one_name_the_one_that_this_node_has_used_is_meant() {
    let mut peer = Peer::new(0);
    admit(&mut peer, [1, 2]);
    let (one, other) = (space_named(&mut peer, 1, "work"), space_named(&mut peer, 2, "work"));
    let brain = reading(&peer, key(0).did());
    let unused = brain.remember(NewMemory::note("somewhere").space("work")).await;
    let Err(NodeError::Ambiguous { candidates, .. }) = unused else { panic!("{unused:?}") };
    assert!([one, other].iter().all(|id| candidates.iter().any(|named| named.contains(&id.to_string()))));

    brain.remember(NewMemory::note("by its id").space(other.to_string())).await.unwrap();
    let written = brain.remember(NewMemory::note("by its name").space("work")).await.unwrap();
    assert_eq!(written.space, other.to_string(), "its name may mean the other to a reader");
    let listed = brain.list(ListQuery::newest().space("work")).await.unwrap().items;
    assert_eq!(listed.len(), 2);
    // whoever created one means that one
    let creator = reading(&peer, key(1).did());
    let meant = creator.reading(|brain| brain.space_called(Some("work"))).await.unwrap();
    assert_eq!(meant, one);
}
