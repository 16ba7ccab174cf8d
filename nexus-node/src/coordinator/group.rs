//! A Raft group as this node takes part in it: openraft with our log, machine and network, and
//! what only a leader does: gathering proposals into entries, and proving that it still leads.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use nexus_identity::Did;
use nexus_identity::plants::planted;
use nexus_mesh::ask::Asker;
use nexus_mesh::{BatchBounds, Gather, Spawner};
use openraft::error::{ClientWriteError, RaftError};
use openraft::{ServerState, SnapshotPolicy};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;

use super::applied::{Applied, Applier};
use super::command::{Group, Signed};
use super::format::ReadError;
use super::limits::PROPOSAL_BYTES_MAX;
use super::log::Log;
use super::network::Network;
use super::raft::{Metrics, Outcomes, Proposals, Raft, Voter};
use super::runtime::scope;
use super::state::Outcome;
use super::wire::Envelope;
use crate::NodeError;

/// Proposals that wait to be appended; then those who propose wait.
const SUBMITTED_MAX: usize = 1_024;
/// Entries that are on their way at one time: one to the disks while another goes to the peers.
const ENTRIES_MAX: usize = 2;
/// Proposals in one entry.
const PROPOSALS_MAX: usize = 64;
/// Readers that wait for the next proof.
const READERS_MAX: usize = 4_096;
/// How long a proof may take.
const PROOF_MAX: Duration = Duration::from_millis(1_500);
/// Entries after which the machine is written down whole.
const SNAPSHOT_EVERY: u64 = 10_000;
/// Entries that are kept before a snapshot, for peers that are nearly up to date.
const KEPT: u64 = 1_000;

/// How often and how fast.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// Between two heartbeats of a leader.
    pub(crate) heartbeat: Duration,
    /// The shortest silence after which another is elected; the longest is 7/4 of it.
    pub(crate) election: Duration,
    /// How long a member must have been up to become a voter.
    pub(crate) settle: Duration,
}

impl Timing {
    /// The longest silence before an election, and how long a leader may rely on its followers.
    pub(crate) fn election_max(&self) -> Duration {
        self.election * 7 / 4
    }
}

/// The formats of this node's copies.
#[derive(Clone, Debug)]
pub(super) struct Raised {
    /// The highest that it reads.
    pub(super) max: u16,
    /// The highest that any of its copies was of.
    pub(super) raised: watch::Sender<u16>,
}

/// Why a leader did not do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotDone {
    /// Another one leads, perhaps this one.
    NotLeader(Option<Voter>),
    /// A quorum did not answer.
    NoQuorum,
    /// It is stopping.
    Stopping,
}

struct Submission {
    signed: Signed,
    answer: oneshot::Sender<Result<Vec<Outcome>, NotDone>>,
}

type Reader = oneshot::Sender<Result<(), NotDone>>;

/// This node's part in a group.
pub(crate) struct Running {
    pub(super) raft: Raft,
    pub(super) applied: Applied,
    pub(super) group: Group,
    pub(super) me: Voter,
    submissions: mpsc::Sender<Submission>,
    readers: mpsc::Sender<Reader>,
    /// When a leader was last heard.
    heard: Mutex<Option<Instant>>,
    spawner: Arc<dyn Spawner>,
}

impl Running {
    /// Takes part in a group from what is on disk.
    pub(super) async fn start(
        log: &Log,
        links: Arc<Asker<Envelope>>,
        spawner: Arc<dyn Spawner>,
        timing: &Timing,
        me: Voter,
        group: Group,
        formats: Raised,
    ) -> Result<Arc<Self>, NodeError> {
        let failed = |error: &dyn std::fmt::Display| match log.stopped() {
            Some(too_new) => NodeError::TooNew(too_new),
            None => NodeError::Stopping(format!("the coordinator: {error}")),
        };
        let Raised { max: format_max, raised } = formats;
        let snapshot = log.read_snapshot()?;
        let applied = Applied::new(group, snapshot, format_max, raised).map_err(|error| {
            if let ReadError::TooNew(too_new) = error {
                log.stop_at(too_new);
            }
            failed(&error)
        })?;
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let config = openraft::Config {
            cluster_name: group.to_string(),
            heartbeat_interval: ms(timing.heartbeat),
            election_timeout_min: ms(timing.election),
            election_timeout_max: ms(timing.election_max()),
            install_snapshot_timeout: 20_000,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(SNAPSHOT_EVERY),
            snapshot_max_chunk_size: 256 * 1024,
            max_in_snapshot_log_to_keep: KEPT,
            purge_batch_size: 256,
            ..openraft::Config::default()
        };
        let config = Arc::new(config.validate().map_err(|error| failed(&error))?);
        let network = Network { links, group, log: log.clone() };
        let applier = Applier { applied: applied.clone(), log: log.clone(), format_max };
        let raft = scope(spawner.clone(), Raft::new(me, config, network, log.clone(), applier));
        let raft = raft.await.map_err(|error| failed(&error))?;
        let (submissions, submitted) = mpsc::channel(SUBMITTED_MAX);
        let (readers, reading) = mpsc::channel(READERS_MAX);
        let heard = Mutex::new(None);
        let running =
            Self { raft: raft.clone(), applied, group, me, submissions, readers, heard, spawner: spawner.clone() };
        spawner.spawn("raft appends", append(raft.clone(), spawner.clone(), submitted).boxed());
        spawner.spawn("raft reads", prove(raft, spawner.clone(), reading).boxed());
        // nobody else could be elected, so there is nothing to wait for
        let alone = running.raft.with_raft_state(move |state| {
            let mut voters = state.membership_state.effective().voter_ids();
            voters.next() == Some(me) && voters.next().is_none()
        });
        if scope(spawner.clone(), alone).await.map_err(|error| failed(&error))? {
            let elected = scope(spawner, running.raft.trigger().elect()).await;
            elected.map_err(|error| failed(&error))?;
        }
        Ok(Arc::new(running))
    }

    /// Resolves when openraft has ended without being told to; why it did.
    pub(super) async fn failed(self: Arc<Self>) -> String {
        // These change when who leads does, and are closed when openraft ends. What says why changes
        // several times with each entry, and would wake this task each time.
        let mut rare = self.raft.server_metrics();
        while rare.changed().await.is_ok() {}
        let why = self.raft.metrics().borrow().running_state.as_ref().err().map(ToString::to_string);
        let stopped = openraft::error::Fatal::<Voter>::Stopped.to_string();
        match why.filter(|why| *why != stopped) {
            Some(why) => why,
            None => std::future::pending().await,
        }
    }

    /// Begins the group: this node alone votes.
    pub(super) async fn found(&self) -> Result<(), NodeError> {
        let founded = scope(self.spawner.clone(), self.raft.initialize(BTreeSet::from([self.me]))).await;
        founded.map_err(|error| NodeError::Stopping(format!("the coordinator: {error}")))
    }

    /// The index of the last applied entry, as it moves.
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

    /// What openraft says of itself now.
    pub(super) fn metrics(&self) -> Metrics {
        self.raft.metrics().borrow().clone()
    }

    pub(super) fn leads(&self) -> bool {
        self.raft.server_metrics().borrow().state == ServerState::Leader
    }

    /// The leader, as far as this node knows.
    pub(super) fn leader(&self) -> Option<Voter> {
        self.raft.server_metrics().borrow().current_leader
    }

    /// Resolves once this node learns of another leader than this one: of one that it did not know
    /// when this began, since what it knew then may be older than what named this one.
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

    /// A leader gave a sign of life.
    pub(super) fn hear(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// How long ago this node was in contact with a quorum: as its leader, or with its leader.
    pub(super) fn contact(&self) -> Option<Duration> {
        let metrics = self.raft.data_metrics();
        if self.leads() {
            let alone = self.raft.server_metrics().borrow().membership_config.voter_ids().all(|voter| voter == self.me);
            if alone {
                return Some(Duration::ZERO);
            }
            return metrics.borrow().millis_since_quorum_ack.map(Duration::from_millis);
        }
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).map(|heard| heard.elapsed())
    }

    /// Has a proposal appended and committed; what became of its commands.
    pub(super) async fn submit(&self, signed: Signed) -> Result<Vec<Outcome>, NotDone> {
        let (answer, answered) = oneshot::channel();
        self.submissions.send(Submission { signed, answer }).await.map_err(|_| NotDone::Stopping)?;
        answered.await.map_err(|_| NotDone::Stopping)?
    }

    /// Returns when what is applied here includes everything that was committed anywhere before
    /// the call.
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
        let _ = scope(self.spawner.clone(), self.raft.shutdown()).await;
    }
}

/// Gathers what is proposed while entries are on their way into the next entry.
async fn append(raft: Raft, spawner: Arc<dyn Spawner>, submitted: mpsc::Receiver<Submission>) {
    let places = Arc::new(Semaphore::new(ENTRIES_MAX));
    let bounds = BatchBounds { items: PROPOSALS_MAX, bytes: PROPOSAL_BYTES_MAX };
    let mut submitted = Gather::new(submitted, bounds, |one: &Submission| one.signed.bytes.len());
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Some(batch) = submitted.next().await else { return };
        let (raft, within) = (raft.clone(), spawner.clone());
        let write = async move {
            let (signed, answers): (Vec<_>, Vec<_>) = batch.into_iter().map(|one| (one.signed, one.answer)).unzip();
            let written = scope(within, raft.client_write(Proposals(Arc::new(signed)))).await;
            drop(place);
            match written {
                Ok(written) => {
                    let Outcomes(outcomes) = written.data;
                    for (answer, outcomes) in answers.into_iter().zip(outcomes) {
                        let _ = answer.send(Ok(outcomes));
                    }
                }
                Err(error) => {
                    let why = match error {
                        RaftError::APIError(ClientWriteError::ForwardToLeader(to)) => NotDone::NotLeader(to.leader_id),
                        RaftError::APIError(ClientWriteError::ChangeMembershipError(_)) | RaftError::Fatal(_) => {
                            NotDone::Stopping
                        }
                    };
                    for answer in answers {
                        let _ = answer.send(Err(why));
                    }
                }
            }
        };
        spawner.spawn("raft write", write.boxed());
    }
}

/// Proves that this node leads, once for all who wait: a quorum answers a heartbeat that is sent
/// after they asked.
async fn prove(raft: Raft, spawner: Arc<dyn Spawner>, mut reading: mpsc::Receiver<Reader>) {
    use openraft::error::CheckIsLeaderError::{ForwardToLeader, QuorumNotEnough};
    let mut waiting = Vec::new();
    while reading.recv_many(&mut waiting, READERS_MAX).await > 0 {
        let proof = scope(spawner.clone(), raft.ensure_linearizable());
        let proven = match tokio::time::timeout(PROOF_MAX, proof).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::APIError(ForwardToLeader(to)))) => Err(NotDone::NotLeader(to.leader_id)),
            Ok(Err(RaftError::APIError(QuorumNotEnough(_)))) | Err(_) => Err(NotDone::NoQuorum),
            Ok(Err(RaftError::Fatal(_))) => Err(NotDone::Stopping),
        };
        for reader in waiting.drain(..) {
            let _ = reader.send(proven);
        }
    }
}
