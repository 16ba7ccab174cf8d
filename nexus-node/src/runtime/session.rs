use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::select_all;
use futures::io::AsyncReadExt;
use futures::{AsyncRead, AsyncWrite, FutureExt};
use nexus_crdt::sync_frame::Body;
use nexus_crdt::{Entry, EntryError, Incarnation, Lengthener, Shortener, SpaceId, SyncFrame, Verified};
use nexus_identity::Did;
use nexus_mesh::{Direction, FRAME_BYTES_MAX, FRAME_HEAD_BYTES, FrameError, Tally, read_frame, write_frame};
use prost::Message;
use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;

use super::backlog::{Backlog, Brought, Next};
use super::handle::{Ended, Intake};
use super::sessions::Poke;
use super::shares::{Party, Turn, bytes_of};
use super::sync::Syncing;
use super::traces::{EntrySource, NamedTraces};
use crate::headroom::Room;
use crate::replication::{Audience, Received, SessionError, SyncSession};
use crate::store::{Snapshot, StoreError};
use crate::world::Interrupted;

/// Longest silence of a peer. An honest peer of an earlier version sends at least every five seconds.
const SILENT_MAX: Duration = Duration::from_secs(30);
/// The same of a peer that knows of rare digests: it sends one each minute.
const SILENT_AT_REST_MAX: Duration = Duration::from_secs(150);
/// The manners of a peer that knows of rare digests.
const RARE_DIGESTS: u16 = 1;
/// The form of messages in which entries are short.
const SHORT_ENTRIES: u16 = 1;
/// Longest write of one frame. A peer that reads nothing ends the session.
const WRITE_MAX: Duration = Duration::from_secs(30);

/// The longest wait for a turn, and for a place in the backlog. The peer must not take this node for dead.
const TURN_WAIT_MAX: Duration = Duration::from_secs(5);
/// Entries that are verified where they arrive, and their bytes.
const FEW_MAX: usize = 2;
const FEW_BYTES_MAX: usize = 16 * 1024;
/// Heads of an acknowledgement that are taken where it arrives.
const FEW_HEADS_MAX: usize = 64;
/// Entries that are verified and taken at a time: local callers wait for those before their write.
const ENTRIES_PER_TURN: usize = 128;

/// Reason why a sync ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SyncError {
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("peer sent bytes that are no sync message")]
    NotAMessage,
    #[error("peer said nothing for long")]
    Silent,
    #[error("peer took nothing for {WRITE_MAX:?}")]
    Stalled,
    #[error("peer closed the stream")]
    Closed,
    #[error("another stream took its place")]
    Replaced,
    #[error("this node is stopping")]
    Stopping,
}

impl SyncError {
    /// Whether the peer broke a rule. Then the connection closes, not only the stream.
    pub(crate) const fn is_misbehaviour(&self) -> bool {
        matches!(
            self,
            Self::NotAMessage
                | Self::Frame(FrameError::TooLong { .. })
                | Self::Session(SessionError::Malformed(_) | SessionError::Entry(_))
        )
    }
}

impl From<Ended> for SyncError {
    fn from(_: Ended) -> Self {
        Self::Stopping
    }
}

impl From<Interrupted> for SyncError {
    fn from(_: Interrupted) -> Self {
        Self::Stopping
    }
}

impl From<StoreError> for SyncError {
    fn from(error: StoreError) -> Self {
        Self::Session(error.into())
    }
}

/// Syncs with a peer over one stream until it breaks.
pub(crate) async fn sync<S>(here: &Syncing, peer: Did, stream: S, tally: &Tally) -> SyncError
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // it ends wherever this future does
    let live = here.sessions.begin(peer);
    let (generation, poke) = (live.generation, live.poke.clone());
    if let Some(until) = here.vain.wait(&peer, Instant::now()) {
        tokio::time::sleep_until(until).await;
        if !here.sessions.is_current(peer, generation) {
            return SyncError::Replaced;
        }
    }
    let abilities = here.abilities_of(peer).await;
    let audience = Audience::new(here.identity.me(), peer, here.identity.members());
    let audience = audience.reading(abilities.entry_format_max).naming(&abilities.spaces).within(here.quotas);
    let rests = abilities.rest >= RARE_DIGESTS;
    let shortener = (abilities.sync >= SHORT_ENTRIES).then(Shortener::default);
    let silent_max = if rests { SILENT_AT_REST_MAX } else { SILENT_MAX };
    let (store, holdings, now) = (here.store.clone(), here.holdings.clone(), here.world.now());
    let open = move || {
        let begun = Instant::now();
        let session = SyncSession::open_beside(audience, holdings, now, &store.snapshot()?)?.resting(rests);
        Ok::<_, SessionError>((session, begun.elapsed()))
    };
    let (session, opened) = match here.world.reading(open).await {
        Ok(Ok((session, opened))) => (Arc::new(Mutex::new(session)), opened),
        Ok(Err(error)) => return error.into(),
        Err(error) => return error.into(),
    };
    here.vain.note(peer, opened, Instant::now());
    let (reader, writer) = stream.split();
    let sync = Sync { here, peer, tally, silent_max, generation, session, poke, backlog: Waiting::default() };
    let mut taking = std::pin::pin!(sync.take_backlog());
    let (Err(mut error), goes_on) = tokio::select! {
        ended = sync.read(reader) => (ended, true),
        ended = sync.write(writer, shortener) => (ended, true),
        ended = &mut taking => (ended, false),
    };
    if goes_on {
        // the peer may have closed after its last entries
        sync.backlog.closes();
        let Err(last) = taking.await;
        error = if last.is_misbehaviour() { last } else { error };
    }
    error
}

/// The entries in a frame; `None` for news of what the peer has taken, of which an honest one has much.
fn brought(frame: &SyncFrame) -> Option<usize> {
    match &frame.body {
        None | Some(Body::Ack(_)) => None,
        Some(Body::Entries(frame)) => Some(frame.entries.len()),
        Some(Body::Frontier(_) | Body::Digest(_) | Body::Full(_)) => Some(0),
    }
}

/// The kind of a frame, for the counts of bytes.
const fn kind_of(frame: &SyncFrame) -> &'static str {
    match &frame.body {
        None => "unknown",
        Some(Body::Frontier(_)) => "frontier",
        Some(Body::Entries(_)) => "entries",
        Some(Body::Ack(_)) => "ack",
        Some(Body::Digest(_)) => "digest",
        Some(Body::Full(_)) => "full",
    }
}

/// The part of the work for a frame that brought nothing, if so many of its entries were new.
fn in_vain(work: Duration, sent: usize, new: usize) -> Duration {
    let count = |entries: usize| u32::try_from(entries).unwrap_or(u32::MAX);
    if sent == 0 { work } else { work / count(sent) * count(sent.saturating_sub(new)) }
}

/// Entries that wait for their authors' turns.
#[derive(Default)]
struct Waiting {
    entries: std::sync::Mutex<Backlog>,
    /// Whether the next entries are taken out of turn, as no other frame is read before that.
    overdue: AtomicBool,
    is_closing: AtomicBool,
    closing: Notify,
    added: Notify,
    taken: Notify,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Backlog> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No more entries come.
    fn closes(&self) {
        self.is_closing.store(true, Ordering::Relaxed);
        self.closing.notify_one();
        self.added.notify_one();
    }
}

struct Sync<'a> {
    here: &'a Syncing,
    peer: Did,
    tally: &'a Tally,
    silent_max: Duration,
    generation: u64,
    session: Arc<Mutex<SyncSession>>,
    poke: Arc<Poke>,
    backlog: Waiting,
}

impl Sync<'_> {
    /// Takes a step with the session, which reads the store, off the tasks that answer.
    async fn step<T: Send + 'static>(
        &self,
        step: impl FnOnce(&mut SyncSession, &Snapshot) -> Result<T, SessionError> + Send + 'static,
    ) -> Result<T, SyncError> {
        // the session first: its cursors must not be ahead of the state that it reads
        let mut session = self.session.clone().lock_owned().await;
        let store = self.here.store.clone();
        let step = move || {
            let snapshot = store.snapshot()?;
            step(&mut session, &snapshot)
        };
        Ok(self.here.world.reading(step).await??)
    }

    /// Reads frames from the peer. At the bound per second it waits, so sync slows down.
    async fn read<R: AsyncRead + Unpin>(&self, mut reader: R) -> Result<std::convert::Infallible, SyncError> {
        let (mut second, mut taken) = (Instant::now(), 0);
        let (mut doubtful, mut lengthener) = (false, Lengthener::default());
        loop {
            if let Some(until) = self.here.vain.wait(&self.peer, Instant::now()) {
                tokio::time::sleep_until(until).await;
            }
            let frame = tokio::time::timeout(self.silent_max, read_frame(&mut reader, FRAME_BYTES_MAX));
            let frame = frame.await.map_err(|_| SyncError::Silent)??.ok_or(SyncError::Closed)?;
            let (begun, bytes) = (Instant::now(), FRAME_HEAD_BYTES + frame.len());
            let mut frame = SyncFrame::decode(frame.as_slice()).map_err(|_| SyncError::NotAMessage)?;
            lengthener.lengthen(&mut frame).map_err(|error| {
                self.here.vain.note(self.peer, begun.elapsed(), Instant::now());
                SessionError::Entry(error)
            })?;
            self.tally.count(kind_of(&frame), Direction::In, bytes);
            let (sent, mut decoded) = (brought(&frame), begun.elapsed());
            if sent == Some(0) {
                self.here.vain.note(self.peer, decoded, Instant::now());
                decoded = Duration::ZERO;
            }
            let said = NamedTraces::in_frame(&frame);
            let received = match &frame.body {
                // no look at the store, so no other thread
                Some(Body::Ack(ack)) if ack.heads.len() <= FEW_HEADS_MAX => {
                    let progress = self.session.lock().await.receive_ack(ack).inspect_err(|_| {
                        self.here.vain.note(self.peer, decoded, Instant::now());
                    })?;
                    Received { progress, ..Received::default() }
                }
                _ => self.take_frame(frame, sent, decoded).await?,
            };
            let progressed = received.progress.is_some();
            if let Some(progress) = received.progress {
                self.here.sessions.progress(self.peer, progress, self.here.world.wall());
            }
            // a peer that claims more of our own log than is here must show it first
            doubtful |= received.own_log_ahead.is_some();
            if progressed && !doubtful {
                self.here.sessions.note_compared();
            }
            self.bring(received.entries, said).await;
            self.poke.wake();
            taken += 1;
            if taken >= self.here.frames_per_second {
                tokio::time::sleep_until(second + Duration::from_secs(1)).await;
                (second, taken) = (Instant::now(), 0);
            } else if second.elapsed() >= Duration::from_secs(1) {
                (second, taken) = (Instant::now(), 0);
            }
        }
    }

    /// Hands a frame to the session. `sent` is the number of its entries, and `decoded` the time that was spent on it so far.
    async fn take_frame(
        &self,
        frame: SyncFrame,
        sent: Option<usize>,
        decoded: Duration,
    ) -> Result<Received, SyncError> {
        // noted where it is done: another stream may take this one's place meanwhile
        let (vain, peer) = (self.here.vain.clone(), self.peer);
        let received = self.step(move |session, snapshot| {
            let begun = Instant::now();
            let received = session.receive(frame, snapshot);
            let new = received.as_ref().map_or(0, |received| received.entries.len());
            if let Some(sent) = sent.or(received.is_err().then_some(0)) {
                vain.note(peer, in_vain(decoded + begun.elapsed(), sent, new), Instant::now());
            }
            received
        });
        received.await
    }

    /// Leaves new entries to the backlog. Resolves when another frame may be read.
    async fn bring(&self, entries: Vec<Entry>, mut said: NamedTraces) {
        let (members, now) = (self.here.identity.members(), Instant::now());
        for entry in entries {
            let (party, trace) = (Party::of(entry.header().author, &members), said.take(&entry.id()));
            self.backlog.lock().add(party, (entry, trace), now);
        }
        self.backlog.added.notify_one();
        let (end, peer) = (now + TURN_WAIT_MAX, Party::Author(self.peer));
        while self.backlog.lock().is_full(peer) {
            let is_overdue = self.backlog.overdue.load(Ordering::Relaxed);
            tokio::select! {
                () = self.backlog.taken.notified() => {}
                () = tokio::time::sleep_until(end), if !is_overdue => {
                    self.backlog.overdue.store(true, Ordering::Relaxed);
                    self.backlog.added.notify_one();
                }
            }
        }
        self.backlog.overdue.store(false, Ordering::Relaxed);
    }

    /// Brings entries of the backlog to the engine, those of each author in its turn. At the end of the stream it takes
    /// what need not wait, unless another stream took this one's place.
    async fn take_backlog(&self) -> Result<std::convert::Infallible, SyncError> {
        let mut members = self.here.identity.follow();
        members.mark_changed();
        loop {
            // an introduction often comes just before what its author wrote
            if members.has_changed().unwrap_or_default() {
                let known = members.borrow_and_update().clone();
                self.backlog.lock().introduce(&known);
            }
            let (next, is_overdue) = (self.backlog.lock().next(), self.backlog.overdue.load(Ordering::Relaxed));
            if self.backlog.is_closing.load(Ordering::Relaxed) {
                if self.here.engine.headroom().room() != Room::All {
                    return Err(SyncError::Closed);
                }
                let first = next.iter().map(|next| next.party).find(|party| self.here.shares.has_turn(*party));
                match first.filter(|_| self.here.sessions.is_current(self.peer, self.generation)) {
                    Some(party) => self.take(party, &next).await?,
                    None => return Err(SyncError::Closed),
                }
                continue;
            }
            if next.is_empty() {
                self.backlog.added.notified().await;
                continue;
            }
            // the peer waits with the rest, and nobody is to blame
            let room = self.here.engine.headroom().room();
            if room != Room::All {
                // changes of the membership have a part of the reserve
                if room == Room::Duties && self.take_duties().await? {
                    continue;
                }
                tokio::select! {
                    () = self.here.engine.headroom().until_ample() => {}
                    () = self.backlog.added.notified() => {}
                    () = self.backlog.closing.notified() => {}
                }
                continue;
            }
            let turns = next.iter().map(|Next { party, since, .. }| {
                let end = if is_overdue { *since } else { *since + TURN_WAIT_MAX };
                self.here.shares.until_turn(*party, end).map(|()| *party).boxed()
            });
            let party = tokio::select! {
                (party, ..) = select_all(turns) => party,
                // another author's turn may come first
                () = self.backlog.added.notified() => continue,
                changed = members.changed() => {
                    changed.map_err(|_| SyncError::Stopping)?;
                    members.mark_changed();
                    continue;
                }
            };
            self.take(party, &next).await?;
        }
    }

    /// Brings the entries about the members to the engine. Returns whether there were any.
    async fn take_duties(&self) -> Result<bool, SyncError> {
        let space = SpaceId::mesh(&self.here.identity.mesh());
        let (entries, parties) = self.backlog.lock().take_of(space, ENTRIES_PER_TURN, Instant::now());
        if entries.is_empty() {
            return Ok(false);
        }
        self.hand_in(entries, parties).await.map(|()| true)
    }

    /// Brings the next entries of an author to the engine, and of others that may have their turns as well.
    async fn take(&self, party: Party, next: &[Next]) -> Result<(), SyncError> {
        let (mut entries, mut parties, now) = (Vec::new(), BTreeMap::new(), Instant::now());
        let others = next.iter().map(|next| next.party).filter(|other| *other != party);
        for one in std::iter::once(party).chain(others) {
            let most = ENTRIES_PER_TURN - entries.len();
            if most == 0 {
                break;
            }
            if one == party || self.here.shares.has_turn(one) {
                let (some, work) = self.backlog.lock().take(one, most, now);
                entries.extend(some);
                parties.insert(one, work);
            }
        }
        if entries.is_empty() {
            return Ok(());
        }
        self.hand_in(entries, parties).await
    }

    /// Verifies entries of the backlog as the work of their authors, and hands them to the engine.
    async fn hand_in(&self, entries: Vec<Brought>, parties: BTreeMap<Party, Duration>) -> Result<(), SyncError> {
        let turn = self.here.shares.begin(parties);
        self.backlog.taken.notify_one();
        let traces = entries.iter().filter_map(|(entry, trace)| Some((entry.id(), (*trace)?)));
        let said: NamedTraces = traces.collect();
        self.verify(entries.into_iter().map(|(entry, _)| entry).collect(), &said, turn).await
    }

    /// Verifies entries and hands them to the engine.
    async fn verify(&self, entries: Vec<Entry>, said: &NamedTraces, turn: Turn) -> Result<(), SyncError> {
        let (mesh, begun) = (self.here.identity.mesh(), Instant::now());
        let few = entries.len() <= FEW_MAX && entries.iter().map(bytes_of).sum::<usize>() <= FEW_BYTES_MAX;
        let verify = move || entries.into_iter().map(|entry| entry.verify(&mesh)).collect();
        // another thread costs as much as a few signatures
        let entries: Result<Vec<Verified>, EntryError> =
            if few { verify() } else { self.here.world.reading(verify).await? };
        let entries = entries.map_err(|error| {
            self.here.vain.note(self.peer, begun.elapsed(), Instant::now());
            SessionError::Entry(error)
        })?;
        // an entry with our signature that is not here: another copy of this store has written
        let own = entries.iter().map(|entry| entry.header());
        let own = own.filter(|header| header.author == self.here.identity.me());
        let elsewhere: BTreeSet<Incarnation> = own.map(|header| header.incarnation).collect();
        for incarnation in elsewhere {
            self.hand_over(Intake::OwnLogAhead(incarnation)).await?;
        }
        let of_traces = said.of(&entries, self.peer, EntrySource::Sync);
        self.hand_over(Intake::Entries { from: self.peer, entries, of_traces, turn }).await
    }

    async fn hand_over(&self, intake: Intake) -> Result<(), SyncError> {
        Ok(self.here.engine.take(intake).await?)
    }

    /// Resolves when another stream has replaced this one. It consumes wakes, so check again after it.
    async fn replaced(&self) {
        while self.here.sessions.is_current(self.peer, self.generation) {
            self.poke.woken().await;
        }
    }

    /// Sends the session's frames. Between frames it waits for a commit, a frame or the timer.
    async fn write<W: AsyncWrite + Unpin>(
        &self,
        mut writer: W,
        mut shortener: Option<Shortener>,
    ) -> Result<std::convert::Infallible, SyncError> {
        let (mut committed, mut members) = (self.here.engine.committed(), self.here.identity.follow());
        let (mut own, mut circle) = (self.here.engine.own(), self.here.mesh.whole());
        members.mark_changed();
        loop {
            let (last, last_own) = (*committed.borrow_and_update(), *own.borrow_and_update());
            let whole = *circle.borrow_and_update();
            if !self.here.sessions.is_current(self.peer, self.generation) {
                return Err(SyncError::Replaced);
            }
            let (behind, now) = (self.poke.take_behind(), self.here.world.now());
            let rest = {
                let mut session = self.session.lock().await;
                session.in_whole_circle(whole);
                session.look(now, last, last_own)
            };
            let is_stale = members.has_changed().map_err(|_| SyncError::Stopping)?;
            if !behind && !is_stale && now < rest.until {
                tokio::select! {
                    changed = committed.changed(), if rest.notes_commits => changed.map_err(|_| SyncError::Stopping)?,
                    changed = own.changed() => changed.map_err(|_| SyncError::Stopping)?,
                    changed = members.changed() => {
                        changed.map_err(|_| SyncError::Stopping)?;
                        members.mark_changed();
                    }
                    changed = circle.changed() => changed.map_err(|_| SyncError::Stopping)?,
                    () = self.poke.woken() => {}
                    () = self.here.world.sleep_until(rest.until) => {}
                }
                continue;
            }
            let known = members.borrow_and_update().clone();
            let others = self.here.sessions.live().saturating_sub(1);
            let next = self.step(move |session, snapshot| {
                if behind {
                    session.ask_again();
                }
                session.among(others);
                session.follow(&known, now, snapshot)?;
                Ok(session.next_frame(now, snapshot)?)
            });
            if let Some(mut frame) = next.await? {
                self.here.traces.add_to(&mut frame);
                if let Some(shortener) = &mut shortener {
                    shortener.shorten(&mut frame);
                }
                let bytes = frame.encode_to_vec();
                self.tally.count(kind_of(&frame), Direction::Out, FRAME_HEAD_BYTES + bytes.len());
                let written = tokio::time::timeout(WRITE_MAX, write_frame(&mut writer, &bytes));
                tokio::select! {
                    written = written => written.map_err(|_| SyncError::Stalled)??,
                    () = self.replaced() => return Err(SyncError::Replaced),
                }
                let end = self.here.world.now();
                self.session.lock().await.sent(end, end.saturating_sub(now));
            }
        }
    }
}
