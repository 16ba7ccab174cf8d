use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use nexus_crdt::sync_frame::Body;
use nexus_crdt::{EntryFrame, EntryId, SyncFrame, Verified};
use nexus_identity::Did;

use crate::ledger;
use crate::store::{StoreError, View};
use crate::trace::TraceParent;

/// The most entries with a known trace: the newest ones. About 100 bytes each.
const KNOWN_MAX: usize = 1_024;
/// The most entries of a trace that wait for something they need. Each costs a look into the store for
/// every input that stores an entry.
const WAITING_MAX: usize = 64;

/// The traces of entries, for the frames to other nodes: in memory, and dropped in time.
///
/// The writer or sender of an entry names its trace, which goes on unchanged. So the span of an entry's
/// arrival on any node has the writer's span as its parent.
#[derive(Default)]
pub(crate) struct Traces {
    /// Whether there are any. Without traces nothing else is looked at.
    any: AtomicBool,
    known: Mutex<KnownTraces>,
}

#[derive(Default)]
struct KnownTraces {
    parents: BTreeMap<EntryId, TraceParent>,
    /// The same entries, oldest first.
    order: VecDeque<EntryId>,
}

impl Traces {
    /// Notes the trace of an entry. The first one stays.
    pub(crate) fn note(&self, entry: EntryId, parent: TraceParent) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.parents.contains_key(&entry) {
            return;
        }
        if known.order.len() >= KNOWN_MAX
            && let Some(oldest) = known.order.pop_front()
        {
            known.parents.remove(&oldest);
        }
        known.parents.insert(entry, parent);
        known.order.push_back(entry);
        self.any.store(true, Relaxed);
    }

    /// Writes the known traces beside the entries of a frame.
    pub(crate) fn add_to(&self, frame: &mut SyncFrame) {
        let Some(Body::Entries(frame)) = &mut frame.body else { return };
        if !self.any.load(Relaxed) {
            return;
        }
        frame.entries.iter_mut().for_each(|entry| self.add_to_entry(entry));
    }

    /// Writes the trace of an entry beside it, if it is known.
    pub(crate) fn add_to_entry(&self, entry: &mut EntryFrame) {
        if !self.any.load(Relaxed) {
            return;
        }
        let id = EntryId::of(&entry.header);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(parent) = known.parents.get(&id) {
            entry.traceparent = parent.to_string().into_bytes();
        }
    }
}

/// The path of an entry to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntrySource {
    Gossip,
    Sync,
}

impl EntrySource {
    const fn name(self) -> &'static str {
        match self {
            Self::Gossip => "gossip",
            Self::Sync => "sync",
        }
    }
}

/// The traces that a peer named, before it is known whether there are such entries. Of two for an entry the first counts.
#[derive(Default)]
pub(crate) struct NamedTraces(BTreeMap<EntryId, TraceParent>);

impl FromIterator<(EntryId, TraceParent)> for NamedTraces {
    fn from_iter<I: IntoIterator<Item = (EntryId, TraceParent)>>(traces: I) -> Self {
        let mut first = BTreeMap::new();
        for (entry, parent) in traces {
            first.entry(entry).or_insert(parent);
        }
        Self(first)
    }
}

impl NamedTraces {
    /// The traces in a frame of a sync.
    pub(crate) fn in_frame(frame: &SyncFrame) -> Self {
        match &frame.body {
            Some(Body::Entries(frame)) => Self::beside(&frame.entries),
            _ => Self::default(),
        }
    }

    /// The traces beside entries. An unreadable one counts as none.
    pub(crate) fn beside(entries: &[EntryFrame]) -> Self {
        let said = entries.iter().filter(|entry| !entry.traceparent.is_empty()).filter_map(|entry| {
            TraceParent::from_wire(&entry.traceparent).map(|parent| (EntryId::of(&entry.header), parent))
        });
        said.collect()
    }

    /// Takes the trace of an entry.
    pub(super) fn take(&mut self, entry: &EntryId) -> Option<TraceParent> {
        self.0.remove(entry)
    }

    /// The traces of these entries.
    pub(crate) fn of(&self, entries: &[Verified], from: Did, way: EntrySource) -> Vec<Arrival> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let arrival = |entry: &Verified| {
            let parent = *self.0.get(&entry.id())?;
            let header = entry.header();
            Some(Arrival {
                entry: entry.id(),
                author: header.author,
                space: header.space,
                seq: header.seq,
                parent,
                from,
                way,
            })
        };
        entries.iter().filter_map(arrival).collect()
    }
}

/// A peer's entry with a trace.
pub(crate) struct Arrival {
    pub(crate) entry: EntryId,
    pub(crate) parent: TraceParent,
    author: Did,
    space: nexus_crdt::SpaceId,
    seq: u64,
    from: Did,
    way: EntrySource,
}

impl Arrival {
    /// Its span, without an id: its exporter draws one.
    fn span(&self) -> tracing::Span {
        tracing::info_span!(
            parent: None,
            "receive entry",
            otel.kind = "consumer",
            trace_id = format_args!("{:032x}", self.parent.trace),
            parent_id = format_args!("{:016x}", self.parent.span),
            nexus.entry.author = %self.author,
            nexus.entry.space = %self.space,
            nexus.entry.seq = self.seq,
            nexus.entry.way = self.way.name(),
            nexus.entry.from = %self.from,
        )
    }
}

/// Entries with a trace, from their arrival until the engine stores them.
#[derive(Default)]
pub(crate) struct Arrivals(VecDeque<Arrival>);

impl Arrivals {
    /// Adds the arrivals of an input, and returns those that the input stored. `before` is the number
    /// of the last entry stored before. An entry counts once, however often it came. An entry that is
    /// never stored costs only its place here.
    ///
    /// # Errors
    /// An error of the view.
    /// The view's.
    pub(crate) fn settle(
        &mut self,
        came: Vec<Arrival>,
        before: u64,
        view: &dyn View,
    ) -> Result<Vec<(Arrival, tracing::Span)>, StoreError> {
        let (mut stored, mut seen) = (Vec::new(), BTreeSet::new());
        for arrival in std::mem::take(&mut self.0).into_iter().chain(came) {
            if !seen.insert(arrival.entry) {
                continue;
            }
            match ledger::find_entry(view, arrival.entry)? {
                Some(eno) if eno > before => {
                    let span = arrival.span();
                    stored.push((arrival, span));
                }
                // the entry was here before
                Some(_) => {}
                None => self.0.push_back(arrival),
            }
        }
        self.0.drain(..self.0.len().saturating_sub(WAITING_MAX));
        Ok(stored)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use nexus_crdt::sync_frame::EntriesFrame;

    use super::*;

    fn parent(span: u64) -> TraceParent {
        TraceParent { trace: 7, span, sampled: true }
    }

    fn said_of(traces: &Traces, header: &[u8]) -> Vec<u8> {
        let entry = EntryFrame { header: header.to_vec(), ..EntryFrame::default() };
        let mut frame = SyncFrame { body: Some(Body::Entries(EntriesFrame { entries: vec![entry] })) };
        traces.add_to(&mut frame);
        let Some(Body::Entries(mut frame)) = frame.body else { unreachable!() };
        frame.entries.remove(0).traceparent
    }

    /// promise: Commands and API | A write and its arrival on other nodes are one trace; bad traces cost nothing
    #[test]
    fn only_the_newest_traces_are_known_and_what_was_said_first_stays() {
        let traces = Traces::default();
        assert!(said_of(&traces, &0_u64.to_le_bytes()).is_empty());
        let more = KNOWN_MAX as u64 + 10;
        for n in 1..=more {
            traces.note(EntryId::of(&n.to_le_bytes()), parent(n));
        }
        traces.note(EntryId::of(&more.to_le_bytes()), parent(1));
        let known = traces.known.lock().unwrap();
        assert_eq!((known.parents.len(), known.order.len()), (KNOWN_MAX, KNOWN_MAX));
        drop(known);
        assert!(said_of(&traces, &10_u64.to_le_bytes()).is_empty(), "the oldest went");
        for n in [11, more] {
            assert_eq!(said_of(&traces, &n.to_le_bytes()), parent(n).to_string().into_bytes());
        }
    }

    /// promise: Commands and API | A write and its arrival on other nodes are one trace; bad traces cost nothing
    #[test]
    fn of_two_traces_for_an_entry_the_first_counts() {
        let entry = |n: u64| EntryId::of(&n.to_le_bytes());
        let named = [(entry(1), parent(1)), (entry(2), parent(2)), (entry(1), parent(3))];
        let mut named: NamedTraces = named.into_iter().collect();
        assert_eq!((named.take(&entry(1)), named.take(&entry(2))), (Some(parent(1)), Some(parent(2))));
    }

    /// promise: Commands and API | A write and its arrival on other nodes are one trace; bad traces cost nothing
    #[test]
    fn entries_that_never_come_into_the_store_take_a_few_places_only() {
        let store = crate::store::Store::memory().unwrap();
        let arrival = |n: u64| Arrival {
            entry: EntryId::of(&n.to_le_bytes()),
            author: Did::from_bytes([1; 32]),
            space: nexus_crdt::SpaceId::from_bytes([2; 32]),
            seq: n,
            parent: parent(n + 1),
            from: Did::from_bytes([3; 32]),
            way: EntrySource::Sync,
        };
        let mut arrivals = Arrivals::default();
        let more = WAITING_MAX as u64 + 10;
        for came in [(0..more).map(arrival).collect::<Vec<_>>(), vec![arrival(more), arrival(more)]] {
            assert!(arrivals.settle(came, 0, &store.snapshot().unwrap()).unwrap().is_empty());
            assert_eq!(arrivals.0.len(), WAITING_MAX);
        }
        let mut seqs = arrivals.0.iter().map(|arrival| arrival.seq);
        assert!(seqs.by_ref().eq(more + 1 - WAITING_MAX as u64..=more), "the newest stay");
    }
}
