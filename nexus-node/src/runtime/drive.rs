use std::collections::BTreeMap;
use std::sync::Arc;

use nexus_crdt::EntryFrame;
use nexus_identity::Chain;
use nexus_mesh::quota::Receiver;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::committer::Commit;
use super::fresh_incarnation;
use super::handle::{Call, Intake};
use super::traces::{Arrival, Arrivals, Traces};
use crate::engine::{Command, CommandId, Effect, Engine, Event, Input, Outcome};
use crate::failure::{Failure, Fault};
use crate::ledger::LedgerError;
use crate::store::Overlay;
use crate::trace::TraceParent;
use crate::world::World;

/// Bound of the commands in one input.
const COMMANDS_PER_INPUT: usize = 1_024;

/// Feeds the engine one input at a time and sends the effects of each to the committer as one commit.
///
/// Commands wait while the disk works on earlier ones, so under load many share an entry. An idle node
/// takes each command at once.
pub(crate) struct Drive {
    pub(crate) engine: Engine,
    pub(crate) overlay: Overlay,
    pub(crate) commands: mpsc::Receiver<Call>,
    pub(crate) intake: mpsc::Receiver<Intake>,
    pub(crate) chains: Receiver<Chain>,
    pub(crate) commits: mpsc::Sender<Commit>,
    pub(crate) done: watch::Receiver<u64>,
    /// Deadline for hearing one peer's frontier before our first write. Without it a restored store
    /// would fork its own log.
    pub(crate) hold_until: Option<Instant>,
    pub(crate) compared: watch::Receiver<bool>,
    /// Traced entries that wait for an earlier entry.
    pub(crate) arrivals: Arrivals,
    pub(crate) traces: Arc<Traces>,
    pub(crate) world: World,
    pub(crate) failure: Failure,
}

/// A waiting caller and its trace.
struct Caller {
    answer: oneshot::Sender<Outcome>,
    parent: Option<TraceParent>,
}

type Callers = BTreeMap<CommandId, Caller>;

impl Drive {
    pub(crate) async fn run(mut self) {
        if let Err(error) = self.turn().await {
            self.failure.fail(Fault::Ledger(error));
        }
    }

    async fn turn(&mut self) -> Result<(), LedgerError> {
        let mut no = 0;
        // number of the last commit with callers' writes
        let mut own_commit = 0;
        let mut calls = Vec::new();
        let failed = self.failure.failed();
        tokio::pin!(failed);
        loop {
            // room downstream first: an input that was taken is always carried through
            let Ok(room) = self.commits.clone().reserve_owned().await else { return Ok(()) };
            let settled = *self.done.borrow_and_update();
            self.overlay.committed(settled)?;
            if self.hold_until.is_some_and(|until| until <= Instant::now()) || *self.compared.borrow() {
                self.hold_until = None;
            }
            let free = settled >= own_commit && self.hold_until.is_none();
            let hold = self.hold_until;
            tokio::select! {
                taken = self.commands.recv_many(&mut calls, COMMANDS_PER_INPUT), if free => {
                    if taken == 0 {
                        return Ok(());
                    }
                }
                intake = self.intake.recv() => {
                    let Some(intake) = intake else { return Ok(()) };
                    no += 1;
                    let mut of_traces = Vec::new();
                    let input = match intake {
                        Intake::Stop => return Ok(()),
                        Intake::Entries { from, entries, of_traces: some } => {
                            of_traces = some;
                            Input::Entries { from, entries }
                        }
                        Intake::OwnLogAhead(incarnation) => {
                            // a peer answered, so the first write may go
                            self.hold_until = None;
                            Input::OwnLogAhead { incarnation, fresh: fresh_incarnation() }
                        }
                    };
                    let last = self.engine.last_eno();
                    let mut commit = self.handle(no, input, Callers::new())?;
                    self.welcome(of_traces, last, &mut commit)?;
                    room.send(commit);
                    continue;
                }
                Some((_, chain)) = self.chains.recv() => {
                    no += 1;
                    let commit = self.handle(no, Input::Chain(chain), Callers::new())?;
                    room.send(commit);
                    continue;
                }
                // a commit or a comparison is done: check again
                changed = self.done.changed(), if !free => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    continue;
                }
                _ = self.compared.changed(), if hold.is_some() => continue,
                () = tokio::time::sleep_until(hold.unwrap_or_else(Instant::now)), if hold.is_some() => continue,
                _ = &mut failed => return Ok(()),
            }
            no += 1;
            own_commit = no;
            let (input, callers) = number(calls.drain(..));
            let commit = self.handle(no, input, callers)?;
            room.send(commit);
        }
    }

    /// Passes one input through the engine and bundles its effects.
    fn handle(&mut self, no: u64, input: Input, mut callers: Callers) -> Result<Commit, LedgerError> {
        self.engine.handle(self.world.wall(), input, &self.overlay)?;
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

fn number(calls: impl Iterator<Item = Call>) -> (Input, Callers) {
    let mut commands: Vec<(CommandId, Command)> = Vec::new();
    let mut callers = Callers::new();
    for (id, call) in (0..).zip(calls) {
        commands.push((id, call.command));
        callers.insert(id, Caller { answer: call.answer, parent: call.parent });
    }
    (Input::Commands(commands), callers)
}
