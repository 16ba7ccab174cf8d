use std::convert::Infallible;
use std::sync::Arc;

use nexus_identity::Chain;
use nexus_mesh::quota::Receiver;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::clocks::Clocks;
use super::committer::{Commit, Progress, Writer};
use super::driven::{Caller, Callers, Driven, Step};
use super::handle::{Call, Intake};
use super::shares::Shares;
use super::{Sessions, fresh_incarnation};
use crate::engine::{Command, CommandId, Input};
use crate::failure::{Failure, Fault};
use crate::ledger::LedgerError;
use crate::store::StoreError;
use crate::world::{Interrupted, World, random};

/// Bound of the commands in one input.
const COMMANDS_PER_INPUT: usize = 1_024;

/// Feeds the engine one input at a time and sends the effects of each to the committer as one commit.
///
/// Commands wait while the disk works on earlier ones, so under load many share an entry. An idle node
/// takes each command at once.
pub(super) struct Drive {
    pub(super) driven: Driven,
    pub(super) queues: Queues,
    pub(super) commits: mpsc::Sender<Commit>,
    pub(super) writer: Writer,
    /// The number of the last commit that is on disk.
    pub(super) done: watch::Receiver<Progress>,
    /// Deadline for hearing one peer's frontier before our first write. Without it a restored store
    /// would fork its own log.
    pub(super) hold_until: Option<Instant>,
    pub(super) compared: watch::Receiver<bool>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) shares: Arc<Shares>,
    pub(super) clocks: Arc<Clocks>,
    pub(super) world: World,
    pub(super) failure: Failure,
    /// Closes when the engine ends.
    pub(super) _runs: oneshot::Sender<Infallible>,
}

/// Whatever waits for the engine.
pub(super) struct Queues {
    pub(super) commands: mpsc::Receiver<Call>,
    pub(super) intake: mpsc::Receiver<Intake>,
    pub(super) chains: Receiver<Chain>,
}

/// Why the engine cannot go on.
#[derive(Debug, thiserror::Error)]
enum DriveError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("an input was not carried out: {0}")]
    Interrupted(#[from] Interrupted),
}

impl Drive {
    pub(super) async fn run(self) {
        let failure = self.failure.clone();
        if let Err(error) = self.turn().await {
            failure.fail(match error {
                DriveError::Ledger(error) => Fault::Ledger(error),
                DriveError::Store(error) => Fault::Store(error),
                DriveError::Interrupted(_) => Fault::Commit,
            });
        }
    }

    async fn turn(self) -> Result<(), DriveError> {
        let Self {
            mut driven,
            queues,
            commits,
            writer,
            mut done,
            mut hold_until,
            mut compared,
            sessions,
            shares,
            clocks,
            world,
            failure,
            _runs,
        } = self;
        let Queues { mut commands, mut intake, mut chains } = queues;
        let (mut no, mut dropped) = (0, 0);
        let mut epochs = done.clone();
        // number of the last commit with callers' writes
        let mut own_commit = 0;
        let mut calls = Vec::new();
        let failed = failure.failed();
        tokio::pin!(failed);
        loop {
            // room downstream first: an input that was taken is always carried through
            let Ok(room) = commits.clone().reserve_owned().await else { return Ok(()) };
            let Progress { no: settled, epoch } = *done.borrow_and_update();
            if driven.is_behind && settled < no {
                // commits of before may still be written: the store is read once none is under way
                if done.changed().await.is_err() {
                    return Ok(());
                }
                continue;
            }
            if epoch != driven.epoch || driven.is_behind {
                let begin = move || driven.begin_again(epoch).map(|()| driven);
                driven = world.blocking(begin).await??;
                sessions.all_behind();
            }
            // without work at hand nothing is kept in memory that is on disk
            if settled > dropped && commands.is_empty() && intake.is_empty() {
                let drop = move || driven.overlay.committed(settled).map(|()| driven);
                driven = world.blocking(drop).await??;
                dropped = settled;
            }
            if hold_until.is_some_and(|until| until <= Instant::now()) || *compared.borrow() {
                hold_until = None;
            }
            let free = settled >= own_commit && hold_until.is_none();
            let mut step = Step {
                no: no + 1,
                settled,
                at: world.now(),
                input: Input::Commands(Vec::new()),
                turn: None,
                callers: Callers::new(),
                of_traces: Vec::new(),
            };
            if let Some(incarnation) = driven.renews() {
                step.input = Input::OwnLogAhead { incarnation, fresh: fresh_incarnation() };
            } else {
                tokio::select! {
                    taken = commands.recv_many(&mut calls, COMMANDS_PER_INPUT), if free => {
                        if taken == 0 {
                            return Ok(());
                        }
                        own_commit = step.no;
                        step.turn = Some(shares.callers(calls.iter().map(|call| call.command.writes()).sum()));
                        (step.input, step.callers) = number(calls.drain(..));
                    }
                    taken = intake.recv() => match taken {
                        None | Some(Intake::Stop) => return Ok(()),
                        Some(Intake::Entries { from, entries, of_traces, turn }) => {
                            (step.of_traces, step.turn) = (of_traces, Some(turn));
                            step.input = Input::Entries { from, entries };
                        }
                        Some(Intake::OwnLogAhead(incarnation)) => {
                            // a peer answered, so the first write may go
                            hold_until = None;
                            step.input = Input::OwnLogAhead { incarnation, fresh: fresh_incarnation() };
                        }
                    },
                    Some((_, chain)) = chains.recv() => step.input = Input::Chain(chain),
                    // a commit or a comparison is done: check again
                    changed = done.changed(), if !free => {
                        if changed.is_err() {
                            return Ok(());
                        }
                        continue;
                    }
                    // a commit under way may find no room: the engine begins again before it takes more
                    begins = another_epoch(&mut epochs, epoch), if settled < no => {
                        if begins.is_err() {
                            return Ok(());
                        }
                        continue;
                    }
                    _ = compared.changed(), if hold_until.is_some() => continue,
                    () = tokio::time::sleep_until(hold_until.unwrap_or_else(Instant::now)), if hold_until.is_some() => continue,
                    _ = &mut failed => return Ok(()),
                }
            }
            (no, dropped) = (step.no, settled);
            // an idle engine has waited for its input
            step.at = world.now();
            let (now, at) = (world.wall(), step.at);
            let (agreed, drift) = clocks.agreed(now, at);
            driven.engine.set_clocks(agreed, drift);
            // An input that has the disk for itself is on disk after its step: that saves two changes of thread.
            let alone = settled + 1 == no && commands.is_empty() && intake.is_empty() && chains.is_empty();
            let writer = alone.then(|| writer.clone());
            let stepped = world.blocking(move || {
                let mut commit = driven.step(now, random(), step)?;
                let mut again = false;
                if let Some(writer) = writer {
                    let group = std::slice::from_mut(&mut commit);
                    match writer.write(group) {
                        Err(StoreError::Full { .. }) => {
                            writer.refuse(group, at);
                            driven.begin_again(driven.epoch)?;
                            again = true;
                        }
                        written => written?,
                    }
                    if !driven.is_behind {
                        driven.overlay.committed(no)?;
                    }
                }
                Ok::<_, DriveError>((driven, commit, again))
            });
            let (after, commit, again) = stepped.await??;
            driven = after;
            if again {
                sessions.all_behind();
            }
            if alone {
                dropped = no;
            }
            room.send(commit);
        }
    }
}

/// Resolves once the disk had no room for a commit of this epoch.
async fn another_epoch(done: &mut watch::Receiver<Progress>, epoch: u64) -> Result<(), watch::error::RecvError> {
    done.wait_for(|progress| progress.epoch != epoch).await.map(drop)
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
