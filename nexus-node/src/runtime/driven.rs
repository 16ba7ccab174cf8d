use std::collections::BTreeMap;
use std::sync::Arc;

use nexus_crdt::EntryFrame;
use nexus_identity::Timestamp;
use tokio::sync::oneshot;

use super::committer::Commit;
use super::shares::Turn;
use super::traces::{Arrival, Arrivals, Traces};
use crate::engine::{CommandId, Effect, Engine, Event, Input, Outcome};
use crate::ledger::LedgerError;
use crate::store::Overlay;
use crate::trace::TraceParent;

/// The engine and what it is driven with. Each step reads the store, so it is done on the blocking seam.
pub(super) struct Driven {
    pub(super) engine: Engine,
    pub(super) overlay: Overlay,
    /// Traced entries that wait for an earlier entry.
    pub(super) arrivals: Arrivals,
    pub(super) traces: Arc<Traces>,
}

/// A waiting caller and its trace.
pub(super) struct Caller {
    pub(super) answer: oneshot::Sender<Outcome>,
    pub(super) parent: Option<TraceParent>,
}

pub(super) type Callers = BTreeMap<CommandId, Caller>;

/// One input with its number, and what came with it.
pub(super) struct Step {
    pub(super) no: u64,
    /// The last commit that is on disk.
    pub(super) settled: u64,
    pub(super) input: Input,
    pub(super) callers: Callers,
    pub(super) of_traces: Vec<Arrival>,
    /// Whose work it is.
    pub(super) turn: Option<Turn>,
}

impl Driven {
    /// Passes one input through the engine and bundles its effects.
    pub(super) fn step(&mut self, now: Timestamp, seed: [u8; 32], step: Step) -> Result<Commit, LedgerError> {
        let Step { no, settled, input, callers, of_traces, turn } = step;
        self.overlay.committed(settled)?;
        let last = self.engine.last_eno();
        let mut commit = self.handle(no, (now, seed), input, callers)?;
        self.welcome(of_traces, last, &mut commit)?;
        drop(turn);
        Ok(commit)
    }

    fn handle(
        &mut self,
        no: u64,
        (now, seed): (Timestamp, [u8; 32]),
        input: Input,
        mut callers: Callers,
    ) -> Result<Commit, LedgerError> {
        self.engine.handle(now, seed, input, &self.overlay)?;
        let mut commit = Commit {
            no,
            batch: None,
            answers: Vec::new(),
            publish: Vec::new(),
            events: Vec::new(),
            members: None,
            arrivals: Vec::new(),
        };
        while let Some(effect) = self.engine.poll_effect() {
            match effect {
                Effect::Write(batch) => {
                    self.overlay.push(no, &batch);
                    commit.batch = Some(batch);
                }
                Effect::Reply(id, outcome) => {
                    commit.answers.extend(callers.remove(&id).map(|caller| (caller.answer, outcome)));
                }
                Effect::Publish { entry, to_all, of } => {
                    let mut frame = EntryFrame::new(&entry);
                    // of several traces that share an entry, the first one gets it
                    if let Some(parent) = of.iter().find_map(|id| callers.get(id)?.parent) {
                        self.traces.note(entry.id(), parent);
                        frame.traceparent = parent.to_string().into_bytes();
                    }
                    if to_all {
                        commit.publish.push(frame);
                    }
                }
                Effect::Emit(event) => commit.events.push(event),
            }
        }
        if commit.events.contains(&Event::Members) {
            commit.members = Some(self.engine.members().clone());
        }
        Ok(commit)
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
