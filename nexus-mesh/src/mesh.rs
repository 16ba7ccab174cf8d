use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::libp2p::{Multiaddr, StreamProtocol};
use futures::FutureExt;
use nexus_identity::plants::planted;
use nexus_identity::{Chain, Did};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::config::MeshConfig;
use crate::error::{JoinError, MeshError, OpenError, PublishError};
use crate::event::{MeshEvents, MessageToken, OpenConnection, PeerStatus, Verdict};
use crate::gate::door::JOIN_ANSWER_TIMEOUT;
use crate::join::{JoinReply, JoinRequest};
use crate::net::{MeshCommand, MeshShared, MeshTransport, Net};
use crate::presence::{BEAT_ADDED_BYTES, BEAT_BODY_BYTES_MAX};
use crate::rooms::Rooms;
use crate::spawner::Spawner;
use crate::stream::Stream;
use crate::tally::Tallied;

/// The longest time for opening a stream.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time for a join: a dial, the node's answer, and a margin.
const JOIN_TIMEOUT: Duration = Duration::from_secs(20 + JOIN_ANSWER_TIMEOUT.as_secs() + 5);
/// Commands that wait for the loop. When they are full, callers wait.
const COMMANDS_MAX: usize = 256;

/// A handle to a running mesh: cheap to clone. The mesh ends with [`Mesh::shutdown`], with its last
/// handle, or with its [`MeshEvents`].
///
/// Methods that are not `async` post a note and return at once. The mesh reads it before it next polls
/// the network.
#[derive(Clone)]
pub struct Mesh {
    commands: mpsc::Sender<MeshCommand>,
    shared: Arc<MeshShared>,
    me: Did,
    mesh: Option<Did>,
    served: Arc<[StreamProtocol]>,
}

impl Mesh {
    /// Starts a node's mesh on a transport that [authenticates](crate::tcp_quic_transport) with
    /// the same key, with the rooms that were registered.
    ///
    /// # Errors
    /// [`MeshError`]; nothing was started then. A socket that cannot be bound is a
    /// [`ListenFailed`](crate::MeshEvent::ListenFailed) event, not an error here.
    pub fn start(
        transport: impl Into<MeshTransport>,
        config: MeshConfig,
        rooms: Rooms,
        spawner: Arc<dyn Spawner>,
    ) -> Result<(Self, MeshEvents), MeshError> {
        Self::start_on(transport.into(), config, rooms, spawner)
    }

    fn start_on(
        transport: MeshTransport,
        config: MeshConfig,
        rooms: Rooms,
        spawner: Arc<dyn Spawner>,
    ) -> Result<(Self, MeshEvents), MeshError> {
        config.check(&rooms)?;
        let me = config.keypair.did();
        if let Some(membership) = &config.membership
            && membership.chain.verify(&membership.mesh)?.subject != me
            && !planted("takes_borrowed_papers")
        {
            return Err(MeshError::NotOurs);
        }
        let mesh = config.membership.as_ref().map(|membership| membership.mesh);
        let shared = Arc::new(MeshShared::default());
        let (events, receiver) = mpsc::channel(config.limits.events);
        let (commands, requests) = mpsc::channel(COMMANDS_MAX);
        let served = rooms.protocols().cloned().collect::<Vec<_>>().into();
        let net = Net::new(transport, config, rooms, spawner.clone(), shared.clone(), events)?;
        spawner.spawn("mesh", net.run(requests).boxed());
        Ok((Self { commands, shared, me, mesh, served }, MeshEvents(receiver)))
    }

    /// This node's DID.
    pub fn me(&self) -> Did {
        self.me
    }

    /// The protocols that this node serves, in the order of their registration.
    pub fn served(&self) -> &[StreamProtocol] {
        &self.served
    }

    /// Opens a stream to an open peer, in a room that it said it serves.
    ///
    /// # Errors
    /// [`OpenError`], after 10 s at the latest.
    pub async fn open(&self, peer: Did, room: &StreamProtocol) -> Result<Stream, OpenError> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            let command = MeshCommand::Open { peer, room: room.clone(), reply };
            self.commands.send(command).await.map_err(|_| OpenError::Stopped)?;
            // the connection's end drops the reply
            answer.await.map_err(|_| OpenError::Broken("closed".to_owned()))?
        };
        tokio::time::timeout(OPEN_TIMEOUT, asked).await.unwrap_or(Err(OpenError::TimedOut))
    }

    /// Publishes to all members in reach: a hint, which may be lost. Publishing to nobody, or the same
    /// bytes again, is no error.
    ///
    /// # Errors
    /// [`PublishError`]; nothing was sent then.
    pub async fn publish(&self, topic: &str, bytes: Vec<u8>) -> Result<(), PublishError> {
        let (reply, answer) = oneshot::channel();
        let command = MeshCommand::Publish { topic: topic.to_owned(), bytes, reply };
        self.commands.send(command).await.map_err(|_| PublishError::Stopped)?;
        answer.await.map_err(|_| PublishError::Stopped)?
    }

    /// Gives the verdict on a gossip message. A message without a verdict within some seconds is not
    /// passed on.
    pub fn settle(&self, message: MessageToken, verdict: Verdict) {
        self.shared.settle(message, verdict);
    }

    /// Hears no gossip of a peer until then, or for a second at most. The peer's messages wait at its end meanwhile:
    /// dropping them would cost the work of reading them.
    pub fn pause_gossip(&self, peer: Did, until: Instant) {
        self.shared.pause_gossip(peer, until);
    }

    /// Keeps dialling a peer for ever, with backoff and jitter.
    pub fn know(&self, peer: Did, addresses: Vec<Multiaddr>) {
        self.shared.know(peer, addresses);
    }

    /// Keeps dialling an address for ever. `/p2p/…` at its end names the expected node. A node of
    /// another mesh there is reported, and never fatal.
    pub fn bootstrap(&self, address: Multiaddr) {
        self.shared.bootstrap(address);
    }

    /// Knocks at an inviter's join door, at all its addresses at once.
    ///
    /// The inviter is authenticated by its key. Its answer is not verified against a mesh here. Asking
    /// again is safe: the inviter gives the same newcomer the same answer.
    ///
    /// # Errors
    /// [`JoinError`] if there is no answer. A refusal is an answer.
    pub async fn join(
        &self,
        inviter: Did,
        addresses: Vec<Multiaddr>,
        request: JoinRequest,
    ) -> Result<JoinReply, JoinError> {
        let (outcome, answer) = oneshot::channel();
        let command = MeshCommand::Join { inviter, addresses, request, outcome };
        self.commands.send(command).await.map_err(|_| JoinError::Stopped)?;
        let gone = || JoinError::Broken("closed".to_owned());
        match tokio::time::timeout(JOIN_TIMEOUT, answer).await {
            Ok(answer) => answer.map_err(|_| gone())?,
            Err(_) => Err(JoinError::Broken("timed out".to_owned())),
        }
    }

    /// With `true`, closes all connections and denies new ones in both directions; the sockets stay
    /// bound. With `false`, allows them again and dials everybody at once. Returns when that is done.
    pub async fn set_offline(&self, offline: bool) {
        let (reply, done) = oneshot::channel();
        if self.commands.send(MeshCommand::SetOffline { offline, reply }).await.is_ok() {
            let _ = done.await;
        }
    }

    /// Sets the body of every later heartbeat, at most [`BEAT_BODY_BYTES_MAX`] bytes less 18 for
    /// what the mesh adds. A longer body is refused and changes nothing.
    ///
    /// The body is a message of protobuf, or empty. The mesh adds field 14, the node's circle, and field 15,
    /// the time in milliseconds.
    ///
    /// # Errors
    /// [`PublishError::TooLarge`].
    pub fn set_beat(&self, body: Vec<u8>) -> Result<(), PublishError> {
        let max = BEAT_BODY_BYTES_MAX - BEAT_ADDED_BYTES;
        if body.len() > max {
            return Err(PublishError::TooLarge { bytes: body.len(), max });
        }
        self.shared.set_beat(body);
        Ok(())
    }

    /// Sets renewed credentials of this node, shown from now on. Open connections stay as they are.
    ///
    /// # Errors
    /// [`MeshError::Chain`] or [`MeshError::NotOurs`]; nothing changes then.
    pub fn set_chain(&self, chain: Chain) -> Result<(), MeshError> {
        let mesh = self.mesh.ok_or(MeshError::NotOurs)?;
        if chain.verify(&mesh)?.subject != self.me {
            return Err(MeshError::NotOurs);
        }
        self.shared.set_chain(chain);
        Ok(())
    }

    /// The formats in which this node writes entries and knows critical state now: said in every later
    /// hello. Open peers are not told.
    pub fn set_formats(&self, entry: u16, critical: u16) {
        self.shared.set_formats(entry, critical);
    }

    /// Sets all revoked members: their connections are closed now, and they are refused from now on.
    pub fn set_revoked(&self, revoked: impl IntoIterator<Item = Did>) {
        self.shared.set_revoked(revoked.into_iter().collect::<BTreeSet<_>>());
    }

    /// Closes the connection to a peer that broke the rules of a room. It may come back at once.
    pub fn disconnect(&self, peer: Did) {
        self.shared.disconnect(peer);
    }

    /// The other members, by DID: dialled, met or heard of. Empty once the mesh has ended.
    pub async fn peers(&self) -> Vec<PeerStatus> {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(MeshCommand::Peers { reply }).await.is_err() {
            return Vec::new();
        }
        answer.await.unwrap_or_default()
    }

    /// The open connections, as a watch.
    pub fn connections(&self) -> watch::Receiver<BTreeMap<Did, OpenConnection>> {
        self.shared.open.subscribe()
    }

    /// Whether this node and all its neighbours are connected with the same members, by their last beats, as a watch.
    /// Then each of them gets from its author whatever that sends to its neighbours. Never so beside an earlier version.
    pub fn whole(&self) -> watch::Receiver<bool> {
        self.shared.whole.subscribe()
    }

    /// The bytes to and from peers so far, by protocol, kind and direction: without the headers and keys of the
    /// transport.
    pub fn tallied(&self) -> Vec<Tallied> {
        self.shared.tallied()
    }

    /// The bound addresses so far, with concrete ports and without `/p2p/…`.
    pub fn listen_addresses(&self) -> Vec<Multiaddr> {
        self.shared.listen_addresses()
    }

    /// Closes all connections and sockets. Returns when they are closed, at the latest after 2 s.
    pub async fn shutdown(&self) {
        let (reply, done) = oneshot::channel();
        if self.commands.send(MeshCommand::Shutdown { reply }).await.is_ok() {
            let _ = done.await;
        }
    }
}

impl fmt::Debug for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mesh({})", self.me.short())
    }
}
