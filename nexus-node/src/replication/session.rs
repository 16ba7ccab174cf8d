use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use nexus_crdt::sync_frame::{AckFrame, Body, DigestFrame, EntriesFrame};
use nexus_crdt::{
    ENTRY_FORMAT_MAX, Entry, EntryError, EntryFrame, FRAME_ENTRIES_MAX, Frontier, FrontierPart, Head, LogHead, LogId,
    Members, SyncFrame, plan,
};
use nexus_identity::Did;
use nexus_identity::plants::planted;

use super::Audience;
use super::attempts::{Attempts, Patience};
use super::branched::Branched;
use super::holdings::{Holdings, KnownLogs, Ours, SessionLog};
use super::in_flight::InFlight;
use super::lacking::Lacking;
use super::refusals::Refusals;
use super::sending::{Parcel, Peek, Sending, Whose, log_entries, peek_entries};
use crate::ledger::rows::{self, Eno, LogNo};
use crate::ledger::{self, Incarnations};
use crate::store::{StoreError, Table, View};

/// Heads in a part of a frontier.
const PART_HEADS_MAX: usize = 4_096;
/// Heads of a frontier that are sent and heard: spaces × members × incarnations of a large mesh. About
/// 150 bytes each, up to four times per peer. Further logs count as not held.
const PEER_HEADS_MAX: usize = 1 << 18;
/// Logs of which nothing is held while their first entries come. Further ones are taken first and counted then.
const COMING_MAX: usize = 4_096;
/// Times of commits that are noted for a peer that takes nothing of others.
const MARKS_MAX: usize = 1_024;

/// How long entries of third parties are held back before they are forwarded: their authors,
/// if connected to the peer as well, are faster, and the peer's acknowledgement says so.
const RELAY_AFTER: Duration = Duration::from_millis(300);
/// The same where the peer gets them from their authors, as all neighbours are connected with each other: its
/// acknowledgement comes later.
const RELAY_AT_REST: Duration = Duration::from_secs(3);
/// The pause between two frames of own entries to a peer, for each other peer, and the longest: many at once would each wake all.
const OWN_PAUSE_EACH: Duration = Duration::from_millis(1);
const OWN_PAUSE_MAX: Duration = Duration::from_millis(50);
/// The longest one on a busy machine. There it is as long as such a frame to each other peer takes.
const OWN_PAUSE_BUSY_MAX: Duration = Duration::from_millis(250);
/// How long acknowledgements are gathered there, at most. A node's clock counts from its start: it sends them to all in one
/// go, and not when other nodes of its machine send theirs.
pub(super) const ACK_WITHIN: Duration = Duration::from_secs(2);
/// Bytes of entries of a peer that are acknowledged at once: it may wait before it sends more.
const ACK_BYTES: usize = 64 * 1024;
/// How often an idle session compares digests at first. At a peer that knows it, the pauses double then.
const DIGEST_EVERY: Duration = Duration::from_secs(5);
/// The longest pause between two digests.
const DIGEST_PAUSE_MAX: Duration = Duration::from_secs(60);
/// How often a frontier is sent again at most.
const FRONTIER_EVERY: Duration = Duration::from_secs(1);
/// How long a peer has to send what it was asked for of a branch.
const FURTHER_EVERY: Duration = Duration::from_secs(2);

/// Why a session ends. The peer is at fault unless it is the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// A message that no honest peer sends.
    #[error("peer sent a malformed message: {0}")]
    Malformed(&'static str),
    /// Entries that are none.
    #[error("peer sent a bad entry: {0}")]
    Entry(#[from] EntryError),
    /// Our own store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The durable entries of a peer, by its own word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All of it, whatever was known before.
    Whole(Frontier),
    /// The logs that moved.
    Moved(Vec<(LogId, Head)>),
}

/// The content of a frame from the peer.
#[derive(Debug, Default)]
pub struct Received {
    /// Entries that are not held here, in order; not yet verified.
    pub entries: Vec<Entry>,
    /// The peer's word on its durable entries.
    pub progress: Option<Progress>,
    /// The peer holds more of our own log than we do.
    pub own_log_ahead: Option<LogId>,
}

/// When a session is worth a call, if no frame comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    /// The time.
    pub until: Duration,
    /// Whether it is to be told of a commit of others' entries before that.
    pub notes_commits: bool,
}

/// One side of a sync with one peer. It speaks of the spaces that both sides may read, and of
/// nothing before the peer is known as a member.
///
/// Drive it so: [`receive`](Self::receive) each frame from the peer; whenever the stream takes
/// more, [`next_frame`](Self::next_frame) until it has none, then wait for a commit, a frame or
/// [`poll_timeout`](Self::poll_timeout). [`look`](Self::look) tells whether the next call of it may be left out. When members come or change, [`follow`](Self::follow) them
/// before anything else. `now` is monotonic from any origin. Each call gets the committed state of
/// that moment, which never goes back.
#[derive(Debug)]
pub struct SyncSession {
    audience: Audience,
    holdings: Arc<Holdings>,
    known: KnownLogs,
    /// Logs of which nothing was held when their first entries came. They count as held until the next frontier.
    coming: BTreeSet<LogId>,
    /// The entries that are not taken here, as the peer was told.
    refusals: Refusals,
    /// Whether the peer must be told of them before our frontier.
    tells_refusals: bool,
    /// The entries that the peer does not take, by its own word.
    refused: Refusals,
    /// Our frontier on its way out; `None` between.
    opening: Option<VecDeque<(LogId, Head)>>,
    /// The peer's frontier on its way in.
    incoming: Frontier,
    /// The entries that the peer has, claims to have, or was sent. `None` until its first frontier.
    theirs: Option<Frontier>,
    /// The parts of the mesh's space and of our own logs that the peer lacks.
    ranges: VecDeque<Sending>,
    /// The parts of other logs that it lacks.
    relayed: VecDeque<Sending>,
    /// The next entries to look at: our own to send at once, all to acknowledge, others' to relay.
    tail: Eno,
    acks: Eno,
    relay: Eno,
    /// The last entry by the latest word of the engine, and by the store at the latest call with it.
    told: Eno,
    seen: Eno,
    /// The last entry of which the engine told, and which the store had not: it has lost what it had committed.
    lost: Eno,
    /// Which entries were committed when, coarsely, until they are relayed.
    marks: VecDeque<(Duration, Eno)>,
    in_flight: InFlight,
    next_digest: Duration,
    last_digest: Duration,
    /// The pause before the digest after that.
    digest_pause: Duration,
    /// Whether the peer knows that digests become rare.
    rests: bool,
    /// Whether all neighbours are connected with each other.
    whole: bool,
    /// The part of the pause before a relay that this node waits, as others may relay the same.
    waits: u32,
    /// The number of other peers.
    others: u32,
    /// When the next frame of our own entries may go, and whether the last frame was one.
    next_own: Duration,
    sends_own: bool,
    /// Since when something is to be acknowledged, and the bytes that the peer sent.
    unacknowledged: Option<Duration>,
    owed: usize,
    /// Whether something came or went since the last digest.
    moved: bool,
    last_frontier: Duration,
    ask_again: bool,
    /// The logs of which the peer has a branch that is not here.
    branches: Branched,
    /// The entries of which the peer may have more.
    lacking: Lacking,
    /// The fate of the ranges that the peer was sent.
    attempts: Attempts,
    patience: Patience,
}

impl SyncSession {
    /// Begins: the first frames will be our frontier.
    ///
    /// # Errors
    /// The store's.
    pub fn open(audience: Audience, now: Duration, view: &dyn View) -> Result<Self, StoreError> {
        Self::open_beside(audience, Arc::default(), now, view)
    }

    /// Begins beside other sessions of this node, which have the same `holdings`: what one reads of a state serves all.
    ///
    /// # Errors
    /// The store's.
    pub fn open_beside(
        audience: Audience,
        holdings: Arc<Holdings>,
        now: Duration,
        view: &dyn View,
    ) -> Result<Self, StoreError> {
        let mut session = Self {
            audience,
            holdings,
            known: KnownLogs::default(),
            coming: BTreeSet::new(),
            refusals: Refusals::default(),
            tells_refusals: false,
            refused: Refusals::default(),
            opening: None,
            incoming: Frontier::default(),
            theirs: None,
            ranges: VecDeque::new(),
            relayed: VecDeque::new(),
            tail: 0,
            acks: 0,
            relay: 0,
            told: 0,
            seen: 0,
            lost: 0,
            marks: VecDeque::new(),
            in_flight: InFlight::default(),
            next_digest: now + DIGEST_EVERY,
            last_digest: now,
            digest_pause: DIGEST_EVERY,
            rests: false,
            whole: false,
            waits: 1,
            others: 0,
            next_own: Duration::ZERO,
            sends_own: false,
            unacknowledged: None,
            owed: 0,
            moved: true,
            last_frontier: now,
            ask_again: false,
            branches: Branched::default(),
            lacking: Lacking::default(),
            attempts: Attempts::default(),
            patience: Patience::default(),
        };
        session.begin(now, view)?;
        Ok(session)
    }

    /// Compares digests ever more rarely while nothing happens: the peer knows that it may hear nothing for long.
    #[must_use]
    pub const fn resting(mut self, rests: bool) -> Self {
        self.rests = rests;
        self
    }

    /// Tells whether all neighbours are connected with each other, the peer among them.
    pub const fn in_whole_circle(&mut self, whole: bool) {
        self.whole = whole;
    }

    /// Whether acknowledgements may come later, and so others' entries.
    const fn gathers(&self) -> bool {
        self.rests && self.whole
    }

    /// Tells how many other peers this node syncs with. Where each of them could relay the same entries, some wait longer. Own
    /// entries that follow on each other quickly share frames then.
    pub fn among(&mut self, others: usize) {
        self.others = u32::try_from(others).unwrap_or(u32::MAX);
        self.waits = self.audience.waits(others);
    }

    /// Tells when the last frame was on its way, and how long that took. On a busy machine, or a slow link, own entries
    /// share more of a frame.
    pub fn sent(&mut self, now: Duration, took: Duration) {
        if std::mem::take(&mut self.sends_own) {
            let pause = took.saturating_mul(self.others).min(OWN_PAUSE_BUSY_MAX);
            self.next_own = self.next_own.max(now + pause);
        }
    }

    const fn relay_after(&self) -> Duration {
        if self.gathers() { RELAY_AT_REST.saturating_mul(self.waits) } else { RELAY_AFTER }
    }

    /// When the next acknowledgement is due, if something waits for it.
    fn ack_at(&self) -> Option<Duration> {
        let since = self.unacknowledged?;
        if !self.gathers() || self.owed >= ACK_BYTES {
            return Some(since);
        }
        let rounds = since.as_millis() / ACK_WITHIN.as_millis();
        Some(ACK_WITHIN.saturating_mul(u32::try_from(rounds + 1).unwrap_or(u32::MAX)))
    }

    /// Follows the members. If other spaces are shared with the peer now, both frontiers are compared anew.
    ///
    /// # Errors
    /// The store's.
    pub fn follow(&mut self, members: &Arc<Members>, now: Duration, view: &dyn View) -> Result<(), StoreError> {
        let before = self.audience.clone();
        if !self.audience.follow(members) {
            return Ok(());
        }
        self.attempts.forget();
        if self.audience.shared_spaces(view)? == before.shared_spaces(view)? {
            // a reader that writes now has another quota
            self.ask_again |= self.read_refusals(view)? != self.refusals;
            return Ok(());
        }
        self.begin(now, view)?;
        let ours = self.ours(view)?;
        self.plan_sending(&ours.shared, view)
    }

    /// Sends our frontier, now or once more; to a stranger later, if at all.
    fn begin(&mut self, now: Duration, view: &dyn View) -> Result<(), StoreError> {
        if !self.audience.is_known() {
            return Ok(());
        }
        let ours = self.ours(view)?;
        let refusals = self.read_refusals(view)?;
        self.tells_refusals |= refusals != self.refusals;
        self.refusals = refusals;
        self.lacking.begin(view)?;
        let mut opening = VecDeque::with_capacity(ours.shared.len().min(PEER_HEADS_MAX));
        for (log, head) in ours.shared.iter().take(PEER_HEADS_MAX) {
            let said = match self.known.number(log) {
                Some(no) => match self.branches.said(log, no, *head, view)? {
                    Some(head) => self.lacking.said(no, head, view)?,
                    None => None,
                },
                None => Some(*head),
            };
            opening.extend(said.map(|head| (*log, head)));
        }
        self.opening = Some(opening);
        // the frontier is an acknowledgement, too
        self.acks = ledger::last_eno(view)? + 1;
        (self.unacknowledged, self.owed) = (None, 0);
        self.last_frontier = now;
        self.moved = true;
        Ok(())
    }

    fn read_refusals(&self, view: &dyn View) -> Result<Refusals, StoreError> {
        Refusals::read(view, self.audience.quotas(), self.audience.members(), self.audience.me(), self.known.shared())
    }

    /// The digest of the logs in which both ends can be equal.
    fn digest(&mut self, view: &dyn View) -> Result<[u8; 32], StoreError> {
        let ours = self.ours(view)?;
        if self.refusals.is_empty() && self.refused.is_empty() {
            return Ok(ours.digest());
        }
        let mesh_space = self.audience.mesh_space();
        let hidden = |log: &LogId| self.refusals.hides(log, mesh_space) || self.refused.hides(log, mesh_space);
        let common = ours.shared.iter().filter(|(log, _)| !hidden(log)).map(|(log, head)| (*log, *head));
        Ok(common.collect::<Frontier>().digest())
    }

    /// The logs of this node in the state of `view`. From here on the session knows these.
    fn ours(&mut self, view: &dyn View) -> Result<Arc<Ours>, StoreError> {
        let ours = self.holdings.of(&self.audience, view)?;
        self.known = KnownLogs::of(ours.clone());
        self.coming.clear();
        Ok(ours)
    }

    /// Plans what the peer lacks by what it said, and has the cursors go on after it.
    fn plan_sending(&mut self, ours: &Frontier, view: &dyn View) -> Result<(), StoreError> {
        let Some(theirs) = &self.theirs else { return Ok(()) };
        let mesh_space = self.audience.mesh_space();
        let mut ranges = plan(ours, theirs, mesh_space);
        ranges.retain(|range| self.refused.takes(&range.log, theirs.head(&range.log).is_some(), mesh_space));
        self.attempts.thin(&mut ranges, theirs, view)?;
        let me = self.audience.me();
        let first = |sending: &Sending| sending.range.log.space == mesh_space || sending.range.log.author == me;
        let sending = ranges.into_iter().map(|range| Sending { range, after: None });
        (self.ranges, self.relayed) = sending.partition(first);
        let next = ledger::last_eno(view)? + 1;
        (self.tail, self.relay) = (next, next);
        self.marks.clear();
        self.in_flight.forget();
        Ok(())
    }

    /// Has the frontiers compared again: entries from this peer miss something before them.
    pub const fn ask_again(&mut self) {
        self.ask_again = true;
    }

    /// When [`next_frame`](Self::next_frame) is worth a call although nothing happened.
    pub fn poll_timeout(&self) -> Duration {
        // nothing is relayed to a peer that has not said yet what it has
        let relay = self.marks.front().filter(|_| self.theirs.is_some()).map(|(at, _)| *at + self.relay_after());
        let relay = match self.in_flight.room_at() {
            Some(room) if !self.relayed.is_empty() => Some(room),
            Some(room) => relay.map(|at| at.max(room)),
            None => relay,
        };
        let again = self.ask_again && self.audience.is_known();
        let frontier = again.then_some(self.last_frontier + FRONTIER_EVERY);
        let further = self.branches.is_answered().then_some(self.last_frontier + FURTHER_EVERY);
        let own = (self.theirs.is_some() && self.tail <= self.seen).then_some(self.next_own);
        [relay, frontier, further, own, self.ack_at()].into_iter().flatten().fold(self.next_digest, Duration::min)
    }

    /// Notes the time and the last committed entry, without the store. `own` is the last entry that this node wrote itself.
    /// Until the time that it returns, [`next_frame`](Self::next_frame) has nothing.
    pub fn look(&mut self, now: Duration, last: Eno, own: Eno) -> Rest {
        if !self.audience.is_known() {
            // a change of the members tells
            return Rest { until: Duration::MAX, notes_commits: false };
        }
        self.told = last.max(own);
        let (last, own) = (self.held(last), self.held(own));
        self.note(now, last);
        let sends = |ranges: &VecDeque<Sending>| !ranges.is_empty() && self.theirs.is_some();
        let others = sends(&self.relayed) && self.in_flight.room_at().is_none();
        let own_at = (self.theirs.is_some() && self.tail <= own).then_some(self.next_own);
        let ours = sends(&self.ranges) || own_at.is_some_and(|at| at <= now);
        if self.tells_refusals || self.opening.is_some() || ours || others {
            return Rest { until: now, notes_commits: false };
        }
        let until = own_at.into_iter().fold(self.poll_timeout(), Duration::min);
        // while acknowledgements are gathered, later commits are told and relayed with them
        let gathered = self.gathers() && self.unacknowledged.is_some();
        Rest { until, notes_commits: !gathered }
    }

    /// An entry of which the engine told, or the last one before it that the store had. Without that bound a session would
    /// look for an entry that a disk has lost, again and again.
    fn held(&self, eno: Eno) -> Eno {
        if eno <= self.lost { eno.min(self.seen) } else { eno }
    }

    /// Notes what happened since the last look.
    fn note(&mut self, now: Duration, last: Eno) {
        if std::mem::take(&mut self.moved) {
            self.digest_pause = DIGEST_EVERY;
            self.next_digest = if self.rests {
                // while entries are under way digests differ, and say nothing
                (now + DIGEST_EVERY).min(self.last_digest + DIGEST_PAUSE_MAX)
            } else {
                self.next_digest.min(now + DIGEST_EVERY)
            };
        }
        // before its frontier the peer is sent nothing, and then what it lacks
        let is_new = self.marks.back().map_or(self.relay <= last, |(_, eno)| *eno < last);
        if self.theirs.is_some() && is_new {
            self.mark(now, last);
        }
        if self.acks <= last {
            self.unacknowledged.get_or_insert(now);
        }
    }

    /// Takes a frame from the peer.
    ///
    /// # Errors
    /// The frame breaks a rule: close the stream. Or the store's.
    pub fn receive(&mut self, frame: SyncFrame, view: &dyn View) -> Result<Received, SessionError> {
        let mut received = Received::default();
        self.moved |= !matches!(frame.body, Some(Body::Digest(_)));
        match frame.body {
            // a message of a later version
            None => {}
            Some(Body::Frontier(part)) => self.take_part(&part, &mut received, view)?,
            Some(Body::Entries(EntriesFrame { entries })) => {
                if entries.len() > FRAME_ENTRIES_MAX {
                    return Err(SessionError::Malformed("too many entries in a frame"));
                }
                for frame in entries {
                    self.owed =
                        self.owed.saturating_add(frame.header.len() + frame.payload.as_ref().map_or(0, Vec::len));
                    received.entries.extend(self.take_entry(frame, view)?);
                }
            }
            Some(Body::Ack(ack)) => received.progress = self.take_ack(&ack)?,
            Some(Body::Digest(DigestFrame { digest })) => {
                let ours = self.digest(view)?;
                self.moved |= digest != ours;
                self.ask_again |= self.patience.hear(ours, &digest);
            }
            Some(Body::Full(full)) => {
                self.refused = Refusals::from_frame(&full).ok_or(SessionError::Malformed("author or space"))?;
            }
        }
        Ok(received)
    }

    /// Takes an acknowledgement, without the store. It is [`receive`](Self::receive) of such a frame.
    ///
    /// # Errors
    /// It breaks a rule: close the stream.
    pub fn receive_ack(&mut self, ack: &AckFrame) -> Result<Option<Progress>, SessionError> {
        self.moved = true;
        self.take_ack(ack)
    }

    fn take_ack(&mut self, ack: &AckFrame) -> Result<Option<Progress>, SessionError> {
        let heads = ack.heads.iter().map(|head| head.parse().ok_or(SessionError::Malformed("head")));
        let moved = heads.collect::<Result<Vec<_>, _>>()?;
        // before its frontier a peer has nothing to acknowledge
        let Some(theirs) = &mut self.theirs else { return Ok(None) };
        for (log, head) in &moved {
            advance(theirs, *log, *head);
            self.in_flight.acknowledged(log, head.seq);
        }
        let heard = moved.into_iter().filter(|(log, _)| theirs.head(log).is_some()).collect();
        Ok(Some(Progress::Moved(heard)))
    }

    fn take_part(&mut self, part: &FrontierPart, received: &mut Received, view: &dyn View) -> Result<(), SessionError> {
        for head in &part.heads {
            let (log, head) = head.parse().ok_or(SessionError::Malformed("head"))?;
            advance(&mut self.incoming, log, head);
        }
        if !part.last {
            return Ok(());
        }
        let theirs = std::mem::take(&mut self.incoming);
        let (me, ours) = (self.audience.me(), self.ours(view)?);
        let ahead = |(log, head): &(&LogId, &Head)| log.author == me && !ours.own.covers(log, head.seq);
        received.own_log_ahead = theirs.iter().find(ahead).map(|(log, _)| *log);
        received.progress = Some(Progress::Whole(theirs.clone()));
        self.ask_again |= self.branches.look(&ours.shared, &theirs, self.audience.members(), view)?;
        self.theirs = Some(theirs);
        Ok(self.plan_sending(&ours.shared, view)?)
    }

    fn take_entry(&mut self, frame: EntryFrame, view: &dyn View) -> Result<Option<Entry>, SessionError> {
        let entry = match frame.parse() {
            Ok(entry) => entry,
            // its log stands still here until this node is of that version too
            Err(EntryError::TooNew { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let header = entry.header();
        if header.mesh != self.audience.mesh() {
            return Err(EntryError::OtherMesh.into());
        }
        // a peer that passes an entry on may have emptied it: its content must come from another peer
        if !ledger::lacks_only_what_is_erased(view, &entry)? {
            return Ok(None);
        }
        // of a branch it says nothing about the entries of ours that the peer has
        if let Some(theirs) = self.theirs.as_mut().filter(|_| !self.branches.is_sought(&header.log())) {
            advance(theirs, header.log(), Head { seq: header.seq, id: entry.id() });
        }
        self.branches.came(&header.log());
        // nothing is spent on what would not be taken
        let (log, mesh_space) = (header.log(), self.audience.mesh_space());
        let held = self.known.number(&log).is_some();
        let taken = self.refusals.takes(&log, held, mesh_space) && (held || self.has_room_for(&log));
        if !taken {
            return Ok(None);
        }
        if let Some(eno) = ledger::find_entry(view, entry.id())? {
            self.ask_again |= self.lacking.came(eno);
            return Ok(ledger::fills(view, eno, &entry)?.then_some(entry));
        }
        if !held && self.coming.len() < COMING_MAX {
            self.coming.insert(log);
        }
        Ok(Some(entry))
    }

    /// Whether another log is taken of its author in its space. The peer is told later that it is not.
    fn has_room_for(&self, log: &LogId) -> bool {
        let members = self.audience.members();
        if members.same_line(&log.author, &self.audience.me()) || self.coming.contains(log) {
            return true;
        }
        let logs_of = |author: &Did| {
            let of_key = LogId { author: *author, ..*log };
            let held = self.known.count(of_key.incarnations());
            (held + self.coming.range(of_key.incarnations()).count()) as u64
        };
        self.audience.quotas().incarnations_reached(Incarnations::of(members, &log.author, logs_of)).is_none()
    }

    /// The next frame to send, if there is one.
    ///
    /// # Errors
    /// The store's.
    pub fn next_frame(&mut self, now: Duration, view: &dyn View) -> Result<Option<SyncFrame>, StoreError> {
        if !self.audience.is_known() {
            self.next_digest = now + DIGEST_EVERY;
            return Ok(None);
        }
        if self.branches.is_answered() && now >= self.last_frontier + FURTHER_EVERY {
            let ours = self.ours(view)?;
            self.ask_again |= self.branches.look_further(&ours.shared, view)?;
        }
        if self.ask_again && self.opening.is_none() && now >= self.last_frontier + FRONTIER_EVERY {
            self.ask_again = false;
            self.begin(now, view)?;
        }
        if std::mem::take(&mut self.tells_refusals) {
            return Ok(Some(frame(Body::Full(self.refusals.to_frame()))));
        }
        if let Some(part) = self.next_part() {
            return Ok(Some(frame(Body::Frontier(part))));
        }
        let last = ledger::last_eno(view)?;
        self.seen = last;
        if self.told > last {
            self.lost = self.told;
        }
        self.note(now, last);
        if self.ack_at().is_some_and(|at| now >= at)
            && let Some(ack) = self.next_ack(last, view)?
        {
            self.moved = true;
            return Ok(Some(frame(Body::Ack(ack))));
        }
        if self.theirs.is_some() {
            let mut parcel = Parcel::default();
            self.fill_from_ranges(&mut parcel, Whose::Ours, view)?;
            if self.ranges.is_empty() {
                if now >= self.next_own {
                    let before = parcel.entries.len();
                    self.fill_from_tail(&mut parcel, last, view)?;
                    // the rest that did not fit goes at once
                    self.sends_own = parcel.entries.len() > before && self.tail > last;
                    if self.sends_own {
                        self.next_own = now + OWN_PAUSE_EACH.saturating_mul(self.others).min(OWN_PAUSE_MAX);
                    }
                }
                if self.in_flight.has_room(now) {
                    self.fill_from_ranges(&mut parcel, Whose::Others, view)?;
                    self.fill_from_relay(&mut parcel, now, view)?;
                }
            }
            if planted("delivers_by_gossip_alone") {
                parcel.entries.clear();
            }
            if !parcel.entries.is_empty() {
                (self.next_digest, self.digest_pause) = (now + DIGEST_EVERY, DIGEST_EVERY);
                return Ok(Some(frame(Body::Entries(EntriesFrame { entries: parcel.entries }))));
            }
        }
        if now >= self.next_digest {
            (self.last_digest, self.next_digest) = (now, now + self.digest_pause);
            if self.rests {
                self.digest_pause = (self.digest_pause * 2).min(DIGEST_PAUSE_MAX);
            }
            let digest = self.digest(view)?.to_vec();
            return Ok(Some(frame(Body::Digest(DigestFrame { digest }))));
        }
        Ok(None)
    }

    fn next_part(&mut self) -> Option<FrontierPart> {
        let rest = self.opening.as_mut()?;
        let heads = rest.drain(..rest.len().min(PART_HEADS_MAX)).map(|(log, head)| LogHead::new(&log, &head)).collect();
        let last = rest.is_empty();
        if last {
            self.opening = None;
        }
        Some(FrontierPart { heads, last })
    }

    /// Notes when entries were first seen committed. Times within a tenth of the delay are one, and so are those beyond the
    /// bound.
    fn mark(&mut self, now: Duration, last: Eno) {
        let full = self.marks.len() >= MARKS_MAX;
        match self.marks.back_mut() {
            Some((at, eno)) if now < *at + RELAY_AFTER / 10 || full => *eno = last,
            _ => self.marks.push_back((now, last)),
        }
    }

    /// The heads of the logs that moved since the last acknowledgement.
    fn next_ack(&mut self, last: Eno, view: &dyn View) -> Result<Option<AckFrame>, StoreError> {
        (self.unacknowledged, self.owed) = (None, 0);
        if self.acks > last {
            return Ok(None);
        }
        let mut moved = BTreeSet::new();
        while self.acks <= last {
            let (peeks, next) = peek_entries(view, self.acks, last)?;
            moved.extend(peeks.iter().map(|peek| peek.log));
            self.acks = next;
        }
        let mut heads = Vec::with_capacity(moved.len());
        for no in moved {
            let log = self.log(no, view)?;
            self.ask_again |= log.shared && self.fills_a_quota(&log.id, view)?;
            if log.shared
                && !self.branches.is_sought(&log.id)
                && !self.lacking.is_sought(no)
                && let Some(held) = ledger::read_branches(view, no)?
                && let Some(head) = self.audience.last(view, &log.id, &held)?
            {
                heads.push(LogHead::new(&log.id, &head));
            }
        }
        Ok((!heads.is_empty()).then_some(AckFrame { heads }))
    }

    /// Whether the peer is still to be told that an author has filled a quota here.
    fn fills_a_quota(&self, log: &LogId, view: &dyn View) -> Result<bool, StoreError> {
        if self.audience.members().same_line(&log.author, &self.audience.me()) {
            return Ok(false);
        }
        let logs_of = |author: &Did| {
            let of_key = LogId { author: *author, ..*log };
            self.known.count(of_key.incarnations()) as u64
        };
        let logs = Incarnations::of(self.audience.members(), &log.author, logs_of);
        self.refusals.lack(log, logs, (view, self.audience.quotas(), self.audience.members()))
    }

    fn fill_from_ranges(&mut self, parcel: &mut Parcel, whose: Whose, view: &dyn View) -> Result<(), StoreError> {
        let ranges = if whose == Whose::Ours { &mut self.ranges } else { &mut self.relayed };
        while let Some(sending) = ranges.front_mut() {
            if parcel.is_full() {
                return Ok(());
            }
            let log = sending.range.log;
            let known = self.known.number(&log);
            let Some(theirs) = &mut self.theirs else { return Ok(()) };
            sending.skip_to(theirs.head(&log).map_or(0, |head| head.seq.saturating_add(1)));
            let Some(no) = known.filter(|_| sending.range.from <= sending.range.to) else {
                self.attempts.sent(&log);
                ranges.pop_front();
                continue;
            };
            let entries = log_entries(view, no, sending)?;
            if entries.is_empty() {
                if let Some(last) = sending.last() {
                    advance(theirs, log, last);
                }
                self.attempts.sent(&log);
                ranges.pop_front();
                continue;
            }
            for (at, eno) in entries {
                if parcel.is_full() {
                    return Ok(());
                }
                let before = parcel.bytes;
                parcel.add(eno, view)?;
                if whose == Whose::Others {
                    self.in_flight.add(log, at.seq, parcel.bytes - before);
                }
                // the peer has all that there is at a seq once another one begins
                if let Some(before) = sending.sent(at) {
                    advance(theirs, log, before);
                }
            }
        }
        Ok(())
    }

    /// Our own new entries, at once.
    fn fill_from_tail(&mut self, parcel: &mut Parcel, last: Eno, view: &dyn View) -> Result<(), StoreError> {
        if planted("loses_tail_cursor") {
            self.tail = last + 1;
        }
        while self.tail <= last && !parcel.is_full() {
            let (peeks, next) = peek_entries(view, self.tail, last)?;
            self.tail = self.send_some(peeks, next, parcel, view, Whose::Ours)?;
        }
        Ok(())
    }

    /// Others' entries that the peer still lacks after a while.
    fn fill_from_relay(&mut self, parcel: &mut Parcel, now: Duration, view: &dyn View) -> Result<(), StoreError> {
        // of one log they come after those
        if !self.relayed.is_empty() {
            return Ok(());
        }
        while let Some(&(at, until)) = self.marks.front() {
            if now < at + self.relay_after() || parcel.is_full() {
                return Ok(());
            }
            while self.relay <= until && !parcel.is_full() {
                let (peeks, next) = peek_entries(view, self.relay, until)?;
                self.relay = self.send_some(peeks, next, parcel, view, Whose::Others)?;
            }
            if self.relay > until {
                self.marks.pop_front();
            }
        }
        Ok(())
    }

    /// Adds those of the entries that the peer lacks, until the parcel is full. Returns the first entry not looked at.
    fn send_some(
        &mut self,
        peeks: Vec<Peek>,
        next: Eno,
        parcel: &mut Parcel,
        view: &dyn View,
        whose: Whose,
    ) -> Result<Eno, StoreError> {
        for Peek { eno, log, seq } in peeks {
            if parcel.is_full() {
                return Ok(eno);
            }
            if !self.is_readable(log, seq, view)? {
                continue;
            }
            let log = self.log(log, view)?;
            let Some(theirs) = &mut self.theirs else { continue };
            let is_ours = log.id.author == self.audience.me();
            if !log.shared || is_ours != (whose == Whose::Ours) || theirs.covers(&log.id, seq) {
                continue;
            }
            if !self.refused.takes(&log.id, theirs.head(&log.id).is_some(), self.audience.mesh_space()) {
                continue;
            }
            let before = parcel.bytes;
            if let Some(head) = parcel.add(eno, view)? {
                advance(theirs, log.id, head);
                if whose == Whose::Others {
                    self.in_flight.add(log.id, head.seq, parcel.bytes - before);
                }
            }
        }
        Ok(next)
    }

    /// Whether the peer reads an entry and all before it in its log.
    fn is_readable(&self, log: LogNo, seq: u64, view: &dyn View) -> Result<bool, StoreError> {
        let reads = self.audience.reads();
        if reads >= ENTRY_FORMAT_MAX {
            return Ok(true);
        }
        Ok(ledger::read_branches(view, log)?.is_none_or(|held| held.is_readable(seq, reads)))
    }

    fn log(&mut self, no: LogNo, view: &dyn View) -> Result<SessionLog, StoreError> {
        if let Some(log) = self.known.log(no) {
            return Ok(log);
        }
        let row = view.get(Table::Logs, &rows::log_key(no))?.ok_or_else(|| rows::unreadable(Table::Logs))?;
        let id: LogId = rows::decode(Table::Logs, &row)?;
        let rule = ledger::find_space(view, id.space)?.map(|row| row.rule(id.space));
        let log = SessionLog { id, shared: rule.is_some_and(|rule| self.audience.shares(&rule)) };
        self.known.add(no, log);
        if log.shared {
            self.coming.remove(&id);
        }
        Ok(log)
    }
}

/// Moves a log's head in a peer's frontier, which has a bound. A log without room counts as not held.
fn advance(frontier: &mut Frontier, log: LogId, head: Head) {
    if frontier.len() < PEER_HEADS_MAX || frontier.head(&log).is_some() {
        frontier.advance(log, head);
    }
}

const fn frame(body: Body) -> SyncFrame {
    SyncFrame { body: Some(body) }
}
