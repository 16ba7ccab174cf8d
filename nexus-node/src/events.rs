//! The events of a node: all that happens, as one stream with one cursor.
//!
//! Events of the log and of critical state are read from there. They are never lost on a reader that was away, as long as
//! critical state remembers them. Peers come and go, and blobs are fetched and removed, on no disk: the last of that is kept in
//! memory, in a bound. A reader has a place in each of these and pulls: a slow one costs nothing, and learns what it missed.
//!
//! | room | content |
//! |---|---|
//! | `kind` | the kinds of events, and the question of a reader |
//! | `keys` | changes of keys and locks, as this node learns of them |
//! | `passing` | peers and blobs |
//! | `mode` | the coordinators' mode |
//! | `looks` | when a stream looks at that mode |

mod keys;
mod kind;
mod looks;
mod mode;
mod passing;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use futures::FutureExt;
use futures::stream::{self, BoxStream};
use tokio::sync::watch;

use self::keys::KeyFeed;
pub use self::kind::{EventKind, EventsQuery, NoEventKind};
use self::mode::ModeFeed;
pub use self::passing::PeerNews;
use self::passing::{Passed, PassingFeed};
#[cfg(feature = "blobs")]
use crate::blobs::{BlobNews, Blobs};
use crate::brain::{Brain, Told, Watch};
use crate::critical::{Critical, CriticalChange, CriticalNews, Mode};
#[cfg(feature = "documents")]
use crate::documents::{DocumentNews, Documents};
use crate::error::{InputError, NodeError};
use crate::follow::{Cursor, Given, LogPlace};
#[cfg(feature = "documents")]
use crate::memory::Subject;
use crate::memory::cursor::StoreName;
use crate::memory::{Change, ChangeKind, WatchQuery};
use crate::recent::Recent;
use crate::runtime::Sessions;
use crate::tasks::{Task, TaskBoard};
use crate::world::random;

/// So many events of the log come in a row before others get a turn.
const LOG_RUN_MAX: usize = 64;

/// An event of a node.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NodeEvent {
    /// The cursor after it.
    pub cursor: String,
    /// The event.
    pub news: NodeNews,
}

/// Something that happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NodeNews {
    /// A memory, a member or a space changed.
    Change(Change),
    /// Something was said of a task: the entry that says it, and the task as it is when it is told.
    Task(Change, Box<Task>),
    /// A document changed: the entry that changes it, and how the document is when it is told.
    #[cfg(feature = "documents")]
    Document(Change, Box<DocumentNews>),
    /// A key or a lock changed.
    Critical(CriticalChange),
    /// A connection to a member opened or closed.
    Peer(PeerNews),
    /// A blob came to this node, left it, or was found damaged.
    #[cfg(feature = "blobs")]
    Blob(BlobNews),
    /// The coordinators' mode changed.
    Mode(Mode),
    /// Events of these kinds are lost on this reader. Read again what they tell of. The stream goes on from now on.
    Missed(BTreeSet<EventKind>),
}

/// The handles that events use.
pub(crate) struct Handles {
    pub(crate) store_name: StoreName,
    pub(crate) former_names: Vec<StoreName>,
    pub(crate) board: TaskBoard,
    pub(crate) critical: Option<Critical>,
    pub(crate) sessions: Arc<Sessions>,
    /// The number of the last entry. It ends with the node.
    pub(crate) committed: watch::Receiver<u64>,
    #[cfg(feature = "blobs")]
    pub(crate) blobs: Blobs,
    #[cfg(feature = "documents")]
    pub(crate) documents: Documents,
}

/// The sources of a node's events. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Events(Arc<Inner>);

struct Inner {
    here: Handles,
    /// The run of the node: what is on no disk ends with it.
    run: u64,
    peers: Recent<PeerNews>,
}

impl Events {
    pub(crate) fn new(here: Handles) -> Self {
        Self(Arc::new(Inner { here, run: u64::from_le_bytes(random()), peers: Recent::default() }))
    }

    /// Notes the peers that come and go, until the node stops.
    pub(crate) async fn keep_peers<T>(self, mut members: watch::Receiver<T>) {
        let (sessions, mut open) = (&self.0.here.sessions, BTreeSet::new());
        let mut contacts = sessions.contacts();
        loop {
            contacts.mark_unchanged();
            let now = sessions.open();
            for peer in open.symmetric_difference(&now) {
                self.0.peers.note(PeerNews { peer: *peer, connected: now.contains(peer) });
            }
            open = now;
            tokio::select! {
                changed = contacts.changed() => if changed.is_err() { return },
                // it closes with the engine
                changed = members.changed() => if changed.is_err() { return },
            }
        }
    }

    /// The events that a memory's handle may be told of, after a cursor or from now on.
    ///
    /// # Errors
    /// [`NodeError::Invalid`] for a cursor of another node, for no cursor, and for kinds without a space beside one;
    /// [`NodeError::NotFound`] for the space.
    pub(crate) async fn open(&self, brain: Brain, query: EventsQuery) -> Result<NodeEvents, NodeError> {
        let EventsQuery { after, kinds, space } = query;
        if let Some(kind) = kinds.iter().find(|kind| space.is_some() && !kind.has_space()) {
            return Err(InputError::EventsSpace { kind: kind.as_str() }.into());
        }
        let here = &self.0.here;
        let given =
            after.as_deref().map(|text| Cursor::parse(text, here.store_name, &here.former_names)).transpose()?;
        let (cursor, is_former) = match given {
            Some(Given::Here(cursor)) => (Some(cursor), false),
            Some(Given::Former) => (None, true),
            None => (None, false),
        };
        // from here on nothing is missed, also before the first question
        let now = LogPlace::after(*here.committed.borrow());
        let wants = |kind| kinds.contains(&kind);
        let keys = here.critical.clone().filter(|_| wants(EventKind::Critical));
        let keys = keys.map(|critical| KeyFeed::new(critical, cursor.and_then(|cursor| cursor.critical)));
        let passing = PassingFeed::new(self.clone(), &kinds, cursor.and_then(|cursor| cursor.recent));
        let log = if kinds.iter().any(|kind| kind.is_of_log()) {
            let of_log = kinds.clone();
            let query = WatchQuery { after: after.filter(|_| !is_former), space };
            let brain = brain.clone();
            let told = move |space| Told {
                space,
                memories: of_log.contains(&EventKind::Memories),
                members: of_log.contains(&EventKind::Members),
                spaces: of_log.contains(&EventKind::Spaces),
                tasks: of_log.contains(&EventKind::Tasks),
                documents: of_log.contains(&EventKind::Documents),
            };
            Some(brain.reading(move |brain| brain.watch_of(&query, told)).await?)
        } else {
            None
        };
        let mode = match here.critical.clone().filter(|_| wants(EventKind::Mode)) {
            Some(critical) => Some(ModeFeed::new(critical, here.sessions.contacts()).await),
            None => None,
        };
        let missed = is_former.then(|| NodeNews::Missed(kinds.iter().copied().filter(|kind| kind.is_kept()).collect()));
        Ok(NodeEvents {
            events: self.clone(),
            ended: here.committed.clone(),
            #[cfg(feature = "documents")]
            documents: here.documents.within(brain),
            kinds,
            log_at: cursor.map_or(now, |cursor| cursor.log),
            unread: cursor,
            log,
            looked_up: None,
            keys,
            passing,
            mode,
            ready: missed.into_iter().collect(),
            run: 0,
        })
    }

    /// The revision of critical state in a cursor, if it has one: 0 if that is of an earlier state of this node's store.
    ///
    /// # Errors
    /// [`NodeError::Invalid`] for a cursor of another node, and for no cursor.
    #[cfg(feature = "http")]
    pub(crate) fn revision_in(&self, cursor: &str) -> Result<Option<u64>, NodeError> {
        let here = &self.0.here;
        Ok(match Cursor::parse(cursor, here.store_name, &here.former_names)? {
            Given::Here(cursor) => cursor.critical.map(|place| place.revision),
            Given::Former => Some(0),
        })
    }
}

/// The events of a node as they happen. A slow reader costs nothing: it is a place in each of the sources.
pub struct NodeEvents {
    events: Events,
    ended: watch::Receiver<u64>,
    kinds: BTreeSet<EventKind>,
    /// The cursor that was given, for the sources that are not followed.
    unread: Option<Cursor>,
    log: Option<Watch>,
    /// After the last event of the log that was handed out.
    log_at: LogPlace,
    /// The documents that this reader may read.
    #[cfg(feature = "documents")]
    documents: Documents,
    /// A task of which something was said, or a document that changed. It is looked up.
    looked_up: Option<Change>,
    keys: Option<KeyFeed>,
    passing: Option<PassingFeed>,
    mode: Option<ModeFeed>,
    ready: VecDeque<NodeNews>,
    /// The events of the log in a row.
    run: usize,
}

impl NodeEvents {
    /// The next event; waits for one. `None` once the node has stopped.
    ///
    /// Cancel-safe: an event is handed out or comes again.
    ///
    /// # Errors
    /// The store's.
    pub async fn next(&mut self) -> Result<Option<NodeEvent>, NodeError> {
        match self.next_or_stopping().await {
            // a node that stops refuses to read, which may be heard first
            Err(NodeError::Stopping(_)) => Ok(None),
            told => told,
        }
    }

    async fn next_or_stopping(&mut self) -> Result<Option<NodeEvent>, NodeError> {
        loop {
            if let Some(event) = self.at_once().await? {
                return Ok(Some(event));
            }
            let Self { log, keys, passing, mode, ended, .. } = self;
            let change = tokio::select! {
                // in this order: a mode is told after every change before it
                biased;
                change = of_log(log) => change?,
                news = of_others(keys, passing, mode) => {
                    self.ready.push_back(news);
                    continue;
                }
                () = end_of(ended) => None,
            };
            let Some(change) = change else { return Ok(None) };
            self.take(change);
        }
    }

    /// The next event that is there already; `None` if there is none yet. Cancel-safe.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    #[cfg(feature = "http")]
    pub(crate) async fn at_hand(&mut self) -> Result<Option<NodeEvent>, NodeError> {
        loop {
            if let Some(event) = self.at_once().await? {
                return Ok(Some(event));
            }
            if let Some(log) = &mut self.log
                && let Some(change) = log.at_hand().await?
            {
                self.take(change);
                continue;
            }
            let Self { keys, passing, mode, .. } = self;
            match of_others(keys, passing, mode).now_or_never() {
                Some(news) => self.ready.push_back(news),
                None => return Ok(None),
            }
        }
    }

    /// The cursor after all events that were handed out, and after all that was looked at and is none for this reader.
    pub fn cursor(&self) -> String {
        // a place that was looked at counts once all before it is handed out
        let looked_at =
            self.log.as_ref().filter(|_| self.looked_up.is_none() && self.ready.is_empty()).and_then(Watch::place);
        let cursor = Cursor {
            log: looked_at.unwrap_or(self.log_at),
            critical: match &self.keys {
                Some(keys) => keys.place(),
                None => self.unread.and_then(|cursor| cursor.critical),
            },
            recent: match &self.passing {
                Some(passing) => Some(passing.place()),
                None => self.unread.and_then(|cursor| cursor.recent),
            },
        };
        cursor.render(self.events.0.here.store_name)
    }

    /// The events as a stream, which ends once the node has stopped, or with an error.
    pub fn into_stream(self) -> BoxStream<'static, Result<NodeEvent, NodeError>> {
        let next = async |mut events: Self| Ok(events.next().await?.map(|event| (event, events)));
        Box::pin(stream::try_unfold(self, next))
    }

    /// An event that waits to be handed out, or one of another source that is due.
    async fn at_once(&mut self) -> Result<Option<NodeEvent>, NodeError> {
        if let Some(news) = self.ready.pop_front() {
            return Ok(Some(self.told(news)));
        }
        let Some(change) = self.looked_up.clone() else {
            if self.run < LOG_RUN_MAX {
                return Ok(None);
            }
            self.run = 0;
            // nothing waits here: a cursor never counts an event that was not handed out
            let Self { keys, passing, mode, .. } = self;
            let news = of_others(keys, passing, mode).now_or_never();
            return Ok(news.map(|news| self.told(news)));
        };
        let found = self.look_up(&change).await;
        self.looked_up = None;
        self.log_at = self.place_of(&change);
        match found {
            Ok(news) => Ok(news.map(|news| self.told(news))),
            // of another's space, or no longer there
            Err(NodeError::NotFound { .. } | NodeError::Ambiguous { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Looks up the task or the document of a change, as it is now. There is no news of a document without the change.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "a shared part of a stream goes to no other thread")]
    async fn look_up(&mut self, change: &Change) -> Result<Option<NodeNews>, NodeError> {
        match change.subject {
            #[cfg(feature = "documents")]
            Subject::Document(id) => {
                let news = self.documents.news(&change.space, id, self.place_of(change).eno).await?;
                Ok(news.map(|news| NodeNews::Document(change.clone(), Box::new(news))))
            }
            subject => {
                let task = self.events.0.here.board.get(&subject.to_string()).await?;
                Ok(Some(NodeNews::Task(change.clone(), Box::new(task))))
            }
        }
    }

    /// Takes in a change of the log.
    fn take(&mut self, change: Change) {
        self.run += 1;
        match (change.kind, change.subject) {
            (ChangeKind::Task | ChangeKind::Document, _) => self.looked_up = Some(change),
            (ChangeKind::Missed, _) => {
                self.log_at = self.place_of(&change);
                let of_log = self.kinds.iter().copied().filter(|kind| kind.is_of_log());
                self.ready.push_back(NodeNews::Missed(of_log.collect()));
            }
            _ => {
                self.log_at = self.place_of(&change);
                self.ready.push_back(NodeNews::Change(change));
            }
        }
    }

    fn place_of(&self, change: &Change) -> LogPlace {
        match Cursor::parse(&change.cursor, self.events.0.here.store_name, &[]) {
            Ok(Given::Here(cursor)) => cursor.log,
            // this node wrote it: it is one
            _ => self.log_at,
        }
    }

    fn told(&self, news: NodeNews) -> NodeEvent {
        NodeEvent { cursor: self.cursor(), news }
    }
}

impl fmt::Debug for NodeEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeEvents").field("kinds", &self.kinds).finish_non_exhaustive()
    }
}

/// The next change of the log; never without one to follow.
async fn of_log(log: &mut Option<Watch>) -> Result<Option<Change>, NodeError> {
    match log {
        Some(log) => log.next().await,
        None => std::future::pending().await,
    }
}

/// The next event of another source; never without one to follow.
async fn of_others(
    keys: &mut Option<KeyFeed>,
    passing: &mut Option<PassingFeed>,
    mode: &mut Option<ModeFeed>,
) -> NodeNews {
    tokio::select! {
        biased;
        news = async { keys.as_mut()?.next().await }, if keys.is_some() => match news {
            Some(CriticalNews::Change(change)) => NodeNews::Critical(change),
            _ => NodeNews::Missed(BTreeSet::from([EventKind::Critical])),
        },
        Some(passed) = async { Some(passing.as_mut()?.next().await) }, if passing.is_some() => match passed {
            Passed::Peer(news) => NodeNews::Peer(news),
            #[cfg(feature = "blobs")]
            Passed::Blob(news) => NodeNews::Blob(news),
            Passed::Missed(kinds) => NodeNews::Missed(kinds),
        },
        Some(mode) = async { Some(mode.as_mut()?.next().await) }, if mode.is_some() => NodeNews::Mode(mode),
        else => std::future::pending().await,
    }
}

/// Resolves once the node has stopped.
async fn end_of(committed: &mut watch::Receiver<u64>) {
    while committed.changed().await.is_ok() {}
}
