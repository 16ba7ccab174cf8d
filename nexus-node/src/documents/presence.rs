//! Presence: words of programs about a document that nobody keeps, such as where a cursor is.
//!
//! A word goes to the programs of this node that have the document open, and to the nodes of those members in reach that read
//! its space. There it goes to their programs, and to members in their reach that the first node has not told; there it ends. It
//! is a hint: it is dropped wherever something would have to wait for it, and it is never stored.
//!
//! | room | content |
//! |---|---|
//! | `word` | a word, and its frame between nodes |
//! | `hub` | the open documents of each program, and the words that have come |
//! | `links` | the ways to other nodes |
//! | `shares` | how much other members may say, each and all together |

mod hub;
mod links;
#[cfg(feature = "testing")]
mod listener;
mod shares;
mod word;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nexus_crdt::{SpaceId, SpaceRule};
use nexus_documents::EPHEMERAL_BYTES_MAX;
use nexus_identity::Did;
use nexus_mesh::quota::Receiver;
use nexus_mesh::{Mesh, RateLimit, Rooms, Stream, StreamProtocol, read_frame};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use self::hub::{Hub, SeatNumber};
use self::links::Links;
#[cfg(feature = "testing")]
pub use self::listener::Listener;
use self::shares::{Share, Shares, UNITS_PER_SECOND_MAX, budget};
pub(crate) use self::word::Word;
use self::word::{Place, Told};
use crate::budget::Budget;
use crate::identity::Identity;
use crate::ledger::find_space;
use crate::runtime::Sessions;
use crate::store::Store;
use crate::world::World;

/// The room of words between nodes.
const ROOM: &str = "/nexus/presence/1";
const PRESENCE: StreamProtocol = StreamProtocol::new(ROOM);
/// Streams that members opened and that were not taken yet.
const STREAMS_MAX: usize = 64;
/// The longest frame with a word. Its content has at most [`EPHEMERAL_BYTES_MAX`], its two names 256 bytes each.
const FRAME_BYTES_MAX: usize = 8 << 10;
/// The most words of a program in a second.
const WORDS_PER_SECOND_MAX: u32 = 20;
/// The words that wait for a program; more are dropped.
const WAITING_MAX: usize = 32;
/// The unit in which the bytes of words are counted. A shorter word counts as one.
const UNIT_BYTES: usize = 256;
/// The units that a node passes on for others in a second: 128 KiB. They take nothing of what its own programs say.
const UNITS_ON_PER_SECOND_MAX: u32 = 512;
/// How long nothing is read of a member that has said more than its share. Its words wait at its own end meanwhile, and are dropped there.
const PAUSE: Duration = Duration::from_millis(100);

/// Registers the room.
pub(crate) fn register(rooms: &mut Rooms) -> Receiver<Stream> {
    rooms.register(PRESENCE, STREAMS_MAX)
}

/// The parts that words need.
pub(crate) struct Handles {
    pub(crate) identity: Identity,
    pub(crate) world: World,
    pub(crate) store: Store,
    pub(crate) mesh: Mesh,
    pub(crate) sessions: Arc<Sessions>,
}

/// The words between the programs of this node and of others, cheap to clone.
#[derive(Clone)]
pub(crate) struct Presence(Arc<Inner>);

struct Inner {
    identity: Identity,
    world: World,
    store: Store,
    sessions: Arc<Sessions>,
    hub: Mutex<Hub>,
    links: Links,
    out: Mutex<Budget>,
    on: Mutex<Budget>,
    shares: Mutex<Shares>,
    lines: Mutex<BTreeMap<Did, Line>>,
}

/// A member whose node says something.
struct Line {
    share: Arc<Mutex<Share>>,
    /// The present stream ends once this is dropped: a member has one.
    _stream: oneshot::Sender<()>,
}

/// The fate of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    /// It was handed on to those in reach, if there are any.
    On,
    /// It was dropped.
    Dropped,
}

fn units(frame: &[u8]) -> u32 {
    u32::try_from(frame.len().div_ceil(UNIT_BYTES).max(1)).unwrap_or(u32::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Presence {
    pub(crate) fn new(Handles { identity, world, store, mesh, sessions }: Handles) -> Self {
        let links = Links::new(mesh, PRESENCE, world.clone());
        let now = Instant::now();
        let (hub, out, lines) = (Mutex::default(), Mutex::new(budget(UNITS_PER_SECOND_MAX, now)), Mutex::default());
        let (on, shares) = (Mutex::new(budget(UNITS_ON_PER_SECOND_MAX, now)), Mutex::new(Shares::new(now)));
        Self(Arc::new(Inner { identity, world, store, sessions, hub, links, out, on, shares, lines }))
    }

    /// A place for a program, and the words that come to it.
    pub(crate) fn enter(&self) -> (Seat, mpsc::Receiver<Arc<Word>>) {
        let (sender, words) = mpsc::channel(WAITING_MAX);
        let number = lock(&self.0.hub).enter(sender);
        let rate = RateLimit::new(WORDS_PER_SECOND_MAX, Instant::now());
        (Seat { presence: self.clone(), number, open: BTreeSet::new(), rate }, words)
    }

    /// Hears other nodes, until the mesh has ended.
    pub(crate) async fn serve(self, mut streams: Receiver<Stream>) {
        while let Some((peer, stream)) = streams.recv().await {
            let (share, over) = self.begin(peer);
            let this = self.clone();
            self.0.world.spawn("presence in", async move {
                tokio::select! {
                    () = this.read(peer, stream, share) => {}
                    // another stream took its place
                    _ = over => {}
                }
            });
        }
    }

    /// Begins a stream of a member. Its share is that of its former streams.
    fn begin(&self, peer: Did) -> (Arc<Mutex<Share>>, oneshot::Receiver<()>) {
        let (stream, over) = oneshot::channel();
        let members = self.0.identity.members();
        let mut lines = lock(&self.0.lines);
        lines.retain(|member, _| members.get(member).is_some());
        let former = lines.get(&peer).map(|line| line.share.clone());
        let share = former.unwrap_or_else(|| Arc::new(Mutex::new(Share::new(Instant::now()))));
        lines.insert(peer, Line { share: share.clone(), _stream: stream });
        (share, over)
    }

    async fn read(&self, peer: Did, mut stream: Stream, share: Arc<Mutex<Share>>) {
        while let Ok(Some(frame)) = read_frame(&mut stream, FRAME_BYTES_MAX).await {
            if !lock(&self.0.shares).take(&mut lock(&share), units(&frame), Instant::now()) {
                self.0.world.sleep_until(self.0.world.now() + PAUSE).await;
                continue;
            }
            let Some(heard) = Word::of_frame(&frame) else {
                tracing::debug!(peer = %peer.short(), "a frame of presence is none");
                return;
            };
            if let Some((word, told)) = heard {
                self.hear(peer, word, &told).await;
            }
        }
    }

    /// Takes a word of a member's node.
    async fn hear(&self, peer: Did, word: Word, told: &Told) -> Passed {
        let place = word.place();
        let others = if told.may_pass_on() { self.0.sessions.that_serve(ROOM) } else { BTreeSet::new() };
        let mut others: Vec<Did> = others.into_iter().filter(|other| *other != peer && !told.has(other)).collect();
        if others.is_empty() && !lock(&self.0.hub).is_open(&place) {
            return Passed::Dropped;
        }
        let (members, me) = (self.0.identity.members(), self.0.identity.me());
        let Some(rule) = self.rule_of(place.0).await else { return Passed::Dropped };
        if !members.may_read(&peer, &rule) || !members.may_read(&me, &rule) {
            return Passed::Dropped;
        }
        let word = Arc::new(word);
        {
            let mut hub = lock(&self.0.hub);
            if !hub.is_new(&word) {
                return Passed::Dropped;
            }
            hub.tell(None, &word);
        }
        others.retain(|other| members.may_read(other, &rule));
        if !others.is_empty() {
            self.send(&others, &word.frame(Told::default()), &self.0.on);
        }
        Passed::On
    }

    /// Sends a frame to some members, as far as a budget goes.
    fn send(&self, peers: &[Did], frame: &[u8], budget: &Mutex<Budget>) {
        if lock(budget).take_all(units(frame), Instant::now()) {
            let frame: Arc<[u8]> = frame.into();
            peers.iter().for_each(|peer| self.0.links.send(*peer, frame.clone()));
        }
    }

    async fn rule_of(&self, space: SpaceId) -> Option<SpaceRule> {
        let store = self.0.store.clone();
        let read = move || find_space(&store.snapshot()?, space);
        self.0.world.reading(read).await.ok()?.ok()?.map(|row| row.rule(space))
    }

    /// Hands a word of a program here to the other nodes whose members read its space.
    async fn hand_over(&self, word: &Word) {
        let peers = self.0.sessions.that_serve(ROOM);
        if peers.is_empty() {
            return;
        }
        let Some(rule) = self.rule_of(word.place().0).await else { return };
        let (members, me) = (self.0.identity.members(), self.0.identity.me());
        if !members.may_read(&me, &rule) {
            return;
        }
        let peers: Vec<Did> = peers.into_iter().filter(|peer| members.may_read(peer, &rule)).collect();
        let told = Told::of(peers.iter().chain([&me]));
        self.send(&peers, &word.frame(told), &self.0.out);
    }
}

impl fmt::Debug for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presence").finish_non_exhaustive()
    }
}

/// A program that follows documents. Others hear no more of it once it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    presence: Presence,
    number: SeatNumber,
    open: BTreeSet<Place>,
    rate: RateLimit,
}

impl Seat {
    /// The program has a document open, which it may read.
    pub(crate) fn open(&mut self, place: Place) {
        if self.open.insert(place) {
            lock(&self.presence.0.hub).open(self.number, place);
        }
    }

    /// It no longer has it open.
    pub(crate) fn close(&mut self, place: Place) {
        if self.open.remove(&place) {
            lock(&self.presence.0.hub).close(self.number, place);
        }
    }

    /// Hands a word of the program to the others. It is dropped if the document is not open here, if it comes a second time, and
    /// if there are more than 20 in a second.
    pub(crate) async fn say(&mut self, word: Word) -> Passed {
        let fits = word.data.len() <= EPHEMERAL_BYTES_MAX && self.open.contains(&word.place());
        if !fits || !self.rate.take(Instant::now()) {
            return Passed::Dropped;
        }
        let word = Arc::new(word);
        {
            let mut hub = lock(&self.presence.0.hub);
            if !hub.is_new(&word) {
                return Passed::Dropped;
            }
            hub.tell(Some(self.number), &word);
        }
        self.presence.hand_over(&word).await;
        Passed::On
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        lock(&self.presence.0.hub).leave(self.number, &self.open);
    }
}
