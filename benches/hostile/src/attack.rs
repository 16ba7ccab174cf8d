//! The attacks, each by one connection to each node.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nexus_crdt::{EntryFrame, Verified};
use nexus_identity::{Did, Ticket};
use nexus_mesh::{Mesh, Multiaddr, StreamProtocol};
use prost::Message;
use tokio::sync::Mutex;

use crate::args::{Args, Failure};
use crate::pace::Pace;
use crate::rogue::{Line, Member, entries, follow, frontier, sync_room};

/// The attacks by their names, and what each does.
pub(crate) const KINDS: [(&str, &str); 7] = [
    ("writes", "entries of its own log as fast as it signs"),
    ("replays", "a frame of 500 entries that are held, again and again"),
    ("forgeries", "frames of 500 entries of which the last has a wrong signature; it comes back at once"),
    ("garbage", "frames that are no message; it comes back at once"),
    ("streams", "64 sync streams, each with a frontier of 4,096 logs, of which nothing is read"),
    ("gossip", "entries without a beginning and garbage by gossip"),
    ("questions", "questions to the coordinators of which no answer is read"),
];
/// All of them, each for a second in turn.
pub(crate) const ALL: &str = "all";

/// The longest wait for a question to be taken.
const TAKEN: Duration = Duration::from_secs(1);
/// Entries of a frame.
const ENTRIES: usize = 500;
/// Streams of one peer, and the logs that each claims.
const STREAMS: usize = 64;
const CLAIMS: u64 = 4_096;

const RAFT: StreamProtocol = StreamProtocol::new("/nexus/raft/1");
/// The question for the overview.
const QUESTION: [u8; 4] = [0x08, 0x01, 0x42, 0x00];

/// Attacks the nodes at some addresses until stdin closes.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let ticket: Ticket = args.need("ticket")?.parse().map_err(|_| "no ticket")?;
    let addresses: Result<Vec<Multiaddr>, _> = args.need("nodes")?.split(',').map(str::parse).collect();
    let kind = args.need("kind")?.to_owned();
    let state = args.need("state")?.to_owned();
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    // one thread for all else: its time is that of the attack
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let member = Member::of(Path::new(&state), &ticket).await?;
        let addresses = addresses?;
        let (mesh, events) = member.start(&addresses)?;
        let attack = Arc::new(Attack::new(member, mesh.clone(), kind)?);
        let opened = |node| {
            let attack = attack.clone();
            tokio::spawn(async move { attack.go_on(node).await })
        };
        follow(&mesh, events, &addresses, opened).await;
        Ok(())
    })
}

struct Attack {
    member: Member,
    mesh: Mesh,
    kind: String,
    begin: Instant,
    pace: Mutex<Pace>,
    /// Encoded frames, signed once.
    introduction: Vec<u8>,
    held: Vec<u8>,
    forged: Vec<u8>,
    claims: Vec<u8>,
}

impl Attack {
    fn new(member: Member, mesh: Mesh, kind: String) -> Result<Self, Failure> {
        let mut log = member.log()?;
        let own: Vec<Verified> = (0..ENTRIES).map(|n| member.write(&mut log, n)).collect();
        let frames: Vec<EntryFrame> = own.iter().map(|entry| EntryFrame::new(entry)).collect();
        let mut other = member.log()?;
        let mut forged: Vec<EntryFrame> = (0..ENTRIES).map(|n| EntryFrame::new(&member.write(&mut other, n))).collect();
        if let Some(last) = forged.last_mut().and_then(|last| last.signature.first_mut()) {
            *last ^= 1;
        }
        Ok(Self {
            introduction: entries(vec![EntryFrame::new(&member.introduction())]),
            held: entries(frames),
            forged: entries(forged),
            claims: frontier(member.claims(CLAIMS)),
            member,
            mesh,
            kind,
            begin: Instant::now(),
            pace: Mutex::new(Pace::new()),
        })
    }

    /// Attacks a node while it is connected.
    async fn go_on(&self, node: Did) {
        loop {
            if self.kind != ALL {
                self.attack(node, &self.kind).await;
            } else {
                let (elapsed, turn) = (self.begin.elapsed(), self.begin.elapsed().as_secs());
                let (kind, _) = KINDS[usize::try_from(turn).unwrap_or_default() % KINDS.len()];
                let left = Duration::from_secs(turn + 1).saturating_sub(elapsed);
                let _ = tokio::time::timeout(left, self.attack(node, kind)).await;
            }
            self.keep().await;
            // a stream that was refused, or a connection that is ending
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn keep(&self) {
        self.pace.lock().await.keep().await;
    }

    /// Attacks until a stream ends.
    async fn attack(&self, node: Did, kind: &str) -> Option<()> {
        match kind {
            "writes" => self.writes(node).await,
            "replays" => self.repeats(node, &self.held).await,
            "forgeries" => self.repeats(node, &self.forged).await,
            "garbage" => self.repeats(node, &[0xff; 100]).await,
            "streams" => self.streams(node).await,
            "gossip" => self.gossip().await,
            _ => self.questions(node).await,
        }
    }

    async fn writes(&self, node: Did) -> Option<()> {
        let (mut line, mut log, mut n) = (Line::sync(&self.mesh, node).await?, self.member.log().ok()?, 0);
        line.frame(&self.introduction).await?;
        loop {
            let some = (0..ENTRIES / 5).map(|m| EntryFrame::new(&self.member.write(&mut log, n + m)));
            let frame = entries(some.collect());
            n += ENTRIES / 5;
            line.frame(&frame).await?;
            self.keep().await;
        }
    }

    async fn repeats(&self, node: Did, frame: &[u8]) -> Option<()> {
        let mut line = Line::sync(&self.mesh, node).await?;
        line.frame(&self.introduction).await?;
        loop {
            line.frame(frame).await?;
            self.keep().await;
        }
    }

    async fn streams(&self, node: Did) -> Option<()> {
        let mut lines = VecDeque::new();
        loop {
            let mut line = Line::deaf(&self.mesh, node, &sync_room()).await?;
            line.frame(&self.claims).await?;
            lines.push_back(line);
            if lines.len() >= STREAMS {
                lines.pop_front();
            }
            self.keep().await;
        }
    }

    async fn gossip(&self) -> Option<()> {
        let (mut log, mut n) = (self.member.log().ok()?, 0_usize);
        // the beginning is kept back
        self.member.write(&mut log, n);
        loop {
            n += 1;
            let bytes = match n % 2 {
                0 => EntryFrame::new(&self.member.write(&mut log, n)).encode_to_vec(),
                _ => [vec![0xff; 8_000], n.to_le_bytes().to_vec()].concat(),
            };
            // a message that finds no place in the own queue is lost
            let _ = self.mesh.publish("entries", bytes).await;
            self.keep().await;
        }
    }

    async fn questions(&self, node: Did) -> Option<()> {
        let mut line = Line::deaf(&self.mesh, node, &RAFT).await?;
        loop {
            tokio::time::timeout(TAKEN, line.frame(&QUESTION)).await.ok()??;
            self.keep().await;
        }
    }
}
