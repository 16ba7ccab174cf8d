use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nexus_crdt::{Members, TaskId};
use nexus_identity::plants::planted;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::Sessions;
use super::gossip::Announced;
use crate::engine::{Event, Outcome};
use crate::failure::{Failure, Fault};
use crate::headroom::{Files, Headroom, Unwritten};
use crate::notices::{FORK, Notices, astray, fork};
use crate::store::{Batch, Store, StoreError};
use crate::world::World;

/// Bound of the batches that share one commit.
const GROUP_MAX: usize = 16;

/// Effects of one input: its batch, and the effects that wait until it is on disk.
pub(crate) struct Commit {
    pub(crate) no: u64,
    /// The number of times that the engine had begun again from the store.
    pub(crate) epoch: u64,
    pub(crate) batch: Option<Batch>,
    /// Whether this node wrote entries of it.
    pub(crate) is_own: bool,
    pub(crate) answers: Vec<(oneshot::Sender<Result<Outcome, Unwritten>>, Outcome)>,
    pub(crate) publish: Vec<Announced>,
    pub(crate) events: Vec<Event>,
    pub(crate) members: Option<Arc<Members>>,
    /// Spans of traced entries from peers. A span ends when its entry is on disk.
    pub(crate) arrivals: Vec<tracing::Span>,
}

impl Commit {
    /// A commit of nothing.
    pub(super) const fn empty(no: u64, epoch: u64) -> Self {
        Self {
            no,
            epoch,
            batch: None,
            is_own: false,
            answers: Vec::new(),
            publish: Vec::new(),
            events: Vec::new(),
            members: None,
            arrivals: Vec::new(),
        }
    }

    /// Refuses its callers, although the open store has it: that store is gone with the process.
    fn withhold(&mut self, refusal: Unwritten) {
        for (caller, _) in self.answers.drain(..) {
            let _ = caller.send(Err(refusal));
        }
    }

    pub(super) fn answer(&mut self) {
        for (caller, outcome) in self.answers.drain(..) {
            // a caller that is gone needs no answer
            let _ = caller.send(Ok(outcome));
        }
    }

    /// Drops everything of it, as nothing of it is on disk, and says so to its callers.
    pub(super) fn refuse(&mut self, refusal: Unwritten) {
        for (caller, _) in self.answers.drain(..) {
            let _ = caller.send(Err(refusal));
        }
        (self.batch, self.members, self.is_own) = (None, None, false);
        self.publish.clear();
        self.events.clear();
        self.arrivals.clear();
    }
}

/// The commits that are done with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// The number of the last one.
    pub(crate) no: u64,
    /// The number of times that the disk had no room for one. Those after it are dropped, until the engine has begun
    /// again from the store.
    pub(crate) epoch: u64,
}

/// Brings batches to the disk. It waits for the disk, so it belongs on the blocking seam.
#[derive(Clone)]
pub(crate) struct Writer {
    pub(crate) store: Store,
    pub(crate) gossip: mpsc::Sender<Announced>,
    pub(crate) headroom: Headroom,
}

impl Writer {
    /// Makes the batches of some commits durable together, in their order. Nothing of them may be released
    /// before. After [`StoreError::Full`] nothing of them is there; after another error nothing of them is known: only
    /// the next start tells.
    pub(super) fn write(&self, group: &mut [Commit]) -> Result<(), StoreError> {
        if planted("acks_before_commit") {
            group.iter_mut().for_each(Commit::answer);
        }
        if planted("sends_before_commit") {
            group.iter_mut().for_each(|commit| self.publish(commit));
        }
        let mut batches: Vec<Batch> = group.iter_mut().filter_map(|commit| commit.batch.take()).collect();
        if planted("drops_from_group") {
            batches.truncate(1);
        }
        if batches.is_empty() {
            return Ok(());
        }
        self.store.commit(&batches)?;
        self.headroom.wrote(batches.iter().map(Batch::bytes).sum());
        Ok(())
    }

    /// Looks whether what was written lasts. Nothing is acknowledged once a file is not in its place.
    pub(super) fn confirm(&self, group: &mut [Commit], now: Duration) {
        match self.headroom.look_at_files_again(Some(Files::Store), now) {
            Some(gone) => group.iter_mut().for_each(|commit| commit.withhold(Unwritten::Gone(gone))),
            None => self.headroom.acknowledged(group.iter().map(|commit| commit.answers.len()).sum()),
        }
    }

    /// Refuses commits for which the disk had no room.
    pub(super) fn refuse(&self, group: &mut [Commit], now: Duration) {
        self.headroom.ran_out(now);
        let refusal = self.headroom.refusal();
        if planted("acks_without_room") {
            group.iter_mut().for_each(Commit::answer);
        }
        group.iter_mut().for_each(|commit| commit.refuse(refusal));
    }

    fn publish(&self, commit: &mut Commit) {
        for announced in commit.publish.drain(..) {
            // gossip is a hint
            let _ = self.gossip.try_send(announced);
        }
    }
}

/// Commits batches that are not on disk yet, then releases the effects of each: answers, messages, events,
/// in order.
pub(crate) struct Committer {
    pub(crate) commits: mpsc::Receiver<Commit>,
    /// The number of times that the disk had no room. Commits of an earlier engine are dropped.
    pub(crate) epoch: u64,
    /// The commits that are done with, for the engine.
    pub(crate) done: watch::Sender<Progress>,
    pub(crate) committed: watch::Sender<u64>,
    /// The last committed entry when this node last wrote one.
    pub(crate) own: watch::Sender<u64>,
    pub(crate) members: watch::Sender<Arc<Members>>,
    /// The number of commits that changed which spaces there are.
    pub(crate) spaces: Arc<AtomicU64>,
    pub(crate) writer: Writer,
    pub(crate) world: World,
    pub(crate) failure: Failure,
    pub(crate) notices: Notices,
    pub(crate) sessions: Arc<Sessions>,
    /// The tasks of which something was said, for those who follow them.
    pub(crate) tasks: broadcast::Sender<(TaskId, bool)>,
    /// Changes when a fork is to be settled.
    pub(crate) unsettled: watch::Sender<()>,
}

impl Committer {
    pub(crate) async fn run(mut self) {
        let mut group = Vec::with_capacity(GROUP_MAX);
        loop {
            if self.commits.recv_many(&mut group, GROUP_MAX).await == 0 {
                return;
            }
            let refusal = self.writer.headroom.refusal();
            let late = group.iter_mut().filter(|commit| commit.epoch < self.epoch);
            late.for_each(|commit| commit.refuse(refusal));
            if group.iter().any(|commit| commit.batch.is_some()) {
                let (writer, world) = (self.writer.clone(), self.world.clone());
                let write = move || match writer.write(&mut group) {
                    Err(StoreError::Full { .. }) => {
                        writer.refuse(&mut group, world.now());
                        Ok((group, false))
                    }
                    Ok(()) => {
                        writer.confirm(&mut group, world.now());
                        Ok((group, true))
                    }
                    Err(error) => Err(error),
                };
                // nothing of this group is acknowledged; the next start reads the part that reached the disk
                let there;
                (group, there) = match self.world.blocking(write).await {
                    Ok(Ok(written)) => written,
                    Ok(Err(error)) => return self.failure.fail(Fault::Store(error)),
                    Err(_) => return self.failure.fail(Fault::Commit),
                };
                self.epoch += u64::from(!there);
            }
            if let Some(last) = group.last() {
                self.done.send_replace(Progress { no: last.no, epoch: self.epoch });
            }
            for commit in group.drain(..) {
                self.release(commit);
            }
        }
    }

    fn release(&self, mut commit: Commit) {
        if let Some(members) = commit.members.take() {
            self.members.send_replace(members);
        }
        if commit.events.contains(&Event::Spaces) {
            self.spaces.fetch_add(1, Ordering::Release);
        }
        // whoever watches from an answer on does not get what was answered
        let last = commit.events.iter().rev().find_map(|event| match event {
            Event::Stored { eno } => Some(*eno),
            _ => None,
        });
        if let Some(eno) = last {
            self.committed.send_replace(eno);
            if commit.is_own {
                self.own.send_replace(eno);
            }
        }
        commit.answer();
        self.writer.publish(&mut commit);
        for span in commit.arrivals {
            span.in_scope(|| tracing::debug!("an entry of a trace has arrived"));
        }
        for event in commit.events {
            self.emit(event);
        }
    }

    fn emit(&self, event: Event) {
        match event {
            // nobody follows them, or all are told
            Event::Task { task, own } => drop(self.tasks.send((task, own))),
            Event::Stored { .. } | Event::Members | Event::Spaces => {}
            Event::Unsettled => self.unsettled.send_replace(()),
            Event::Fork { log, seq } => {
                let (message, hint) = fork(log.author, seq);
                self.notices.note(FORK, log.author.to_string(), message, hint);
            }
            Event::Astray { log, seq } => {
                let (message, hint) = astray(log.author, seq);
                self.notices.note(FORK, log.author.to_string(), message, hint);
            }
            Event::Quarantined { entry, author, why } => self.notices.note(
                "quarantined",
                author.to_string(),
                format!("an entry ({}) of {author} breaks a rule of form and does not count: {why}", entry.short()),
                "update that node, or ask its owner what it runs",
            ),
            Event::Behind { from } => self.sessions.behind(from),
            Event::Lacking => self.sessions.all_behind(),
            Event::Renewed(incarnation) => {
                tracing::warn!(?incarnation, "another node holds more of our log: going on in a new incarnation");
                self.notices.note(
                    "restored",
                    String::new(),
                    "the data directory was put back from a copy: another node holds more of this node's log"
                        .to_owned(),
                    "the node goes on in a new log; if the original still runs, end one of the two",
                );
            }
        }
    }
}
