//! The network between the nodes: connections as pairs of pipes, whose bytes arrive when the links let them.
//!
//! A node gets a libp2p transport ([`SimNetwork::transport`]) with Noise and Yamux on top, as over TCP.
//! Addresses are `/memory/N`. The pipes behave like a TCP stack. Bytes arrive in order, loss is delay,
//! and a full window stops the sender. A silent peer is silent for ever, and a restarted one answers
//! with a reset.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{AsyncRead, AsyncWrite, FutureExt};
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{DialOpts, ListenerId, Transport, TransportError, TransportEvent};
use libp2p::core::upgrade::Version;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, noise};
use nexus_identity::Keypair;
use nexus_mesh::BoxedTransport;
use tokio::time::{Instant, Sleep};

use crate::dice::Dice;
use crate::hooks;
use crate::link::{Link, Quality};
use crate::plan::NodeNo;
use crate::tap::{Tap, TapLog};
use crate::trace::{NOBODY, Trace};

/// The most bytes of a connection in flight; then the sender waits.
const WINDOW_BYTES: usize = 256 * 1024;
/// The largest piece in flight.
const CHUNK_BYTES: usize = 16 * 1024;
/// The longest dial with its handshake, as in the node's own transport.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);
/// The most streams of one connection, as in the node's own transport.
const YAMUX_STREAMS_MAX: usize = 144;

/// The network; clones are the same one.
#[derive(Clone)]
pub struct SimNetwork(Arc<Mutex<NetworkState>>);

struct NetworkState {
    seed: u64,
    seed_quality: Quality,
    /// The quality between two regions, and the region of each node.
    regions: BTreeMap<(String, String), Quality>,
    places: BTreeMap<NodeNo, String>,
    links: BTreeMap<(NodeNo, NodeNo), Link>,
    /// By the number in the address.
    listeners: BTreeMap<u64, Listener>,
    connections: BTreeMap<u64, Connection>,
    next_connection: u64,
    /// Nodes whose machine has no power: they do not even refuse.
    dark: BTreeSet<NodeNo>,
    dice: Dice,
    trace: Trace,
    fired: BTreeMap<String, u64>,
    /// The names under which a link is cut, for counting.
    cut_names: BTreeMap<(NodeNo, NodeNo), Vec<String>>,
    carried: BTreeMap<(NodeNo, NodeNo), u64>,
    /// The number of dials of each node.
    dials: BTreeMap<NodeNo, u64>,
}

struct Listener {
    node: NodeNo,
    arrived: VecDeque<(End, NodeNo)>,
    waker: Option<Waker>,
}

/// A connection: side 0, the dialer, writes into pipe 0.
struct Connection {
    nodes: [NodeNo; 2],
    pipes: [Pipe; 2],
    /// Sides that vanished without closing.
    vanished: [bool; 2],
    dropped: [bool; 2],
}

#[derive(Default)]
struct Pipe {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    last_at: Option<Instant>,
    closed: bool,
    reset: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

struct Chunk {
    at: Instant,
    bytes: Vec<u8>,
    read: usize,
}

impl Pipe {
    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }

    fn break_off(&mut self) {
        self.reset = true;
        self.chunks.clear();
        self.bytes = 0;
        self.wake();
    }
}

impl SimNetwork {
    /// A network without nodes, whose links have this quality.
    pub fn new(seed: u64, quality: Quality, trace: Trace) -> Self {
        Self(Arc::new(Mutex::new(NetworkState {
            seed,
            seed_quality: quality,
            regions: BTreeMap::new(),
            places: BTreeMap::new(),
            links: BTreeMap::new(),
            listeners: BTreeMap::new(),
            connections: BTreeMap::new(),
            next_connection: 1,
            dark: BTreeSet::new(),
            dice: Dice::fork(seed, "network"),
            trace,
            fired: BTreeMap::new(),
            cut_names: BTreeMap::new(),
            carried: BTreeMap::new(),
            dials: BTreeMap::new(),
        })))
    }

    /// The seed of the world.
    pub(crate) fn seed(&self) -> u64 {
        self.state().seed
    }

    fn state(&self) -> MutexGuard<'_, NetworkState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The transport of a node, with its authentication.
    ///
    /// # Errors
    /// If the key is not usable.
    pub fn transport(
        &self,
        node: NodeNo,
        keypair: &Keypair,
        heard: Option<TapLog>,
    ) -> Result<BoxedTransport, noise::Error> {
        let mut seed = keypair.seed();
        #[expect(clippy::expect_used, reason = "32 bytes are an Ed25519 key")]
        let key = libp2p::identity::Keypair::ed25519_from_bytes(seed.as_mut_slice()).expect("a key");
        let raw =
            SimTransport { network: self.clone(), node, listening: Vec::new(), events: VecDeque::new(), waker: None };
        let transport = raw
            .upgrade(Version::V1Lazy)
            .authenticate(noise::Config::new(&key)?)
            .multiplex(Tap::new(YAMUX_STREAMS_MAX, heard))
            .timeout(HANDSHAKE_TIMEOUT)
            .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
        Ok(transport.boxed())
    }

    /// Puts a node into a region.
    pub fn place(&self, node: NodeNo, region: &str) {
        self.state().places.insert(node, region.to_owned());
    }

    /// Sets the quality of the links between two regions, in both directions.
    pub fn set_region(&self, from: &str, to: &str, quality: Quality) {
        let state = &mut *self.state();
        state.regions.insert((from.to_owned(), to.to_owned()), quality);
        state.regions.insert((to.to_owned(), from.to_owned()), quality);
    }

    /// Makes a link worse in one direction; with `None`, as before.
    pub fn set_quality(&self, from: NodeNo, to: NodeNo, worse: Option<Quality>) {
        self.state().link(from, to).worse = worse;
    }

    /// The quality of a link without faults.
    pub fn base_quality(&self, from: NodeNo, to: NodeNo) -> Quality {
        self.state().link(from, to).base
    }

    /// Holds back everything on a link in one direction, also bytes in flight. `name` counts the cut
    /// once it has held bytes back.
    pub fn cut(&self, from: NodeNo, to: NodeNo, name: &str) {
        let state = &mut *self.state();
        state.link(from, to).cuts += 1;
        state.cut_names.entry((from, to)).or_default().push(name.to_owned());
    }

    /// Removes one cut. After the last one, waiting bytes arrive in one burst.
    pub fn mend(&self, from: NodeNo, to: NodeNo, name: &str) {
        let state = &mut *self.state();
        if let Some(names) = state.cut_names.get_mut(&(from, to))
            && let Some(at) = names.iter().position(|known| known == name)
        {
            names.remove(at);
        }
        let link = state.link(from, to);
        link.cuts = link.cuts.saturating_sub(1);
        if !link.is_cut() {
            state.burst(from, to);
        }
    }

    /// The cut links, each in one direction.
    pub fn cut_links(&self) -> Vec<(NodeNo, NodeNo)> {
        let state = self.state();
        state.links.iter().filter(|(_, link)| link.is_cut()).map(|(ends, _)| *ends).collect()
    }

    /// Breaks every connection between two nodes, as a middlebox does. Returns their number.
    pub fn reset(&self, a: NodeNo, b: NodeNo) -> usize {
        let state = &mut *self.state();
        let mut broken = 0;
        for connection in state.connections.values_mut() {
            if connection.nodes == [a, b] || connection.nodes == [b, a] {
                connection.pipes.iter_mut().for_each(Pipe::break_off);
                broken += 1;
            }
        }
        broken
    }

    /// Cuts the power of a node's machine: its connections fall silent.
    pub fn darken(&self, node: NodeNo) {
        let mut guard = self.state();
        let state = &mut *guard;
        state.dark.insert(node);
        for connection in state.connections.values_mut() {
            for side in 0..2 {
                connection.vanished[side] |= connection.nodes[side] == node;
            }
        }
        let ports: Vec<u64> =
            state.listeners.iter().filter(|(_, listener)| listener.node == node).map(|(port, _)| *port).collect();
        let gone: Vec<_> = ports.iter().filter_map(|port| state.listeners.remove(port)).collect();
        drop(guard);
        // waiting connections are dropped outside of the lock
        drop(gone);
    }

    /// Restores the power of a machine: the ends of its old connections get a reset.
    pub fn lighten(&self, node: NodeNo) {
        let state = &mut *self.state();
        state.dark.remove(&node);
        for connection in state.connections.values_mut() {
            if (0..2).any(|side| connection.vanished[side] && connection.nodes[side] == node) {
                connection.pipes.iter_mut().for_each(Pipe::break_off);
            }
        }
        state.sweep();
    }

    /// Notes an event in the trace.
    pub fn note(&self, node: Option<NodeNo>, what: std::fmt::Arguments<'_>) {
        self.state().trace.event(hooks::elapsed(), node.unwrap_or(NOBODY), what);
    }

    /// Counts an effect of a fault.
    pub fn fire(&self, fault: &str) {
        self.state().fire(fault);
    }

    /// The number of effects of one fault.
    pub fn times(&self, fault: &str) -> u64 {
        self.state().fired.get(fault).copied().unwrap_or(0)
    }

    /// The number of effects of each fault.
    pub fn fired(&self) -> BTreeMap<String, u64> {
        self.state().fired.clone()
    }

    /// Bytes carried so far, by link.
    pub fn carried(&self) -> BTreeMap<(NodeNo, NodeNo), u64> {
        self.state().carried.clone()
    }

    /// The number of a node's dials so far.
    pub fn dials(&self, from: NodeNo) -> u64 {
        self.state().dials.get(&from).copied().unwrap_or(0)
    }

    /// Bytes in flight, and the number of connections.
    pub fn under_way(&self) -> (usize, usize) {
        let state = self.state();
        let bytes = state.connections.values().flat_map(|connection| &connection.pipes).map(|pipe| pipe.bytes).sum();
        (bytes, state.connections.len())
    }

    /// The trace's hash, and the number of its lines.
    pub fn trace_hash(&self) -> (String, u64) {
        let state = &mut *self.state();
        state.trace.flush();
        (state.trace.hash(), state.trace.lines())
    }

    /// The last lines of the trace.
    pub fn recent(&self) -> Vec<String> {
        self.state().trace.recent()
    }

    fn connect(&self, from: NodeNo, port: u64) -> Result<Option<End>, io::Error> {
        let state = &mut *self.state();
        *state.dials.entry(from).or_default() += 1;
        let Some(listener) = state.listeners.get(&port) else {
            let owner = NodeNo::try_from(port.saturating_sub(1) / PORTS_PER_NODE).unwrap_or(NOBODY);
            return if state.dark.contains(&owner) { Ok(None) } else { Err(io::ErrorKind::ConnectionRefused.into()) };
        };
        let to = listener.node;
        let number = state.next_connection;
        state.next_connection += 1;
        let connection = Connection {
            nodes: [from, to],
            pipes: Default::default(),
            vanished: [state.dark.contains(&from), false],
            dropped: [false; 2],
        };
        state.connections.insert(number, connection);
        state.trace.event(hooks::elapsed(), from, format_args!("connection {number} to n{to}"));
        let end = |side| End { network: self.clone(), connection: number, side, sleep: None };
        let (ours, theirs) = (end(0), end(1));
        if let Some(listener) = state.listeners.get_mut(&port) {
            listener.arrived.push_back((theirs, from));
            if let Some(waker) = listener.waker.take() {
                waker.wake();
            }
        }
        Ok(Some(ours))
    }
}

impl std::fmt::Debug for SimNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimNetwork")
    }
}

/// The number of addresses of a node.
const PORTS_PER_NODE: u64 = 16;

/// The address of a node.
pub fn address_of(node: NodeNo) -> Multiaddr {
    Multiaddr::from(Protocol::Memory(node as u64 * PORTS_PER_NODE + 1))
}

impl NetworkState {
    fn link(&mut self, from: NodeNo, to: NodeNo) -> &mut Link {
        let Self { links, regions, places, seed_quality, .. } = self;
        links.entry((from, to)).or_insert_with(|| {
            let quality = match (places.get(&from), places.get(&to)) {
                (Some(here), Some(there)) => regions.get(&(here.clone(), there.clone())),
                _ => None,
            };
            Link::new(quality.copied().unwrap_or(*seed_quality), Instant::now())
        })
    }

    fn fire(&mut self, fault: &str) {
        match self.fired.get_mut(fault) {
            Some(count) => *count += 1,
            None => drop(self.fired.insert(fault.to_owned(), 1)),
        }
    }

    /// Whether a link is cut. If so, counts the cut as effective.
    fn held_back(&mut self, from: NodeNo, to: NodeNo) -> bool {
        if !self.link(from, to).is_cut() {
            return false;
        }
        for name in self.cut_names.get(&(from, to)).cloned().unwrap_or_default() {
            self.fire(&name);
        }
        true
    }

    /// Delivers the bytes that waited on a link.
    fn burst(&mut self, from: NodeNo, to: NodeNo) {
        let now = Instant::now();
        let numbers: Vec<u64> = self.connections.keys().copied().collect();
        for number in numbers {
            let (mut dice, quality) = (self.dice.clone(), self.link(from, to).quality());
            let Some(connection) = self.connections.get_mut(&number) else { continue };
            for side in 0..2 {
                if connection.nodes[side] != from || connection.nodes[1 - side] != to {
                    continue;
                }
                let pipe = &mut connection.pipes[side];
                // the sender's timer decides when it tries again
                let at = now + quality.latency(&mut dice) + Duration::from_millis(dice.below(1_000));
                for chunk in &mut pipe.chunks {
                    chunk.at = chunk.at.max(at);
                }
                pipe.last_at = pipe.last_at.map(|last| last.max(at));
                if let Some(waker) = pipe.reader.take() {
                    waker.wake();
                }
            }
            self.dice = dice;
        }
    }

    /// Drops connections that nobody holds.
    fn sweep(&mut self) {
        self.connections.retain(|_, connection| connection.dropped != [true, true]);
    }
}

/// One end of a connection.
struct End {
    network: SimNetwork,
    connection: u64,
    side: usize,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl AsyncRead for End {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let now = Instant::now();
        let due = {
            let state = &mut *this.network.state();
            let Some(connection) = state.connections.get(&this.connection) else {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            };
            let (from, to) = (connection.nodes[1 - this.side], connection.nodes[this.side]);
            let pipe = &connection.pipes[1 - this.side];
            if pipe.reset {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            let waiting = !pipe.chunks.is_empty();
            let blocked = waiting && state.held_back(from, to);
            let Some(connection) = state.connections.get_mut(&this.connection) else {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            };
            let pipe = &mut connection.pipes[1 - this.side];
            pipe.reader = Some(cx.waker().clone());
            let Some(chunk) = pipe.chunks.front_mut().filter(|_| !blocked) else { return Poll::Pending };
            if chunk.at <= now {
                if chunk.bytes.is_empty() {
                    // the end stays at the front: every later read sees it, too
                    return Poll::Ready(Ok(0));
                }
                let len = out.len().min(chunk.bytes.len() - chunk.read);
                out[..len].copy_from_slice(&chunk.bytes[chunk.read..chunk.read + len]);
                chunk.read += len;
                if chunk.read == chunk.bytes.len() {
                    pipe.chunks.pop_front();
                }
                pipe.bytes -= len;
                pipe.reader = None;
                if let Some(waker) = pipe.writer.take() {
                    waker.wake();
                }
                *state.carried.entry((from, to)).or_default() += len as u64;
                state.trace.chunk(hooks::elapsed(), from, to, this.connection, &out[..len]);
                return Poll::Ready(Ok(len));
            }
            chunk.at
        };
        // not yet
        let sleep = this.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if sleep.deadline() != due {
            sleep.as_mut().reset(due);
        }
        if sleep.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let now = Instant::now();
        let state = &mut *self.network.state();
        let Some(connection) = state.connections.get(&self.connection) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let (from, to) = (connection.nodes[self.side], connection.nodes[1 - self.side]);
        let gone = connection.dropped[1 - self.side] && !connection.vanished[1 - self.side];
        let pipe = &connection.pipes[self.side];
        if pipe.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if pipe.closed || (gone && !state.links.get(&(from, to)).is_some_and(Link::is_cut)) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let len = bytes.len().min(WINDOW_BYTES.saturating_sub(pipe.bytes)).min(CHUNK_BYTES);
        if len == 0 && !bytes.is_empty() {
            if let Some(connection) = state.connections.get_mut(&self.connection) {
                connection.pipes[self.side].writer = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
        state.send(self.connection, self.side, now, bytes[..len].to_vec());
        Poll::Ready(Ok(len))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.network.state().finish(self.connection, self.side);
        Poll::Ready(Ok(()))
    }
}

impl NetworkState {
    fn send(&mut self, connection: u64, side: usize, now: Instant, bytes: Vec<u8>) {
        let Some(nodes) = self.connections.get(&connection).map(|connection| connection.nodes) else { return };
        let (from, to) = (nodes[side], nodes[1 - side]);
        let mut dice = self.dice.clone();
        let (at, delayed) = self.link(from, to).arrival(bytes.len(), now, &mut dice);
        self.dice = dice;
        for (happened, fault) in [(delayed.lost, "loss"), (delayed.queued, "bandwidth")] {
            if happened {
                self.fire(fault);
            }
        }
        let Some(pipe) = self.connections.get_mut(&connection).map(|connection| &mut connection.pipes[side]) else {
            return;
        };
        let at = pipe.last_at.map_or(at, |last| last.max(at));
        pipe.last_at = Some(at);
        pipe.bytes += bytes.len();
        pipe.chunks.push_back(Chunk { at, bytes, read: 0 });
        if pipe.chunks.len() == 1
            && let Some(waker) = pipe.reader.take()
        {
            waker.wake();
        }
    }

    /// Ends the writing of one side.
    fn finish(&mut self, connection: u64, side: usize) {
        let open = self.connections.get_mut(&connection).map(|connection| &mut connection.pipes[side]);
        if open.is_some_and(|pipe| !std::mem::replace(&mut pipe.closed, true) && !pipe.reset) {
            self.send(connection, side, Instant::now(), Vec::new());
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let state = &mut *self.network.state();
        let Some(connection) = state.connections.get_mut(&self.connection) else { return };
        connection.dropped[self.side] = true;
        if !connection.vanished[self.side] {
            // a peer that waits to write learns that nobody reads
            if let Some(waker) = connection.pipes[1 - self.side].writer.take() {
                waker.wake();
            }
            state.finish(self.connection, self.side);
        }
        state.sweep();
    }
}

/// The transport of a node, for dialling and listening.
struct SimTransport {
    network: SimNetwork,
    node: NodeNo,
    listening: Vec<(ListenerId, u64)>,
    events: VecDeque<TransportEvent<futures::future::Ready<io::Result<End>>, io::Error>>,
    waker: Option<Waker>,
}

fn port_of(address: &Multiaddr) -> Option<u64> {
    match address.iter().next()? {
        Protocol::Memory(port) => Some(port),
        _ => None,
    }
}

impl Transport for SimTransport {
    type Output = End;
    type Error = io::Error;
    type ListenerUpgrade = futures::future::Ready<io::Result<End>>;
    type Dial = BoxFuture<'static, io::Result<End>>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        let port = port_of(&address).ok_or_else(|| TransportError::MultiaddrNotSupported(address.clone()))?;
        let state = &mut *self.network.state();
        if state.listeners.contains_key(&port) {
            return Err(TransportError::Other(io::ErrorKind::AddrInUse.into()));
        }
        state.listeners.insert(port, Listener { node: self.node, arrived: VecDeque::new(), waker: self.waker.take() });
        self.listening.push((id, port));
        self.events.push_back(TransportEvent::NewAddress { listener_id: id, listen_addr: address });
        Ok(())
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        let Some(at) = self.listening.iter().position(|(known, _)| *known == id) else { return false };
        let (_, port) = self.listening.remove(at);
        let listener = self.network.state().listeners.remove(&port);
        // its connections are dropped outside of the lock
        drop(listener);
        self.events.push_back(TransportEvent::ListenerClosed { listener_id: id, reason: Ok(()) });
        true
    }

    fn dial(&mut self, address: Multiaddr, _: DialOpts) -> Result<Self::Dial, TransportError<io::Error>> {
        let port = port_of(&address).ok_or_else(|| TransportError::MultiaddrNotSupported(address.clone()))?;
        let (network, from) = (self.network.clone(), self.node);
        Ok(dial(network, from, port).boxed())
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        let this = &mut *self;
        if let Some(event) = this.events.pop_front() {
            return Poll::Ready(event);
        }
        this.waker = Some(cx.waker().clone());
        let state = &mut *this.network.state();
        for (id, port) in &this.listening {
            let Some(listener) = state.listeners.get_mut(port) else { continue };
            if let Some((end, from)) = listener.arrived.pop_front() {
                return Poll::Ready(TransportEvent::Incoming {
                    listener_id: *id,
                    upgrade: futures::future::ready(Ok(end)),
                    local_addr: Multiaddr::from(Protocol::Memory(*port)),
                    send_back_addr: address_of(from),
                });
            }
            listener.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for SimTransport {
    fn drop(&mut self) {
        for (_, port) in self.listening.drain(..) {
            let mut state = self.network.state();
            if state.listeners.get(&port).is_some_and(|listener| listener.node == self.node) {
                let listener = state.listeners.remove(&port);
                drop(state);
                drop(listener);
            }
        }
    }
}

/// Dials: three trips across the network, as in a handshake. A silent peer is tried again, ever more
/// slowly, until the transport's timeout.
async fn dial(network: SimNetwork, from: NodeNo, port: u64) -> io::Result<End> {
    let to = NodeNo::try_from(port.saturating_sub(1) / PORTS_PER_NODE).unwrap_or(NOBODY);
    let mut again = Duration::from_secs(1);
    loop {
        let (there, back, open) = {
            let state = &mut *network.state();
            let open = !(state.held_back(from, to) || state.held_back(to, from));
            let mut dice = state.dice.clone();
            let there = state.link(from, to).quality().latency(&mut dice);
            let back = state.link(to, from).quality().latency(&mut dice);
            state.dice = dice;
            (there, back, open)
        };
        if open {
            tokio::time::sleep(there).await;
            let connected = network.connect(from, port);
            if !matches!(connected, Ok(None)) {
                tokio::time::sleep(back).await;
            }
            match connected {
                Ok(Some(end)) => return Ok(end),
                Ok(None) => {}
                Err(error) => return Err(error),
            }
        }
        tokio::time::sleep(again).await;
        again *= 2;
    }
}
