use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nexus_crdt::{EntryFrame, EntryId, Incarnation, SpaceId};
use nexus_identity::Timestamp;
use nexus_identity::plants::planted;
use tokio::sync::oneshot;

use super::committer::Commit;
use super::gossip::Announced;
use super::shares::Turn;
use super::traces::{Arrival, Arrivals, Traces};
use crate::engine::{CommandId, Engine, Event, Input, Keeper, Outcome, Published, Released, run_to_store};
use crate::headroom::{Headroom, Room, Unwritten};
use crate::ledger::{self, LedgerError};
use crate::store::{Batch, Overlay, Store, StoreError, View};
use crate::trace::TraceParent;

/// The engine and what it is driven with. Each step reads the store, so it is done on the blocking seam.
pub(super) struct Driven {
    pub(super) engine: Engine,
    pub(super) overlay: Overlay,
    pub(super) store: Store,
    pub(super) headroom: Headroom,
    /// The space of the mesh's own entries.
    pub(super) mesh: SpaceId,
    /// Traced entries that wait for an earlier entry.
    pub(super) arrivals: Arrivals,
    pub(super) traces: Arc<Traces>,
    /// The number of times that the committer had no room, as far as this engine has begun again.
    pub(super) epoch: u64,
    /// The last incarnation of ours whose log is ahead elsewhere.
    pub(super) ahead: Option<Incarnation>,
    /// Whether the engine must hear of it once more, before it writes.
    pub(super) again: bool,
    /// Whether the store was opened again under this engine, which takes nothing until it has begun again.
    pub(super) is_behind: bool,
}

/// A waiting caller and its trace.
pub(super) struct Caller {
    pub(super) answer: oneshot::Sender<Result<Outcome, Unwritten>>,
    pub(super) parent: Option<TraceParent>,
}

pub(super) type Callers = BTreeMap<CommandId, Caller>;

/// One input with its number, and what came with it.
pub(super) struct Step {
    pub(super) no: u64,
    /// The last commit that is on disk.
    pub(super) settled: u64,
    /// Monotonic time.
    pub(super) at: Duration,
    pub(super) input: Input,
    pub(super) callers: Callers,
    pub(super) of_traces: Vec<Arrival>,
    /// Whose work it is.
    pub(super) turn: Option<Turn>,
}

impl Step {
    /// A step without an input yet.
    pub(super) const fn new(no: u64, settled: u64) -> Self {
        Self {
            no,
            settled,
            at: Duration::ZERO,
            input: Input::Commands(Vec::new()),
            callers: Callers::new(),
            of_traces: Vec::new(),
            turn: None,
        }
    }
}

/// The keeper of a running node: the batch goes to the committer, and meanwhile the engine reads it from the overlay.
struct Pushes<'a> {
    overlay: &'a mut Overlay,
    /// The number of the commit.
    no: u64,
    batch: &'a mut Option<Batch>,
}

impl Keeper for Pushes<'_> {
    fn read<T>(&self, read: impl FnOnce(&dyn View) -> T) -> Result<T, StoreError> {
        Ok(read(&*self.overlay))
    }

    fn keep(&mut self, batch: Batch) -> Result<(), StoreError> {
        self.overlay.push(self.no, &batch);
        *self.batch = Some(batch);
        Ok(())
    }
}

impl Driven {
    /// Passes one input through the engine and bundles its effects.
    pub(super) fn step(&mut self, now: Timestamp, seed: [u8; 32], step: Step) -> Result<Commit, LedgerError> {
        let Step { no, settled, at, input, mut callers, of_traces, turn } = step;
        self.overlay.committed(settled)?;
        let (input, left) = self.admit(input, at, &mut callers);
        let mut commit = match self.carry_out(no, (now, seed), input, &mut callers, of_traces) {
            // the commits before it had no room: what was to come after them is not there either
            Err(LedgerError::Store(StoreError::Reopened { .. })) => {
                let refusal = self.headroom.refusal();
                callers.into_values().for_each(|caller| drop(caller.answer.send(Err(refusal))));
                self.is_behind = true;
                Commit::empty(no, self.epoch)
            }
            commit => commit?,
        };
        commit.events.extend(left);
        drop(turn);
        Ok(commit)
    }

    fn carry_out(
        &mut self,
        no: u64,
        with: (Timestamp, [u8; 32]),
        input: Input,
        callers: &mut Callers,
        of_traces: Vec<Arrival>,
    ) -> Result<Commit, LedgerError> {
        let last = self.engine.last_eno();
        let mut commit = self.handle(no, with, input, callers)?;
        self.welcome(of_traces, last, &mut commit)?;
        Ok(commit)
    }

    /// The incarnation of which the engine must hear before it writes.
    pub(super) fn renews(&mut self) -> Option<Incarnation> {
        let due = self.again && self.headroom.room() > Room::Nothing;
        self.ahead.filter(|_| due && std::mem::take(&mut self.again))
    }

    /// The part of an input for which the disk has room. Callers of the rest are told so at once; a peer is asked
    /// again for what it brought.
    fn admit(&self, input: Input, at: Duration, callers: &mut Callers) -> (Input, Option<Event>) {
        let nothing = || Input::Commands(Vec::new());
        let room = self.headroom.look(at);
        match input {
            // a log that goes on elsewhere gets no entry before the engine has heard of it once more
            _ if room == Room::All && !self.again => (input, None),
            Input::Commands(mut commands) => {
                let refusal = self.headroom.refusal();
                let refused = commands.extract_if(.., |(_, command)| self.again || room < command.needs());
                for caller in refused.filter_map(|(id, _)| callers.remove(&id)) {
                    let _ = caller.answer.send(Err(refusal));
                }
                (Input::Commands(commands), None)
            }
            Input::Entries { .. } if room == Room::All => (input, None),
            Input::Entries { from, mut entries } => {
                let all = entries.len();
                entries.retain(|entry| room == Room::Duties && entry.header().space == self.mesh);
                let behind = (entries.len() < all).then_some(Event::Behind { from });
                (Input::Entries { from, entries }, behind)
            }
            // it is shown again at the next hello
            Input::Chain(_) if room == Room::Nothing => (nothing(), None),
            input => (input, None),
        }
    }

    /// Begins again from the store, after commits that are not there.
    pub(super) fn begin_again(&mut self, epoch: u64) -> Result<(), LedgerError> {
        self.overlay = Overlay::new(self.store.clone())?;
        self.engine = self.engine.begin_again(&self.overlay)?;
        (self.arrivals, self.epoch, self.again) = (Arrivals::default(), epoch, self.ahead.is_some());
        self.is_behind = false;
        Ok(())
    }

    fn handle(
        &mut self,
        no: u64,
        with: (Timestamp, [u8; 32]),
        input: Input,
        callers: &mut Callers,
    ) -> Result<Commit, LedgerError> {
        if let Input::OwnLogAhead { incarnation, .. } = &input {
            self.ahead = Some(*incarnation);
        }
        let mut commit = Commit::empty(no, self.epoch);
        let mut pushes = Pushes { overlay: &mut self.overlay, no, batch: &mut commit.batch };
        let Released { answers, published, events } = run_to_store(&mut self.engine, &mut pushes, with, input)?;
        commit.is_own = !published.is_empty();
        for Published { entry, to_all, of } in published {
            // of several traces that share an entry, the first one gets it
            if let Some(parent) = of.iter().find_map(|id| callers.get(id)?.parent) {
                self.traces.note(entry, parent);
            }
            if to_all {
                commit.publish.push(self.announce(entry)?);
            }
        }
        for (id, outcome) in answers {
            commit.answers.extend(callers.remove(&id).map(|caller| (caller.answer, outcome)));
        }
        commit.events = events;
        if commit.events.contains(&Event::Members) {
            commit.members = Some(self.engine.members().clone());
        }
        Ok(commit)
    }

    /// How an entry of our own comes to the publisher.
    fn announce(&self, entry: EntryId) -> Result<Announced, LedgerError> {
        if planted("sends_before_commit")
            && let Some(eno) = ledger::find_entry(&self.overlay, entry)?
            && let Some(entry) = ledger::read_entry(&self.overlay, eno)?
        {
            return Ok(Announced::Unstored(EntryFrame::new(&entry)));
        }
        Ok(Announced::Stored(entry))
    }

    /// Notes the traced entries that this input stored, directly or by filling a gap, after entry
    /// number `last`.
    fn welcome(&mut self, of_traces: Vec<Arrival>, last: u64, commit: &mut Commit) -> Result<(), LedgerError> {
        let stored = self.engine.last_eno() > last;
        if of_traces.is_empty() && (!stored || self.arrivals.is_empty()) {
            return Ok(());
        }
        for (arrival, span) in self.arrivals.settle(of_traces, last, &self.overlay)? {
            self.traces.note(arrival.entry, arrival.parent);
            commit.arrivals.push(span);
        }
        Ok(())
    }
}
