//! A rogue member of the mesh: real credentials, and no node.

#![allow(
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "each test program uses its part"
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt};
use nexus_crdt::sync_frame::{AckFrame, Body, EntriesFrame};
use nexus_crdt::{ENTRY_FORMAT_MAX, Entry, EntryFrame, FrontierPart, LogHead, SyncFrame};
use nexus_identity::{Chain, Did, Keypair};
use nexus_mesh::quota::Bounds;
use nexus_mesh::{
    FRAME_BYTES_MAX, Membership, Mesh, MeshConfig, MeshEvent, Multiaddr, Process, ProcessNumber, Rooms, Stream,
    StreamProtocol, TokioSpawner, Verdict, read_frame,
};
use nexus_node::Node;
use prost::Message;
use tokio::sync::{mpsc, watch};

use crate::world::{Link, SOON, World, address_of, key};

pub const SYNC: StreamProtocol = StreamProtocol::new("/nexus/sync/1");
pub const ENTRIES: &str = "entries";

/// A process after the last ones, whose connections it may take: a rogue holds several at a time.
fn next_process() -> Process {
    static LAST: Mutex<Vec<ProcessNumber>> = Mutex::new(Vec::new());
    let mut last = LAST.lock().unwrap();
    let next = Process::after(last.iter().copied()).unwrap();
    *last = next.numbers().copied().collect();
    next
}

pub struct Rogue {
    pub mesh: Mesh,
    /// Whether the one node that it met is open.
    pub open: watch::Receiver<bool>,
    /// Messages of the topic of entries; all of them are forwarded.
    pub gossip: mpsc::UnboundedReceiver<Vec<u8>>,
}

impl Rogue {
    /// A member of a world's mesh, connected to a node.
    pub async fn meet(world: World, n: u8, link: Link, node: &Node) -> Self {
        Self::start(world.mesh(), world.chain(n), &key(n), link, address_of(node)).await
    }

    /// A member by its credentials, connected to the node at an address.
    pub async fn start(mesh: Did, chain: Chain, key: &Keypair, link: Link, address: Multiaddr) -> Self {
        Self::start_with(Rooms::new(), mesh, chain, key, link, address).await
    }

    /// The same, with rooms in which it serves others.
    pub async fn start_with(
        mut rooms: Rooms,
        mesh: Did,
        chain: Chain,
        key: &Keypair,
        link: Link,
        address: Multiaddr,
    ) -> Self {
        let mut config = MeshConfig::new(key.clone());
        config.abilities.entry_format_max = ENTRY_FORMAT_MAX;
        config.membership = Some(Membership { mesh, chain });
        config.process = Some(next_process());
        // streams that the node opens are let go at once: this one speaks on its own
        drop(rooms.register(SYNC, 1));
        let mut messages = rooms.topic(ENTRIES, Bounds::items(4_096));
        let spawner = Arc::new(TokioSpawner::current());
        let (mesh, mut events) = Mesh::start(link.transport(key), config, rooms, spawner).unwrap();
        let (opened, open) = watch::channel(false);
        let (heard, gossip) = mpsc::unbounded_channel();
        let settling = mesh.clone();
        tokio::spawn(async move {
            while let Some((_, message)) = messages.recv().await {
                settling.settle(message.token, Verdict::Accept);
                let _ = heard.send(message.bytes);
            }
        });
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                match event {
                    MeshEvent::PeerOpen { .. } => drop(opened.send_replace(true)),
                    MeshEvent::PeerClosed { .. } => drop(opened.send_replace(false)),
                    _ => {}
                }
            }
        });
        mesh.bootstrap(address);
        let mut rogue = Self { mesh, open, gossip };
        rogue.until_open(true).await;
        rogue
    }

    pub async fn until_open(&mut self, open: bool) {
        let changed = self.open.wait_for(|now| *now == open);
        let _ = tokio::time::timeout(SOON, changed).await.expect("opens and closes in time").expect("the mesh runs");
    }

    /// A sync stream to the node.
    pub async fn line(&self, node: Did) -> Line {
        Line(self.mesh.open(node, &SYNC).await.unwrap())
    }
}

/// A sync stream, by hand.
pub struct Line(pub Stream);

impl Line {
    /// Sends exactly these bytes.
    pub async fn bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_all(bytes).await?;
        self.0.flush().await
    }

    /// Sends a frame around these bytes.
    pub async fn frame(&mut self, body: &[u8]) -> std::io::Result<()> {
        let mut bytes = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend_from_slice(body);
        self.bytes(&bytes).await
    }

    pub async fn say(&mut self, body: Body) -> std::io::Result<()> {
        self.frame(&SyncFrame { body: Some(body) }.encode_to_vec()).await
    }

    pub async fn frontier(&mut self, heads: Vec<LogHead>, last: bool) -> std::io::Result<()> {
        self.say(Body::Frontier(FrontierPart { heads, last })).await
    }

    pub async fn ack(&mut self, heads: Vec<LogHead>) -> std::io::Result<()> {
        self.say(Body::Ack(AckFrame { heads })).await
    }

    pub async fn entries<'a>(&mut self, entries: impl IntoIterator<Item = &'a Entry>) -> std::io::Result<()> {
        self.entry_frames(entries.into_iter().map(EntryFrame::new).collect()).await
    }

    pub async fn entry_frames(&mut self, entries: Vec<EntryFrame>) -> std::io::Result<()> {
        self.say(Body::Entries(EntriesFrame { entries })).await
    }

    /// The next frame of the node; `None` once it has closed the stream.
    pub async fn hear(&mut self) -> Option<SyncFrame> {
        let frame = read_frame(&mut self.0, FRAME_BYTES_MAX).await.ok().flatten()?;
        Some(SyncFrame::decode(frame.as_slice()).expect("an honest node's frame"))
    }

    /// Reads the node's frontier to its end.
    pub async fn hear_frontier(&mut self) -> Vec<LogHead> {
        let mut heads = Vec::new();
        let heard = async {
            while let Some(frame) = self.hear().await {
                if let Some(Body::Frontier(part)) = frame.body {
                    heads.extend(part.heads);
                    if part.last {
                        return true;
                    }
                }
            }
            false
        };
        assert!(tokio::time::timeout(SOON, heard).await.expect("a frontier in time"), "the stream ended");
        heads
    }

    /// Reads on until the node ends the stream.
    pub async fn until_closed(&mut self, within: Duration) {
        let mut buffer = vec![0; 64 * 1024];
        let closed = async { while !matches!(self.0.read(&mut buffer).await, Ok(0) | Err(_)) {} };
        tokio::time::timeout(within, closed).await.expect("the node ends the stream");
    }
}
