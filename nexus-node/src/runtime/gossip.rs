//! The gossip topic of new entries: a hint for members that sync reaches late.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use nexus_crdt::{EntryError, EntryFrame, EntryId, SpaceId, Verified};
use nexus_identity::Did;
use nexus_mesh::quota::{Bounds, Receiver};
use nexus_mesh::{Mesh, Message, Rooms, Verdict};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::handle::{EngineHandle, Intake};
use super::sessions::Sessions;
use super::shares::{Party, Shares};
use super::traces::{Arrival, EntrySource, NamedTraces, Traces};
use super::vain::VainWork;
use crate::headroom::Room;
use crate::identity::Identity;
use crate::ledger;
use crate::store::{Store, StoreError};
use crate::world::World;

const ENTRIES: &str = "entries";
/// Messages that may wait for a verdict; more are dropped.
const WAITING_MAX: Bounds = Bounds::items(1_024).bytes(4 << 20);
/// The mesh's work for a message before its verdict: decryption, decoding, its id (by `perf record`). It is a fixed
/// price, as those of entries are.
const PER_MESSAGE: Duration = Duration::from_micros(100);
/// Bound of the messages judged at a time.
const JUDGED_MAX: usize = 64;
/// Bound of our own entries that are read at a time, to publish them.
const PUBLISHED_MAX: usize = 16;
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

/// An entry of our own for those who have no session here.
pub(crate) enum Announced {
    /// It is on the disk.
    Stored(EntryId),
    /// It is not, which only a planted bug does.
    Unstored(EntryFrame),
}

/// The parts of a node that publish its own entries.
pub(crate) struct Publisher {
    pub(crate) identity: Identity,
    pub(crate) mesh: Mesh,
    pub(crate) store: Store,
    pub(crate) world: World,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) traces: Arc<Traces>,
}

impl Publisher {
    /// Publishes our own new entries while some members have no sync session here. Entries come from the store, so none
    /// leaves before it is on the disk.
    pub(crate) async fn publish(self, mut own: mpsc::Receiver<Announced>) {
        let mut some = Vec::new();
        while own.recv_many(&mut some, PUBLISHED_MAX).await > 0 {
            // gossip is a hint: sync brings the entries to everybody with a session, and mostly all members have one
            let others = self.identity.members().len().saturating_sub(1);
            if self.sessions.live() >= others {
                some.clear();
                continue;
            }
            let readable = Readable::by_all(&self.sessions, &self.identity.mesh());
            let (store, traces) = (self.store.clone(), self.traces.clone());
            let announced = std::mem::take(&mut some);
            let read = move || frames(announced, &store, &traces, &readable);
            let frames = match self.world.reading(read).await {
                Ok(Ok(frames)) => frames,
                // the next write shows that the store has failed
                Ok(Err(_)) => continue,
                Err(_) => return,
            };
            for frame in frames {
                let _ = self.mesh.publish(ENTRIES, frame).await;
            }
        }
    }
}

/// The gossip of some entries: of those that all can read, and that no erasure has touched since they were written.
fn frames(
    announced: Vec<Announced>,
    store: &Store,
    traces: &Traces,
    readable: &Readable,
) -> Result<Vec<Vec<u8>>, StoreError> {
    let mut frames = Vec::with_capacity(announced.len());
    for one in announced {
        let (mut frame, space) = match one {
            Announced::Stored(id) => {
                let snapshot = store.snapshot()?;
                let Some(eno) = ledger::find_entry(&snapshot, id)? else { continue };
                let entry = ledger::read_entry(&snapshot, eno)?.filter(|entry| entry.lacks().is_empty());
                let Some(entry) = entry else { continue };
                (EntryFrame::new(&entry), entry.header().space)
            }
            Announced::Unstored(frame) => {
                let Ok(entry) = frame.clone().parse() else { continue };
                (frame, entry.header().space)
            }
        };
        traces.add_to_entry(&mut frame);
        if readable.has(format_of(&frame), &space) && frame.encoded_len() <= GOSSIPED_BYTES_MAX {
            frames.push(frame.encode_to_vec());
        }
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Command, EraseTarget};
    use crate::replication::tests::Peer;
    use crate::trace::TraceParent;

    /// promise: Nodes | Gossip has an own entry as the disk has it: not before it is there, and not once a part of it is erased
    #[test]
    fn own_entries_are_gossiped_from_the_disk_alone() {
        let mut peer = Peer::new(1);
        let record = peer.remember("something", None);
        let frame = peer.published.last().unwrap().clone();
        let id = EntryId::of(&frame.header);
        let readable = Readable { format_max: u16::MAX, unnamed: BTreeSet::new() };
        let traces = Traces::default();
        let gossip = |store: &Store| frames(vec![Announced::Stored(id)], store, &traces, &readable).unwrap();
        assert_eq!(gossip(&Store::memory().unwrap()), Vec::<Vec<u8>>::new(), "it is not on this disk");
        assert_eq!(gossip(&peer.store), [frame.encode_to_vec()]);
        let parent = TraceParent { trace: 7, span: 8, sampled: true };
        traces.note(id, parent);
        let traced = EntryFrame::decode(gossip(&peer.store)[0].as_slice()).unwrap();
        assert_eq!(traced.traceparent, parent.to_string().into_bytes());
        let old = Readable { format_max: 0, unnamed: BTreeSet::new() };
        assert!(frames(vec![Announced::Stored(id)], &peer.store, &traces, &old).unwrap().is_empty());
        peer.command(Command::Raise { format: 2, tasks_apart: true, persons: true, erases: true });
        peer.command(Command::Erase(vec![EraseTarget::Record(record)]));
        assert_eq!(gossip(&peer.store), Vec::<Vec<u8>>::new(), "sync tells of what is erased");
    }
}
