//! The state machines that take what members send.

use std::sync::LazyLock;
use std::time::Duration;

use nexus_crdt::{Draft, ENTRY_FORMAT_MAX, Head, Hlc, Incarnation, Kind, LogId, SpaceId, SyncFrame, Verified};
use nexus_identity::{Chain, Claims, Did, Keypair, Role, Timestamp};
use nexus_node::internals::engine::{
    Command, Engine, Genesis, Input, Keeper, NewRecord, Released, RestingEngine, found, run_to_store,
};
use nexus_node::internals::replication::{Audience, SyncSession};
use nexus_node::internals::store::{Batch, Overlay, Store, StoreError, View};
use prost::Message;

use super::identity::root;

/// The node, and the member that sends.
const NODE: u8 = 1;
const PEER: u8 = 2;
/// The most frames of one input, and the most of an answer.
const FRAMES_MAX: usize = 64;
/// The most entries of one input.
const ENTRIES_MAX: usize = 16;

pub(crate) fn key(n: u8) -> Keypair {
    Keypair::from_seed(&[n; 32])
}

#[expect(clippy::expect_used, reason = "constants")]
fn chain(n: u8) -> Chain {
    let name = format!("n{n}").parse().expect("a name");
    let claims = Claims::new(root(), key(n).did(), name, [Role::Admin], Timestamp::from_ms(1));
    Chain::found(claims.sign(&key(0))).expect("the root's own")
}

/// A node with two members and some memories.
static STORE: LazyLock<Store> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "a store in memory, and a node's own commands")]
    let begun = begin().expect("a node begins");
    begun
});

fn begin() -> Result<Store, Box<dyn std::error::Error>> {
    let store = Store::memory()?;
    let mesh = root();
    let genesis =
        Genesis { mesh, chain: chain(NODE), incarnation: Incarnation([NODE; 8]), store: [NODE; 8], fingerprint: None };
    store.commit(&[found(&genesis)])?;
    let mut engine = RestingEngine::open(key(NODE), &store)?;
    let core = |text: &str| nexus_crdt::Core { text: text.to_owned(), ..nexus_crdt::Core::default() };
    let record = |text| NewRecord::whole(SpaceId::default_of(&mesh), core(text));
    let admit = |n| Command::Admit { chain: chain(n), with: Batch::new(), replaces: None };
    let commands = vec![(1, admit(NODE)), (2, admit(PEER)), (3, Command::Remember(vec![record("one"), record("two")]))];
    for command in commands {
        let _ = engine.run(Timestamp::from_ms(1_000), [7; 32], Input::Commands(vec![command]))?;
    }
    Ok(store)
}

/// The frames of a peer in a sync, each behind its length: what they make this node send and take.
pub(super) fn sync_session(bytes: &[u8]) -> bool {
    let Ok(view) = STORE.snapshot() else { return false };
    let Ok(engine) = Engine::open(key(NODE), &view) else { return false };
    let now = Duration::from_secs(1_000);
    let audience = Audience::new(key(NODE).did(), key(PEER).did(), engine.members().clone()).reading(ENTRY_FORMAT_MAX);
    let Ok(mut session) = SyncSession::open(audience, now, &view) else { return false };
    let (mut rest, mut taken) = (bytes, 0);
    while let Some((length, after)) = rest.split_first_chunk().filter(|_| taken < FRAMES_MAX) {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let (frame, after) = after.split_at(length.min(after.len()));
        rest = after;
        let Ok(frame) = SyncFrame::decode(frame) else { return false };
        let Ok(received) = session.receive(frame, &view) else { return false };
        taken += 1;
        for entry in received.entries {
            let _ = entry.verify(&root());
        }
        answers(&mut session, now + Duration::from_secs(taken as u64), &view);
    }
    taken > 0
}

/// A session that hears nothing ends its turn.
fn answers(session: &mut SyncSession, now: Duration, view: &dyn View) {
    let mut said = 0;
    while let Ok(Some(frame)) = session.next_frame(now, view) {
        said += 1;
        assert!(said <= FRAMES_MAX, "a turn ends");
        assert!(SyncFrame::decode(frame.encode_to_vec().as_slice()).is_ok(), "an own frame reads");
    }
    let _ = session.poll_timeout();
}

/// Batches over the store that all inputs share, which they leave as it is.
struct OverStore {
    overlay: Overlay,
    commits: u64,
}

impl Keeper for OverStore {
    fn read<T>(&self, read: impl FnOnce(&dyn View) -> T) -> Result<T, StoreError> {
        Ok(read(&self.overlay))
    }

    fn keep(&mut self, batch: Batch) -> Result<(), StoreError> {
        self.commits += 1;
        self.overlay.push(self.commits, &batch);
        Ok(())
    }
}

/// Entries of a member with any payloads, which it signs: kind, space and length, then the payload.
pub(super) fn engine(bytes: &[u8]) -> bool {
    let Ok(overlay) = Overlay::new(STORE.clone()) else { return false };
    let Ok(mut engine) = Engine::open(key(NODE), &overlay) else { return false };
    let (mut rest, mut entries) = (bytes, Vec::new());
    let mut heads: [Option<Head>; 2] = [None, None];
    while let Some(([kind, space, high, low], after)) = rest.split_first_chunk().filter(|_| entries.len() < ENTRIES_MAX)
    {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(after.len());
        let (payload, after) = after.split_at(length);
        rest = after;
        let place = usize::from(*space & 1);
        let space = [SpaceId::default_of(&root()), SpaceId::mesh(&root())][place];
        let log = LogId { space, author: key(PEER).did(), incarnation: Incarnation([PEER; 8]) };
        let hlc = Hlc::at(Timestamp::from_ms(1_000 + entries.len() as u64));
        let (kind, payload) = (Kind(u16::from(*kind)), payload.to_vec().into());
        let draft = Draft { mesh: root(), log, after: heads[place].as_ref(), hlc, kind, refs: vec![], payload };
        let entry = Verified::write(draft, &key(PEER));
        heads[place] = Some(Head { seq: entry.header().seq, id: entry.id() });
        entries.push(entry);
    }
    if entries.is_empty() {
        return false;
    }
    let from: Did = key(PEER).did();
    let mut kept = OverStore { overlay, commits: 0 };
    // the second time they are known
    for _ in 0..2 {
        let input = Input::Entries { from, entries: entries.clone() };
        let with = (Timestamp::from_ms(2_000), [7; 32]);
        let handled = run_to_store(&mut engine, &mut kept, with, input);
        let Ok(Released { answers, published, events: _ }) = handled else {
            panic!("entries of a member are no fault of the store")
        };
        assert!(answers.is_empty() && published.is_empty(), "entries of a member make this node write nothing");
    }
    kept.commits > 0
}
