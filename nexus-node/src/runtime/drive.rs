use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use nexus_identity::Chain;
use nexus_mesh::quota::Receiver;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::clocks::Clocks;
use super::committer::{Commit, Progress, Writer};
use super::driven::{Caller, Callers, Driven, Step};
use super::handle::{Call, Intake};
use super::pace::Pace;
use super::shares::Shares;
use super::{Sessions, fresh_incarnation};
use crate::engine::{Command, CommandId, Input};
use crate::failure::{Failure, Fault};
use crate::ledger::LedgerError;
use crate::store::StoreError;
use crate::world::{Interrupted, World, random};

/// Entries of peers after which no more are taken together: local callers wait for those before their write.
const TOGETHER_MAX: usize = 128;
/// Bound of the turns that other tasks get before waiting commands are taken.
const GATHER_TURNS_MAX: usize = 16;
/// Bound of the commands in one input.
const COMMANDS_PER_INPUT: usize = 1_024;

/// Feeds the engine one input after the other and sends the effects of each to the committer as one commit.
///
/// Entries that peers brought meanwhile go together, and no more often than [`Pace`] says.
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

/// Lets callers that are about to write do so, as long as they come: what they write together costs one wait for the
/// disk. A single caller waits for nobody.
async fn gather(commands: &mpsc::Receiver<Call>) {
    for _ in 0..GATHER_TURNS_MAX {
        let waiting = commands.len();
        if waiting == 0 {
            return;
        }
        tokio::task::yield_now().await;
        if commands.len() == waiting {
            return;
        }
    }
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
        let (mut pace, mut kept) = (Pace::default(), None);
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
            if free {
                gather(&commands).await;
            }
            let mut step = Step::new(no + 1, settled);
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
                    taken = next_intake(&mut kept, &mut intake, (&world, pace.next())) => match taken {
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
            let mut together = match &step.input {
                Input::Entries { entries, .. } => entries.len(),
                _ => usize::MAX,
            };
            let is_of_peers = together < usize::MAX;
            let first = step.no;
            let (mut steps, mut rooms) = (vec![step], vec![room]);
            while together < TOGETHER_MAX
                && let Ok(room) = commits.clone().try_reserve_owned()
            {
                match intake.try_recv() {
                    Ok(Intake::Entries { from, entries, of_traces, turn }) => {
                        together += entries.len();
                        let no = first + steps.len() as u64;
                        let input = Input::Entries { from, entries };
                        steps.push(Step { input, of_traces, turn: Some(turn), ..Step::new(no, settled) });
                        rooms.push(room);
                    }
                    other => {
                        kept = other.ok();
                        break;
                    }
                }
            }
            (no, dropped) = (first + steps.len() as u64 - 1, settled);
            // an idle engine has waited for its input
            let (now, at) = (world.wall(), world.now());
            steps.iter_mut().for_each(|step| step.at = at);
            let (agreed, drift) = clocks.agreed(now, at);
            driven.engine.set_clocks(agreed, drift);
            // An input that has the disk for itself is on disk after its step: that saves two changes of thread.
            let alone =
                settled + 1 == first && kept.is_none() && commands.is_empty() && intake.is_empty() && chains.is_empty();
            let writer = alone.then(|| writer.clone());
            let stepped = world.blocking(move || {
                let mut group = Vec::with_capacity(steps.len());
                for step in steps {
                    // nothing follows on commits that had no room: the peers are asked again
                    group.push(if driven.is_behind {
                        Commit::empty(step.no, driven.epoch)
                    } else {
                        driven.step(now, random(), step)?
                    });
                }
                let mut again = false;
                if let Some(writer) = writer {
                    match writer.write(&mut group) {
                        Err(StoreError::Full { .. }) => {
                            writer.refuse(&mut group, at);
                            driven.begin_again(driven.epoch)?;
                            again = true;
                        }
                        written => {
                            written?;
                            writer.confirm(&mut group, at);
                        }
                    }
                    if !driven.is_behind {
                        driven.overlay.committed(no)?;
                    }
                }
                Ok::<_, DriveError>((driven, group, again))
            });
            let (after, group, again) = stepped.await??;
            driven = after;
            if is_of_peers {
                pace.note(at, world.now());
            }
            if again {
                sessions.all_behind();
            }
            if alone {
                dropped = no;
            }
            for (room, commit) in rooms.into_iter().zip(group) {
                room.send(commit);
            }
        }
    }
}

/// The next input of peers: the one that was kept, or from `pace` on one of the queue. Cancel-safe.
async fn next_intake(
    kept: &mut Option<Intake>,
    queue: &mut mpsc::Receiver<Intake>,
    (world, pace): (&World, Duration),
) -> Option<Intake> {
    if let Some(kept) = kept.take() {
        return Some(kept);
    }
    // a timer takes a millisecond at least
    if world.now() < pace {
        world.sleep_until(pace).await;
    }
    queue.recv().await
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
