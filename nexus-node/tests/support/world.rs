//! Nodes in worlds of a test: keys by number, stores in memory, no files, no fixed ports.

#![allow(
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "each test program uses its part"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use libp2p::core::Transport;
use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::MemoryTransport;
use libp2p::core::upgrade::Version;
use libp2p::{noise, yamux};
use nexus_crdt::{Content, Draft, Head, Hlc, Incarnation, Kind, LogId, SpaceId, Verified};
use nexus_identity::{Chain, Claims, Did, Keypair, Role, Timestamp};
use nexus_mesh::{BoxedTransport, Multiaddr, Spawner, TokioSpawner, tcp_quic_transport};
use nexus_node::config::Config;
use nexus_node::env::{Blocking, Inline, RaftEnv};
use nexus_node::internals::engine::{Genesis, found};
use nexus_node::internals::store::Store;
use nexus_node::memory::ListQuery;
use nexus_node::net::PeerState;
use nexus_node::{Memory, NewMemory, Node, NodeEnv, WatchQuery};

/// The longest wait for anything.
pub const SOON: Duration = Duration::from_secs(60);

pub fn key(n: u8) -> Keypair {
    Keypair::from_seed(&[n; 32])
}

/// The transport of the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Memory,
    Tcp,
}

impl Link {
    pub fn transport(self, key: &Keypair) -> BoxedTransport {
        match self {
            Self::Memory => memory_transport(key),
            Self::Tcp => tcp_quic_transport(key).unwrap(),
        }
    }

    pub fn address(self) -> Multiaddr {
        static NEXT: AtomicU64 = AtomicU64::new(1_000_000);
        match self {
            Self::Memory => format!("/memory/{}", NEXT.fetch_add(1, Ordering::Relaxed)).parse().unwrap(),
            Self::Tcp => "/ip4/127.0.0.1/tcp/0".parse().unwrap(),
        }
    }
}

fn memory_transport(key: &Keypair) -> BoxedTransport {
    let mut seed = key.seed();
    let key = libp2p::identity::Keypair::ed25519_from_bytes(seed.as_mut_slice()).unwrap();
    MemoryTransport::default()
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(&key).unwrap())
        .multiplex(yamux::Config::default())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
        .boxed()
}

/// A mesh by the number of its root key. Its founder is number 0; all others are members.
#[derive(Clone, Copy)]
pub struct World(pub u8);

impl World {
    pub fn mesh(self) -> Did {
        key(self.0).did()
    }

    pub fn chain(self, n: u8) -> Chain {
        self.chain_as(n, Role::Member)
    }

    /// The same, with a role for all but the founder.
    pub fn chain_as(self, n: u8, role: Role) -> Chain {
        let claims = |issuer: u8, subject: u8, role| {
            let name = format!("member-number-{subject}").parse().unwrap();
            let issued = Timestamp::from_ms(1);
            Claims::new(self.mesh(), key(subject).did(), name, [role], issued).issued_by(key(issuer).did())
        };
        let founder = Chain::found(claims(self.0, 0, Role::Admin).sign(&key(self.0))).unwrap();
        if n == 0 { founder } else { founder.extend(claims(0, n, role).sign(&key(0))).unwrap() }
    }

    pub fn genesis(self, n: u8) -> Genesis {
        let incarnation = Incarnation([n; 8]);
        Genesis { mesh: self.mesh(), chain: self.chain(n), incarnation, store: [n; 8], fingerprint: None }
    }

    /// A new store in memory with a node's first rows.
    pub fn store(self, n: u8) -> Store {
        let store = Store::memory().unwrap();
        store.commit(&[found(&self.genesis(n))]).unwrap();
        store
    }

    /// The environment of one node, for the caller to change.
    pub fn env(self, n: u8, link: Link) -> NodeEnv {
        let mut config = Config::default();
        config.mdns = false;
        config.listen.0 = vec![link.address()];
        let spawner = Arc::new(TokioSpawner::current()) as Arc<dyn Spawner>;
        let mut env = NodeEnv::new(key(n), link.transport(&key(n)), spawner, self.store(n));
        env.raft = Some(RaftEnv::memory().unwrap());
        env.blocking = Arc::new(Inline) as Arc<dyn Blocking>;
        env.config = config;
        env
    }

    pub async fn start(self, n: u8, link: Link) -> Node {
        Node::with_env(self.env(n, link)).await.unwrap()
    }

    /// A node that knows another one's address.
    pub async fn start_beside(self, n: u8, link: Link, other: &Node) -> Node {
        let mut env = self.env(n, link);
        env.config.bootstrap.0 = vec![address_of(other)];
        Node::with_env(env).await.unwrap()
    }

    /// The log of a member's entries in the space of memories.
    pub fn log(self, n: u8) -> LogId {
        LogId { space: SpaceId::default_of(&self.mesh()), author: key(n).did(), incarnation: Incarnation([n; 8]) }
    }

    /// The next entry of a log, signed by the key of `signer`.
    pub fn entry(
        self,
        log: LogId,
        after: Option<&Verified>,
        kind: Kind,
        payload: impl Into<Content>,
        signer: u8,
    ) -> Verified {
        let after = after.map(|entry| Head { seq: entry.header().seq, id: entry.id() });
        let hlc = Hlc::at(Timestamp::from_ms(1_700_000_000_000));
        Verified::write(
            Draft { mesh: self.mesh(), log, after: after.as_ref(), hlc, kind, refs: vec![], payload: payload.into() },
            &key(signer),
        )
    }
}

/// The address of a node, with its identity.
pub fn address_of(node: &Node) -> Multiaddr {
    node.listen_addresses()[0].clone()
}

/// All memories, by id.
pub fn memories(node: &Node) -> Vec<Memory> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let page = node.brain().list_blocking(&ListQuery::newest().limit(1_000).all().after(after)).unwrap();
        all.extend(page.items);
        after = page.next;
        if after.is_none() {
            all.sort_by_key(|memory| memory.id);
            return all;
        }
    }
}

pub fn texts(node: &Node) -> Vec<String> {
    let mut texts: Vec<String> = memories(node).into_iter().map(|memory| memory.text).collect();
    texts.sort_unstable();
    texts
}

/// Waits, commit by commit, until a node's memories are as wanted.
pub async fn until(node: &Node, what: &str, wanted: impl Fn(&[Memory]) -> bool) -> Vec<Memory> {
    let mut watch = node.brain().watch(WatchQuery::from_now()).await.unwrap();
    let seen = async {
        loop {
            let items = memories(node);
            if wanted(&items) {
                return items;
            }
            watch.next().await.unwrap().expect("the node runs");
        }
    };
    tokio::time::timeout(SOON, seen).await.unwrap_or_else(|_| panic!("{what}: not in time; {:?}", texts(node)))
}

pub async fn has_text(node: &Node, text: &str) {
    until(node, text, |memories| memories.iter().any(|memory| memory.text == text)).await;
}

/// Waits for a condition without an event.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut ask: impl FnMut() -> F) {
    let asked = async {
        while !ask().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, asked).await.unwrap_or_else(|_| panic!("{what}: not in time"));
}

/// Waits until a node has a warning of this kind.
pub async fn warned(node: &Node, code: &str) {
    eventually(code, || async { node.status().await.warnings.iter().any(|warning| warning.code == code) }).await;
}

/// Checks two honest nodes: writes are acknowledged at once, each sees the other's, and both hold the
/// same memories.
pub async fn are_well(node: &Node, friend: &Node, mark: &str) {
    for (writer, reader) in [(node, friend), (friend, node)] {
        let text = format!("{mark} by {}", writer.name());
        let brain = writer.brain();
        let written = brain.remember(NewMemory::note(&text));
        let acknowledged = tokio::time::timeout(Duration::from_secs(3), written).await;
        acknowledged.unwrap_or_else(|_| panic!("{text}: not acknowledged in time")).unwrap();
        has_text(reader, &text).await;
    }
    let peers = tokio::time::timeout(Duration::from_secs(3), node.peers()).await.expect("peers are told");
    let met = peers.iter().find(|peer| peer.did == friend.did()).expect("the friend is a member");
    assert_eq!(met.state, PeerState::Up, "{met:?}");
    eventually("both hold the same", || async { memories(node) == memories(friend) }).await;
}
