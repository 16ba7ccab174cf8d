use std::sync::Arc;

use futures::AsyncReadExt;
use nexus_crdt::sync_frame::{Body, EntriesFrame};
use nexus_crdt::{ENTRY_FORMAT_MAX, EntryFrame, Head, LogHead, SyncFrame, Verified};
use nexus_crdt::{FrontierPart, LogId};
use nexus_mesh::{
    Membership, Mesh, MeshConfig, Multiaddr, Rooms, Stream, StreamProtocol, TokioSpawner, tcp_quic_transport,
    write_frame,
};
use nexus_node::Node;
use nexus_node::api::Problem;
use nexus_node::env::Tasks;
use prost::Message;
use tokio::time::Instant;

use super::client::failed;
use super::crowd::{Author, Crowd, create, head_of, loopback};
use super::members::{address, unread};
use super::rows::{Goal, Row, quantile};
use super::stage::{directory, memory, until_held};
use nexus_node_cli::ground::Printer;

/// Logs that a member offers, half of them in its own name and half in the names of strangers.
const LOGS: usize = 10_000;
/// Memories that a newcomer syncs, and those of one call while they are written.
const MEMORIES: u64 = 100_000;
const CHUNK: u64 = 1_000;
/// Newcomers on each side.
const ROUNDS: usize = 7;
/// Heads and entries of one frame.
const HEADS: usize = 4_096;
const ENTRIES: usize = 500;
/// Streams of one peer.
const STREAMS_MAX: usize = 16;

const SYNC: StreamProtocol = StreamProtocol::new("/nexus/sync/1");

/// The offer of a member to a newcomer.
#[derive(Clone, Copy)]
enum Offer {
    Nothing,
    /// The names of many logs.
    Names,
    /// The names, and the first entry of each log.
    Entries,
}

/// Measures a newcomer that syncs from an honest member while another one offers it many hostile logs.
pub(super) async fn run(printer: &Printer) -> Result<Vec<Row>, Problem> {
    let dir = directory()?;
    let mut crowd = Crowd::new()?;
    let entries = crowd.hardship(0, 0)?;
    let origin = crowd.node(&crowd.member()?, &dir.path().join("origin"), entries, []).await?;
    let mut n = 0;
    while n < MEMORIES {
        origin.brain().remember_all((n..n + CHUNK).map(memory).collect()).await?;
        n += CHUNK;
    }
    let frames = Frames::new(&crowd, &origin).await?;
    let offers = [Offer::Nothing, Offer::Names, Offer::Entries];
    let bar = printer.progress("offered", Some((ROUNDS * offers.len()) as u64));
    let mut took = [Vec::new(), Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        for turn in 0..offers.len() {
            let side = (round + turn) % offers.len();
            let dir = dir.path().join(format!("newcomer-{round}-{side}"));
            let peer = Peer::start(&crowd, frames.of(offers[side])).await?;
            let author = crowd.member()?;
            let begin = Instant::now();
            let known = origin.listen_addresses().into_iter().chain([peer.address.clone()]);
            let mut env = crowd.env(&author, &dir, Vec::new())?;
            let tasks = Arc::new(Tasks::current());
            (env.spawner, env.config.bootstrap.0) = (tasks.clone(), known.collect());
            let newcomer = Node::with_env(env).await?;
            until_held(&newcomer, MEMORIES).await?;
            took[side].push(begin.elapsed().as_secs_f64());
            // as a process that is killed: nothing of it goes on beside the next one
            tasks.kill();
            peer.mesh.shutdown().await;
            drop(newcomer);
            let _ = std::fs::remove_dir_all(&dir);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    origin.shutdown().await;
    let [usual, names, entries] = took;
    let beside = |took: &[f64]| usual.iter().zip(took).map(|(usual, took)| usual / took).collect::<Vec<f64>>();
    let (mut to_names, mut to_entries) = (beside(&names), beside(&entries));
    let [mut usual, mut names, mut entries] = [usual, names, entries];
    let usual = quantile(&mut usual, 0.5);
    const USUAL: &str = "s without";
    Ok(vec![
        Row::new("members", "a newcomer has 100,000, while 10,000 logs are named", quantile(&mut names, 0.5), "s")
            .floor(USUAL, usual),
        Row::new("members", "its speed, of the usual", quantile(&mut to_names, 0.5), "×").asked(Goal::AtLeast(0.9)),
        Row::new("members", "the same, while an entry of each is sent", quantile(&mut entries, 0.5), "s")
            .floor(USUAL, usual),
        Row::new("members", "its speed, of the usual", quantile(&mut to_entries, 0.5), "×").asked(Goal::AtLeast(0.9)),
    ])
}

/// The encoded messages of each offer.
struct Frames {
    nothing: Arc<Vec<Vec<u8>>>,
    names: Arc<Vec<Vec<u8>>>,
    entries: Arc<Vec<Vec<u8>>>,
    /// The member that offers them: the names are of its own logs.
    author: Author,
}

impl Frames {
    async fn new(crowd: &Crowd, origin: &Node) -> Result<Self, Problem> {
        // the honest member's logs, so that nobody sends them to the one that offers
        let honest = origin.frontier().await?;
        let has: Vec<LogHead> =
            honest.iter().map(|(log, head)| LogHead::new(log, &Head { seq: u64::MAX, ..*head })).collect();
        let mut author = crowd.member()?;
        let introduction = crowd.introduction(&mut author);
        let mut first: Vec<Verified> = Vec::with_capacity(LOGS);
        for n in 0..LOGS {
            let text = create(&format!("offered {n}"));
            if n.is_multiple_of(2) {
                author.renew()?;
                first.push(crowd.writes(&mut author, text));
            } else {
                first.push(crowd.writes(&mut Author::stranger(&author)?, text));
            }
        }
        let named: Vec<LogHead> = first.iter().map(|entry| LogHead::new(&log_of(entry), &head_of(entry))).collect();
        let names = frontier(has.iter().cloned().chain(named).collect());
        let mut sent: Vec<&Verified> = vec![&introduction];
        sent.extend(&first);
        let sent = sent.chunks(ENTRIES).map(|some| {
            let entries = some.iter().map(|entry| EntryFrame::new(entry)).collect();
            SyncFrame { body: Some(Body::Entries(EntriesFrame { entries })) }.encode_to_vec()
        });
        let entries = names.iter().cloned().chain(sent).collect();
        Ok(Self { nothing: Arc::new(frontier(has)), names: Arc::new(names), entries: Arc::new(entries), author })
    }

    fn of(&self, offer: Offer) -> (&Author, Arc<Vec<Vec<u8>>>) {
        let frames = match offer {
            Offer::Nothing => &self.nothing,
            Offer::Names => &self.names,
            Offer::Entries => &self.entries,
        };
        (&self.author, frames.clone())
    }
}

fn log_of(entry: &Verified) -> LogId {
    entry.header().log()
}

/// A frontier in parts.
fn frontier(heads: Vec<LogHead>) -> Vec<Vec<u8>> {
    let parts: Vec<&[LogHead]> = heads.chunks(HEADS).collect();
    let part = |(n, heads): (usize, &&[LogHead])| {
        let part = FrontierPart { heads: heads.to_vec(), last: n + 1 == parts.len() };
        SyncFrame { body: Some(Body::Frontier(part)) }.encode_to_vec()
    };
    parts.iter().enumerate().map(part).collect()
}

/// A member that offers logs in each stream, and runs no node.
struct Peer {
    mesh: Mesh,
    address: Multiaddr,
}

impl Peer {
    async fn start(crowd: &Crowd, (author, frames): (&Author, Arc<Vec<Vec<u8>>>)) -> Result<Self, Problem> {
        let mut config = MeshConfig::new(author.key.clone());
        config.abilities.entry_format_max = ENTRY_FORMAT_MAX;
        config.membership = Some(Membership { mesh: crowd.mesh(), chain: author.chain.clone() });
        config.listen = vec![loopback()?];
        let mut rooms = Rooms::new();
        let mut streams = rooms.register(SYNC, STREAMS_MAX);
        let transport = tcp_quic_transport(&author.key).map_err(|error| failed("a transport", error))?;
        let (mesh, mut events) = Mesh::start(transport, config, rooms, Arc::new(TokioSpawner::current()))
            .map_err(|error| failed("a member", error))?;
        tokio::spawn(async move {
            while let Some((_, stream)) = streams.recv().await {
                tokio::spawn(offer(stream, frames.clone()));
            }
        });
        let address = address(&mut events).await?;
        unread(events);
        Ok(Self { mesh, address })
    }
}

/// Sends the frames, and reads on so that the other end is not held up.
async fn offer(stream: Stream, frames: Arc<Vec<Vec<u8>>>) {
    let (mut reader, mut writer) = stream.split();
    let reading = async {
        let mut buffer = vec![0; 64 * 1024];
        while !matches!(reader.read(&mut buffer).await, Ok(0) | Err(_)) {}
    };
    let writing = async {
        for frame in frames.iter() {
            if write_frame(&mut writer, frame).await.is_err() {
                return;
            }
        }
    };
    futures::join!(reading, writing);
}
