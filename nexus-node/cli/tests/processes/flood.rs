//! A member that floods a real process: its memory stays within bounds, and it goes on answering.

#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::disallowed_methods, reason = "tests")]
#![cfg(target_os = "linux")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::rogue::{Line, Rogue};
use crate::support::{Home, Node};
use crate::world::{Link, key};
use nexus_crdt::sync_frame::Body;
use nexus_crdt::{Draft, EntryFrame, EntryId, Head, Hlc, Incarnation, Kind, LogHead, LogId, SpaceId, Verified};
use nexus_identity::{Chain, Did, Keypair, Ticket};
use nexus_mesh::{FRAME_BYTES_MAX, JoinReply, JoinRequest, Mesh, MeshConfig, Multiaddr, Rooms, TokioSpawner};

/// The most growth of a node's memory, in MiB, under any flood of one member. It covers the data kept
/// for a peer, the waiting entries and the bytes in flight.
const GROWTH_MIB_MAX: u64 = 200;

/// A real process, and credentials from its own ticket.
struct Stage {
    _home: Home,
    node: Node,
    did: Did,
    mesh: Did,
    chain: Chain,
    address: Multiaddr,
    rss_mib: u64,
}

impl Stage {
    async fn new() -> Self {
        let home = Home::new();
        let node = home.up_with(&["--listen", "/ip4/127.0.0.1/tcp/0"]);
        let ticket: Ticket = home.json(&["invite"])["ticket"].as_str().unwrap().parse().unwrap();
        let address: Multiaddr = ticket.addresses[0].parse().unwrap();
        let mut config = MeshConfig::new(key(9));
        config.abilities.entry_format_max = nexus_crdt::ENTRY_FORMAT_MAX;
        let (mesh, _events) =
            Mesh::start(Link::Tcp.transport(&key(9)), config, Rooms::new(), Arc::new(TokioSpawner::current())).unwrap();
        let name = "rogue".parse().unwrap();
        let request = JoinRequest {
            ticket_id: ticket.id,
            secret: ticket.secret,
            name,
            version: String::new(),
            succession: Vec::new(),
        };
        let reply = mesh.join(ticket.inviter, vec![address.clone()], request).await.unwrap();
        let JoinReply::Admitted { chain, .. } = reply else { panic!("{reply:?}") };
        mesh.shutdown().await;
        for n in 0..200 {
            let written = node.http("POST", "/v1/memories", &format!(r#"{{"text":"memory {n}"}}"#));
            assert_eq!(written.status, 201);
        }
        let rss_mib = rss_mib(&node);
        Self { _home: home, node, did: ticket.inviter, mesh: ticket.mesh, chain, address, rss_mib }
    }

    async fn rogue(&self) -> Rogue {
        Rogue::start(self.mesh, self.chain.clone(), &key(9), Link::Tcp, self.address.clone()).await
    }

    /// Checks that the node answers at once, and has not grown too much.
    fn well(&self, what: &str) {
        let started = Instant::now();
        let written = self.node.http("POST", "/v1/memories", &format!(r#"{{"text":"{what}"}}"#));
        assert_eq!(written.status, 201, "{what}");
        assert!(started.elapsed() < Duration::from_secs(3), "{what}: acknowledged after {:?}", started.elapsed());
        assert_eq!(self.node.http("GET", "/v1/peers", "").status, 200, "{what}");
        let now = rss_mib(&self.node);
        eprintln!("{what}: {} MiB before, {now} MiB now", self.rss_mib);
        assert!(now < self.rss_mib + GROWTH_MIB_MAX, "{what}: {} MiB before, {now} MiB now", self.rss_mib);
    }

    /// Waits until the node has read what was sent on a line: until an entry after that is acknowledged.
    async fn has_read_all(&self, line: &mut Line) {
        let log = LogId { author: key(9).did(), ..self.strange(0) };
        let draft = Draft {
            mesh: self.mesh,
            log,
            after: None,
            hlc: Hlc(1),
            kind: Kind(4_000),
            refs: vec![],
            payload: Vec::new().into(),
        };
        line.entries([&*Verified::write(draft, &key(9))]).await.unwrap();
        let acknowledged = async {
            loop {
                // a frontier that is sent again acknowledges, too
                let heads = match line.hear().await.expect("the stream stands").body {
                    Some(Body::Ack(ack)) => ack.heads,
                    Some(Body::Frontier(part)) => part.heads,
                    _ => continue,
                };
                if heads.iter().any(|head| head.parse().is_some_and(|(of, _)| of == log)) {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), acknowledged).await.expect("slowed down, not stopped");
    }

    /// An unknown log.
    fn strange(&self, n: u64) -> LogId {
        let author = Did::from_bytes(blake3::hash(&n.to_le_bytes()).into());
        LogId { space: SpaceId::default_of(&self.mesh), author, incarnation: Incarnation(n.to_le_bytes()) }
    }
}

fn rss_mib(node: &Node) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix("kB").unwrap().trim().parse::<u64>().unwrap() / 1_024
}

/// promise: Bad input | A flood
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_heads_and_more_are_bounded() {
    let stage = Stage::new().await;
    let rogue = stage.rogue().await;
    let mut line = rogue.line(stage.did).await;
    let head = |n: u64| LogHead::new(&stage.strange(n), &Head { seq: n, id: EntryId::of(&n.to_le_bytes()) });
    for round in 0..2 {
        for part in 0..20_u64 {
            let from = (round * 20 + part) * 5_000;
            line.frontier((from..from + 5_000).map(head).collect(), part == 19).await.unwrap();
        }
    }
    line.ack((0..5_000).map(head).collect()).await.unwrap();
    line.hear_frontier().await;
    stage.well("100,000 heads twice");
    // more heads than are kept of a peer: the others count as not held, and cost nothing
    for part in 40..200_u64 {
        let from = part * 5_000;
        line.frontier((from..from + 5_000).map(head).collect(), part == 199).await.unwrap();
    }
    stage.has_read_all(&mut line).await;
    stage.well("a million heads");
    assert!(*rogue.open.borrow(), "an honest node of an earlier version sends all that it has");
}

/// promise: Bad input | A flood
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_entries_of_unknown_authors_waits_within_a_bound() {
    let stage = Stage::new().await;
    let rogue = stage.rogue().await;
    let mut line = rogue.line(stage.did).await;
    for part in 0..40_u64 {
        let entry = |n: u64| {
            let key = Keypair::from_seed(blake3::hash(&(part * 500 + n).to_le_bytes()).as_bytes());
            let log = LogId { author: key.did(), ..stage.strange(0) };
            let payload = vec![0; 1_500];
            let draft = Draft {
                mesh: stage.mesh,
                log,
                after: None,
                hlc: Hlc(1),
                kind: Kind::WRITES,
                refs: vec![],
                payload: payload.into(),
            };
            EntryFrame::new(&Verified::write(draft, &key))
        };
        line.entry_frames((0..500).map(entry).collect()).await.unwrap();
    }
    stage.well("20,000 entries of unknown authors");
    assert!(*rogue.open.borrow(), "their credentials might be on the way");
}

/// promise: Bad input | A flood
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_frames_is_slowed_down_and_takes_little_memory() {
    let stage = Stage::new().await;
    let rogue = stage.rogue().await;
    let mut line = rogue.line(stage.did).await;
    // small messages: a thousand a second are read
    let started = Instant::now();
    for _ in 0..4_000 {
        line.say(Body::Digest(Default::default())).await.unwrap();
    }
    stage.has_read_all(&mut line).await;
    assert!(started.elapsed() > Duration::from_millis(2_900), "{:?}", started.elapsed());
    stage.well("4,000 small frames");
    // the largest messages, with a field of a later version, as fast as possible
    let mut large = vec![0xfa, 0x01];
    let body = FRAME_BYTES_MAX - 5;
    prost::encode_length_delimiter(body, &mut large).unwrap();
    large.resize(FRAME_BYTES_MAX, 0);
    let mut sent = 0;
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(5) {
        line.frame(&large).await.unwrap();
        sent += 1;
    }
    eprintln!("{sent} MiB in 5 s");
    stage.well("large frames");
    drop(line);
    // many tiny parts in one frame
    for bytes in [[0x0a, 0x00], [0x12, 0x00], [0x2a, 0x00]] {
        let mut rogue = stage.rogue().await;
        let mut line = rogue.line(stage.did).await;
        let inner = bytes.iter().copied().cycle().take(FRAME_BYTES_MAX - 16).collect::<Vec<u8>>();
        let mut frame = vec![bytes[0]];
        prost::encode_length_delimiter(inner.len(), &mut frame).unwrap();
        // a frontier's heads, a parcel's entries and the full logs have the same number
        frame.extend(inner.iter().enumerate().map(|(n, _)| if n % 2 == 0 { 0x0a } else { 0x00 }));
        line.frame(&frame).await.unwrap();
        rogue.until_open(false).await;
    }
    stage.well("half a million tiny parts");
}
