use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use futures::io::AsyncReadExt;
use futures::{AsyncRead, AsyncWrite, pin_mut};
use nexus_crdt::sync_frame::Body;
use nexus_crdt::{Entry, EntryError, Incarnation, SyncFrame, Verified};
use nexus_identity::Did;
use nexus_mesh::{FRAME_BYTES_MAX, FrameError, read_frame, write_frame};
use prost::Message;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::handle::{Ended, Intake};
use super::sessions::Poke;
use super::shares::{Party, Turn};
use super::sync::Syncing;
use super::traces::{EntrySource, NamedTraces};
use crate::replication::{Audience, SessionError, SyncSession};
use crate::store::{Snapshot, StoreError};
use crate::world::Interrupted;

/// Longest silence of a peer. An honest peer sends at least every five seconds.
const SILENT_MAX: Duration = Duration::from_secs(30);
/// Longest write of one frame. A peer that reads nothing ends the session.
const WRITE_MAX: Duration = Duration::from_secs(30);

/// The longest wait of one frame's entries for their turns. The peer must not take this node for dead, and entries of
/// others are behind them.
const TURN_WAIT_MAX: Duration = Duration::from_secs(5);
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
    #[error("peer said nothing for {SILENT_MAX:?}")]
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
pub(crate) async fn sync<S: AsyncRead + AsyncWrite + Unpin>(here: &Syncing, peer: Did, stream: S) -> SyncError {
    let (generation, poke) = here.sessions.begin(peer);
    if let Some(until) = here.vain.wait(&peer, Instant::now()) {
        tokio::time::sleep_until(until).await;
        if !here.sessions.is_current(peer, generation) {
            return SyncError::Replaced;
        }
    }
    let abilities = here.abilities_of(peer).await;
    let audience = Audience::new(here.identity.me(), peer, here.identity.members());
    let audience = audience.reading(abilities.entry_format_max).naming(&abilities.spaces).within(here.quotas);
    let (store, now) = (here.store.clone(), here.world.now());
    let open = move || {
        let begun = Instant::now();
        SyncSession::open(audience, now, &store.snapshot()?).map(|session| (session, begun.elapsed()))
    };
    let (session, opened) = match here.world.reading(open).await {
        Ok(Ok((session, opened))) => (Arc::new(Mutex::new(session)), opened),
        Ok(Err(error)) => return error.into(),
        Err(error) => return error.into(),
    };
    here.vain.note(peer, opened, Instant::now());
    let (reader, writer) = stream.split();
    let sync = Sync { here, peer, generation, session, poke };
    let (reading, writing) = (sync.read(reader), sync.write(writer));
    pin_mut!(reading, writing);
    let ended = match select(reading, writing).await {
        Either::Left((ended, _)) | Either::Right((ended, _)) => ended,
    };
    here.sessions.end(peer, generation);
    let Err(error) = ended;
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

/// The part of the work for a frame that brought nothing, if so many of its entries were new.
fn in_vain(work: Duration, sent: usize, new: usize) -> Duration {
    let count = |entries: usize| u32::try_from(entries).unwrap_or(u32::MAX);
    if sent == 0 { work } else { work / count(sent) * count(sent.saturating_sub(new)) }
}

struct Sync<'a> {
    here: &'a Syncing,
    peer: Did,
    generation: u64,
    session: Arc<Mutex<SyncSession>>,
    poke: Arc<Poke>,
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
        let mut doubtful = false;
        loop {
            if let Some(until) = self.here.vain.wait(&self.peer, Instant::now()) {
                tokio::time::sleep_until(until).await;
            }
            let frame = tokio::time::timeout(SILENT_MAX, read_frame(&mut reader, FRAME_BYTES_MAX));
            let frame = frame.await.map_err(|_| SyncError::Silent)??.ok_or(SyncError::Closed)?;
            let begun = Instant::now();
            let frame = SyncFrame::decode(frame.as_slice()).map_err(|_| SyncError::NotAMessage)?;
            let decoded = begun.elapsed();
            let said = NamedTraces::in_frame(&frame);
            let received = self.step(move |session, snapshot| {
                let (begun, sent) = (Instant::now(), brought(&frame));
                let received = session.receive(frame, snapshot)?;
                let vain = sent.map(|sent| in_vain(decoded + begun.elapsed(), sent, received.entries.len()));
                Ok((received, vain))
            });
            let received = received.await;
            let vain = received.as_ref().map_or_else(|_| Some(begun.elapsed()), |(_, vain)| *vain);
            if let Some(vain) = vain {
                self.here.vain.note(self.peer, vain, Instant::now());
            }
            let (received, _) = received?;
            let progressed = received.progress.is_some();
            if let Some(progress) = received.progress {
                self.here.sessions.progress(self.peer, progress);
            }
            // a peer that claims more of our own log than is here must show it first
            doubtful |= received.own_log_ahead.is_some();
            if progressed && !doubtful {
                self.here.sessions.note_compared();
            }
            self.bring(received.entries, &said).await?;
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

    /// Brings new entries to the engine, those of each author in its turn.
    async fn bring(&self, entries: Vec<Entry>, said: &NamedTraces) -> Result<(), SyncError> {
        let end = Instant::now() + TURN_WAIT_MAX;
        // those of authors that have to wait come last
        let (members, shares) = (self.here.identity.members(), &self.here.shares);
        let late = Party::of_all(&entries, &members).into_keys().filter(|party| !shares.has_turn(*party));
        let (late, mut ready) = (late.collect::<BTreeSet<Party>>(), VecDeque::new());
        let mut rest = BTreeMap::<Party, VecDeque<Entry>>::new();
        for entry in entries {
            match Party::of(entry.header().author, &members) {
                party if late.contains(&party) => rest.entry(party).or_default().push_back(entry),
                _ => ready.push_back(entry),
            }
        }
        for mut entries in std::iter::once(ready).chain(rest.into_values()) {
            while !entries.is_empty() {
                let some: Vec<Entry> = entries.drain(..entries.len().min(ENTRIES_PER_TURN)).collect();
                let turn = shares.turn(Party::of_all(&some, &members), end).await;
                self.verify(some, said, turn).await?;
            }
        }
        Ok(())
    }

    /// Verifies entries and hands them to the engine.
    async fn verify(&self, entries: Vec<Entry>, said: &NamedTraces, turn: Turn) -> Result<(), SyncError> {
        let (mesh, begun) = (self.here.identity.mesh(), Instant::now());
        let verify = move || entries.into_iter().map(|entry| entry.verify(&mesh)).collect();
        let entries: Result<Vec<Verified>, EntryError> = self.here.world.reading(verify).await?;
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
    async fn write<W: AsyncWrite + Unpin>(&self, mut writer: W) -> Result<std::convert::Infallible, SyncError> {
        let (mut committed, mut members) = (self.here.engine.committed(), self.here.identity.follow());
        loop {
            committed.mark_unchanged();
            let known = members.borrow_and_update().clone();
            if !self.here.sessions.is_current(self.peer, self.generation) {
                return Err(SyncError::Replaced);
            }
            let (behind, now) = (self.poke.take_behind(), self.here.world.now());
            let next = self.step(move |session, snapshot| {
                if behind {
                    session.ask_again();
                }
                session.follow(&known, now, snapshot)?;
                Ok((session.next_frame(now, snapshot)?, session.poll_timeout()))
            });
            let (frame, wake) = next.await?;
            if let Some(mut frame) = frame {
                self.here.traces.add_to(&mut frame);
                let bytes = frame.encode_to_vec();
                let written = tokio::time::timeout(WRITE_MAX, write_frame(&mut writer, &bytes));
                tokio::select! {
                    written = written => written.map_err(|_| SyncError::Stalled)??,
                    () = self.replaced() => return Err(SyncError::Replaced),
                }
                continue;
            }
            tokio::select! {
                changed = committed.changed() => changed.map_err(|_| SyncError::Stopping)?,
                changed = members.changed() => changed.map_err(|_| SyncError::Stopping)?,
                () = self.poke.woken() => {}
                () = self.here.world.sleep_until(wake) => {}
            }
        }
    }
}
