//! Tunnels between the nodes of a cluster.
//!
//! The node dials others at addresses inside this process. A listener there turns each connection into
//! a tunnel, whose parts travel as Maelstrom's messages. At the other end, the tunnel becomes a
//! connection dialled to that node.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use data_encoding::BASE64;
use futures::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use futures::{AsyncRead, AsyncWrite, StreamExt};
use libp2p::core::Endpoint;
use libp2p::core::transport::{DialOpts, ListenerId, MemoryTransport, PortUse, Transport, TransportEvent};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::cluster::Cluster;
use super::message::Envelope;
use super::tunnel::{EARLY_MAX, Part, Tunnel};

/// The type of messages between nodes.
pub(super) const STREAM: &str = "nexus_stream";

/// The bytes of a part.
const PART_BYTES_MAX: usize = 16 * 1024;
/// The most unread messages of one connection. Further ones are lost, and sent again.
const WAITING_MAX: usize = 64;
/// Parts that the node wrote and that wait to be sent. When they are full, the node waits.
const READ_MAX: usize = 16;
/// Parts that wait to be read by the node. When they are full, further ones are refused, and sent again.
const WRITE_MAX: usize = 2 * EARLY_MAX;
/// The most connections at a time.
const CONNECTIONS_MAX: usize = 1_024;
/// The most ended connections that are remembered, so that a late message does not reopen one.
const OVER_MAX: usize = 4_096;
/// The time without messages after which a connection that this side ended is forgotten.
const LINGER_MAX: Duration = Duration::from_secs(10);

/// A message between two tunnels.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct TunnelMessage {
    r#type: String,
    /// The number that the dialling side drew.
    connection: u64,
    /// Whether the dialling side sends it.
    dialled: bool,
    #[serde(flatten)]
    body: TunnelBody,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum TunnelBody {
    /// A part of the stream, in base64.
    Part { number: u64, data: String },
    /// The receiver has all parts before this one.
    Taken(u64),
    /// The sender has no such connection, or not any more.
    Gone(bool),
}

/// A connection: its number, and whether this side dialled.
type Id = (u64, bool);

/// The network of this node, cheap to clone.
#[derive(Clone)]
pub(super) struct TunnelNetwork(Arc<Inner>);

struct Inner {
    names: Vec<String>,
    me: usize,
    out: mpsc::Sender<Envelope>,
    connections: Mutex<Connections>,
    began: Instant,
}

#[derive(Default)]
struct Connections {
    open: BTreeMap<Id, mpsc::Sender<TunnelBody>>,
    over: BTreeSet<Id>,
    over_since: VecDeque<Id>,
}

impl TunnelNetwork {
    /// Listens at the addresses of the other nodes.
    pub(super) fn start(cluster: &Cluster, out: mpsc::Sender<Envelope>) -> Result<Self, String> {
        let (names, me) = (cluster.names().to_vec(), cluster.me());
        let inner = Inner { names, me, out, connections: Mutex::default(), began: Instant::now() };
        let network = Self(Arc::new(inner));
        let mut transport = MemoryTransport::default();
        let mut peers = Vec::new();
        for peer in (0..cluster.names().len()).filter(|number| *number != cluster.me()) {
            let id = ListenerId::next();
            transport.listen_on(id, Cluster::address(peer)).map_err(|error| error.to_string())?;
            peers.push((id, peer));
        }
        let here = network.clone();
        tokio::spawn(async move {
            let mut events = transport.boxed();
            while let Some(event) = events.next().await {
                let TransportEvent::Incoming { listener_id, upgrade, .. } = event else { continue };
                let Some((_, peer)) = peers.iter().copied().find(|(id, _)| *id == listener_id) else { continue };
                let here = here.clone();
                tokio::spawn(async move {
                    let Ok(stream) = upgrade.await else { return };
                    let mut drawn = [0; 8];
                    if getrandom::fill(&mut drawn).is_ok() {
                        // 53 bits, which every JSON reader takes for a whole number
                        here.connect(peer, (u64::from_le_bytes(drawn) >> 11, true), stream, None);
                    }
                });
            }
        });
        Ok(network)
    }

    /// Takes a message of another node.
    pub(super) fn take(&self, envelope: &Envelope) {
        let Some(peer) = self.0.names.iter().position(|name| *name == envelope.src) else { return };
        let Ok(TunnelMessage { connection, dialled, body, .. }) = TunnelMessage::deserialize(&envelope.body) else {
            tracing::warn!(from = %envelope.src, "a message that does not read is left out");
            return;
        };
        // a message of the dialling side is for the dialled one
        let id = (connection, !dialled);
        let known = {
            let connections = self.connections();
            if let Some(open) = connections.open.get(&id) {
                // a message that does not fit is lost, and sent again
                let _ = open.try_send(body);
                return;
            }
            connections.over.contains(&id) || connections.open.len() >= CONNECTIONS_MAX
        };
        match body {
            TunnelBody::Part { number: 0, .. } if dialled && !known => self.answer(peer, id, body),
            // it may arrive before the first part, which is sent again
            TunnelBody::Part { .. } if dialled && !known => {}
            TunnelBody::Part { .. } => {
                let here = self.clone();
                tokio::spawn(async move { here.say(peer, id, TunnelBody::Gone(true)).await });
            }
            TunnelBody::Taken(_) | TunnelBody::Gone(_) => {}
        }
    }

    /// Dials this node for a peer.
    fn answer(&self, peer: usize, id: Id, first: TunnelBody) {
        let mut transport = MemoryTransport::default();
        let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
        let Ok(dial) = transport.dial(Cluster::address(self.0.me), options) else { return };
        let here = self.clone();
        tokio::spawn(async move {
            if let Ok(stream) = dial.await {
                here.connect(peer, id, stream, Some(first));
            }
        });
    }

    /// Carries a connection until its end.
    fn connect<S>(&self, peer: usize, id: Id, stream: S, first: Option<TunnelBody>)
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (sender, said) = mpsc::channel(WAITING_MAX);
        if let Some(first) = first {
            let _ = sender.try_send(first);
        }
        {
            let mut connections = self.connections();
            if connections.open.contains_key(&id) || connections.over.contains(&id) {
                return;
            }
            connections.open.insert(id, sender);
        }
        let here = self.clone();
        tokio::spawn(async move {
            let (reader, writer) = stream.split();
            let (parts, to_send) = mpsc::channel(READ_MAX);
            let (to_write, taken) = mpsc::channel(WRITE_MAX);
            let reading = tokio::spawn(read(reader, parts));
            tokio::spawn(write(writer, taken));
            here.carry(peer, id, said, to_send, to_write).await;
            reading.abort();
            let mut connections = here.connections();
            connections.open.remove(&id);
            connections.over.insert(id);
            connections.over_since.push_back(id);
            if connections.over_since.len() > OVER_MAX
                && let Some(oldest) = connections.over_since.pop_front()
            {
                connections.over.remove(&oldest);
            }
        });
    }

    async fn carry(
        &self,
        peer: usize,
        id: Id,
        mut said: mpsc::Receiver<TunnelBody>,
        mut to_send: mpsc::Receiver<Vec<u8>>,
        to_write: mpsc::Sender<Vec<u8>>,
    ) {
        let mut tunnel = Tunnel::new();
        // dropped when the other side has ended the stream, which ends it for this node
        let mut to_write = Some(to_write);
        let mut ending: Option<Instant> = None;
        while !tunnel.is_done() {
            let again = tunnel.timeout().map(|at| self.0.began + at);
            let wake = again.into_iter().chain(ending).min();
            tokio::select! {
                message = said.recv() => match message {
                    Some(TunnelBody::Part { number, data }) => {
                        let Ok(bytes) = BASE64.decode(data.as_bytes()) else { continue };
                        // this must not wait for the node to read: both could wait for each other
                        let room = to_write.as_ref().is_none_or(|to_write| to_write.capacity() >= EARLY_MAX);
                        if bytes.len() > PART_BYTES_MAX || !room {
                            continue;
                        }
                        let Some(ready) = tunnel.take(Part { number, bytes }) else { continue };
                        for bytes in ready {
                            // a node that has closed the stream reads no more
                            if let Some(open) = &to_write
                                && open.try_send(bytes).is_err()
                            {
                                to_write = None;
                            }
                        }
                        if tunnel.ended_there() {
                            to_write = None;
                            ending.get_or_insert(Instant::now() + LINGER_MAX);
                        }
                        self.say(peer, id, TunnelBody::Taken(tunnel.taken())).await;
                    }
                    Some(TunnelBody::Taken(upto)) => tunnel.confirm(self.now(), upto),
                    Some(TunnelBody::Gone(_)) | None => return,
                },
                bytes = to_send.recv(), if tunnel.is_open() => {
                    let bytes = bytes.unwrap_or_default();
                    if bytes.is_empty() {
                        ending.get_or_insert(Instant::now() + LINGER_MAX);
                    }
                    let part = tunnel.put(self.now(), bytes);
                    self.say_part(peer, id, part).await;
                }
                () = until(wake) => {
                    if ending.is_some_and(|at| at <= Instant::now()) {
                        self.say(peer, id, TunnelBody::Gone(true)).await;
                        return;
                    }
                    for part in tunnel.again(self.now()) {
                        self.say_part(peer, id, part).await;
                    }
                }
            }
        }
    }

    async fn say_part(&self, peer: usize, id: Id, part: Part) {
        self.say(peer, id, TunnelBody::Part { number: part.number, data: BASE64.encode(&part.bytes) }).await;
    }

    async fn say(&self, peer: usize, (connection, dialled): Id, body: TunnelBody) {
        let said = TunnelMessage { r#type: STREAM.to_owned(), connection, dialled, body };
        let names = &self.0.names;
        let Ok(body) = serde_json::to_value(said) else { return };
        let envelope = Envelope { src: names[self.0.me].clone(), dest: names[peer].clone(), body };
        let _ = self.0.out.send(envelope).await;
    }

    fn now(&self) -> Duration {
        self.0.began.elapsed()
    }

    fn connections(&self) -> std::sync::MutexGuard<'_, Connections> {
        self.0.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until a time, or for ever.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Reads the node's bytes, in parts.
async fn read<S: AsyncRead + AsyncWrite>(mut stream: ReadHalf<S>, parts: mpsc::Sender<Vec<u8>>) {
    let mut bytes = vec![0; PART_BYTES_MAX];
    while let Ok(read @ 1..) = stream.read(&mut bytes).await {
        if parts.send(bytes[..read].to_vec()).await.is_err() {
            return;
        }
    }
}

/// Writes the other node's parts to this one.
async fn write<S: AsyncRead + AsyncWrite>(mut stream: WriteHalf<S>, mut parts: mpsc::Receiver<Vec<u8>>) {
    while let Some(bytes) = parts.recv().await {
        if stream.write_all(&bytes).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
    let _ = stream.close().await;
}
