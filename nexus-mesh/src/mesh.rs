use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use libp2p::{Multiaddr, StreamProtocol};
use nexus_identity::plants::{Plant, planted};
use nexus_identity::{Chain, Did};
use tokio::sync::{mpsc, oneshot};

use crate::config::MeshConfig;
use crate::error::{JoinError, MeshError, OpenError, PublishError};
use crate::event::{MeshEvents, MessageToken, PeerStatus, Verdict};
use crate::gate::door::JOIN_ANSWER_TIMEOUT;
use crate::join::{JoinReply, JoinRequest};
use crate::net::{BoxedTransport, Command, Net, Shared};
use crate::presence::BEAT_BODY_BYTES_MAX;
use crate::spawner::Spawner;
use crate::stream::Stream;

/// How long opening a stream may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a join may take in all: a dial, the node's answer, and some.
const JOIN_TIMEOUT: Duration = Duration::from_secs(20 + JOIN_ANSWER_TIMEOUT.as_secs() + 5);
/// Commands that wait for the loop; then callers wait.
const COMMANDS_MAX: usize = 256;

/// A handle to a running mesh: cheap to clone. The mesh ends with [`Mesh::shutdown`], with its
/// last handle, or with its [`MeshEvents`].
///
/// Methods that are not `async` leave a note and return at once; it is read before the mesh next
/// looks at the network.
#[derive(Clone)]
pub struct Mesh {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
    me: Did,
    mesh: Option<Did>,
}

impl Mesh {
    /// Starts a node's mesh on a transport that [authenticates](crate::tcp_quic_transport) with
    /// the same key.
    ///
    /// # Errors
    /// [`MeshError`]; nothing was started then. Sockets that cannot be bound are no error here
    /// but a [`ListenFailed`](crate::MeshEvent::ListenFailed) event.
    pub fn start(
        transport: BoxedTransport,
        config: MeshConfig,
        spawner: Arc<dyn Spawner>,
    ) -> Result<(Self, MeshEvents), MeshError> {
        config.check()?;
        let me = config.keypair.did();
        if let Some(membership) = &config.membership
            && membership.chain.verify(&membership.mesh)?.subject != me
            && !planted(Plant::TakesBorrowedPapers)
        {
            return Err(MeshError::NotOurs);
        }
        let mesh = config.membership.as_ref().map(|membership| membership.mesh);
        let shared = Arc::new(Shared::default());
        let (events, receiver) = mpsc::channel(config.limits.events);
        let (commands, requests) = mpsc::channel(COMMANDS_MAX);
        let net = Net::new(transport, config, spawner.clone(), shared.clone())?;
        spawner.spawn("mesh", net.run(requests, events).boxed());
        Ok((Self { commands, shared, me, mesh }, MeshEvents(receiver)))
    }

    /// This node.
    pub fn me(&self) -> Did {
        self.me
    }

    /// Opens a stream to an open peer, in a room that it said it serves.
    ///
    /// # Errors
    /// [`OpenError`], after 10 s at the latest.
    pub async fn open(&self, peer: Did, room: &StreamProtocol) -> Result<Stream, OpenError> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            let command = Command::Open { peer, room: room.clone(), reply };
            self.commands.send(command).await.map_err(|_| OpenError::Stopped)?;
            // the reply is dropped with the connection
            answer.await.map_err(|_| OpenError::Broken("closed".to_owned()))?
        };
        tokio::time::timeout(OPEN_TIMEOUT, asked).await.unwrap_or(Err(OpenError::TimedOut))
    }

    /// Publishes to all members that can be reached: a hint, which may be lost. Publishing to
    /// nobody, or the same bytes again, is no error.
    ///
    /// # Errors
    /// [`PublishError`]; then nothing was sent.
    pub async fn publish(&self, topic: &str, bytes: Vec<u8>) -> Result<(), PublishError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Publish { topic: topic.to_owned(), bytes, reply };
        self.commands.send(command).await.map_err(|_| PublishError::Stopped)?;
        answer.await.map_err(|_| PublishError::Stopped)?
    }

    /// Says what becomes of a gossip message. One that is not settled within some seconds is not
    /// passed on.
    pub fn settle(&self, message: MessageToken, verdict: Verdict) {
        self.shared.settle(message, verdict);
    }

    /// A peer to keep dialling for ever, with backoff and jitter.
    pub fn know(&self, peer: Did, addresses: Vec<Multiaddr>) {
        self.shared.know(peer, addresses);
    }

    /// An address to keep dialling for ever, whoever is there; `/p2p/…` at its end says who must
    /// be. A node of another mesh there is reported and never fatal.
    pub fn bootstrap(&self, address: Multiaddr) {
        self.shared.bootstrap(address);
    }

    /// Knocks at an inviter's join door, at all the addresses at once.
    ///
    /// The inviter is authenticated by its key; what it answers is not verified against a mesh
    /// here. Asking again is safe: the inviter gives the same newcomer the same answer.
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
        let command = Command::Join { inviter, addresses, request, outcome };
        self.commands.send(command).await.map_err(|_| JoinError::Stopped)?;
        let gone = || JoinError::Broken("closed".to_owned());
        match tokio::time::timeout(JOIN_TIMEOUT, answer).await {
            Ok(answer) => answer.map_err(|_| gone())?,
            Err(_) => Err(JoinError::Broken("timed out".to_owned())),
        }
    }

    /// Closes all connections and denies new ones, both ways, the process staying alive and the
    /// sockets bound; and back, dialling everybody at once. Returns when it is done.
    pub async fn set_offline(&self, offline: bool) {
        let (reply, done) = oneshot::channel();
        if self.commands.send(Command::SetOffline { offline, reply }).await.is_ok() {
            let _ = done.await;
        }
    }

    /// What every later heartbeat carries: at most [`BEAT_BODY_BYTES_MAX`] bytes; a longer body
    /// is refused here and changes nothing.
    ///
    /// # Errors
    /// [`PublishError::TooLarge`].
    pub fn set_beat(&self, body: Vec<u8>) -> Result<(), PublishError> {
        if body.len() > BEAT_BODY_BYTES_MAX {
            return Err(PublishError::TooLarge { bytes: body.len(), max: BEAT_BODY_BYTES_MAX });
        }
        self.shared.set_beat(body);
        Ok(())
    }

    /// Renewed credentials of this node, shown from now on. Open connections stay as they are.
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

    /// All revoked members: cut off now, refused from now on.
    pub fn set_revoked(&self, revoked: impl IntoIterator<Item = Did>) {
        self.shared.set_revoked(revoked.into_iter().collect::<BTreeSet<_>>());
    }

    /// Hangs up on a peer, which may come back at once: for one that breaks the rules of a room.
    pub fn disconnect(&self, peer: Did) {
        self.shared.disconnect(peer);
    }

    /// The other members, by DID: those dialled, met or heard of. Empty once the mesh has ended.
    pub async fn peers(&self) -> Vec<PeerStatus> {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(Command::Peers { reply }).await.is_err() {
            return Vec::new();
        }
        answer.await.unwrap_or_default()
    }

    /// The bound addresses so far, with concrete ports and without `/p2p/…`.
    pub fn listen_addresses(&self) -> Vec<Multiaddr> {
        self.shared.listen_addresses()
    }

    /// Closes all connections and sockets. Returns when they are closed, after 2 s at the latest.
    pub async fn shutdown(&self) {
        let (reply, done) = oneshot::channel();
        if self.commands.send(Command::Shutdown { reply }).await.is_ok() {
            let _ = done.await;
        }
    }
}

impl fmt::Debug for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mesh({})", self.me.short())
    }
}
