//! Nodes for tests: real sockets on loopback, or libp2p's memory transport.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "each test file uses its own part"
)]

pub mod raw;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use libp2p::core::Transport;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::MemoryTransport;
use libp2p::core::upgrade::Version;
use libp2p::{Multiaddr, StreamProtocol, noise, yamux};
use nexus_identity::{Chain, Claims, Did, Keypair, Role, Timestamp};
use nexus_mesh::quota::{Bounds, Receiver};
use nexus_mesh::{
    BoxedTransport, Knock, Membership, Mesh, MeshConfig, MeshEvent, MeshEvents, MeshTransport, Message, Rooms, Spawner,
    Stream, TokioSpawner, Verdict, tcp_quic_transport,
};

pub const ROOM: StreamProtocol = StreamProtocol::new("/test/room/1");
pub const TOPIC: &str = "entries";

pub fn key(n: u8) -> Keypair {
    Keypair::from_seed(&[n; 32])
}

/// A mesh by the number of its root key.
pub struct World {
    pub root: Keypair,
}

impl World {
    pub fn new(root: u8) -> Self {
        Self { root: key(root) }
    }

    pub fn chain(&self, n: u8, expires_at: Option<Timestamp>) -> Chain {
        let name = format!("n{n}").parse().unwrap();
        let issued = Timestamp::from_ms(0);
        let claims = Claims::new(self.root.did(), key(n).did(), name, [Role::Member], issued).expiring(expires_at);
        Chain::found(claims.sign(&self.root)).unwrap()
    }

    pub fn config(&self, n: u8) -> MeshConfig {
        let mut config = MeshConfig::new(key(n));
        config.membership = Some(Membership { mesh: self.root.did(), chain: self.chain(n, None) });
        config.heartbeat = Duration::from_millis(500);
        config.down_after = Duration::from_millis(3_000);
        config
    }
}

pub struct Node {
    pub mesh: Mesh,
    pub events: MeshEvents,
    pub streams: Receiver<Stream>,
    pub gossip: Receiver<Message>,
    pub door: Receiver<Knock>,
}

pub fn memory_transport(keypair: &Keypair) -> BoxedTransport {
    let mut seed = keypair.seed();
    let key = libp2p::identity::Keypair::ed25519_from_bytes(seed.as_mut_slice()).unwrap();
    MemoryTransport::default()
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(&key).unwrap())
        .multiplex(yamux::Config::default())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
        .boxed()
}

pub fn memory_address() -> Multiaddr {
    static NEXT: AtomicU64 = AtomicU64::new(1_000_000);
    format!("/memory/{}", NEXT.fetch_add(1, Ordering::Relaxed)).parse().unwrap()
}

pub const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";
pub const TCP: &str = "/ip4/127.0.0.1/tcp/0";
pub const MEMORY: &str = "memory";

impl Node {
    /// With one room, one topic and the door; `rooms` may have more.
    pub fn start_with(mut config: MeshConfig, rooms: Rooms, listen: &str, spawner: Arc<dyn Spawner>) -> Self {
        let transport = if listen == MEMORY {
            config.listen = vec![memory_address()];
            memory_transport(&config.keypair)
        } else {
            config.listen = vec![listen.parse().unwrap()];
            tcp_quic_transport(&config.keypair).unwrap()
        };
        Self::start_over(config, rooms, transport, spawner)
    }

    /// The same over any transport.
    pub fn start_over(
        config: MeshConfig,
        mut rooms: Rooms,
        transport: impl Into<MeshTransport>,
        spawner: Arc<dyn Spawner>,
    ) -> Self {
        let streams = rooms.register(ROOM, 1_024);
        let gossip = rooms.topic(TOPIC, Bounds::items(1_024));
        let door = rooms.door(16);
        let (mesh, events) = Mesh::start(transport, config, rooms, spawner).unwrap();
        Self { mesh, events, streams, gossip, door }
    }

    pub fn start_on(config: MeshConfig, listen: &str, spawner: Arc<dyn Spawner>) -> Self {
        Self::start_with(config, Rooms::new(), listen, spawner)
    }

    pub fn start(config: MeshConfig, listen: &str) -> Self {
        Self::start_on(config, listen, Arc::new(TokioSpawner::current()))
    }

    pub fn did(&self) -> Did {
        self.mesh.me()
    }

    pub async fn address(&mut self) -> Multiaddr {
        if let Some(address) = self.mesh.listen_addresses().first() {
            return address.clone();
        }
        self.until("an address", |event| match event {
            MeshEvent::Listening { address } => Some(address),
            _ => None,
        })
        .await
    }

    /// Reads events until one is wanted. Accepts all gossip and drops the other events.
    pub async fn until<T>(&mut self, what: &str, mut want: impl FnMut(MeshEvent) -> Option<T>) -> T {
        let (mesh, events, gossip) = (&self.mesh, &mut self.events, &mut self.gossip);
        let found = async {
            loop {
                tokio::select! {
                    event = events.recv() => {
                        let event = event.expect("the mesh runs");
                        tracing::trace!(me = %mesh.me().short(), ?event);
                        if let Some(found) = want(event) {
                            return found;
                        }
                    }
                    Some((_, message)) = gossip.recv() => mesh.settle(message.token, Verdict::Accept),
                }
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(20), found).await;
        found.unwrap_or_else(|_| panic!("{} waits for {what}", mesh.me().short()))
    }

    pub async fn until_open(&mut self, with: Did) -> bool {
        self.until("a peer", |event| match event {
            MeshEvent::PeerOpen { peer, dialer, .. } if peer == with => Some(dialer),
            _ => None,
        })
        .await
    }

    pub async fn until_closed(&mut self, with: Did) -> nexus_mesh::DownCause {
        self.until("a close", |event| match event {
            MeshEvent::PeerClosed { peer, cause } if peer == with => Some(cause),
            _ => None,
        })
        .await
    }

    /// The next stream in the room, and its peer.
    pub async fn until_stream(&mut self) -> (Did, Stream) {
        let entered = tokio::time::timeout(Duration::from_secs(20), self.streams.recv()).await;
        entered.expect("a stream in time").expect("the mesh runs")
    }

    /// Accepts gossip until a message is wanted. Drops events.
    pub async fn until_heard(&mut self, mut want: impl FnMut(&[u8]) -> bool) -> Did {
        let (mesh, events, gossip) = (&self.mesh, &mut self.events, &mut self.gossip);
        let found = async {
            loop {
                tokio::select! {
                    event = events.recv() => drop(event.expect("the mesh runs")),
                    Some((from, message)) = gossip.recv() => {
                        mesh.settle(message.token, Verdict::Accept);
                        if want(&message.bytes) {
                            return from;
                        }
                    }
                }
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(20), found).await;
        found.unwrap_or_else(|_| panic!("{} waits for gossip", mesh.me().short()))
    }
}

/// Reads both nodes' events until each has the other.
pub async fn meet(a: &mut Node, b: &mut Node) {
    let (to_b, to_a) = (b.did(), a.did());
    let (from_a, from_b) = futures::join!(a.until_open(to_b), b.until_open(to_a));
    assert_ne!(from_a, from_b, "one of the two dialled");
}

/// Publishes until it is heard: subscriptions take a moment to arrive.
pub async fn gossip_works(from: &Node, to: &mut Node, text: &str) {
    let publish = async {
        for n in 0.. {
            from.mesh.publish(TOPIC, format!("{text} {n}").into_bytes()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let heard = to.until_heard(|bytes| bytes.starts_with(text.as_bytes()));
    futures::pin_mut!(publish, heard);
    futures::future::select(publish, heard).await;
}

pub fn log() {
    let _ = tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_test_writer()
        .try_init();
}

/// Waits until each side has exactly the other open, and gossip works both ways.
pub async fn healthy(a: &mut Node, b: &mut Node, what: &str) {
    a.settled(b.did(), what).await;
    b.settled(a.did(), what).await;
    let mark = format!("{what} a to b");
    gossip_works(a, b, &mark).await;
    let mark = format!("{what} b to a");
    gossip_works(b, a, &mark).await;
}

impl Node {
    /// Reads events until the peer is open, unless it is already.
    pub async fn settled(&mut self, with: Did, what: &str) {
        let started = std::time::Instant::now();
        loop {
            while self.events.try_recv().is_some() {}
            while let Some((_, message)) = self.gossip.try_recv() {
                self.mesh.settle(message.token, Verdict::Accept);
            }
            let open = self.mesh.peers().await.into_iter().any(|peer| peer.did == with && peer.open);
            if open {
                return;
            }
            assert!(started.elapsed() < Duration::from_secs(20), "{what}: {} never opened", with.short());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Xorshift: the same seed gives the same choices.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}
