//! Dishonest parties: strangers at the doors, and a member that lies.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::StreamProtocol;
use nexus_crdt::sync_frame::{AckFrame, Body, DigestFrame, EntriesFrame};
use nexus_crdt::{
    DERIVED_SPACES, ENTRY_FORMAT_MAX, EntryFrame, EntryId, FrontierPart, Head, Incarnation, LogHead, LogId, SpaceId,
    SyncFrame,
};
use nexus_identity::{Chain, Claims, Did, Keypair, Role, Ticket, TicketId, Timestamp};
use nexus_mesh::quota::{Bounds, Receiver};
use nexus_mesh::{
    FRAME_BYTES_MAX, JoinReply, JoinRequest, Membership, Mesh, MeshConfig, MeshEvent, MeshEvents, Rooms, Stream,
    Verdict, read_frame, write_frame,
};
use nexus_node::Invite;
use prost::Message;

use crate::dice::Dice;
use crate::plants::Around;
use crate::tap::TapLog;
use crate::transport::address_of;
use crate::usurper::usurp;
use crate::world::{Outsider, Sim};

const SYNC: StreamProtocol = StreamProtocol::new("/nexus/sync/1");
const ENTRIES: &str = "entries";

/// The longest extension for a liar that has found no peer yet.
const LONGER_MAX: Duration = Duration::from_secs(45);

/// A stranger that dials everybody and listens. It has no papers, those of another mesh, or a member's
/// without the key. At the doors it shows invented tickets, or one that was used and then lost. If it
/// is let in once, it is in for good.
pub(crate) async fn strangers(sim: &Sim, no: usize, nodes: usize, heard: TapLog, last: Duration, choice: u64) {
    let mut dice = Dice::new(choice);
    let Ok(outsider) = sim.outsider(&format!("stranger{no}"), heard.clone()) else { return };
    let lost = lost_and_found(sim, no).await;
    let mut papers = papers(sim, &outsider, &mut dice, lost.as_ref());
    let end = sim.now() + last;
    while sim.now() < end {
        let mut config = MeshConfig::new(outsider.key.clone());
        let bare = config.clone();
        config.membership = papers.take();
        // its own library refuses to start with papers of another key
        let started = outsider.mesh(config, rooms().0, nodes).or_else(|| outsider.mesh(bare, rooms().0, nodes));
        let Some((mesh, events)) = started else { break };
        let visit = async {
            tokio::select! {
                () = eavesdrop(sim, &outsider, &mesh, events) => None,
                chain = knock(sim, &mesh, nodes, &mut dice, lost.as_ref()) => Some(chain),
            }
        };
        let admitted = tokio::time::timeout(end.saturating_sub(sim.now()), visit).await.ok().flatten();
        papers = admitted.map(|chain| Membership { mesh: sim.mesh(), chain });
        let _ = tokio::time::timeout(Duration::from_secs(5), mesh.shutdown()).await;
    }
    if heard.count().0 > 0 {
        sim.network().fire("strangers");
    }
    sim.crash(outsider.no, crate::world::Crash::Process);
}

/// Notes which peers are connected. Returns whether the mesh goes on.
pub(crate) fn note_open(open: &mut BTreeSet<Did>, event: Option<MeshEvent>) -> bool {
    match event {
        Some(MeshEvent::PeerOpen { peer, .. }) => drop(open.insert(peer)),
        Some(MeshEvent::PeerClosed { peer, .. }) => drop(open.remove(&peer)),
        Some(_) => {}
        None => return false,
    }
    true
}

/// A member with its own program that hears what others write.
pub(crate) struct Listener {
    pub(crate) mesh: Mesh,
    pub(crate) events: MeshEvents,
    pub(crate) gossip: Receiver<nexus_mesh::Message>,
}

impl Listener {
    /// Connects a member to `nodes` others.
    pub(crate) fn start(sim: &Sim, outsider: &Outsider, nodes: usize) -> Option<Self> {
        let mut rooms = Rooms::new();
        let gossip = rooms.topic(ENTRIES, Bounds::items(4_096));
        let mut config = MeshConfig::new(outsider.key.clone());
        config.membership = Some(Membership { mesh: sim.mesh(), chain: sim.chain_for(outsider.no).ok()? });
        // else nothing of these spaces is gossiped, for its sake
        config.abilities.spaces = DERIVED_SPACES.map(str::to_owned).into();
        config.abilities.entry_format_max = ENTRY_FORMAT_MAX;
        let (mesh, events) = outsider.mesh(config, rooms, nodes)?;
        Some(Self { mesh, events, gossip })
    }
}

/// The room and the topic of honest nodes. Streams that they open are reset.
fn rooms() -> (Rooms, Receiver<nexus_mesh::Message>) {
    let mut rooms = Rooms::new();
    drop(rooms.register(SYNC, 1));
    let gossip = rooms.topic(ENTRIES, Bounds::items(4_096));
    (rooms, gossip)
}

/// The things that a new member lost: the used ticket, and the credentials without the key. And the id
/// of a ticket that is still good, without its secret.
struct Lost {
    ticket: Ticket,
    chain: Chain,
    id: TicketId,
}

/// Invites a guest, who becomes a member and loses its ticket and credentials. `None` if the inviter is away.
async fn lost_and_found(sim: &Sim, no: usize) -> Option<Lost> {
    let invite =
        sim.on(0, async |node| Ok((node.invite(Invite::default()).await?, node.invite(Invite::default()).await?)));
    let (invited, good) = tokio::time::timeout(Duration::from_secs(5), invite).await.ok()?.ok()?;
    let good = good.ticket;
    let guest = sim.machine(&format!("guest{no}")).ok()?;
    let chain = sim.knock(guest, &invited.ticket).await.ok()?;
    Some(Lost { ticket: invited.ticket, chain, id: good.id })
}

/// The papers that a stranger shows at the gate.
fn papers(sim: &Sim, outsider: &Outsider, dice: &mut Dice, lost: Option<&Lost>) -> Option<Membership> {
    if sim.planted() == Some(Around::PapersForStrangers) {
        return Some(Membership { mesh: sim.mesh(), chain: sim.chain_for(outsider.no).ok()? });
    }
    match (dice.below(3), lost) {
        (0, _) => None,
        (1, Some(lost)) => Some(Membership { mesh: sim.mesh(), chain: lost.chain.clone() }),
        // papers of a mesh of its own
        _ => {
            let root = Keypair::from_seed(&[u8::try_from(dice.below(251)).unwrap_or(1); 32]);
            let name = "stranger".parse().ok()?;
            let claims = Claims::new(root.did(), outsider.key.did(), name, [Role::Admin], Timestamp::from_ms(1));
            Some(Membership { mesh: root.did(), chain: Chain::found(claims.sign(&root)).ok()? })
        }
    }
}

/// Asks every peer that opens its gate for all that it holds.
async fn eavesdrop(sim: &Sim, outsider: &Outsider, mesh: &Mesh, mut events: MeshEvents) {
    while let Some(event) = events.recv().await {
        if let MeshEvent::PeerOpen { peer, .. } = event {
            sim.network().note(Some(outsider.no), format_args!("A STRANGER WAS LET IN by {}", peer.short()));
            if let Ok(mut stream) = mesh.open(peer, &SYNC).await {
                let _ = say(&mut stream, Body::Frontier(FrontierPart { heads: Vec::new(), last: true })).await;
                let mut bytes = vec![0; 4_096];
                while !matches!(stream.read(&mut bytes).await, Ok(0) | Err(_)) {}
            }
        }
    }
}

/// Shows tickets at the doors until one opens: invented, used, or without its secret.
async fn knock(sim: &Sim, mesh: &Mesh, nodes: usize, dice: &mut Dice, lost: Option<&Lost>) -> Chain {
    loop {
        let mut node = dice.index(nodes);
        let (mut ticket_id, mut secret) = ([0; 16], [0; 16]);
        for byte in ticket_id.iter_mut().chain(&mut secret) {
            *byte = u8::try_from(dice.below(256)).unwrap_or(0);
        }
        if let (Some(lost), attempt @ 1..) = (lost, dice.below(3)) {
            node = 0;
            match attempt {
                1 => (ticket_id, secret) = (lost.ticket.id, lost.ticket.secret),
                _ => ticket_id = lost.id,
            }
        }
        if let Ok(name) = "guest".parse() {
            let request = JoinRequest { ticket_id, secret, name, version: "0".to_owned(), succession: Vec::new() };
            let asked = mesh.join(sim.did(node), vec![address_of(node)], request);
            let answer = tokio::time::timeout(Duration::from_secs(10), asked).await;
            if let Ok(Ok(JoinReply::Admitted { chain, .. })) = answer {
                return chain;
            }
        }
        sim.sleep(Duration::from_millis(dice.between(20, 2_000))).await;
    }
}

/// A member with good papers and bad manners: it forges, replays, floods, withholds, sends nonsense,
/// and lies about the entries that it holds.
pub(crate) async fn liar(sim: &Sim, no: usize, nodes: usize, last: Duration, choice: u64) {
    let mut dice = Dice::new(choice);
    let Ok(outsider) = sim.outsider(&format!("liar{no}"), TapLog::default()) else { return };
    let machine = outsider.no;
    let (rooms, mut gossip) = rooms();
    let Some((mesh, mut events)) = outsider.as_member(sim, rooms, nodes) else { return };
    let mut caught: Vec<EntryFrame> = Vec::new();
    let mut open: BTreeSet<Did> = BTreeSet::new();
    let end = sim.now() + last;
    let mut lies = 0;
    while sim.now() < end || (lies == 0 && sim.now() < end + LONGER_MAX) {
        let pause = tokio::time::sleep(Duration::from_millis(dice.between(50, 1_500)));
        let event = tokio::select! {
            biased;
            event = events.recv() => Ok(event),
            Some((_, message)) = gossip.recv() => {
                caught.extend(EntryFrame::decode(message.bytes.as_slice()).ok());
                // it forwards nothing
                mesh.settle(message.token, Verdict::Ignore);
                continue;
            }
            () = pause => Err(()),
        };
        match event {
            Ok(event) => {
                if !note_open(&mut open, event) {
                    break;
                }
            }
            Err(_) => {
                let peers: Vec<Did> = open.iter().copied().collect();
                let Some(&peer) = dice.pick(&peers) else { continue };
                let told = tell_lies(sim, &mesh, (outsider.key.did(), peer), &mut dice, &mut caught);
                if tokio::time::timeout(Duration::from_secs(8), told).await.unwrap_or(true) {
                    sim.network().fire("lying_peer");
                    lies += 1;
                }
                if caught.len() > 512 {
                    caught.drain(..256);
                }
            }
        }
    }
    let _ = tokio::time::timeout(Duration::from_secs(5), mesh.shutdown()).await;
    sim.crash(machine, crate::world::Crash::Process);
}

/// One conversation. Returns whether anything was sent.
async fn tell_lies(
    sim: &Sim,
    mesh: &Mesh,
    (me, peer): (Did, Did),
    dice: &mut Dice,
    caught: &mut Vec<EntryFrame>,
) -> bool {
    if dice.chance(0.2) {
        let mut noise = vec![0; 200];
        noise.fill_with(|| u8::try_from(dice.below(256)).unwrap_or(0));
        return mesh.publish(ENTRIES, noise).await.is_ok();
    }
    if sim.has_coordinators() && dice.chance(0.6) {
        let usurped = usurp(mesh, me, peer, dice).await;
        if usurped {
            sim.network().fire("usurper");
        }
        return usurped;
    }
    let Ok(mut stream) = mesh.open(peer, &SYNC).await else { return false };
    let lie = dice.below(7);
    sim.network().note(None, format_args!("lie {lie} to {}", peer.short()));
    let heads = lying_heads(sim, peer, dice);
    let _ = match lie {
        // no message at all
        0 => write_frame(&mut stream, &[0xff; 64]).await.map_err(drop),
        // a frame longer than allowed
        1 => stream.write_all(&u32::MAX.to_be_bytes()).await.map_err(drop),
        // "I hold all of your log, and more"
        2 => say(&mut stream, Body::Frontier(FrontierPart { heads, last: true })).await,
        // "it is all on my disk"
        3 => say(&mut stream, Body::Ack(AckFrame { heads })).await,
        // a flood of digests
        4 => {
            let mut told = Ok(());
            for _ in 0..300 {
                told = say(&mut stream, Body::Digest(DigestFrame { digest: vec![7; 32] })).await;
            }
            told
        }
        // listens, then repeats the entries, some of them changed
        5 => {
            listen(&mut stream, caught).await;
            let mut entries: Vec<EntryFrame> = caught.iter().take(20).cloned().collect();
            if dice.chance(0.6) {
                for entry in &mut entries {
                    match dice.below(3) {
                        0 => entry.signature.iter_mut().take(1).for_each(|byte| *byte ^= 1),
                        1 => entry
                            .payload
                            .iter_mut()
                            .flat_map(|payload| payload.iter_mut().take(1))
                            .for_each(|byte| *byte ^= 1),
                        _ => entry.payload = None,
                    }
                }
            }
            say(&mut stream, Body::Entries(EntriesFrame { entries })).await
        }
        // sends nothing and takes nothing
        _ => {
            tokio::time::sleep(Duration::from_secs(6)).await;
            Ok(())
        }
    };
    // time for the frames to arrive
    tokio::time::sleep(Duration::from_millis(300)).await;
    true
}

async fn say(stream: &mut Stream, body: Body) -> Result<(), ()> {
    write_frame(stream, &SyncFrame { body: Some(body) }.encode_to_vec()).await.map_err(drop)
}

async fn listen(stream: &mut Stream, caught: &mut Vec<EntryFrame>) {
    // an empty frontier: "send me everything"
    let _ = say(stream, Body::Frontier(FrontierPart { heads: Vec::new(), last: true })).await;
    let hear = async {
        while let Ok(Some(frame)) = read_frame(stream, FRAME_BYTES_MAX).await {
            if let Ok(SyncFrame { body: Some(Body::Entries(entries)) }) = SyncFrame::decode(frame.as_slice()) {
                caught.extend(entries.entries);
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(2), hear).await;
}

/// Heads that nobody has: of the listener's own logs, or of logs that do not exist.
fn lying_heads(sim: &Sim, peer: Did, dice: &mut Dice) -> Vec<LogHead> {
    let mesh = sim.mesh();
    let mut heads = Vec::new();
    for _ in 0..dice.between(1, 30) {
        let author = if dice.chance(0.5) { peer } else { sim.did(dice.index(sim.len())) };
        let space = if dice.chance(0.5) { SpaceId::mesh(&mesh) } else { SpaceId::default_of(&mesh) };
        let log = LogId { space, author, incarnation: Incarnation(dice.next().to_le_bytes()) };
        let mut id = [0; 32];
        id[..8].copy_from_slice(&dice.next().to_le_bytes());
        heads.push(LogHead::new(&log, &Head { seq: dice.between(0, 1 << 40), id: EntryId::from_bytes(id) }));
    }
    heads
}
