//! This node's part in a Raft group: openraft with our log, machine and network. Only a leader gathers
//! proposals into entries, and proves that it still leads.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use futures::FutureExt;
use nexus_identity::Did;
use nexus_identity::plants::{planted, reached};
use nexus_mesh::{BatchBounds, Gather, Handover, Spawner};
use openraft::error::{ClientWriteError, Fatal, RaftError};
use openraft::metrics::RaftServerMetrics;
use openraft::{EmptyNode, ServerState, SnapshotPolicy};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;

use super::applied::{Applied, Applier};
use super::certificate::Incoming;
use super::command::{Command, Group, Signed};
use super::format::ReadError;
use super::limits::{self, PROPOSAL_BYTES_MAX, REPLY_BYTES_MAX, REPLY_ITEMS_MAX, VALUE_BYTES_MAX};
use super::log::Log;
use super::network::{Believes, Matched, Open, PeerLinks, Peers, REST_UNCHANGED, Silence};
use super::raft::{Metrics, Outcomes, Proposals, Raft, Seats, Vote, Voter, term_can_follow};
use super::rest::{PROMISE_MAX, Rest, Resting};
use super::runtime::{Pace, paced, scope};
use super::state::Outcome;
use crate::error::{NodeError, OpaqueError, StopError};
use crate::world::random;

/// Proposals that wait to be appended. When they are full, proposers wait.
const SUBMITTED_MAX: usize = 1_024;
/// The most entries in progress: one goes to the disks while another goes to the peers.
const ENTRIES_MAX: usize = 2;
/// The most proposals in one entry.
const PROPOSALS_MAX: usize = 64;
/// The most readers that wait for the next proof.
const READERS_MAX: usize = 4_096;
/// The time in which a leader that is deposed may still learn what became of its entries.
const DEPOSED_FOR: Duration = Duration::from_millis(1_500);
/// The longest proof of leadership.
const PROOF_MAX: Duration = Duration::from_millis(1_500);
/// The part of the entries between two snapshots that is kept before one, for peers that are nearly up to date.
const KEPT: u64 = 10;
/// The most snapshots whose entries are kept for copies that take no snapshot yet.
const WAITED_FOR_MAX: u64 = 16;
/// The most bytes of these entries.
const WAITED_FOR_BYTES_MAX: u64 = 64 << 20;

/// The timing of a group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// The time between two heartbeats of a leader.
    pub(crate) heartbeat: Duration,
    /// The shortest silence before another leader is elected; the longest is 7/4 of it.
    pub(crate) election: Duration,
    /// The time that a member must have been up to become a voter.
    pub(crate) settle: Duration,
}

impl Timing {
    /// The longest silence before an election, and the time for which a leader may rely on its followers.
    pub(crate) fn election_max(&self) -> Duration {
        self.election * 7 / 4
    }
}

/// The formats of this node's copies, and the places of their snapshots.
#[derive(Clone, Debug)]
pub(super) struct Raised {
    /// The highest that it reads.
    pub(super) max: u16,
    /// The highest that any of its copies was of.
    pub(super) raised: watch::Sender<u16>,
    /// The number of entries between two snapshots: the same in all copies of a group.
    pub(super) snapshot_every: u64,
}

/// The reason why a leader did not do something. Unless it is unknown, a proposal was not appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotDone {
    /// Another node leads; with its name, if it is known.
    NotLeader(Option<Voter>),
    /// A quorum did not answer.
    NoQuorum,
    /// The answer would have this many bytes.
    TooLarge(u64),
    /// It is stopping.
    Stopping,
    /// It was appended, or may have been, and whether it is decided is not known; with the leader that may know.
    Unknown(Option<Voter>),
}

struct Submission {
    signed: Signed,
    handover: Handover,
    answer: oneshot::Sender<Result<Vec<Outcome>, NotDone>>,
}

type Reader = oneshot::Sender<Result<(), NotDone>>;

/// This node's part in a group.
pub(crate) struct Running {
    pub(super) raft: Raft,
    pub(super) applied: Applied,
    log: Log,
    pub(super) group: Group,
    pub(super) me: Voter,
    submissions: mpsc::Sender<Submission>,
    readers: mpsc::Sender<Reader>,
    /// The time of the leader's last sign of life.
    heard: Mutex<Option<Instant>>,
    /// The snapshot that another one sends.
    incoming: Mutex<Option<Incoming>>,
    pub(super) silence: Arc<Silence>,
    resting: watch::Sender<Resting>,
    /// Whether this node stands for no election whatever happens.
    abstains: AtomicBool,
    stopping: AtomicBool,
    spawner: Arc<dyn Spawner>,
}

impl Running {
    /// Joins a group with the content of the disk.
    pub(super) async fn start(
        log: &Log,
        peers: Peers,
        spawner: Arc<dyn Spawner>,
        timing: &Timing,
        me: Voter,
        group: Group,
        formats: Raised,
    ) -> Result<Arc<Self>, NodeError> {
        let failed = |error: OpaqueError| match log.stopped() {
            Some(too_new) => NodeError::TooNew(too_new),
            None => StopError::Coordinator(error).into(),
        };
        let Raised { max: format_max, raised, snapshot_every } = formats;
        let certificate = log.read_certificate().await?;
        let snapshot = log.read_snapshot().await?.map(|(meta, state)| {
            let of_it = certificate.filter(|(index, _)| Some(*index) == meta.last_log_id.map(|at| at.index));
            (meta, state, of_it.map(|(_, certificate)| certificate).unwrap_or_default())
        });
        let applied = Applied::new(group, snapshot, format_max, raised, snapshot_every).map_err(|error| {
            if let ReadError::TooNew(too_new) = error {
                log.stop_at(too_new);
            }
            failed(OpaqueError::new(error))
        })?;
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let config = openraft::Config {
            cluster_name: group.to_string(),
            heartbeat_interval: ms(timing.heartbeat),
            election_timeout_min: ms(timing.election),
            election_timeout_max: ms(timing.election_max()),
            install_snapshot_timeout: 20_000,
            // all copies make theirs at the same places
            snapshot_policy: SnapshotPolicy::Never,
            snapshot_max_chunk_size: 256 * 1024,
            // they go once others can do without them: see `purge`
            max_in_snapshot_log_to_keep: u64::MAX,
            ..openraft::Config::default()
        };
        let config = Arc::new(config.validate().map_err(|error| failed(OpaqueError::new(error)))?);
        let Peers { links, open, seated } = peers;
        let begun: Arc<OnceLock<Raft>> = Arc::default();
        let here = begun.clone();
        let believes = move |vote: &Vote| {
            let current = here.get().map_or(0, |raft| raft.metrics().borrow().current_term);
            seated(&vote.leader_id.node_id) && term_can_follow(vote.leader_id.term, current)
        };
        let here = begun.clone();
        let votes = move |voter: &Voter| {
            let seats = here.get().map(|raft| raft.server_metrics().borrow().membership_config.clone());
            seats.is_none_or(|seats| seats.membership().voter_ids().any(|one| one == *voter))
        };
        let (believes, matched): (Believes, _) = (Arc::new(believes), Matched::default());
        let silence = Silence::new(open.clone(), applied.clone());
        let network = PeerLinks {
            links,
            group,
            log: log.clone(),
            believes,
            votes: Arc::new(votes),
            matched,
            applied: applied.clone(),
            silence: silence.clone(),
        };
        let (pace, pace_seen) = watch::channel(Pace::default());
        let due = applied.due();
        let applier = Applier { applied: applied.clone(), log: log.clone(), format_max };
        let raft = paced(spawner.clone(), pace_seen, Raft::new(me, config, network, log.clone(), applier));
        let raft = raft.await.map_err(|error| failed(OpaqueError::new(error)))?;
        let _ = begun.set(raft.clone());
        let (submissions, submitted) = mpsc::channel(SUBMITTED_MAX);
        let (readers, reading) = mpsc::channel(READERS_MAX);
        let running = Self {
            raft: raft.clone(),
            applied,
            log: log.clone(),
            group,
            me,
            submissions,
            readers,
            heard: Mutex::new(None),
            incoming: Mutex::new(None),
            silence: silence.clone(),
            resting: watch::Sender::default(),
            abstains: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            spawner: spawner.clone(),
        };
        let leads = Leads { raft: raft.clone(), me, relies_for: timing.election_max(), silence: silence.clone() };
        spawner.spawn("raft appends", append(leads, spawner.clone(), submitted).boxed());
        spawner.spawn("raft snapshots", make_snapshots(raft.clone(), spawner.clone(), due).boxed());
        spawner.spawn("raft reads", prove(raft, silence, spawner.clone(), reading).boxed());
        // no other node could be elected, so there is nothing to wait for
        let alone = running.raft.with_raft_state(move |state| {
            let mut voters = state.membership_state.effective().voter_ids();
            voters.next() == Some(me) && voters.next().is_none()
        });
        if scope(spawner.clone(), alone).await.map_err(|error| failed(OpaqueError::new(error)))? {
            let elected = scope(spawner.clone(), running.raft.trigger().elect()).await;
            elected.map_err(|error| failed(OpaqueError::new(error)))?;
        }
        let running = Arc::new(running);
        let stand_after = timing.election_max()..timing.election_max() + timing.election;
        let watch = watch_rest(Arc::downgrade(&running), running.resting.subscribe(), open.clone(), stand_after);
        spawner.spawn("raft rest", watch.boxed());
        spawner.spawn("raft pace", keep_pace(Arc::downgrade(&running), pace, open).boxed());
        Ok(running)
    }

    /// Resolves with the reason when openraft has ended by itself. `panicked` tells whether a task did.
    pub(super) async fn failed(self: Arc<Self>, mut panicked: watch::Receiver<bool>) -> Fatal<Voter> {
        // These change with the leader, and close when openraft ends. The metrics with the reason
        // change several times with each entry, and would wake this task each time.
        let mut rare = self.raft.server_metrics();
        while rare.changed().await.is_ok() {}
        let fatal = self.raft.metrics().borrow().running_state.clone().err();
        match fatal {
            Some(Fatal::Stopped) => std::future::pending().await,
            Some(fatal) => fatal,
            None if self.stopping.load(Ordering::Relaxed) => std::future::pending().await,
            // Its core ended without a word: it panicked, or its node's tasks are dropped, this one soon.
            None if panicked.wait_for(|panicked| *panicked).await.is_ok() => Fatal::Panicked,
            None => std::future::pending().await,
        }
    }

    /// Begins the group: this node alone votes.
    pub(super) async fn found(&self) -> Result<(), NodeError> {
        let founded = scope(self.spawner.clone(), self.raft.initialize(BTreeSet::from([self.me]))).await;
        founded.map_err(|error| StopError::Coordinator(OpaqueError::new(error)).into())
    }

    /// The index of the last applied entry, as a watch.
    pub(crate) fn applied_index(&self) -> tokio::sync::watch::Receiver<u64> {
        self.applied.index()
    }

    /// The index of the last applied entry, and a digest of the state after it.
    pub(crate) fn digest(&self) -> (u64, [u8; 32]) {
        let state = self.applied.read();
        (state.index(), state.machine.digest())
    }

    /// The group's generation.
    pub(crate) fn generation(&self) -> u32 {
        self.group.generation
    }

    /// openraft's current metrics.
    pub(super) fn metrics(&self) -> Metrics {
        self.raft.metrics().borrow().clone()
    }

    /// The current term.
    pub(super) fn term(&self) -> u64 {
        self.raft.metrics().borrow().current_term
    }

    /// The voters, of both sets during a change.
    pub(super) fn voters(&self) -> BTreeSet<Voter> {
        self.raft.server_metrics().borrow().membership_config.membership().voter_ids().collect()
    }

    /// The voters and learners; `None` of a copy that was only just begun and knows of none yet.
    pub(super) fn seats(&self) -> Option<Seats> {
        let seats = Seats::from(self.raft.server_metrics().borrow().membership_config.membership());
        seats.voters.iter().any(|voters| !voters.is_empty()).then_some(seats)
    }

    pub(super) fn leads(&self) -> bool {
        self.raft.server_metrics().borrow().state == ServerState::Leader
    }

    /// The leader, if this node knows it.
    pub(super) fn leader(&self) -> Option<Voter> {
        self.raft.server_metrics().borrow().current_leader
    }

    /// Resolves when a leader other than `than` is elected in a later term. The leader known at call
    /// time is ignored: it may be stale.
    pub(super) async fn another_leads(&self, than: Did) -> Did {
        let mut metrics = self.raft.server_metrics();
        let term = metrics.borrow_and_update().vote.leader_id.term;
        loop {
            if metrics.changed().await.is_err() {
                return std::future::pending().await;
            }
            let now = metrics.borrow_and_update();
            let leader = now.current_leader.map(|leader| leader.did);
            if let Some(leader) = leader.filter(|leader| *leader != than && now.vote.leader_id.term > term) {
                return leader;
            }
        }
    }

    /// The snapshot that another one sends.
    pub(super) fn incoming(&self) -> MutexGuard<'_, Option<Incoming>> {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether more entries are kept up to a place than any copy is waited for.
    pub(super) fn is_long(&self, upto: u64) -> bool {
        let (first, _) = self.log.bounds();
        let entries = upto.saturating_sub(first);
        entries > self.applied.every().saturating_mul(WAITED_FOR_MAX) || self.log.bytes() > WAITED_FOR_BYTES_MAX
    }

    /// Removes the entries up to a snapshot but the last of them. Returns whether they are gone: openraft keeps those that
    /// are not in a snapshot on the disk, and those that are on their way to a peer.
    pub(super) async fn purge(&self, snapshot: u64) -> bool {
        let Some(upto) = snapshot.checked_sub(self.applied.every() / KEPT) else { return true };
        let (first, _) = self.log.bounds();
        if first <= upto {
            // a fault of openraft ends the node elsewhere
            let _ = scope(self.spawner.clone(), self.raft.trigger().purge_log(upto)).await;
        }
        first > upto
    }

    /// Notes what a leader said of its silence, in a message of this vote that was taken.
    pub(super) fn rest(&self, vote: Vote, rest_ms: u32) {
        let over = self.silence.open_to(&vote.leader_id.node_id.did);
        self.set_resting(|resting| {
            *resting = match (rest_ms, over) {
                (REST_UNCHANGED, _) if matches!(resting, Resting::Yes(rest) if rest.vote == vote) => return,
                (0 | REST_UNCHANGED, _) | (_, None) => Resting::No,
                (_, Some(over)) => {
                    let lasts = Duration::from_millis(rest_ms.into()).min(PROMISE_MAX);
                    Resting::Yes(Rest { vote, connection: over.number, until: Instant::now() + lasts })
                }
            };
        });
    }

    /// Ends the rest: the leader was asked in vain.
    pub(super) fn end_rest(&self) {
        self.set_resting(|resting| *resting = Resting::No);
    }

    /// The leader's vote, while this node relies on the leader's connection.
    pub(super) fn rests_on(&self) -> Option<Vote> {
        let resting = *self.resting.borrow();
        let Resting::Yes(rest) = resting else { return None };
        let over = self.silence.open_to(&rest.vote.leader_id.node_id.did);
        resting.holds(over, Instant::now()).map(|rest| rest.vote)
    }

    /// Stands for no election until this is called with `false`.
    pub(super) fn abstain(&self, abstains: bool) {
        self.abstains.store(abstains, Ordering::Relaxed);
        self.set_resting(|_| {});
    }

    fn set_resting(&self, change: impl FnOnce(&mut Resting)) {
        self.resting.send_if_modified(|resting| {
            let before = *resting;
            change(resting);
            // in the order of the changes
            let stands = resting.may_stand() && !self.abstains.load(Ordering::Relaxed);
            self.raft.runtime_config().elect(stands);
            before != *resting
        });
    }

    /// Notes a leader's sign of life.
    pub(super) fn hear(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// The pace of openraft's ticks. Only a voter stands for elections, and only while it may; a leader's ticks send
    /// heartbeats.
    fn pace(&self) -> Pace {
        let server = self.raft.server_metrics();
        let (state, seats) = {
            let now = server.borrow();
            (now.state, Seats::from(now.membership_config.membership()))
        };
        match state {
            ServerState::Leader => self.silence.pace(&self.me, &seats),
            ServerState::Learner => Pace::Stands(None),
            ServerState::Follower if !self.resting.borrow().may_stand() => Pace::Stands(None),
            ServerState::Follower | ServerState::Candidate | ServerState::Shutdown => Pace::Runs,
        }
    }

    /// Whether this node relies on its leader's silence, or its followers on its own.
    pub(super) fn is_at_rest(&self) -> bool {
        if self.leads() { matches!(self.pace(), Pace::Stands(_)) } else { self.rests_on().is_some() }
    }

    /// Resolves when this node's rest, its role or the voters change.
    pub(super) async fn rest_changes(&self) {
        let (mut resting, mut server) = (self.resting.subscribe(), self.raft.server_metrics());
        let (role, seats) = {
            let now = server.borrow_and_update();
            (now.state, now.membership_config.clone())
        };
        let may_stand = resting.borrow_and_update().may_stand();
        // they close with this part, which its followers notice
        tokio::select! {
            _ = resting.wait_for(|resting| resting.may_stand() != may_stand) => {}
            _ = server.wait_for(|now| now.state != role || now.membership_config != seats) => {}
        }
    }

    /// Whether this node leads with a quorum, or its leader lives, as far as can be told within this time.
    pub(super) fn is_in_contact(&self, within: Duration) -> bool {
        self.rests_on().is_some() || self.contact().is_some_and(|contact| contact <= within)
    }

    /// The time since this node's last contact with a quorum: as its leader, or with its leader.
    pub(super) fn contact(&self) -> Option<Duration> {
        let metrics = self.raft.data_metrics();
        if self.leads() {
            let alone = self.raft.server_metrics().borrow().membership_config.voter_ids().all(|voter| voter == self.me);
            // openraft counts from its last tick, and at rest there is none
            if alone || self.seats().is_some_and(|seats| self.silence.rests_with_quorum(&self.me, &seats)) {
                return Some(Duration::ZERO);
            }
            return metrics.borrow().millis_since_quorum_ack.map(Duration::from_millis);
        }
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).map(|heard| heard.elapsed())
    }

    /// Appends and commits a proposal. Returns the outcomes of its commands.
    ///
    /// # Errors
    /// [`NotDone::Unknown`] if it is not decided by `until`, and was appended. Every other error says that it was not.
    pub(super) async fn submit(&self, signed: Signed, until: Instant) -> Result<Vec<Outcome>, NotDone> {
        self.check_reply(&signed)?;
        let (answer, answered) = oneshot::channel();
        let handover = Handover::default();
        let submission = Submission { signed, handover: handover.clone(), answer };
        let submitted = async {
            self.submissions.send(submission).await.map_err(|_| NotDone::Stopping)?;
            answered.await.unwrap_or(Err(NotDone::Stopping))
        };
        match tokio::time::timeout_at(until, submitted).await {
            Ok(Err(NotDone::Stopping)) if !handover.take_back() => Err(NotDone::Unknown(None)),
            Ok(done) => done,
            Err(_) if handover.take_back() || planted("calls_unknown_refused") => Err(NotDone::NoQuorum),
            Err(_) => {
                reached("write_unknown_after_its_time");
                Err(NotDone::Unknown(self.leader()))
            }
        }
    }

    /// Checks that the answer to a proposal fits, while critical state is of a format whose machine does
    /// not. The values may grow before it is applied, so their number is bounded, too.
    fn check_reply(&self, signed: &Signed) -> Result<(), NotDone> {
        let state = self.applied.read();
        let Some(proposal) = signed.proposal().filter(|_| !limits::of(state.machine.format()).bounds_members()) else {
            return Ok(());
        };
        let reads: usize = proposal.commands.iter().map(Command::reads).sum();
        let bytes = match reads {
            0..=REPLY_ITEMS_MAX => state.machine.reply_bytes(&proposal.commands),
            reads => (reads * VALUE_BYTES_MAX) as u64,
        };
        if bytes <= REPLY_BYTES_MAX { Ok(()) } else { Err(NotDone::TooLarge(bytes)) }
    }

    /// Returns when the state applied here includes everything committed anywhere before the call.
    pub(super) async fn prove(&self) -> Result<(), NotDone> {
        if planted("reads_without_proof") && self.leads() {
            return Ok(());
        }
        let (answer, answered) = oneshot::channel();
        self.readers.send(answer).await.map_err(|_| NotDone::Stopping)?;
        answered.await.map_err(|_| NotDone::Stopping)?
    }

    /// Ends this node's part in the group.
    pub(super) async fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        let _ = scope(self.spawner.clone(), self.raft.shutdown()).await;
    }
}

/// Has openraft make a snapshot at each place where one is due.
async fn make_snapshots(raft: Raft, spawner: Arc<dyn Spawner>, mut due: watch::Receiver<u64>) {
    while due.wait_for(|index| *index > 0).await.is_ok() {
        due.mark_unchanged();
        if scope(spawner.clone(), raft.trigger().snapshot()).await.is_err() || due.changed().await.is_err() {
            return;
        }
    }
}

/// Ends this node's rest with the connection to the leader, or with the promise's time.
async fn watch_rest(
    running: Weak<Running>,
    mut resting: watch::Receiver<Resting>,
    mut open: Open,
    stand_after: Range<Duration>,
) {
    loop {
        let Some(here) = running.upgrade() else { return };
        let spread = stand_after.end.saturating_sub(stand_after.start);
        // so that not all stand at one time
        let stand = stand_after.start + spread.mul_f64(f64::from(u16::from_le_bytes(random())) / f64::from(u16::MAX));
        let connections = open.borrow_and_update().clone();
        here.set_resting(|resting| {
            let over = match *resting {
                Resting::Yes(rest) => connections.get(&rest.vote.leader_id.node_id.did).copied(),
                Resting::No | Resting::Lost(_) => None,
            };
            resting.look(over, stand, Instant::now());
        });
        let next = resting.borrow_and_update().next_look();
        drop(here);
        tokio::select! {
            changed = resting.changed() => if changed.is_err() { return },
            changed = open.changed(), if next.is_some() => if changed.is_err() { return },
            () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
        }
    }
}

/// Keeps openraft's ticks at the pace of this node's part.
async fn keep_pace(running: Weak<Running>, pace: watch::Sender<Pace>, mut open: Open) {
    let Some(here) = running.upgrade() else { return };
    let (mut server, mut resting) = (here.raft.server_metrics(), here.resting.subscribe());
    let silence = here.silence.clone();
    drop(here);
    loop {
        let Some(here) = running.upgrade() else { return };
        server.borrow_and_update();
        resting.borrow_and_update();
        open.borrow_and_update();
        let next = here.pace();
        drop(here);
        pace.send_if_modified(|pace| std::mem::replace(pace, next) != next);
        tokio::select! {
            // these close with their part
            changed = server.changed() => if changed.is_err() { return },
            changed = resting.changed() => if changed.is_err() { return },
            changed = open.changed() => if changed.is_err() { return },
            () = silence.changed() => {}
        }
    }
}

/// Whether this node leads, and has a quorum.
struct Leads {
    raft: Raft,
    me: Voter,
    silence: Arc<Silence>,
    /// The silence of a quorum after which this node appends nothing more.
    relies_for: Duration,
}

impl Leads {
    /// A leader that a quorum has not answered for an election's time appends nothing: whoever asks it knows that
    /// nothing happened.
    fn check(&self) -> Result<(), NotDone> {
        let server = self.raft.server_metrics();
        let now = server.borrow();
        if now.state != ServerState::Leader {
            return Err(NotDone::NotLeader(now.current_leader));
        }
        let alone = now.membership_config.voter_ids().all(|voter| voter == self.me);
        let silence = self.raft.data_metrics().borrow().millis_since_quorum_ack.map(Duration::from_millis);
        // at rest openraft's count is old, and the quorum is asked first
        let rests = || self.silence.rests_with_quorum(&self.me, &Seats::from(now.membership_config.membership()));
        match silence {
            Some(silence) if !alone && silence > self.relies_for && !rests() => Err(NotDone::NoQuorum),
            _ => Ok(()),
        }
    }

    /// The same. A leader at rest asks its quorum first: connections say that the others live, and no more.
    async fn prove(&self, spawner: &Arc<dyn Spawner>) -> Result<(), NotDone> {
        self.check()?;
        let sets = self.raft.server_metrics().borrow().membership_config.membership().get_joint_config().clone();
        // openraft's own count of that is of its last tick, and at rest there is none
        let counted = self.raft.data_metrics().borrow().millis_since_quorum_ack.is_some();
        let silent =
            counted && !self.silence.heartbeats().heard_by_quorum(&sets, &self.me, self.relies_for, Instant::now());
        if silent { prove_once(&self.raft, &self.silence, spawner).await } else { Ok(()) }
    }
}

/// Gathers proposals into the next entry while entries are in progress.
async fn append(leads: Leads, spawner: Arc<dyn Spawner>, submitted: mpsc::Receiver<Submission>) {
    let places = Arc::new(Semaphore::new(ENTRIES_MAX));
    let bounds = BatchBounds { items: PROPOSALS_MAX, bytes: PROPOSAL_BYTES_MAX };
    let mut submitted = Gather::new(submitted, bounds, |one: &Submission| one.signed.bytes.len());
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Some(batch) = submitted.next().await else { return };
        if let Err(why) = leads.prove(&spawner).await {
            for one in batch {
                let _ = one.answer.send(Err(why));
            }
            continue;
        }
        // whoever does not wait any more was told that nothing happened
        let batch: Vec<_> = batch.into_iter().filter(|one| one.handover.hand_over()).collect();
        if batch.is_empty() {
            continue;
        }
        let (raft, within) = (leads.raft.clone(), spawner.clone());
        let write = async move {
            let (signed, answers): (Vec<_>, Vec<_>) = batch.into_iter().map(|one| (one.signed, one.answer)).unzip();
            let deposed = deposed(raft.clone());
            let written = tokio::select! {
                written = scope(within, raft.client_write(Proposals(Arc::new(signed)))) => Some(written),
                () = deposed => None,
            };
            drop(place);
            match written {
                None => {
                    reached("write_lost_sight_of_by_a_deposed_leader");
                    for answer in answers {
                        let _ = answer.send(Err(NotDone::Unknown(None)));
                    }
                }
                Some(Ok(written)) => {
                    let Outcomes(outcomes) = written.data;
                    for (answer, outcomes) in answers.into_iter().zip(outcomes) {
                        let _ = answer.send(Ok(outcomes));
                    }
                }
                Some(Err(error)) => {
                    // a leader that is deposed says so also for what it had appended
                    let leader = match error {
                        RaftError::APIError(ClientWriteError::ForwardToLeader(to)) => to.leader_id,
                        RaftError::APIError(ClientWriteError::ChangeMembershipError(_)) | RaftError::Fatal(_) => None,
                    };
                    for answer in answers {
                        let _ = answer.send(Err(NotDone::Unknown(leader)));
                    }
                }
            }
        };
        spawner.spawn("raft write", write.boxed());
    }
}

/// Resolves some time after this node has ceased to lead in its present term.
///
/// openraft answers for an entry that it applies or removes. It forgets an entry if another leader's snapshot takes its
/// place, and whoever waits for that entry would wait for ever.
async fn deposed(raft: Raft) {
    let mut rare = raft.server_metrics();
    let term = rare.borrow_and_update().vote.leader_id.term;
    let leads =
        |now: &RaftServerMetrics<Voter, EmptyNode>| now.state == ServerState::Leader && now.vote.leader_id.term == term;
    // it closes when openraft ends
    while leads(&rare.borrow_and_update()) && rare.changed().await.is_ok() {}
    tokio::time::sleep(DEPOSED_FOR).await;
}

/// Proves that this node leads, once for all waiting readers: a quorum answers a heartbeat sent after
/// their questions.
async fn prove(raft: Raft, silence: Arc<Silence>, spawner: Arc<dyn Spawner>, mut reading: mpsc::Receiver<Reader>) {
    let mut waiting = Vec::new();
    while reading.recv_many(&mut waiting, READERS_MAX).await > 0 {
        let proven = prove_once(&raft, &silence, &spawner).await;
        for reader in waiting.drain(..) {
            let _ = reader.send(proven);
        }
    }
}

/// A quorum answers a heartbeat that is sent now. A leader that no quorum answers rests no more.
async fn prove_once(raft: &Raft, silence: &Silence, spawner: &Arc<dyn Spawner>) -> Result<(), NotDone> {
    use openraft::error::CheckIsLeaderError::{ForwardToLeader, QuorumNotEnough};
    let proof = scope(spawner.clone(), raft.ensure_linearizable());
    let proven = match tokio::time::timeout(PROOF_MAX, proof).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(RaftError::APIError(ForwardToLeader(to)))) => Err(NotDone::NotLeader(to.leader_id)),
        Ok(Err(RaftError::APIError(QuorumNotEnough(_)))) | Err(_) => Err(NotDone::NoQuorum),
        Ok(Err(RaftError::Fatal(_))) => Err(NotDone::Stopping),
    };
    if proven.is_err() {
        silence.wake();
    }
    proven
}
