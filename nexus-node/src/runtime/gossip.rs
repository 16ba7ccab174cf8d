//! The gossip topic of new entries: a hint for members that sync reaches late.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use nexus_crdt::{EntryError, EntryFrame, SpaceId, Verified};
use nexus_identity::Did;
use nexus_mesh::quota::{Bounds, Receiver};
use nexus_mesh::{Mesh, Message, Rooms, Verdict};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::handle::{EngineHandle, Intake};
use super::sessions::Sessions;
use super::shares::{Party, Shares};
use super::traces::{Arrival, EntrySource, NamedTraces};
use super::vain::VainWork;
use crate::headroom::Room;
use crate::identity::Identity;
use crate::ledger;
use crate::store::Store;
use crate::world::World;

const ENTRIES: &str = "entries";
/// Messages that may wait for a verdict; more are dropped.
const WAITING_MAX: Bounds = Bounds::items(1_024).bytes(4 << 20);
/// The mesh's work for a message before its verdict: decryption, decoding, its id (by `perf record`). It is a fixed
/// price, as those of entries are.
const PER_MESSAGE: Duration = Duration::from_micros(100);
/// Bound of the messages judged at a time.
const JUDGED_MAX: usize = 64;
/// Bound of a gossiped entry, in bytes.
const GOSSIPED_BYTES_MAX: usize = 32 * 1024;

/// Registers the topic.
pub(crate) fn register(rooms: &mut Rooms) -> Receiver<Message> {
    rooms.topic(ENTRIES, WAITING_MAX)
}

/// The parts of a node that judge gossip.
pub(crate) struct Gossip {
    pub(crate) identity: Identity,
    pub(crate) mesh: Mesh,
    pub(crate) store: Store,
    pub(crate) world: World,
    pub(crate) engine: EngineHandle,
    pub(crate) sessions: Arc<Sessions>,
    /// The work for messages that bring nothing. It has nothing to do with that of sync: such a message may come from
    /// a member whose forwarder knows no better.
    pub(crate) vain: VainWork,
    pub(crate) shares: Arc<Shares>,
}

/// A message with its verdict.
struct Judged {
    verdict: Verdict,
    entry: Option<(Verified, Vec<Arrival>)>,
    /// Whether it is bad, or has an entry whose beginning is not here.
    vain: bool,
}

impl Judged {
    fn without_entry(verdict: Verdict) -> Self {
        Self { verdict, entry: None, vain: matches!(verdict, Verdict::Reject) }
    }
}

/// Entries that one peer forwarded.
type Passed = (Vec<Verified>, Vec<Arrival>);

impl Gossip {
    /// Judges messages and offers new entries to the engine. It never waits for the disk: without a
    /// free place an entry is dropped.
    pub(crate) async fn hear(self, mut messages: Receiver<Message>) {
        while let Some(first) = messages.recv().await {
            let mut batch = vec![first];
            while batch.len() < JUDGED_MAX
                && let Some(next) = messages.try_recv()
            {
                batch.push(next);
            }
            let now = Instant::now();
            let (late, batch): (Vec<_>, Vec<_>) =
                batch.into_iter().partition(|(from, _)| self.vain.wait(from, now).is_some());
            for (from, message) in late {
                // sync brings whatever is in it
                self.mesh.settle(message.token, Verdict::Ignore);
                self.pause(from, now);
            }
            let (identity, store, shares) = (self.identity.clone(), self.store.clone(), self.shares.clone());
            let readable = Readable::by_all(&self.sessions, &identity.mesh());
            let judge = move || {
                let judged = batch.into_iter().map(|(from, message)| {
                    let begun = Instant::now();
                    let judged = judge(&identity, &store, (&readable, &shares), from, &message.bytes);
                    (from, message.token, judged, begun.elapsed())
                });
                judged.collect::<Vec<_>>()
            };
            let Ok(judged) = self.world.reading(judge).await else { return };
            let mut passed: BTreeMap<Did, Passed> = BTreeMap::new();
            for (from, token, Judged { verdict, entry, vain }, work) in judged {
                self.mesh.settle(token, verdict);
                if vain {
                    // the engine looks at it, too
                    let now = Instant::now();
                    self.vain.note(from, PER_MESSAGE + work * (1 + u32::from(entry.is_some())), now);
                    self.pause(from, now);
                }
                if let Some((entry, of_traces)) = entry {
                    let (entries, arrivals) = passed.entry(from).or_default();
                    entries.push(entry);
                    arrivals.extend(of_traces);
                }
            }
            let members = self.identity.members();
            let mesh = SpaceId::mesh(&members.mesh());
            for (from, (entries, of_traces)) in passed {
                let turn = self.shares.begin(Party::of_all(entries.iter().map(|entry| &**entry), &members));
                // changes of the membership have a part of the reserve
                let is_duty = entries.iter().all(|entry| entry.header().space == mesh);
                let needs = if is_duty { Room::Duties } else { Room::All };
                if self.engine.offer(Intake::Entries { from, entries, of_traces, turn }, needs).is_err() {
                    tracing::debug!(from = %from.short(), "the engine is busy: sync brings what was gossiped");
                }
            }
        }
    }

    /// Hears no more of a peer as long as its messages would be dropped.
    fn pause(&self, from: Did, now: Instant) {
        if let Some(until) = self.vain.wait(&from, now) {
            self.mesh.pause_gossip(from, until);
        }
    }
}

/// The entries that every open peer can read. A gossiped one may reach each of them.
struct Readable {
    format_max: u16,
    /// Derived spaces that some peer does not know.
    unnamed: BTreeSet<SpaceId>,
}

impl Readable {
    fn by_all(sessions: &Sessions, mesh: &Did) -> Self {
        Self { format_max: sessions.entry_format_of_all(), unnamed: sessions.spaces_unnamed_by_some(mesh) }
    }

    fn has(&self, format: Option<u16>, space: &SpaceId) -> bool {
        format.is_some_and(|format| format <= self.format_max) && !self.unnamed.contains(space)
    }
}

/// Decides whether to take a gossiped entry and whether to forward it.
fn judge(
    identity: &Identity,
    store: &Store,
    (readable, shares): (&Readable, &Shares),
    from: Did,
    bytes: &[u8],
) -> Judged {
    let without_entry = Judged::without_entry;
    let Ok(frame) = EntryFrame::decode(bytes) else { return without_entry(Verdict::Reject) };
    let said = NamedTraces::beside(std::slice::from_ref(&frame));
    let format = format_of(&frame);
    // the one form in which everybody passes it on: of other forms there is no end
    let plain = frame.traceparent.is_empty() && frame.encode_to_vec() == bytes;
    let entry = match frame.parse() {
        Ok(entry) => entry,
        Err(EntryError::TooNew { .. }) => return without_entry(Verdict::Ignore),
        Err(_) => return without_entry(Verdict::Reject),
    };
    let space = entry.header().space;
    let looked_up = store.snapshot().and_then(|snapshot| {
        let rule = ledger::find_space(&snapshot, space)?.map(|row| row.rule(space));
        let held = ledger::find_entry(&snapshot, entry.id())?.is_some();
        let header = entry.header();
        let follows = header.seq == 0 || ledger::find_entry(&snapshot, header.prev)?.is_some();
        Ok((held, rule, ledger::lacks_only_what_is_erased(&snapshot, &entry)?, follows))
    });
    let Ok((held, rule, complete, follows)) = looked_up else { return without_entry(Verdict::Ignore) };
    let members = identity.members();
    // gossip goes to every member: forward only entries of a known space that all members may read
    let to_all = readable.has(format, &space) && rule.is_some_and(|rule| members.all_read(&rule));
    if held {
        let verdict = match entry.verify(&identity.mesh()) {
            Ok(_) if to_all && complete && plain => Verdict::Accept,
            Ok(_) => Verdict::Ignore,
            Err(_) => Verdict::Reject,
        };
        return without_entry(verdict);
    }
    if rule.is_some_and(|rule| !members.may_read(&identity.me(), &rule)) {
        return without_entry(Verdict::Ignore);
    }
    // an entry that lacks more than what is erased is for sync; so are our own unknown entries
    if !complete || entry.header().author == identity.me() {
        return without_entry(Verdict::Ignore);
    }
    // sync brings it when its author's turn comes
    if !shares.has_turn(Party::of(entry.header().author, &members)) {
        return without_entry(Verdict::Ignore);
    }
    match entry.verify(&identity.mesh()) {
        Ok(entry) => {
            // do not forward entries of unknown authors; a newcomer's credential may still arrive
            let known = members.get(&entry.header().author).is_some();
            let verdict = if known && to_all { Verdict::Accept } else { Verdict::Ignore };
            let of_traces = said.of(std::slice::from_ref(&entry), from, EntrySource::Gossip);
            Judged { verdict, entry: Some((entry, of_traces)), vain: !follows }
        }
        Err(_) => without_entry(Verdict::Reject),
    }
}

/// The format of an entry's header.
fn format_of(frame: &EntryFrame) -> Option<u16> {
    frame.header.first_chunk().map(|format| u16::from_le_bytes(*format))
}

/// Publishes our own new entries while some members have no sync session here.
pub(crate) async fn publish(
    identity: Identity,
    mesh: Mesh,
    sessions: Arc<Sessions>,
    mut entries: mpsc::Receiver<Vec<u8>>,
) {
    while let Some(entry) = entries.recv().await {
        let others = identity.members().len().saturating_sub(1);
        let readable = EntryFrame::decode(entry.as_slice()).is_ok_and(|frame| {
            let (format, readable) = (format_of(&frame), Readable::by_all(&sessions, &identity.mesh()));
            frame.parse().is_ok_and(|entry| readable.has(format, &entry.header().space))
        });
        if readable && entry.len() <= GOSSIPED_BYTES_MAX && sessions.live() < others {
            // gossip is a hint: sync brings the entry to everybody else
            let _ = mesh.publish(ENTRIES, entry).await;
        }
    }
}
